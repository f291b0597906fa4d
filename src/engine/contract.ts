/**
 * What the engine's parts promise each other and what the engine promises the shard above it. Jobs are
 * plain data so that they can be posted to a background thread or run in place by a test.
 */
import type { RecordFields } from '../base/record.ts';
import type { MemtableSetMemory, RecordCursor, SeekTarget } from '../ipc/contract.ts';
import type { JobUrgencyMemory } from '../ipc/job-urgency.ts';
import type { RecordCacheMemory } from '../ipc/record-cache-layout.ts';
import type { StopFlagMemory } from '../ipc/stop-flag.ts';
import type { FileSystemSpec } from '../vfs/file-system.ts';
import type { TreePart, TreeSums } from './tree-contract.ts';

export type Durability = 'always' | 'interval' | 'os';
export type Compression = 'none' | 'snappy';

export interface TableOptions {
  readonly blockBytes: number;
  readonly compression: Compression;
  readonly bloomBitsPerKey: number;
}

/** A token range, both ends inclusive, unsigned 32-bit halves. */
export interface TokenRange {
  readonly firstHi: number;
  readonly firstLo: number;
  readonly lastHi: number;
  readonly lastLo: number;
}

/** What the manifest and the footer say about an SSTable. */
export interface TableMeta {
  readonly number: number;
  readonly bytes: number;
  readonly records: number;
  readonly tombstones: number;
  readonly expiring: number;
  readonly range: TokenRange;
  readonly versionMin: number;
  readonly versionMax: number;
  /** Earliest expiry in the table, ms since 1970; 0 where nothing expires. */
  readonly expiresMsMin: number;
  readonly expiresMsMax: number;
  /** Version of its oldest tombstone, 0 without tombstones: before it has passed gcGraceMs none can go away. */
  readonly tombstoneVersionMin: number;
}

/**
 * Writes one SSTable. Records come in rising order of (token, keyspace, key), one per key. Synchronous. Throws
 * DiskFullError and IoError; after a throw only `abandon` may be called.
 */
export interface TableBuilder {
  readonly number: number;
  /** Bytes of the file so far, what is buffered included: where an output is cut. */
  readonly bytes: number;
  readonly records: number;
  /** Copies an encoded record (src/base/record.ts). */
  add(view: DataView, bytes: Uint8Array, offset: number): void;
  /** Writes index, filter and footer, syncs and closes. The directory's sync is the caller's. At least one record. */
  finish(): TableMeta;
  /** Closes and deletes what is there. Does not throw for a file that is gone. */
  abandon(): void;
}

/** Receives the end of a lookup that was PENDING. */
export interface TableLookupListener {
  /** `outcome` FOUND (then `table.found` holds the record until control returns) or ABSENT; `error` on I/O error or corruption. */
  onTableLookup(ticket: number, outcome: EngineLookup, error: Error | null): void;
}

/** A cursor that reads into buffers of its thread. */
export interface TableRecordCursor extends RecordCursor {
  /** Gives the buffers back, as the end of the records does by itself: nothing of the cursor is to be used afterwards. Idempotent. */
  release(): void;
}

/**
 * An open SSTable on the thread that opened it: point lookups through filter, index and block cache, and
 * cursors. Every block is checked against its checksum before anything in it counts. Throws CorruptionError
 * and IoError.
 */
export interface TableReader {
  readonly meta: TableMeta;
  readonly path: string;
  /** Memory that it holds beside the block cache, bytes. */
  readonly memoryBytes: number;
  /** FOUND: `found` holds the record. PENDING: `listener.onTableLookup(ticket)` follows, in a later turn. */
  lookup(
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    ticket: number,
    listener: TableLookupListener,
  ): EngineLookup;
  readonly found: FoundRecord;
  /** All records at or after `from`; reads files synchronously, ahead, and around the block cache. */
  cursor(from: SeekTarget | null): TableRecordCursor;
  /** Lookups that are PENDING still come back. Idempotent. */
  close(): void;
}

/** Vnodes that belong to a shard: v with v mod shards = shard. A file may hold others after a change of S. */
export interface Ownership {
  readonly vnodes: number;
  readonly shards: number;
  readonly shard: number;
}

export interface JobContext {
  readonly fileSystem: FileSystemSpec;
  readonly directory: string;
  readonly table: TableOptions;
  readonly ownership: Ownership;
  /** Raised when the shard closes: the job gives up, deletes its outputs and rejects with a ClosedError. */
  readonly stop: StopFlagMemory;
}

export interface FlushJob extends JobContext {
  readonly kind: 'flush';
  readonly memory: MemtableSetMemory;
  readonly slot: number;
  /** Number of the one table to write. */
  readonly number: number;
}

export interface CompactJob extends JobContext {
  readonly kind: 'compact';
  /** Newest first. */
  readonly inputs: readonly TableMeta[];
  /** Output numbers are taken from here on, at most `outputsMax`. */
  readonly firstNumber: number;
  readonly outputsMax: number;
  /** Outputs are cut where they pass this size, between two tokens. */
  readonly outputBytesMax: number;
  /** Outputs are also cut at the borders of 2^shardBits equal parts of the shard's own tokens; 0 by default. */
  readonly shardBits?: number;
  readonly nowMs: number;
  readonly gcGraceMs: number;
  /** By vnode: dead records of this version or a higher one stay. Missing: none does for that. */
  readonly purgeBefore?: Float64Array;
  /**
   * Sources outside this job: a tombstone older than gcGraceMs goes away only where every one of these that
   * covers its token has versionMin above the tombstone's version.
   */
  readonly outside: readonly (TokenRange & { readonly versionMin: number })[];
  /** Bytes written per second at most; 0 is unlimited. */
  readonly rateBytesPerSecond: number;
  /** The job rests between slices of work while it is not urgent; where it is missing it always is. */
  readonly urgency?: JobUrgencyMemory;
}

/** Reads and checks every byte of the files. */
export interface VerifyJob extends JobContext {
  readonly kind: 'verify';
  readonly tables: readonly TableMeta[];
}

/** Merges tables with the heads of a part, and sums what is newest of each key. */
export interface TreeJob extends JobContext {
  readonly kind: 'tree';
  readonly tables: readonly TableMeta[];
  readonly part: TreePart;
}

export type Job = FlushJob | CompactJob | VerifyJob | TreeJob;

export interface JobResult {
  readonly tables: readonly TableMeta[];
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly recordsRead: number;
  readonly recordsWritten: number;
  /** Verify: what is damaged, each with file and offset. */
  readonly damage: readonly { readonly file: string; readonly offset: number; readonly what: string }[];
  /** Of a tree job alone. */
  readonly tree?: TreeSums;
}

/** Runs jobs: on a background pool, or in place. Rejects with the error classes of src/base/errors.ts. */
export interface JobRunner {
  run(job: Job): Promise<JobResult>;
}

export interface EngineOptions {
  readonly directory: string;
  readonly ownership: Ownership;
  readonly fileSystem: FileSystemSpec;
  /** New, or its last writer and all jobs that read it are gone. */
  readonly memory: MemtableSetMemory;
  /** New: `close` raises it, so that jobs end soon. Whoever finds the shard's thread dead raises it instead. */
  readonly stop: StopFlagMemory;
  readonly durability: Durability;
  /** Mode `interval`: ms between syncs. */
  readonly syncIntervalMs: number;
  readonly table: TableOptions;
  readonly blockCacheBytes: number;
  /** Flushed memtables stay readable until their slot is needed: false where it is missing. */
  readonly keepsFlushed?: boolean;
  /** Records that tables answered with, for other threads: none where it is missing. Nobody may have written to it. */
  readonly recordCache?: RecordCacheMemory | null;
  /** Unified compaction's dial, -10 (levelled, read-optimised) to 10 (tiered, write-optimised). */
  readonly compactionDial: number;
  readonly compactionBytesPerSecond: number;
  /** Compactions of this shard at one time. */
  readonly compactionsMax: number;
  /** Tables at one level (or in all) beyond which writes are refused with OVERLOADED. */
  readonly tablesMax: number;
  readonly tableTargetBytes: number;
  readonly gcGraceMs: number;
  /**
   * Horizon of every vnode until setPurgeBefore is called: Infinity for a store that never had other replicas, where age alone
   * decides; otherwise 0, so that nothing goes before it is known what all replicas have.
   */
  readonly purgeBefore: number;
  readonly origin: number;
}

export const LOOKUP_ABSENT = 0;
export const LOOKUP_FOUND = 1;
export const LOOKUP_PENDING = 2;
export type EngineLookup = 0 | 1 | 2;

/** The record that a lookup found, valid until control returns to the event loop or the next engine call. */
export interface FoundRecord {
  bytes: Uint8Array;
  view: DataView;
  offset: number;
  /** Engine seq that must be durable before a reply may rest on this record; 0 where it already is. */
  seq: number;
}

export interface EngineListener {
  /** Every append up to and including `seq` is as durable as the mode promises. */
  onDurable(seq: number): void;
  /** Appends above the last durable seq are lost to their callers: their outcome is unknown. */
  onWriteFailure(status: number, error: Error): void;
  /** A lookup that was PENDING ended: call `lookup` results from `engine.found`. `outcome` FOUND or ABSENT; `error` set on I/O error or corruption. */
  onLookup(ticket: number, outcome: EngineLookup, error: Error | null): void;
  /** For logs and readiness: something changed for the worse or the better. */
  onEvent(level: 'info' | 'warn' | 'error', message: string): void;
}

export interface ScanRequest {
  /** Start after this record (exclusive) where `exclusive`, or at it. */
  readonly from: SeekTarget;
  readonly exclusive: boolean;
  readonly prefix: Uint8Array;
  readonly limit: number;
  readonly bytesMax: number;
  readonly examinedMax: number;
  readonly keyspace: number;
}

/** All records of a token range, in order (token, keyspace, key), from `from` on. */
export interface RawPageRequest {
  readonly from: SeekTarget;
  /** Start after `from`. */
  readonly exclusive: boolean;
  /** End of the range, inclusive. */
  readonly lastHi: number;
  readonly lastLo: number;
  readonly recordsMax: number;
  readonly bytesMax: number;
  /** Only what memtables hold, whatever tables hold of the same keys. */
  readonly memoryOnly?: boolean;
}

/** False ends the page after this record. */
export type RawVisitor = (view: DataView, bytes: Uint8Array, offset: number) => boolean;

/** Where a scan page ended: `done`, or the place of the last record looked at, to go on after it. */
export interface ScanEnd {
  done: boolean;
  tokenHi: number;
  tokenLo: number;
  key: Uint8Array;
}

export type ScanVisitor = (view: DataView, bytes: Uint8Array, offset: number) => void;

export interface EngineStats {
  readonly memtableBytes: number;
  readonly frozenMemtables: number;
  /** Memtables that stand in tables, and are readable still. */
  readonly keptMemtables: number;
  readonly tables: number;
  readonly tableBytes: number;
  readonly tableRecords: number;
  readonly walBytes: number;
  /** Since the engine was opened: keys and values appended, and what the commit log and flushes wrote for them. */
  readonly appendedBytes: number;
  readonly walBytesWritten: number;
  readonly flushBytesWritten: number;
  /** Point lookups that no memtable answered, and tables whose filter or index they asked. */
  readonly tableLookups: number;
  readonly tablesAsked: number;
  /** Frames of tables that the block cache did not hold: reads of files, and their bytes as stored. */
  readonly tableReads: number;
  readonly tableReadBytes: number;
  /** Most tables over one token, and levels of the compaction strategy from the lowest to the highest in use. */
  readonly tablesOverlap: number;
  readonly compactionLevels: number;
  readonly blockCacheBytes: number;
  readonly blockCacheHits: number;
  readonly blockCacheMisses: number;
  /** Blocks that lookups read from files: on the shard's thread, and by the thread pool. */
  readonly blockReadsDirect: number;
  readonly blockReadsPooled: number;
  /** Bytes of records held, records ever put in, and records that went to make room. */
  readonly recordCacheBytes: number;
  readonly recordCacheFills: number;
  readonly recordCacheEvictions: number;
  readonly flushes: number;
  readonly compactions: number;
  readonly compactionBytesWritten: number;
  readonly compactionsPending: number;
  readonly compactionsRunning: number;
  readonly snapshots: number;
  /** '' while writes are taken; otherwise why not. */
  readonly writesRefused: string;
}

/**
 * One shard's LSM. All methods on the shard's thread. Opened by
 * `openEngine(options, fs, jobs, clock, listener): Promise<ShardEngine>` (engine.ts). `options.directory` exists.
 */
export interface ShardEngine {
  /** Highest version in any file or memtable at opening. */
  readonly versionMax: number;
  /**
   * Puts a record into log buffer and memtable: a seq above 0 (rising by at least 1 each), or minus a status (DISK_FULL,
   * OVERLOADED, READ_ONLY) with nothing done. It must be newer, in the order of compareRecordAge, than every record of
   * the key that the engine holds. Not durable before `onDurable`. `also` goes into the same group of the log: a crash keeps both
   * or neither; the seq is that of the later one.
   */
  append(record: RecordFields, also: RecordFields | null): number;
  /** Starts a group commit of what was appended, if none is in flight; otherwise the next one takes it. */
  commit(): void;
  readonly durableSeq: number;
  /**
   * Newest record of a key, tombstones and expired ones included (the caller judges). `latest` also sees
   * appends that are not durable yet. PENDING: `onLookup(ticket)` follows, with what is newest at that moment:
   * memtables are asked again, and tables that were flushed meanwhile too. Throws CorruptionError and IoError.
   */
  lookup(
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    latest: boolean,
    ticket: number,
  ): EngineLookup;
  readonly found: FoundRecord;
  /**
   * Whether a memtable holds the key; then `found` is its newest record, appends that are not durable yet included.
   * Whatever is in tables alone is not seen.
   */
  lookupMemory(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array): boolean;
  /** Above every version that tables may hold for a token: 0 where none covers it. */
  tablesVersionMax(tokenHi: number, tokenLo: number): number;
  /** Visits durable records of all states. Synchronous and bounded. True where the range ended. */
  rawPage(request: RawPageRequest, visit: RawVisitor): boolean;
  /**
   * Sums a part of a hash tree on a background thread: the part's heads, read from memtables before this call, and the tables in
   * force now. Of each key that record counts which was the newest at some moment between the two. Rejects with CorruptionError
   * and IoError, and as TreeSpec has it.
   */
  sumTree(part: TreePart): Promise<TreeSums>;
  /**
   * Tombstones of a vnode with this version or a higher one stay, whatever their age: not all replicas are known to have
   * them. Infinity leaves gcGraceMs alone to decide. Not kept over a restart: EngineOptions.purgeBefore holds until it is called.
   */
  setPurgeBefore(vnode: number, version: number): void;
  purgeBefore(vnode: number): number;
  /** Visits live records in order. Synchronous and bounded. `snapshot` 0 is now. */
  scan(request: ScanRequest, snapshot: number, visit: ScanVisitor): ScanEnd;
  /** A consistent, unchanging state: flushes the memtable and pins the tables. Rejects with OverloadedError at limits.snapshotsMax. */
  snapshot(): Promise<number>;
  releaseSnapshot(snapshot: number): void;
  /** Files of a snapshot, for a backup: immutable until it is released. */
  snapshotFiles(snapshot: number): readonly string[];
  /** Resolves when all that was appended stands in tables. */
  flush(): Promise<void>;
  /** Resolves when everything is merged into as few tables as one compaction gives. */
  compactAll(): Promise<void>;
  verify(): Promise<JobResult>;
  stats(): EngineStats;
  /** Syncs, ends jobs, closes files. */
  close(): Promise<void>;
}
