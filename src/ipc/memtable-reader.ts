/**
 * Point reads in the memtables of one shard, from any thread, without a lock: layout and invariants are in
 * memtable-layout.ts. One reader per thread; nothing here writes shared memory that another thread reads.
 *
 * A lookup reads the generation, walks the slots newest first, copies the record out and reads the generation
 * again (a sequence lock, Lamport 1977; Boehm 2012 for the fences). Where it changed, what was read may come
 * from recycled memory, and the lookup starts anew, at most LOOKUP_ATTEMPTS_MAX times. MISS is always safe:
 * the caller asks the shard. HIT and DEAD rest on the newest record that was durable when the lookup began,
 * or on a newer durable one.
 */
import { assert } from '../base/assert.ts';
import { isDeadAt, recordBytesAt } from '../base/record.ts';
import {
  type LookupOutcome,
  MEMTABLE_DEAD,
  MEMTABLE_HIT,
  MEMTABLE_MISS,
  type MemtableReader,
  type MemtableSetMemory,
} from './contract.ts';
import {
  CONTROL_COUNT,
  CONTROL_DURABLE,
  CONTROL_GENERATION,
  CONTROL_ORDER,
  MemtableSlot,
  NODE_LOST,
  TREE_DEPTH_MAX,
} from './memtable-layout.ts';

/** The order changes twice per memtable: more than one change within a lookup of 1 us is chance already. */
const LOOKUP_ATTEMPTS_MAX = 4;
/** Versions of one key that are not durable yet: beyond, the lookup goes to the shard. */
const VERSIONS_PASSED_MAX = 64;
const BUFFER_BYTES_MIN = 16 * 1024;
/** Instead of a time: tombstones and expired records are records too. */
const NEVER_DEAD = -1;

export class SharedMemtableReader implements MemtableReader {
  bytes: Uint8Array;
  view: DataView;
  readonly #control: Int32Array;
  readonly #slots: readonly MemtableSlot[];
  readonly #arenaBytes: number;
  /** Stored to before the generation is read again: see #unchanged. Seen by no other thread. */
  readonly #fence = new Int32Array(new SharedArrayBuffer(4));

  constructor(memory: MemtableSetMemory) {
    this.#control = new Int32Array(memory.control);
    this.#slots = memory.slots.map((_, slot) => new MemtableSlot(memory, slot));
    this.#arenaBytes = memory.options.arenaBytes;
    this.bytes = new Uint8Array(BUFFER_BYTES_MIN);
    this.view = new DataView(this.bytes.buffer);
  }

  lookup(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array, nowMs: number): LookupOutcome {
    return this.#lookup(keyspace, tokenHi, tokenLo, key, nowMs);
  }
  holds(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array): boolean {
    return this.#lookup(keyspace, tokenHi, tokenLo, key, NEVER_DEAD) === MEMTABLE_HIT;
  }

  #lookup(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array, nowMs: number): LookupOutcome {
    for (let attempt = 0; attempt < LOOKUP_ATTEMPTS_MAX; attempt++) {
      const generation = Atomics.load(this.#control, CONTROL_GENERATION);
      if ((generation & 1) !== 0) continue;
      const outcome = this.#look(generation, keyspace, tokenHi, tokenLo, key, nowMs);
      if (this.#unchanged(generation)) return outcome;
    }
    return MEMTABLE_MISS;
  }

  #look(
    generation: number,
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    nowMs: number,
  ): LookupOutcome {
    const count = Atomics.load(this.#control, CONTROL_COUNT);
    for (let i = 0; i < count; i++) {
      const index = Atomics.load(this.#control, CONTROL_ORDER + i);
      const slot = this.#slots[index];
      assert(slot !== undefined, 'memtable: an order with a slot that is not there');
      // Before the tree: whatever is durable by now is found there (invariant 3).
      const durableSeq = Atomics.load(this.#control, CONTROL_DURABLE + index);
      const newest = slot.descend(tokenHi, tokenLo, keyspace, key, TREE_DEPTH_MAX);
      if (newest === 0) continue;
      if (newest === NODE_LOST) return MEMTABLE_MISS;
      const node = slot.visible(newest, durableSeq, VERSIONS_PASSED_MAX);
      if (node === 0) continue;
      if (node === NODE_LOST) return MEMTABLE_MISS;
      return this.#copy(generation, slot, slot.offsetOf(node), nowMs);
    }
    return MEMTABLE_MISS;
  }

  #copy(generation: number, slot: MemtableSlot, offset: number, nowMs: number): LookupOutcome {
    // descend() has looked at the header of another version at most, so this one is checked here.
    if (!slot.holdsHeader(offset)) return MEMTABLE_MISS;
    if (nowMs !== NEVER_DEAD && isDeadAt(slot.view, offset, nowMs)) return MEMTABLE_DEAD;
    const size = recordBytesAt(slot.view, offset);
    if (size > this.#arenaBytes - offset) return MEMTABLE_MISS;
    if (size > this.bytes.length) {
      // Recycled memory must not make the buffer grow.
      if (!this.#unchanged(generation)) return MEMTABLE_MISS;
      this.bytes = new Uint8Array(2 ** Math.ceil(Math.log2(size)));
      this.view = new DataView(this.bytes.buffer);
    }
    this.bytes.set(slot.bytes.subarray(offset, offset + size));
    return MEMTABLE_HIT;
  }

  /**
   * Whether all that was read since `generation` was read is whole. The store keeps the plain loads before it
   * (release), and no later atomic load overtakes it (sequential consistency): without it, ARM may read the
   * generation first and the bytes after.
   */
  #unchanged(generation: number): boolean {
    Atomics.store(this.#fence, 0, 0);
    return Atomics.load(this.#control, CONTROL_GENERATION) === generation;
  }
}
