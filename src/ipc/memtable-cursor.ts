/**
 * Steps through one memtable in order of (token, keyspace, key): for a flush, on a background thread over a
 * frozen slot, and for a scan, on the shard thread over any slot. Yields the newest version with
 * seq <= seqBound of each key, tombstones too. Layout and invariants: memtable-layout.ts.
 *
 * Reads plain words: the shard thread is their writer, and a background thread got the frozen slot by a
 * message after the last store. Appends during a scan do no harm: they have a seq above the bound, and a node
 * that they replace still leads to everything that was there before. The slot must not be released meanwhile.
 */
import { assert } from '../base/assert.ts';
import type { MemtableSetMemory, RecordCursor, SeekTarget } from './contract.ts';
import { MemtableSlot, NODE_LEFT, NODE_LOST, NODE_RIGHT, SEQ_ALL } from './memtable-layout.ts';

const STACK_START = 64;
const TOKEN_HI_MAX = 0xffff_ffff;

export class MemtableCursor implements RecordCursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset = 0;
  valid = false;
  readonly #slot: MemtableSlot;
  readonly #seqBound: number;
  #bucket: number;
  /** Behind the last bucket that it looks into. */
  readonly #bucketEnd: number;
  /** Nodes whose left side is done, the next one on top: as deep as the deepest tree. */
  #stack = new Int32Array(STACK_START);
  #top = 0;

  /**
   * From the first record at or after `from`, or from the first of all. `seqBound` SEQ_ALL shows everything. Behind the bucket
   * of `lastHi` it looks for nothing: it may end there, or show some of what follows. Without it, a cursor for each vnode of
   * an empty memtable walked through all buckets of all that follow.
   */
  constructor(
    memory: MemtableSetMemory,
    slot: number,
    from: SeekTarget | null,
    seqBound: number,
    lastHi: number = TOKEN_HI_MAX,
  ) {
    this.#slot = new MemtableSlot(memory, slot);
    this.#bucketEnd = Math.min(this.#slot.shape.buckets, this.#slot.bucketFrom(lastHi) + 1);
    this.bytes = this.#slot.bytes;
    this.view = this.#slot.view;
    this.#seqBound = seqBound;
    this.#bucket = from === null ? 0 : this.#slot.bucketFrom(from.tokenHi);
    if (from !== null && this.#bucket < this.#bucketEnd) {
      this.#seek(from);
      this.#bucket++;
    }
    this.next();
  }

  next(): void {
    for (;;) {
      const node = this.#take();
      if (node === 0) {
        this.valid = false;
        return;
      }
      const shown = this.#slot.visible(node, this.#seqBound, SEQ_ALL);
      assert(shown !== NODE_LOST, 'memtable: versions of a key out of order');
      if (shown === 0) continue;
      this.offset = this.#slot.offsetOf(shown);
      this.valid = true;
      return;
    }
  }

  /** The next node in order, 0 after the last. */
  #take(): number {
    const { words } = this.#slot;
    while (this.#top === 0) {
      if (this.#bucket >= this.#bucketEnd) return 0;
      this.#pushLeft(words[this.#bucket++] as number);
    }
    const node = this.#stack[--this.#top] as number;
    this.#pushLeft(words[this.#slot.nodeWord(node) + NODE_RIGHT] as number);
    return node;
  }

  #pushLeft(root: number): void {
    const words = this.#slot.words;
    for (let node = root; node !== 0; node = words[this.#slot.nodeWord(node) + NODE_LEFT] as number)
      this.#push(node);
  }

  /** Leaves on the stack what of the first bucket's tree lies at or after the target. */
  #seek(from: SeekTarget): void {
    const words = this.#slot.words;
    let node = words[this.#bucket] as number;
    while (node !== 0) {
      const at = this.#slot.nodeWord(node);
      const order = this.#slot.comparePlace(node, from.tokenHi, from.tokenLo, from.keyspace, from.key);
      if (order >= 0) this.#push(node);
      if (order === 0) return;
      node = words[at + (order > 0 ? NODE_LEFT : NODE_RIGHT)] as number;
    }
  }

  #push(node: number): void {
    if (this.#top === this.#stack.length) {
      assert(this.#top <= this.#slot.shape.nodesMax, 'memtable: a tree deeper than its nodes');
      const wider = new Int32Array(2 * this.#top);
      wider.set(this.#stack);
      this.#stack = wider;
    }
    this.#stack[this.#top++] = node;
  }
}
