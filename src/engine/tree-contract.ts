/** What a hash tree is asked for with, part by part, and what comes of it: plain data. */
import type { MonotonicMs } from '../base/clock.ts';
import type { SeekTarget } from '../ipc/contract.ts';
import type { StopFlagMemory } from '../ipc/stop-flag.ts';

/** A hash tree of the records of one vnode, or of another stretch of a shard's own tokens between two upper halves. */
export interface TreeSpec {
  readonly firstHi: number;
  readonly lastHi: number;
  /** It is cut into so many equal parts. */
  readonly leaves: number;
  /** Records that died before, by their expiry or their tombstone's version, are left out; so are those dead by `nowMs` outside of the user's keyspace. */
  readonly nowMs: number;
  readonly ignoreDeadBeforeMs: number;
  /** By then it is given up with a TimeoutError. */
  readonly deadlineMs: MonotonicMs;
  /** Raised where nobody wants it any more: it is given up with a ClosedError. */
  readonly cancel: StopFlagMemory;
}

/** What of a tree is summed at a time. */
export interface TreePart {
  readonly tree: TreeSpec;
  /** Records behind this place; null: from the first token on. */
  readonly after: SeekTarget | null;
  /** Up to and with this place; null: up to the last token. */
  readonly to: SeekTarget | null;
  /** What memtables hold of these records: the newest of each key, in order, without values (copyHead in src/base/record.ts). */
  readonly heads: Uint8Array;
  /** After so many bytes of records in tables it ends, wherever that is. */
  readonly bytesMax: number;
}
export interface TreeSums {
  /** Of each leaf the sum of its records' hashes modulo 2^64, lower half first. */
  readonly sums: Uint32Array;
  /** Records in them. */
  readonly records: number;
  /** The place of the last record where the part was not summed to its end; null: it was. */
  readonly next: SeekTarget | null;
}
