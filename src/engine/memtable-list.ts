/**
 * The memtables of one shard with the log segments that they are images of, oldest first. Owned by the
 * shard's thread. Invariants:
 *
 * 1. Segments rise from each entry to the next; at most the last one takes writes.
 * 2. An entry leaves at the front only, after the manifest says that its records stand in a table.
 * 3. Slots of memtables that have left the list may be kept, full as they are, until a new memtable needs one: they
 *    hold the newest of what the tables hold, readers look at them behind the list's, and who only asks for the
 *    list never sees them. Kept slots go oldest first, and before any slot of the list.
 * 4. The engine's seq of a record is `base` plus its seq in the slot; it rises over all memtables. A rollback
 *    raises `base`, so that no seq is given twice; records that are durable then keep the seq they were
 *    reported with, which nobody asks for any more.
 */
import { assert, defined } from '../base/assert.ts';
import type { MemtableSetMemory, MemtableWriter } from '../ipc/contract.ts';

/** A memtable; `slot` -1 for a recovered segment without records. */
export interface Memtable {
  readonly slot: number;
  readonly segment: number;
  base: number;
  /** Seq of its first record, 0 where it has none. */
  firstSeq: number;
  /** Lowest version ever put in, Infinity for none. */
  versionMin: number;
  /** Bytes of the segment, final once it is closed. */
  end: number;
  /** The segment is complete and durable: the memtable may be flushed. */
  closed: boolean;
}

export function newMemtable(slot: number, segment: number, base: number): Memtable {
  const versionMin = Number.POSITIVE_INFINITY;
  return { slot, segment, base, firstSeq: 0, versionMin, end: 0, closed: false };
}

/** A memtable in memory of its own: a recovered segment that has no slot. Only read. */
export interface Archive {
  readonly memory: MemtableSetMemory;
  readonly writer: MemtableWriter;
  readonly slot: number;
}

export class MemtableList {
  readonly writer: MemtableWriter;
  readonly memory: MemtableSetMemory;
  /** Oldest first. */
  readonly items: Memtable[] = [];
  /** Whole records of damaged logs beyond what the slots take, newest first, older than all items. */
  readonly archives: Archive[] = [];
  readonly #bySlot: (Memtable | null)[];
  /** Slots of memtables that stand in tables, oldest first. */
  readonly #kept: number[] = [];
  readonly #keepsFlushed: boolean;

  /** `keepsFlushed`: whether slots stay readable after their memtable has become a table. */
  constructor(memory: MemtableSetMemory, writer: MemtableWriter, keepsFlushed = false) {
    this.memory = memory;
    this.writer = writer;
    this.#keepsFlushed = keepsFlushed;
    this.#bySlot = memory.slots.map(() => null);
  }

  get oldest(): Memtable | undefined {
    return this.items[0];
  }
  get newest(): Memtable | undefined {
    return this.items.at(-1);
  }
  bySlot(slot: number): Memtable {
    const memtable = this.#bySlot[slot];
    assert(memtable !== undefined && memtable !== null, 'memtables: a slot that holds no memtable');
    return memtable;
  }
  /** Slots that a new memtable may have; kept ones are among them. */
  get freeSlots(): number {
    let free = 0;
    for (let slot = 0; slot < this.#bySlot.length; slot++) if (this.#bySlot[slot] === null) free++;
    return free;
  }
  /** Slots that are readable although their memtables stand in tables. */
  get keptSlots(): number {
    return this.#kept.length;
  }

  /** Puts a free slot to use: an empty one, or else the oldest that was kept. False where there is none. */
  activate(): boolean {
    const used = this.#bySlot.length - this.freeSlots;
    if (used + this.#kept.length === this.#bySlot.length) {
      const oldest = this.#kept.shift();
      if (oldest !== undefined) this.writer.release(oldest);
    }
    return this.writer.activate(0);
  }

  add(memtable: Memtable): void {
    const newest = this.newest;
    assert(
      newest === undefined || memtable.segment > newest.segment,
      () => `memtables: segment ${memtable.segment} after ${newest?.segment}`,
    );
    this.items.push(memtable);
    if (memtable.slot >= 0) this.#bySlot[memtable.slot] = memtable;
  }

  /** Drops the oldest memtable, whose records stand in a table that readers see, and frees its slot. */
  removeOldest(): Memtable {
    const memtable = defined(this.items.shift(), 'memtables: none to remove');
    if (memtable.slot >= 0) {
      this.#bySlot[memtable.slot] = null;
      if (this.#keepsFlushed) this.#kept.push(memtable.slot);
      else this.writer.release(memtable.slot);
    }
    return memtable;
  }

  /**
   * Takes back what is not durable in `memtable`, whose segment ends at `end`; its seq in the slot after that.
   * The next record gets the engine's `seq` + 1, as if nothing had been taken back.
   */
  takeBack(memtable: Memtable, end: number, seq: number): number {
    const durable = this.writer.durableSeq(memtable.slot);
    this.writer.rollback(memtable.slot, durable, end);
    memtable.base = seq - durable;
    if (durable === 0) {
      memtable.firstSeq = 0;
      memtable.versionMin = Number.POSITIVE_INFINITY;
    }
    return durable;
  }

  /** Lowest version in any memtable, Infinity where there is none. */
  versionMin(): number {
    return this.items.reduce((lowest, one) => Math.min(lowest, one.versionMin), Number.POSITIVE_INFINITY);
  }
}
