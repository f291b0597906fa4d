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
  /** What of block-cache-bytes goes to records that other threads may read: see docs/performance.md for the choice. */
  recordCacheShare: 1 / 2,
  /** Below this a shard has no record cache, and the block cache takes its share. */
  recordCacheBytesMin: 256 * KiB,
  /** Entries are found by their place divided by 8, in 32 bits with a sign, and one ArrayBuffer holds less than 4 GiB. */
  recordCacheShardBytesMax: 2 * GiB,
  /** Larger records stay in blocks. */
  recordCacheRecordBytesMax: 64 * KiB,
  blockBytesDefault: 16 * KiB,
  /** A group of the commit log is closed when it has grown to this. */
  walGroupBytesMax: 4 * MiB,
  /** Live and spare segments together are as many as there are memtables, once they are all in use. */
  walSpareSegmentsMax: 2,
  /** A file that is discarded is cut by so much at a time, and then not for so long: see gradual-unlink.ts. */
  unlinkStepBytes: MiB,
  unlinkStepPauseMs: 5,
  /** Files of one thread that wait for it with an open descriptor; a further one goes at once. */
  unlinksWaitingMax: 64,
  /** Groups are written and synced on the shard's thread while most of them take less than this, microseconds. */
  walInlineUsMax: 1000,
  /** One group in so many milliseconds tries whether the disk became fast again. */
  walInlineProbeMsMin: 20,
  walInlineProbeMsMax: 10_000,
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
  /** Before a table is written again for the sake of tombstones that a horizon kept the last time. */
  garbageRetryMs: 6 * 3_600_000,
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
  tableSyncBytes: MiB,
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
  /**
   * Of the peer worker, whose work all lives for some milliseconds: with 3 MiB it was collected 30 times a second, and a quarter of what
   * it allocated got into the old generation (docs/performance.md).
   */
  peerYoungBytesMax: 24 * MiB,
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

  // replica
  /** How long a promise of SERIAL is kept: longer than any message of its round may be under way. */
  promiseTtlMs: 10 * 24 * 3_600_000,
  /** Requests of coordinators that a shard has in work: beyond it new ones get OVERLOADED. */
  replicaRequestsMax: 16_384,
  /** Lookups of them at a time: up to three for each. */
  replicaLookupsMax: 32_768,
  /** Bytes of hash trees that a shard keeps: 4,096 leaves of 8 bytes for each vnode compared. The oldest make room. */
  treeBytesMax: 32 * MiB,
  /** Records of memtables that a shard looks at for a tree in one turn. */
  treeSliceRecords: 500,
  /** Heads of them that one tree job is given; where a vnode has more, several jobs build its tree. */
  treeHeadsBytes: 256 * KiB,
  /** Bytes of records in tables after which a tree job ends, and another one goes on where it ended: jobs of other shards have their turn. */
  treePartBytes: 64 * MiB,
  /** Requests for trees that wait in one shard, which has one tree job at a time. */
  treeBuildsMax: 64,
  /** Bytes of records that one page of heads reads. */
  replicaPageReadBytesMax: 4 * MiB,

  /** Horizons in one request to a shard, and the pause before those that it did not take are sent again. */
  purgeHorizonsPerRequestMax: 512,
  purgeHorizonRetryMs: 500,

  // hints
  /** Bytes of hints for one node, and for all together, on one stand-in; beyond it the vnode is marked for repair. */
  hintBytesMax: 4 * GiB,
  hintBytesTotalMax: 16 * GiB,
  /** What is older goes, and its vnodes are repaired. As long as Cassandra's max_hint_window. */
  hintAgeMsMax: 3 * 3_600_000,
  /**
   * A file of hints takes no more from here on, and no more when its first hint is so old; one file is handed out at a time, and
   * expires as a whole when its last hint does.
   */
  hintSegmentBytes: 256 * KiB,
  hintSegmentAgeMs: 5 * 60_000,
  /** Bytes of hints of all nodes that wait for the disk. */
  hintQueueBytesMax: 64 * MiB,
  /** Nodes that one node keeps hints for. */
  hintTargetsMax: 4096,
  /** Files of hints that expire in one look. */
  hintExpiriesMax: 16,
  /** Files of hints that could not be removed: beyond it none is made. */
  hintUndeletedMax: 1024,
  /** Places in a damaged file of hints that are tried for where the next whole one begins. */
  hintResyncsMax: 1024,
  /** Beside twice hintAgeMsMax: how much older than the start of a repair its horizon is, for clocks and messages under way. */
  repairHorizonMarginMs: 3_600_000,

  // node
  /** JSON of a change of the cluster that an operator asks for. */
  clusterChangeBytesMax: 64 * KiB,
  replicasMax: 9,
  /** A certificate, a key or a list of CAs. */
  pemFileBytesMax: 1 * MiB,
  /** Certificates in such a file that are looked at. */
  pemCertificatesMax: 256,
  /** How often a running node looks whether its certificates for other nodes were renewed. */
  peerTlsLookMs: 10_000,
  /** A document of the cluster's protocols: ring maps of 65,536 vnodes are the longest. */
  clusterDocumentBytesMax: 4 * MiB,

  /** Connections of one front end; so many further ones are answered 503, and those beyond them closed as they come. */
  connectionsMax: 16_384,
  connectionsRefusedMax: 256,
  /**
   * Descriptors that connections leave to tables, logs and other nodes, or as many again as are open when a node begins to serve, where that is
   * more; where the process may have too few, half of what is left.
   */
  descriptorsReserved: 1024,
  /** What answers say of how long an idle connection is kept: below the 8 to 12 s of uWebSockets.js by what a request may be under way. */
  httpKeepAliveSeconds: 7,
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

  // client
  /**
   * Requests of one node's WebSocket that wait in the client, and bytes of their keys and values: beyond it OVERLOADED. The same of its requests
   * over HTTP that have no answer yet, and of their paths and bodies.
   */
  clientQueueMax: 65_536,
  clientQueueBytesMax: 64 * MiB,
  /** The longest message of answers that a client takes: the longest value or wsAnswerBytes, with room. */
  clientMessageBytesMax: 32 * MiB,
  /** From the first byte to the message with the limits of the server; then the node counts as unreachable. */
  clientConnectMs: 3000,
  /** Before a node is tried again: a random part of this, doubled with each failure up to the maximum. */
  clientReconnectMsMin: 50,
  clientReconnectMsMax: 5000,
  /** Silence after which a WebSocket is asked for a sign of life, and how long that may take. */
  clientHeartbeatMs: 10_000,
  clientHeartbeatAnswerMs: 5000,
  /** The server answers at the deadline; only where it does not, this much later, the client gives up alone. */
  clientGraceMs: 500,
  /** A request that is unanswered so long after its deadline shows that the connection is broken. */
  clientStuckMs: 5000,
  /** How often a client looks for requests whose deadline has passed. */
  clientSweepMs: 50,
  /** Deadlines in one message that differ by no more than this are sent as one, milliseconds. */
  clientDeadlineSlackMs: 20,
  /** Before a repeat: a random part of this, doubled with each attempt up to the maximum. */
  clientBackoffMsMin: 20,
  clientBackoffMsMax: 2000,
  /** Repeats: at most clientRetriesBurst at first, and one for each 1 / clientRetriesPerSuccess calls that succeed. */
  clientRetriesBurst: 100,
  clientRetriesPerSuccess: 0.1,
  /** Second requests of hedged reads: a share of the reads, and so many of them at once. */
  clientHedgesBurst: 10,
  clientHedgeShareDefault: 0.05,
  clientHedgeShareMax: 0.5,
  /** Latencies of reads from which the 95th percentile is taken, and how many of them there must be. */
  clientLatenciesKept: 512,
  clientLatenciesMin: 32,
  /** How old a ring map may grow, and how soon an error makes the client ask again. */
  clientRingAgeMs: 30_000,
  clientRingPauseMs: 1000,
  /** Bytes of the JSON of a ring or cluster. */
  clientRingBytesMax: 64 * MiB,
  /** Nodes of one client, those that it learnt with them; of how many it asks at a time who they are. */
  clientNodesMax: 1000,
  clientProbesMax: 8,
  /** Entries of one getMany, putMany or deleteMany; of these in progress at a time, with so many bytes of values. */
  clientManyMax: 65_536,
  clientManyInProgressMax: 4096,
  clientManyBytesMax: 32 * MiB,
  /** Batches over HTTP: ops of one, bytes of its keys and values, bytes of values that it is expected to bring, and batches of one node in flight. */
  clientBatchOpsMax: 256,
  clientBatchBytesMax: 2 * MiB,
  clientBatchReplyBytesMax: 8 * MiB,
  clientBatchesInFlightMax: 4,
  /** Deadlines in one batch over HTTP differ by no more than this: the last one counts for all. Less than clientGraceMs. */
  clientBatchSlackMs: 100,
  /** A longer value is put by a request of its own, which needs no more memory than the value. */
  clientBatchValueBytesMax: 256 * KiB,

  // websocket
  /** WebSocket connections of one front end; further ones are refused. The rest of connectionsMax is for HTTP alone. */
  wsConnectionsMax: 15_360,
  /** Bytes of one message of a client, or what a put of the longest value takes with wsMessageOverheadBytes, where that is more. */
  wsMessageBytesMax: 4 * MiB,
  wsMessageOverheadBytes: 4 * KiB,
  /** uWebSockets.js cuts a message off, without a word, that is longer than may be by this part of it; below, there is a reason. */
  wsMessageSlackDivisor: 8,
  /** What the unfinished messages of all connections of one front end may come to: src/front/ws-sizes.ts. */
  wsUnfinishedBytesMax: 2048 * MiB,
  /** Bytes of a value over the connections beyond those that this leaves room for. */
  wsSmallValueBytesMax: 24 * KiB,
  /** Requests in one message, and answers in one. */
  wsBatchRequestsMax: 1024,
  /** Requests of one connection that are not answered, and bytes of their keys and values; one is always taken. */
  wsInFlightMax: 1024,
  wsInFlightBytesMax: 16 * MiB,
  /** A message of answers is sent when it has grown to this, or with the turn of the loop. */
  wsAnswerBytes: 256 * KiB,
  /** UTF-8 of messages in one message of answers, and of one. */
  wsAnswerTextBytesMax: 16 * KiB,
  wsErrorTextBytesMax: 1024,
  /** Messages of answers in the making, one for each connection: beyond it all are sent. */
  wsAnswersMax: 64,
  /** With so many bytes of answers that its client does not read, a connection's further requests are refused. */
  wsPausedBytes: 4 * MiB,
  /** Values of earlier gets that would make it more are refused. */
  wsValuesBytesMax: 14 * MiB,
  /** A connection that holds more is closed: by answers without values alone. */
  wsBufferedBytesMax: 16 * MiB,
  /** The same of all connections of one front end: who makes it more is closed. */
  wsBufferedTotalBytesMax: 256 * MiB,
  /** A client with answers to read must read so much in each such period. */
  wsDrainPeriodMs: 10_000,
  wsDrainPeriodBytesMin: 96 * KiB,
  /** A connection is closed with a reason only where no more than this waits before it: the socket holds that until it times out. */
  wsCloseBufferedBytesMax: 256 * KiB,
  /**
   * A connection on which no byte came for so long is closed. uWebSockets.js makes of it how long it keeps the socket of one that was closed with a
   * frame and whose client keeps its own side: 8 s of less than 32, 16 s from there on.
   */
  wsIdleSeconds: 31,
  /** A connection from which nothing whole came for so long is sent a ping, and again after as long. */
  wsPingMs: 12_000,
  /** So long a connection that was closed with a frame counts as one whose socket is there: the 8 s, and what timers are late. */
  wsClosingMs: 10_000,
  /** Of the connections that there may be, one in so many may be closing so beside them. */
  wsClosingDivisor: 16,
  /** A connection from which bytes came, and no whole message, ping or pong, for so long is closed. */
  wsSilenceMs: 60_000,
  /** Of the reason in a close frame: RFC 6455, section 5.5. */
  wsReasonBytesMax: 123,

  // ring
  /** Members of one ring, and of the one to come. */
  ringMembersMax: 2048,
  /** A member's weight is a multiple of 1 / ringWeightUnits from 0 to ringWeightMax. */
  ringWeightMax: 100,
  ringWeightUnits: 1000,
  ringReplicasMax: 16,
  /** UTF-8 of an address, url, rack, zone or cluster name in a ring. */
  ringNameBytesMax: 256,
  /** An encoded ring: 65,536 vnodes twice, and the longest members twice, are 6 MiB. */
  ringMapBytesMax: 8 * MiB,
  /** Nodes that may keep hints for one vnode. */
  standInsMax: 16,
  /** Vnodes looked at for each one that is moved, to choose well spread ones. */
  ringPlacementTries: 24,
  /** Time for one round trip of the agreement on a ring, its sync included; then it is tried again with a new ballot. */
  ringRoundMs: 2000,
  /** Ballots that one proposal tries before it gives up. */
  ringBallotsMax: 12,
  /** Before a further ballot: a random part of this, doubled with each ballot up to the maximum. */
  ringBackoffMsMin: 100,
  ringBackoffMsMax: 4000,
  /** How often a node looks whether a change of the ring can go on, and asks for a ring that it lacks. */
  topologyTickMs: 1000,
  /** News of a node's progress is acted upon so soon: once for all that comes meanwhile. */
  topologyNewsMs: 100,
  /** The live member of rank i waits i times this long before it proposes the next step in the place of those before it. */
  topologyTakeoverMs: 5000,
  /** How long a request for a change waits until the ring before it is held by enough nodes. */
  topologyConfirmMs: 10_000,
  /** How long the end of a change waits until a node that leaves by it has handed on its hints: 2.4 GiB at full rate. */
  leaveHintsMsMax: 600_000,
  /** So long it is waited for also while failure detection calls it down. */
  leaverDownMsMax: 30_000,
  /** Vnodes in one message of a node that leaves what it has marked for repair to others, and when another node is asked. */
  repairMarksPerMessageMax: 4096,
  repairMarksAnswerMs: 5000,
  /** Such messages of others whose marks wait for this node's disk: further ones are left unanswered. */
  repairMarksKeepingMax: 64,
  /** Parts of hints of which a node that leaves remembers which hints others keep; of further ones they get some twice. */
  hintPartsRememberedMax: 1024,
  /** Vnodes that one node pulls at a time. */
  pullsInFlightMax: 4,
  /** Before a failed pull is tried again. */
  pullRetryMsMin: 500,
  pullRetryMsMax: 30_000,
  /** Before a node that is no member asks again to be joined. */
  joinRetryMsMin: 1000,
  joinRetryMsMax: 15_000,
  /** A ring that was heard of is asked for again, of another node perhaps, when so long nothing has come. */
  ringFetchAgainMs: 1000,
  /** Kinds of messages of later builds, node by node, that the log names. */
  unknownKindsLoggedMax: 64,
  /** Requests for changes that one node asked of others and that are not answered. */
  topologyRequestsMax: 16,
  topologyRequestMs: 10_000,

  // coordinator
  /** How often a coordinator looks at the time limits of its operations. */
  coordinatorTickMs: 5,
  /** Operations that one coordinator has in flight: beyond it new ones get OVERLOADED. */
  coordinatorOperationsMax: 16_384,
  /**
   * Requests for data that one front end may always have at the coordinator: above, what they may be follows from how long they take
   * (src/shard/admission.ts). And bytes of their keys and values; one is always taken.
   */
  admittedMin: 256,
  admittedBytesMax: 64 * MiB,
  /** How long most of them should take, where replicas are near; twice as long as is usual elsewhere, but no more than this. */
  admittedMs: 100,
  admittedMsMax: 1000,
  /** How often it is looked how long they took, what is left of the limit at least where that was too long, and how it rises otherwise. */
  admittedPeriodMs: 100,
  admittedCut: 0.7,
  admittedGrowth: 1.05,
  /**
   * How far a version of another node may lie ahead of this node's clock, microseconds. Above clockDriftUsMax: two nodes
   * that are both off by what is allowed must still be able to write over each other's records.
   */
  peerClockDriftUsMax: 3_600_000_000,
  /** Versions of one node have one remainder by this: above 62,500 writes a second of one coordinator its versions would run ahead of its clock. */
  versionSlots: 16,
  /** How far the ceiling of versions on disk is raised at a time, microseconds: also what a restart skips. */
  versionCeilingUs: 4_000_000,
  /** Versions that a coordinator remembers to have written: of the last seconds. Only of records that young it is asked, and so long waited for. */
  writtenVersionsKept: 16_384,
  writerAskedMs: 5000,
  writerWaitMs: 50,
  /** Attempts of one plain write: each is above all versions that the last one met. */
  writeAttemptsMax: 16,
  /**
   * How long a replica remembers which versions came as copies: at least this, at most twice this. No plain write takes longer
   * (requestTimeoutMsMax), with room for clocks that run at different speeds. And the bytes of one such filter, of which a shard has up to
   * two: with 2.7 million copies in them one conflict in ten ends in an unknown outcome.
   */
  shownVersionsKeptMs: 40_000,
  shownVersionsFilterBytes: 1 << 20,
  /** A home replica that is silent for so long gets a hint. */
  writeStandInMs: 100,
  /** A replica that does not answer a read is helped out by the next after this, or after a few of its usual delays. */
  readSpeculationMsMin: 10,
  readSpeculationMsMax: 500,
  /** Share of reads that look at the replicas that they did not need, per mille. */
  /** How long after an answer a replica that its read saw stale is looked at again, and how many such looks wait at a time. */
  readRepairBehindMs: 500,
  readRepairsWaitingMax: 4096,
  readRepairPerMille: 20,
  /** How long repairs behind an answer, and hints, may take. */
  behindMs: 5000,
  /** Nodes tried for one hint before its vnode is marked for repair. */
  hintAttemptsMax: 3,
  /** Before an attempt is repeated for which this node does not have the newer ring yet. */
  ringWaitMs: 20,
  /**
   * For so long after its start a request that too few replicas answered is tried again, after so much each time, where enough
   * are up: a connection that broke is made anew meanwhile.
   */
  reconnectedMs: 1000,
  reconnectWaitMs: 50,
  /** How long SERIAL waits for further promises where those of a quorum disagree, before it proposes anew. */
  serialWaitMs: 50,
  /** A round that has no quorum by then is given up for a new ballot; twice as long each time, up to the maximum. */
  serialRoundMsMin: 250,
  serialRoundMsMax: 4000,
  /** Rounds of one SERIAL operation, and the bounds of the random wait between them. */
  serialAttemptsMax: 64,
  serialBackoffMsMin: 5,
  serialBackoffMsMax: 500,
  /** idempotencyTtlMs, and what two clocks may be off to both sides. */
  outcomesTtlMs: 30 * 60 * 1000,
  /** Outcomes of idempotency keys kept for one key; the oldest go first. */
  outcomesPerKeyMax: 256,
  /** Earlier versions by which a record that was proposed again still meets a condition. */
  formerVersionsMax: 16,
  /**
   * A replica that refused a write only for a later promise may be left behind by it: its key is settled so long after, when
   * whoever promised is done. Keys that wait at a time; beyond it their vnodes are marked for repair.
   */
  settleLaterMs: 1000,
  settlesWaitingMax: 1024,
  /** Keys about which the pages of replicas differ that one page of a cluster scan reads one by one before it ends. */
  scanDoubtsMax: 256,
  /** Pages of replicas that one page of a cluster scan may take before it answers with a cursor. */
  coordinatorScanPagesMax: 64,
  /** What one node hands back to all others together. */
  hintReplayBytesPerSecond: 4 * MiB,
  hintReplayTickMs: 1000,
  /** Writes of one batch of hints that are in flight at a time. */
  hintReplayInFlightMax: 16,
  /** Writes of a part of the hints that may fail before its others wait for the next time. */
  hintReplayFailuresMax: 16,
  hintReplayRetryMsMax: 30_000,
  /** A drain that still has hints to hand out answers so long before its request ends. */
  drainAnswerMs: 500,
  /** How long each of the three steps of an orderly stop waits for calls and hints behind answers (coming-to-rest.ts). */
  stopStepMsMax: 2000,

  // members
  /** Between two rounds of gossip, and between two probes, of one node. */
  gossipIntervalMs: 1000,
  /** A direct probe is answered within this, or others are asked to probe; all of it ends with the interval. */
  probeTimeoutMs: 400,
  /** Members that are probed in each round: with one, some death is found seconds late by chance. */
  probesPerRound: 2,
  /** Members that are asked to probe for this node. */
  probeHelpersMax: 3,
  /** How long a suspected member has to refute, once accusersMax others confirm it; longer while they do not. */
  suspicionMsMin: 3000,
  suspicionMsMax: 6000,
  /** Members whose suspicion of one other is remembered. */
  accusersMax: 3,
  /** Members that probe a suspected one at once, on average, when they hear of it. */
  confirmersMax: 5,
  /** The local health multiplier goes from 1 to this: a node that misses its own deadlines waits longer (Lifeguard). */
  healthMultiplierMax: 8,
  /** A timer that fires so much too late tells of a stalled process: it accuses nobody. */
  stallMs: 1000,
  /** One message of gossip. */
  gossipMessageBytesMax: 32 * KiB,
  /** Members whose facts one message asks for. */
  gossipWantsMax: 1024,
  /** News is passed on so soon, to newsFanout members at a time, newsTransmitsMax times in all. */
  newsDelayMs: 100,
  newsFanout: 3,
  newsTransmitsMax: 8,
  /** Members of which one probe or answer carries news. */
  newsPerProbeMax: 8,
  /** Probes of others, and of this node, that are not answered yet. */
  probesInFlightMax: 64,
  membersMax: 4096,
  memberFactsMax: 32,
  memberFactNameBytesMax: 64,
  memberFactBytesMax: 1024,
  /** All facts of a node together, names included. */
  memberFactsBytesMax: 4 * KiB,
  memberAddressBytesMax: 260,
  /** A node that left, or was removed, is remembered as long: its old news must have died out. */
  leftMemberMs: 3 * 86_400_000,
  seedsMax: 64,
  /** How often a node that is alone asks its seeds, and one that is not. */
  seedAloneMs: 1000,
  seedIntervalMs: 30_000,
  /** A node that has not found its cluster so soon says over HTTP that it waits. */
  openSoonMs: 1000,
  /** How often it looks which seeds do not answer, and after so long, and as often again, it says so in its log. */
  seedWatchMs: 1000,
  seedSaidMs: 5000,
  seedSaidAgainMs: 60_000,
  /** How long a node that is to join asks the seeds for their ring, and how often, before it gives up. */
  joinProbeMs: 3000,
  joinProbeAgainMs: 250,
  /** Members of the ring that were not heard of since the start, and are asked in one round. */
  contactsAskedMax: 8,
  /** How soon a changed address of another member is kept on disk. */
  addressesSaveMs: 1000,
  /** Hash trees that a replica keeps at a time: the oldest makes room. */
  treeSessionsMax: 32,
  /** Indexes of tree nodes in one request. */
  treeNodesPerRequestMax: 1024,
  /** Equal leaves between two that differ, which are compared with them. */
  repairLeafGapMax: 3,
  repairPageBytes: MiB,
  repairPageRecordsMax: 4096,
  repairWritesInFlightMax: 64,
  repairRequestMsMax: 30_000,
  /** To read one vnode and to build its tree. */
  repairTreeMsMax: 30 * 60_000,
  /** How often a replica is asked whether it still builds a tree; and how often in a row it may not say so before it is waited for no more. */
  repairTreeLookMs: 10_000,
  repairTreeMissesMax: 3,
  /** A replica that is overloaded is asked again, after a pause that doubles. */
  repairRetriesMax: 6,
  repairRetryMsMin: 100,
  /** SERIAL reads for one key that a promise bars. */
  repairSettlesMax: 2,
  repairBytesPerSecondDefault: 16 * MiB,
  /** After a repair that failed, or in which a replica was missing. */
  repairRetryIntervalMs: 10 * 60_000,
  repairTickMs: 1000,
  /** How often the list of what waits for repair is kept after changes, and without any. */
  repairSaveMs: 10_000,
  repairAliveMs: 60_000,
  /** What died so much less than gc_grace ago is left out of trees already: their replicas' clocks differ. */
  repairCutoffMarginMs: 60_000,
  // wire
  /** The longest record of a peer, encoded. */
  peerRecordBytesMax: 8 * MiB + 32 * KiB + 64,
  /** One message between nodes: a write or a promise with two of the longest records, and its head. */
  peerMessageBytesMax: 17 * MiB,
  /** Arrays within arrays in a message. */
  peerNestingMax: 16,
  /** Calls to one peer, and to all peers, that wait for an answer; further ones get OVERLOADED. */
  peerCallsMax: 8192,
  peerCallsTotalMax: 32_768,
  /** Requests of one peer that a node works on; further ones are answered with OVERLOADED. */
  peerRequestsMax: 8192,
  /** Bytes of their records; one request is always taken. */
  peerRequestBytesMax: 64 * MiB,
  /** How often calls whose deadline has passed are looked for. */
  peerCallScanMs: 20,
  /** How long a request without a deadline of its own may take: nodes of a tree. */
  peerDefaultTimeoutMs: 5000,
  /** A peer is sent this node's ring at most so often in answer to stale requests; the others are refused without it. */
  peerRingAgainMs: 100,
  /** A hash tree's answer that found no room in the queue to its caller is sent again after this. */
  peerAnswerAgainMs: 200,
  /** Nodes of a tree in one request: the whole lowest level. */
  treeNodesMax: 4096,
  /** What one page between nodes may be asked to hold. */
  peerPageRecordsMax: 20_000,
  peerPageBytesMax: 4 * MiB,
  clusterNameCharactersMax: 64,
  /** Messages to one peer share frames up to this size; a longer message has a frame of its own. */
  peerBatchBytes: 64 * KiB,
  /** Node's pool of buffers in the peer worker: copies of up to half of it share one. */
  peerBufferPoolBytes: 64 * KiB,
  /** Buffers for such frames that are kept for reuse. */
  peerSpareBatchesMax: 32,
  /** Payload of a hello or refusal: what a stranger may send. */
  peerHelloBytesMax: 4 * KiB,
  /** Bytes that wait to be sent to one peer: further messages are refused. */
  peerQueueBytesMax: 32 * MiB,
  /** Connections accepted from other nodes, those of them whose hello has not come, and those with one node. */
  peerConnectionsMax: 4096,
  peerHandshakesMax: 256,
  peerConnectionsPerNodeMax: 4,
  /** Nodes that addresses are kept of. */
  peersMax: 2048,
  /** How long a connection may take until both hellos were exchanged, TLS included. */
  peerHandshakeMs: 5000,
  /** A connection on which nothing was sent for so long sends a heartbeat. */
  peerHeartbeatMs: 1000,
  /** A connection from which no whole frame came for so long is closed. */
  peerIdleMs: 5000,
  /** Bytes of a frame that is not whole that must come within peerIdleMs. */
  peerIdleBytesMin: 64 * KiB,
  /** A peer that takes what it is sent more slowly than this, after peerIdleMs, is cut off. */
  peerSlowestBytesPerSecond: MiB,
  /** How long a refusal may take to be read before the connection is cut. */
  peerLingerMs: 1000,
  /** Before the nth reconnection: a random time up to peerReconnectMsMin * 2^n, at most peerReconnectMsMax. */
  peerReconnectMsMin: 50,
  peerReconnectMsMax: 5000,
  /** Addresses of seeds that connections are made to, and messages that wait for one to be made. */
  peerSeedsMax: 64,
  peerSeedMessagesMax: 16,
  peerSeedBytesMax: MiB,
  /** Lines about connections in a log within a minute; further ones are counted. */
  peerLogLinesMax: 60,
  /** Characters of a message in an answer, and in the refusal of a connection. */
  peerTextCharactersMax: 1024,
  /** Rounds of ballots: a foreign one near the largest integer would leave no higher one. */
  ringRoundsMax: 1_000_000_000,
  topologyWarningsMax: 16,
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
assert(
  limits.recordCacheShardBytesMax / 8 < 2 ** 31,
  'limits: places of a record cache are numbered in 31 bits',
);
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
assert(
  limits.gossipMessageBytesMax >= 4 * (limits.memberAddressBytesMax + limits.memberFactsBytesMax) &&
    limits.memberFactsBytesMax >= limits.memberFactNameBytesMax + limits.memberFactBytesMax,
  'limits: a message of gossip holds the longest news of a member',
);
assert(
  limits.peerRecordBytesMax >= 40 + limits.keyBytesCeiling + limits.valueBytesCeiling + 7 &&
    limits.peerMessageBytesMax >= 2 * limits.peerRecordBytesMax + 64 * KiB,
  'limits: a message between nodes must hold two of the longest records',
);
assert(
  limits.peerQueueBytesMax >= limits.peerMessageBytesMax + limits.peerBatchBytes,
  'limits: the longest message between nodes must fit an empty queue',
);
assert(limits.peerIdleMs >= 3 * limits.peerHeartbeatMs, 'limits: two heartbeats between nodes may be late');
assert(limits.scanLimitDefault <= limits.scanLimitMax, 'limits: scanLimitDefault above its maximum');
assert(
  limits.shardHeldBytesMax >= 2 * (limits.valueBytesCeiling + limits.keyBytesCeiling),
  'limits: a shard must be able to keep the largest request',
);
assert(
  limits.keyBytesCeiling + limits.idempotencyKeyBytesMax < 65_536,
  'limits: an idempotency record has both keys in its key',
);
assert(
  limits.treeHeadsBytes >= 2 * (limits.keyBytesCeiling + KiB),
  'limits: the longest head must fit a part of a tree',
);
assert(
  limits.hintQueueBytesMax >= 2 * limits.peerRecordBytesMax + KiB,
  'limits: the longest hint must fit an empty queue',
);
assert(
  limits.repairHorizonMarginMs >=
    2 * limits.hintSegmentAgeMs + (2 * limits.clockDriftUsMax) / 1000 + limits.behindMs,
  'limits: no hint may be handed back that is older than the horizon of a repair',
);
assert(
  limits.leaverDownMsMax >= 2 * limits.suspicionMsMax && limits.leaverDownMsMax < limits.leaveHintsMsMax,
  'limits: who leaves and is called down must have time to refute it, and not hold up the change for longer than its hints',
);
assert(
  limits.repairMarksAnswerMs >= 2 * limits.repairTickMs,
  'limits: whoever takes marks for repair keeps them with its next look, and must be able to answer',
);
// websocket
assert(
  limits.wsValuesBytesMax >= limits.wsPausedBytes + limits.wsAnswerBytes + limits.valueBytesCeiling &&
    limits.wsBufferedBytesMax >= limits.wsValuesBytesMax + 2 * limits.wsInFlightMax * 512 &&
    limits.wsBufferedTotalBytesMax >= 4 * limits.wsBufferedBytesMax,
  'limits: a connection that is not paused must be able to get the longest value, and then to be refused the others',
);
assert(
  limits.wsInFlightMax >= limits.wsBatchRequestsMax && limits.wsInFlightMax * 2 <= limits.requestsInFlightMax,
  'limits: a whole batch must be able to be in flight, and not take all slots',
);
assert(
  (limits.wsConnectionsMax *
    (limits.wsSmallValueBytesMax + limits.keyBytesMax + limits.wsMessageOverheadBytes) *
    (1 + 1 / limits.wsMessageSlackDivisor)) /
    limits.wsUnfinishedBytesMax <=
    1 / 4,
  'limits: small messages of all WebSocket connections must fit their share',
);
assert(
  limits.wsConnectionsMax < limits.connectionsMax,
  'limits: WebSocket connections must leave room for HTTP',
);
assert(
  limits.wsSilenceMs > 1000 * limits.wsIdleSeconds,
  'limits: a connection that is idle must have been asked for a pong before it is called silent',
);
// client
assert(
  limits.clientBatchOpsMax <= limits.batchOpsMax &&
    2 * limits.clientBatchBytesMax <= limits.batchBodyBytesMax &&
    limits.clientBatchValueBytesMax < limits.clientBatchBytesMax &&
    limits.clientBatchSlackMs < limits.clientGraceMs &&
    limits.clientBatchReplyBytesMax < limits.batchReplyBytesMax,
  'limits: the server must take the batches of a client, and have room for what they bring',
);
// ring
assert(limits.ringMembersMax < 65_536, 'limits: owners of a ring are 16-bit indexes');
assert(
  limits.vnodesMax * limits.ringWeightMax * limits.ringWeightUnits * limits.ringMembersMax <
    Number.MAX_SAFE_INTEGER,
  'limits: shares of a ring are computed in safe integers',
);
// coordinator
assert(
  limits.admittedMin < limits.requestsInFlightMax && limits.admittedMs >= limits.admittedPeriodMs,
  'limits: a front end must have more slots than it may always use, and look as often as requests may take',
);
assert(
  limits.admittedBytesMax >= 2 * (limits.valueBytesCeiling + limits.keyBytesCeiling),
  'limits: a front end must be able to have a request beside the longest one',
);
assert(
  limits.peerClockDriftUsMax >= 2 * limits.clockDriftUsMax,
  'limits: two clocks that are off to both sides must still beat each other',
);
assert(
  limits.shownVersionsKeptMs > limits.requestTimeoutMsMax,
  'limits: a replica must remember copies for as long as a write of theirs may be under way',
);
assert(
  limits.outcomesTtlMs * 1000 >= limits.idempotencyTtlMs * 1000 + 2 * limits.clockDriftUsMax,
  'limits: an outcome must outlive its promise by any two clocks',
);
assert(
  limits.outcomesPerKeyMax * 40 + limits.formerVersionsMax * 16 + 16 <= limits.valueBytesMax,
  'limits: outcomes fit in a record',
);
