/**
 * The shard thread's end of its memtables: the only writer of everything in memtable-layout.ts, which has the
 * byte table and the invariants. Nothing here allocates per record.
 */
import { assert, defined } from '../base/assert.ts';
import {
  keyAt,
  keyspaceAt,
  type RecordFields,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
  writeRecord,
} from '../base/record.ts';
import type { MemtableSetMemory, MemtableWriter } from './contract.ts';
import {
  CONTROL_COUNT,
  CONTROL_DURABLE,
  CONTROL_GENERATION,
  CONTROL_ORDER,
  MemtableSlot,
  NODE_LEFT,
  NODE_LOST,
  NODE_OFFSET,
  NODE_OLDER,
  NODE_RIGHT,
  NODE_TOKEN_HI,
  NODE_TOKEN_LO,
  SEQ_ALL,
  TREE_DEPTH_MAX,
} from './memtable-layout.ts';

export class SharedMemtableWriter implements MemtableWriter {
  readonly found = { slot: 0, offset: 0, seq: 0 };
  readonly #control: Int32Array;
  readonly #slots: readonly MemtableSlot[];
  readonly #arenaBytes: number;
  readonly #lastSeq: Int32Array;
  /** By slot: a bit for each keyspace of which it may hold something. Promises and outcomes are in few, and asked for at every write. */
  readonly #keyspaces: Uint32Array;
  readonly #order: number[] = [];
  #active = -1;
  #slot: MemtableSlot;
  #head = 0;
  #crowded = false;

  /** `memory` must be new, or its last writer gone: all slots become free. */
  constructor(memory: MemtableSetMemory) {
    const { slots } = memory.options;
    this.#control = new Int32Array(memory.control);
    this.#slots = memory.slots.map((_, slot) => new MemtableSlot(memory, slot));
    this.#slot = defined(this.#slots[0], 'memtable: a set without slots');
    this.#arenaBytes = memory.options.arenaBytes;
    this.#lastSeq = new Int32Array(slots);
    this.#keyspaces = new Uint32Array(slots);
    this.#publishOrder();
  }

  get active(): number {
    return this.#active;
  }
  get head(): number {
    return this.#head;
  }

  activate(base: number): boolean {
    assert(this.#active === -1, 'memtable: activate with a slot still active');
    assert(base >= 0 && base % 8 === 0 && base <= this.#arenaBytes, 'memtable: base outside the arena');
    const free = this.#slots.findIndex((_, slot) => !this.#order.includes(slot));
    if (free === -1) return false;
    this.#slot = this.#slotAt(free);
    this.#slot.words.fill(0, 0, this.#slot.shape.buckets);
    this.#lastSeq[free] = 0;
    this.#keyspaces[free] = 0;
    Atomics.store(this.#control, CONTROL_DURABLE + free, 0);
    this.#head = base;
    this.#crowded = false;
    this.#active = free;
    this.#order.unshift(free);
    this.#publishOrder();
    return true;
  }

  freeze(): void {
    assert(this.#active !== -1, 'memtable: freeze without an active slot');
    this.#active = -1;
  }

  /** Frees the oldest frozen slot: out of turn, a reader would find an older version of a key (invariant 4). */
  release(slot: number): void {
    assert(slot !== this.#active, 'memtable: release of the active slot');
    assert(this.#order.at(-1) === slot, 'memtable: release of a slot that is not the oldest');
    this.#order.pop();
    this.#publishOrder();
  }

  frozen(): readonly number[] {
    return this.#order.filter((slot) => slot !== this.#active);
  }
  arenaBytes(slot: number): Uint8Array {
    return this.#slotAt(slot).bytes;
  }
  arenaView(slot: number): DataView {
    return this.#slotAt(slot).view;
  }

  skip(length: number): number {
    assert(this.#active !== -1, 'memtable: skip without an active slot');
    assert(length > 0 && length % 8 === 0, 'memtable: skip by a length that is not a multiple of 8');
    const start = this.#head;
    if (start + length > this.#arenaBytes) return -1;
    this.#head = start + length;
    return start;
  }

  fits(size: number, extra: number): boolean {
    return this.#active !== -1 && !this.#crowded && this.#head + size + extra <= this.#arenaBytes;
  }

  append(record: RecordFields): number {
    assert(this.#active !== -1, 'memtable: append without an active slot');
    const slot = this.#slot;
    const offset = this.#head;
    // Past the end of the arena this throws before anything is linked.
    this.#head = offset + writeRecord(slot.bytes, offset, record);
    return this.#link(slot, offset, record.tokenHi, record.tokenLo, record.keyspace, record.key);
  }

  adopt(offset: number): number {
    assert(this.#active !== -1, 'memtable: adopt without an active slot');
    assert(offset >= this.#head && offset % 8 === 0, 'memtable: adopt of bytes already taken');
    const { view, bytes } = this.#slot;
    const end = offset + recordBytesAt(view, offset);
    assert(end <= this.#arenaBytes, 'memtable: adopt past the end of the arena');
    this.#head = end;
    return this.#link(
      this.#slot,
      offset,
      tokenHiAt(view, offset),
      tokenLoAt(view, offset),
      keyspaceAt(view, offset),
      keyAt(view, bytes, offset),
    );
  }

  /**
   * Undoes insertions one by one, the last first: what an insertion stored is then as it left it, and putting
   * the older version (or nil) back into the node's link restores the tree.
   */
  rollback(slot: number, seq: number, head: number): void {
    assert(seq >= this.durableSeq(slot), 'memtable: rollback of durable records');
    const index = this.#slotAt(slot);
    const { words, view, bytes } = index;
    for (let node = this.lastSeq(slot); node > seq; node--) {
      const offset = index.offsetOf(node);
      const key = keyAt(view, bytes, offset);
      const keyspace = keyspaceAt(view, offset);
      const newest = index.descend(tokenHiAt(view, offset), tokenLoAt(view, offset), keyspace, key, SEQ_ALL);
      assert(newest === node, 'memtable: rollback of a record that is not the newest of its key');
      Atomics.store(words, index.link, words[index.nodeWord(node) + NODE_OLDER] as number);
    }
    this.#lastSeq[slot] = seq;
    if (slot === this.#active) {
      assert(head >= 0 && head % 8 === 0 && head <= this.#head, 'memtable: rollback to a head ahead');
      this.#head = head;
    }
    // Nodes and bytes are used again: a reader that stands on one must notice (invariant 5).
    this.#publishOrder();
  }

  setDurable(slot: number, seq: number): void {
    assert(seq >= this.durableSeq(slot) && seq <= this.lastSeq(slot), 'memtable: durableSeq out of range');
    Atomics.store(this.#control, CONTROL_DURABLE + slot, seq);
  }
  durableSeq(slot: number): number {
    return defined(this.#control[CONTROL_DURABLE + slot], 'memtable: no such slot');
  }
  lastSeq(slot: number): number {
    return defined(this.#lastSeq[slot], 'memtable: no such slot');
  }
  recordCount(slot: number): number {
    return this.lastSeq(slot);
  }

  find(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array, latest: boolean): boolean {
    for (let i = 0; i < this.#order.length; i++) {
      const index = this.#order[i] as number;
      if (((this.#keyspaces[index] as number) & bitOf(keyspace)) === 0) continue;
      const slot = this.#slots[index] as MemtableSlot;
      const newest = slot.descend(tokenHi, tokenLo, keyspace, key, SEQ_ALL);
      if (newest === 0) continue;
      assert(newest !== NODE_LOST, 'memtable: a tree of the writer makes no sense');
      const seqMax = latest ? SEQ_ALL : (this.#control[CONTROL_DURABLE + index] as number);
      const node = slot.visible(newest, seqMax, SEQ_ALL);
      assert(node !== NODE_LOST, 'memtable: versions of a key out of order');
      if (node === 0) continue;
      this.found.slot = index;
      this.found.offset = slot.offsetOf(node);
      this.found.seq = node;
      return true;
    }
    return false;
  }

  /** Fills a node, then makes it reachable with one store (invariant 1). Its number is the record's seq. */
  #link(
    slot: MemtableSlot,
    offset: number,
    hi: number,
    lo: number,
    keyspace: number,
    key: Uint8Array,
  ): number {
    const previous = slot.descend(hi, lo, keyspace, key, SEQ_ALL);
    assert(previous !== NODE_LOST, 'memtable: a tree of the writer makes no sense');
    const node = (this.#lastSeq[this.#active] as number) + 1;
    assert(node <= slot.shape.nodesMax, 'memtable: more records than an arena can hold');
    const words = slot.words;
    const at = slot.nodeWord(node);
    if (previous === 0) {
      words[at + NODE_LEFT] = 0;
      words[at + NODE_RIGHT] = 0;
      if (slot.depth >= TREE_DEPTH_MAX / 2) this.#crowded = true;
    } else {
      // A reader that stands on the previous version goes on below it as things were at this moment.
      const old = slot.nodeWord(previous);
      words[at + NODE_LEFT] = words[old + NODE_LEFT] as number;
      words[at + NODE_RIGHT] = words[old + NODE_RIGHT] as number;
    }
    words[at + NODE_OLDER] = previous;
    words[at + NODE_OFFSET] = offset;
    words[at + NODE_TOKEN_HI] = hi;
    words[at + NODE_TOKEN_LO] = lo;
    Atomics.store(words, slot.link, node);
    this.#lastSeq[this.#active] = node;
    this.#keyspaces[this.#active] = (this.#keyspaces[this.#active] as number) | bitOf(keyspace);
    return node;
  }

  #publishOrder(): void {
    const control = this.#control;
    const changing = (control[CONTROL_GENERATION] as number) | 1;
    Atomics.store(control, CONTROL_GENERATION, changing);
    Atomics.store(control, CONTROL_COUNT, this.#order.length);
    for (let i = 0; i < this.#order.length; i++)
      Atomics.store(control, CONTROL_ORDER + i, this.#order[i] as number);
    Atomics.store(control, CONTROL_GENERATION, (changing + 1) | 0);
    // A store-release lets later plain stores overtake it on ARM; a load-acquire after it does not. What the
    // writer then puts into recycled memory is seen only by readers that also see the new generation.
    Atomics.load(control, CONTROL_GENERATION);
  }

  #slotAt(slot: number): MemtableSlot {
    return defined(this.#slots[slot], 'memtable: no such slot');
  }
}

/** Those above 31 share bits: then a slot is looked through for nothing. */
const bitOf = (keyspace: number): number => 1 << (keyspace & 31);
