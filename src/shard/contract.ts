/**
 * Between a client thread (front end, embedding thread) and the shard threads: requests and replies as
 * flyweights over ring records. Implemented by shard-client.ts; tests put a fake in its place.
 */
import type { MonotonicMs } from '../base/clock.ts';
import type { LookupOutcome } from '../ipc/contract.ts';
import type { AdmissionFigures } from './admission.ts';

export const Op = {
  PUT: 1,
  GET: 2,
  DELETE: 3,
  SCAN: 4,
  SNAPSHOT: 5,
  RELEASE_SNAPSHOT: 6,
  STATS: 7,
  FLUSH: 8,
  COMPACT: 9,
  VERIFY: 10,
  /** What coordinators ask of a replica: src/shard/replica-protocol.ts. */
  REPLICA_WRITE: 20,
  REPLICA_READ: 21,
  PREPARE: 22,
  PAGE: 23,
  TREE: 24,
  TREE_NODES: 25,
  END_TREE: 26,
  SET_PURGE: 27,
  /** To the coordinator alone: a question about the cluster or a change of it; `value` is JSON, and so is the answer. */
  CLUSTER: 40,
} as const;
export type OpCode = (typeof Op)[keyof typeof Op];

/** What a write demands of the current version. */
export const Condition = {
  NONE: 0,
  /** The current version equals `version`; 0 means that the key is absent. Mismatch: VERSION_MISMATCH. */
  VERSION: 1,
  /** The key is live, whatever its version (`If-Match: *`). */
  EXISTS: 2,
} as const;
export type ConditionCode = (typeof Condition)[keyof typeof Condition];

export const Sloppy = { UNSAID: 0, YES: 1, NO: 2 } as const;
export type SloppyCode = (typeof Sloppy)[keyof typeof Sloppy];

/** One object per client, filled in and passed to `submit`, which copies everything before it returns. */
export interface ShardRequest {
  op: OpCode;
  tokenHi: number;
  tokenLo: number;
  key: Uint8Array;
  value: Uint8Array;
  /** Milliseconds since 1970 at which the record expires; 0 never. */
  expiresMs: number;
  condition: ConditionCode;
  version: number;
  /** The work is dropped with TIMEOUT after it. */
  deadlineMs: MonotonicMs;
  /** Empty: none. UTF-8 of the Idempotency-Key. */
  idempotencyKey: Uint8Array;
  /** Hash of what the request asks for (64 bits), to tell a repeat from a different write under one key. */
  fingerprintHi: number;
  fingerprintLo: number;
  /** SCAN: which shard; also for SNAPSHOT, STATS and the like. Others go by their token. */
  shard: number;
  /** SCAN: from (tokenHi, tokenLo, key), after it where `exclusive`. `value` holds the prefix. */
  exclusive: boolean;
  limit: number;
  withValues: boolean;
  snapshot: number;
  /** To a coordinator: Consistency of src/base/consistency.ts, 0 the default. Shards take no notice. */
  consistency: number;
  /** To a coordinator: whether stand-ins may count. */
  sloppy: SloppyCode;
}

/** A reply as a flyweight: valid only inside `onReply`. */
export interface ShardReply {
  status: number;
  /** GET and writes: version of the record; VERSION_MISMATCH: the current one, 0 where absent. SNAPSHOT: its number. */
  version: number;
  /** GET: 0 or when the record expires, ms since 1970. */
  expiresMs: number;
  /**
   * GET: the value. SCAN: encoded records (src/base/record.ts) one after another, values emptied unless
   * asked for. STATS, VERIFY: JSON. Errors: the message in UTF-8.
   */
  bytes: Uint8Array;
  start: number;
  length: number;
  /** A write was acknowledged with the help of stand-ins. */
  sloppy: boolean;
  /** SCAN: no more after this page; otherwise go on after (tokenHi, tokenLo, key). */
  done: boolean;
  tokenHi: number;
  tokenLo: number;
  key: Uint8Array;
}

export interface ReplyHandler {
  onReply(slot: number, reply: ShardReply): void;
}

/** A record found in shared memory; views are valid until the next call. */
export interface LocalRecord {
  version: number;
  expiresMs: number;
  bytes: Uint8Array;
  start: number;
  length: number;
}

/** How many reads were answered from where, as figures that only rise. */
export interface LocalReads {
  memtables: number;
  recordCache: number;
  /** Neither had the key: the shard was to be asked. */
  missed: number;
}

export interface ShardClient {
  readonly shards: number;
  /** A scan asks each of these, SCAN by `shard`, and merges: the shards, or a coordinator, which has merged already. */
  readonly scanSources: number;
  readonly vnodes: number;
  /** Highest number of requests in flight, and so of slots: slots are 0 .. slotsMax - 1. */
  readonly slotsMax: number;
  readonly request: ShardRequest;
  /** Answers a read from shared memory where that can: MEMTABLE_MISS says ask the shard. */
  getLocal(tokenHi: number, tokenLo: number, key: Uint8Array, nowMs: number): LookupOutcome;
  readonly local: LocalRecord;
  readonly localReads: Readonly<LocalReads>;
  /** How many requests may be in flight at a coordinator; null where there is none. */
  readonly admission: AdmissionFigures | null;
  /**
   * Sends `request`: a slot of 0 or above, whose reply comes once by `onReply`, or minus a status
   * (OVERLOADED, SHARD_DOWN, UNAVAILABLE) with nothing done. A request whose deadline passes without a reply gets TIMEOUT.
   */
  submit(): number;
  /** Of a `submit` that was refused just now: why, for people; '' where its status says all. */
  readonly refusal: string;
  /** Sends what was submitted since the last flush; called once per turn, scheduled by the client itself. */
  flush(): void;
  setHandler(handler: ReplyHandler): void;
  /** Ends: requests in flight get UNAVAILABLE. */
  close(): void;
}
