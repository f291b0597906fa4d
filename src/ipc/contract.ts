/**
 * What the shared-memory parts promise to the layers above. The classes behind these interfaces are the
 * only code that touches Atomics.
 */
import type { RecordFields } from '../base/record.ts';

/** Everything that crosses to another thread is plain data: SharedArrayBuffers, ports and numbers. */
export interface RingMemory {
  readonly buffer: SharedArrayBuffer;
}

/**
 * Producer's end of a single-producer single-consumer byte ring. `bytes` and `view` belong to the last
 * reservation: a channel (channel.ts) gives a buffer of its own to a record that is too long for its ring.
 */
export interface RingProducer {
  /** Longest record that `reserve` can ever take, bytes. */
  readonly recordBytesMax: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the reserved record starts in `bytes`; a multiple of 8. Valid after `reserve` gave true. */
  readonly offset: number;
  /** Room for `length` contiguous bytes, or false where the ring is full. One reservation at a time. */
  reserve(length: number): boolean;
  /** Ends the record; `length` may be less than reserved. Not yet visible to the consumer. */
  commit(length: number): void;
  /** Makes all committed records visible with one Atomics.store and wakes the consumer if it sleeps. */
  flush(): void;
  /** Bytes in the ring, committed or visible, not yet released. */
  usedBytes(): number;
}

/** Consumer's end. `bytes` and `view` belong to the last record, as with the producer. */
export interface RingConsumer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Place of the record that the last `next` found; valid until `release`. */
  readonly offset: number;
  readonly length: number;
  /** Steps to the next record; false where there is none. Records stay in the ring until `release`. */
  next(): boolean;
  /** Gives back everything that `next` passed. */
  release(): void;
}

export type LookupOutcome = 0 | 1 | 2;
export const MEMTABLE_MISS = 0;
export const MEMTABLE_HIT = 1;
/** The newest visible record is a tombstone or has expired: the key is absent, no need to look further. */
export const MEMTABLE_DEAD = 2;

export interface MemtableSetOptions {
  /** Memtables in the set: one active, the others frozen or free. */
  readonly slots: number;
  /** Bytes of records that a memtable takes, the group headers included; index and nodes come on top. */
  readonly arenaBytes: number;
  readonly vnodes: number;
  readonly shard: number;
  readonly shards: number;
}

/** Posted to every thread that reads the memtables of a shard. */
export interface MemtableSetMemory {
  readonly options: MemtableSetOptions;
  readonly control: SharedArrayBuffer;
  readonly slots: readonly SharedArrayBuffer[];
}

/**
 * The shard thread's end: the only writer of everything in the set. A slot is free, active or frozen.
 * Offsets into `arena` are also offsets in the commit-log segment of that memtable: the arena is its image.
 * `seq` counts the records of one slot from 1; a record is visible to readers when seq <= durableSeq.
 */
export interface MemtableWriter {
  /** Index of the active slot, -1 where none is. */
  readonly active: number;
  /** Takes a free slot, empties it and makes it the newest, its first record at `base` in the arena. False where none is free. */
  activate(base: number): boolean;
  /** The active slot becomes frozen: no more records. */
  freeze(): void;
  /** Frees a frozen slot; readers that were in it notice and look again. */
  release(slot: number): void;
  /** Frozen slots, newest first. */
  frozen(): readonly number[];
  arenaBytes(slot: number): Uint8Array;
  arenaView(slot: number): DataView;
  /** Where the next record of the active slot goes. */
  readonly head: number;
  /** Skips `length` bytes (a multiple of 8), for a group header; its offset, or -1 where the slot is full. */
  skip(length: number): number;
  /** Whether a record of `size` bytes fits the active slot, besides `extra` bytes. */
  fits(size: number, extra: number): boolean;
  /** Copies the record in and links it; its seq in the slot. The caller has asked `fits`. */
  append(record: RecordFields): number;
  /** Links a record whose bytes already stand in the arena at `offset` (recovery); its seq. */
  adopt(offset: number): number;
  /**
   * Takes back the records of a slot above `seq`, none of which is durable: readers never saw them and never
   * will. The active slot goes on at `head` in the arena.
   */
  rollback(slot: number, seq: number, head: number): void;
  setDurable(slot: number, seq: number): void;
  durableSeq(slot: number): number;
  lastSeq(slot: number): number;
  recordCount(slot: number): number;
  /**
   * The newest record of a key in the active and frozen slots. `latest` also sees what is not durable yet.
   * True: `found` holds its slot, offset and seq.
   */
  find(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array, latest: boolean): boolean;
  readonly found: { slot: number; offset: number; seq: number };
}

/** Any thread's end for point reads: lock-free, bounded retries, copies what it returns. */
export interface MemtableReader {
  lookup(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array, nowMs: number): LookupOutcome;
  /** The same for the record itself, dead or alive; false says ask the shard. */
  holds(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array): boolean;
  /** After MEMTABLE_HIT, or true: the encoded record, copied out, at offset 0; valid until the next lookup. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/**
 * Steps through records in order of (token, keyspace, key). Where a source holds several versions of a key,
 * it yields the newest that it may show, once. Synchronous: `next` may read files.
 */
export interface RecordCursor {
  readonly valid: boolean;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly offset: number;
  next(): void;
}

/** A position to start from: the first record at or after (token, keyspace, key). */
export interface SeekTarget {
  tokenHi: number;
  tokenLo: number;
  keyspace: number;
  key: Uint8Array;
}
