/**
 * Every maximum of the store, with its unit in its name, and their relations checked when this file loads.
 * Settings that an operator may change start from these and are bounded by the *Ceiling ones.
 */
import { assert } from './assert.ts';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

export const limits = {
  /** Key bytes: at least 1; the record header holds the length in 16 bits. */
  keyBytesMax: 1024,
  keyBytesCeiling: 32 * KiB,
  valueBytesMax: MiB,
  valueBytesCeiling: 8 * MiB,
  vnodesMax: 65_536,
  vnodesDefault: 1024,
  /** node.json, CURRENT and layout.json: the longest lists a number for each of shardsMax shards. */
  nodeFileBytesMax: 16 * KiB,
  shardsMax: 256,
  frontendsMax: 64,
  /** Versions are microseconds since 1970 as safe integers. */
  versionMax: Number.MAX_SAFE_INTEGER,
  /** How far a version from outside may lie in the future before it is refused, microseconds. */
  clockDriftUsMax: 10 * 60 * 1_000_000,
  ttlSecondsMax: 20 * 365 * 86_400,

  memtableBytesDefault: 64 * MiB,
  memtableBytesMin: 64 * KiB,
  memtableBytesMax: GiB,
  /** Memtables per shard in shared memory: one active, the others frozen and being flushed. */
  memtableSlots: 3,
  blockCacheBytesDefault: 256 * MiB,
  /** One ArrayBuffer of V8 11 holds less than 4 GiB. */
  blockCacheShardBytesMax: 4 * GiB - 64 * KiB,
  blockBytesDefault: 16 * KiB,
  /** A group of the commit log is closed when it has grown to this. */
  walGroupBytesMax: 4 * MiB,
  /** Live and spare segments together are as many as there are memtables, once they are all in use. */
  walSpareSegmentsMax: 2,
  /** Groups are written and synced on the shard's thread while they take less than this on average, microseconds. */
  walInlineUsMax: 1000,
  /** Bytes written and synced at a time when a spare segment is prepared: what a group commit may wait behind. */
  walPrepareChunkBytes: MiB,
  walReadChunkBytes: MiB,
  /** An idle log gets its marker after this long: see wal-format.ts. */
  walIdleMarkMs: 200,
  /** With a full disk, how often a shard looks whether there is room again, and how much it wants to see. */
  diskFullProbeMs: 250,
  diskFullRoomBytes: 256 * KiB,
  /** Flushes of one shard at one time; they come into force in order. */
  flushesMax: 2,
  /** A background job that failed is repeated after jobRetryMsMin, then twice as long each time. */
  jobRetryMsMin: 100,
  jobRetryMsMax: 10_000,
  /** Attempts that fail for another reason than a full resource, before the shard stops taking writes. */
  flushAttemptsMax: 6,
  /** Tables that one compaction writes at most. */
  compactionOutputsMax: 4096,
  /** Bytes from which the manifest is rewritten, or twice its state where that is more. */
  manifestRewriteBytes: MiB,
  /** Payload of one manifest frame: about 170,000 tables. */
  manifestPayloadBytesMax: 16 * MiB,
  /** A manifest file that is longer is not ours. */
  manifestFileBytesMax: 64 * MiB,
  /** Edits waiting to be appended to a manifest. */
  manifestQueueMax: 64,

  /** Payload of a frame of an SSTable, before compression: the longest record, or a root: 18 TB of 2 KB records. */
  tableFrameBytesMax: 64 * MiB,
  tableBlockBytesMax: 4 * MiB,
  /** A payload above this is compressed and decompressed with a buffer of its own; each thread keeps room for one of this. */
  tableCodecBytesMax: 256 * KiB,
  /** An index page is closed when it has grown to this: 2 GiB of 16 KiB blocks make a root of 5 KB. */
  tableIndexPageBytes: 16 * KiB,
  /** A filter page holds the tokens for this many bytes of filter: 3,276 keys at 10 bits. */
  tableFilterPageBytes: 4 * KiB,
  tableBloomBitsPerKeyMax: 64,
  /** A footer of any version: what is read from the end of a table at its opening. */
  tableFooterBytesMax: 4 * KiB,
  tableWriteChunkBytes: 256 * KiB,
  /** A table in the making is synced so often: a group commit waits behind no more than this in the disk's queue. */
  tableSyncBytes: 4 * MiB,
  /** A cursor reads this much at first, and twice as much each time up to the maximum. */
  tableReadAheadBytesMin: 32 * KiB,
  tableReadAheadBytesMax: 256 * KiB,
  /** Read buffers that a thread keeps for its next cursors and reads: what scans over some 60 overlapping tables take. */
  tableBuffersBytesMax: 4 * MiB,
  /** Synchronous reads of a shard's thread in one turn of its event loop take this long at most together. */
  tableReadTurnUs: 2000,
  /** Average of recent synchronous reads, microseconds, above which reads go to the thread pool. */
  tableReadSlowUs: 200,
  /** One read in so many milliseconds tries whether synchronous ones became fast again. */
  tableReadProbeMsMin: 100,
  tableReadProbeMsMax: 10_000,

  /** Bytes of each request and reply ring between a front end and a shard. */
  ringBytes: 4 * MiB,
  /** A record that does not fit this goes beside the ring as a message; must be below half a ring. */
  ringRecordBytesMax: 256 * KiB,
  /** Positions in a ring count modulo 2^32. */
  ringBytesMax: GiB,
  /** Payloads beside one ring, posted and not yet released; also the longest of them. */
  sideBytesMax: 32 * MiB,
  /** Requests that one client (a front end or an embedding thread) may have in flight at all shards. */
  requestsInFlightMax: 8192,
  /** Requests that a shard holds in all: beyond it new ones get OVERLOADED. */
  shardRequestsMax: 16_384,
  /** Requests handled in one turn of a shard's loop before it looks at its other duties. */
  shardBatchMax: 256,
  /** Of these, requests of one client before the next client has its turn. */
  shardClientBatchMax: 32,
  /** Bytes of requests that a shard keeps while they wait for a file or for a write before them. */
  shardHeldBytesMax: 64 * MiB,
  /** With a full reply ring, how often a shard looks whether there is room again. */
  replyRetryMs: 1,
  /** UTF-8 of an error message in a reply. */
  replyMessageBytesMax: 1024,
  /** Replies that a client hands out in one turn before it looks at its other duties. */
  clientBatchMax: 1024,
  /** How often a client looks for requests whose deadline has passed. */
  deadlineScanMs: 20,
  /** Damaged places that a verification lists; it counts all. */
  damageListedMax: 1000,

  /** How long requests in flight may take to end when a node closes. */
  closeGraceMs: 10_000,
  /** How long shards may take to close: one sync and the end of their jobs. */
  shardCloseMsMax: 60_000,
  backgroundThreadsMax: 4,
  /** Old generation of the heap of a worker thread; buffers and shared memory are outside of it. */
  threadHeapBytesMax: 512 * MiB,
  /**
   * Young generation of the heap of a worker thread, three semi-spaces. V8's own choice of 48 MiB holds that much garbage
   * in each thread; durable puts are as fast with 3 MiB as with 6, and buffers outside of the heap live until the next scavenge.
   */
  threadYoungBytesMax: 3 * MiB,
  bloomBitsPerKey: 10,
  /** Tables over one token beyond which writes wait for compaction. */
  tablesOverlapMax: 48,
  /** Size at which compaction cuts tables, in memtables. */
  tableTargetMemtables: 4,
  /** A shard thread that ends more often than this within the window stays down. */
  shardRestartsMax: 5,
  shardRestartWindowMs: 60_000,
  /** Before the first restart of a window; twice as long before each further one. */
  shardRestartDelayMs: 50,

  requestTimeoutMsDefault: 5000,
  requestTimeoutMsMax: 30_000,
  /** Flushes, and other jobs, that wait for a background thread: a few for each of shardsMax shards. */
  jobsWaitingMax: 1024,
  /** Flushes, compactions, verifications and snapshots of a whole shard. */
  administrationMsMax: 24 * 3_600_000,
  idempotencyKeyCharactersMax: 64,
  /** The same in UTF-8. */
  idempotencyKeyBytesMax: 256,
  idempotencyTtlMs: 10 * 60 * 1000,
  batchOpsMax: 1000,
  batchBodyBytesMax: 16 * MiB,
  /** Bytes of values in the answer to one batch: what lies beyond is answered with OVERLOADED, op by op. */
  batchReplyBytesMax: 16 * MiB,
  /** Requests that one batch has in flight at a time, so that it does not take all of a client's slots. */
  batchOpsInFlightMax: 128,
  scanLimitMax: 1000,
  scanLimitDefault: 100,
  scanPageBytesMax: 4 * MiB,
  /** Records that one scan page looks at before it returns a cursor, found or not. */
  scanExaminedMax: 20_000,
  snapshotsMax: 16,
  /** Pages that one scan request takes from the shards, found or not, before it answers with a cursor. */
  scanPagesMax: 1024,
  /** Scans that one front end has in flight: each holds a page of every shard. */
  scansInFlightMax: 64,

  /** Connections of one front end; further ones are closed as they come. */
  connectionsMax: 10_000,
  /** Bytes of a request's head besides its key, which takes three characters a byte at worst. */
  httpHeadBytesBase: 8 * KiB,
  /** Bytes of a JSON or CBOR body besides the value or the batch's share: field names, numbers, white space. */
  httpBodyOverheadBytes: 4 * KiB,
  /** Bytes of bodies that one front end holds while they arrive, and of batches while they are worked on. */
  httpBodiesBytesMax: 256 * MiB,
  /** Bytes of answers that one front end holds for clients that do not read: beyond it connections are closed. */
  httpAnswersBytesMax: 256 * MiB,
  /** A refused body that is longer than this is cut off instead of being discarded as it comes. */
  httpDiscardBytesMax: 16 * MiB,
  /** A body must bring httpBodyPeriodBytesMin in each such period, below the 8 to 12 s of uWebSockets.js. */
  httpBodyPeriodMs: 6000,
  httpBodyPeriodBytesMin: 96 * KiB,
  /** Entity tags in one If-Match or If-None-Match, and attempts to meet such a condition. */
  entityTagsMax: 32,
  conditionAttemptsMax: 8,
} as const;

assert(limits.ringRecordBytesMax * 2 < limits.ringBytes, 'limits: a ring record must fit in half a ring');
assert(limits.ringBytes <= limits.ringBytesMax, 'limits: ringBytes above its maximum');
assert(
  limits.sideBytesMax >= 2 * (limits.valueBytesCeiling + limits.keyBytesCeiling),
  'limits: the largest record must pass beside a ring while another is read',
);
assert(limits.keyBytesMax <= limits.keyBytesCeiling, 'limits: keyBytesMax above its ceiling');
assert(limits.keyBytesCeiling < 65_536, 'limits: the record header holds a key length in 16 bits');
assert(limits.valueBytesMax <= limits.valueBytesCeiling, 'limits: valueBytesMax above its ceiling');
assert(
  limits.tableFrameBytesMax >= 2 * (limits.valueBytesCeiling + limits.keyBytesCeiling) &&
    limits.tableFrameBytesMax >= 4 * limits.tableBlockBytesMax,
  'limits: a frame of a table holds the longest record, and a block with its offsets',
);
assert(
  Number.isInteger(Math.log2(limits.tableReadAheadBytesMax / limits.tableReadAheadBytesMin)),
  'limits: read buffers double from the least to the largest read-ahead',
);
assert(limits.tableFooterBytesMax < 65_536, 'limits: a footer holds its length in 16 bits');
assert(limits.memtableSlots >= 2, 'limits: a memtable must freeze while another takes writes');
assert(
  limits.manifestFileBytesMax >= 4 * limits.manifestPayloadBytesMax,
  'limits: a manifest holds two full states before it is rewritten, and an edit more',
);
assert(
  limits.httpBodiesBytesMax >= 4 * limits.batchBodyBytesMax &&
    limits.batchBodyBytesMax >= limits.valueBytesCeiling,
  'limits: a few of the longest bodies must be able to arrive side by side',
);
assert(limits.scanLimitDefault <= limits.scanLimitMax, 'limits: scanLimitDefault above its maximum');
assert(
  limits.shardHeldBytesMax >= 2 * (limits.valueBytesCeiling + limits.keyBytesCeiling),
  'limits: a shard must be able to keep the largest request',
);
assert(
  limits.keyBytesCeiling + limits.idempotencyKeyBytesMax < 65_536,
  'limits: an idempotency record has both keys in its key',
);
