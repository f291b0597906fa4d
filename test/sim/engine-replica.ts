/**
 * The replica of a simulated node: the rule (ReplicaStore), pages and trees of the product over the product's engine, as
 * src/shard/replica-server.ts puts them together, with one shard and without rings. Calls take the time that rings take,
 * in both directions, and bytes are copied as rings copy them.
 */
import { limits } from '../../src/base/limits.ts';
import { keyAt, keyspaceAt, recordBytesAt } from '../../src/base/record.ts';
import type {
  HintStore,
  LocalReplica,
  NodeNumber,
  PageAnswer,
  PrepareAnswer,
  ReadAnswer,
  ReplicaPage,
  ReplicaPrepare,
  ReplicaRead,
  ReplicaTree,
  ReplicaTreeNodes,
  ReplicaWrite,
  TreeAnswer,
  TreeNodesAnswer,
  WriteAnswer,
} from '../../src/cluster/contract.ts';
import type { EngineListener, EngineLookup, ShardEngine } from '../../src/engine/contract.ts';
import { openEngine } from '../../src/engine/engine.ts';
import { LocalJobRunner } from '../../src/engine/run-job.ts';
import { Sstables } from '../../src/engine/sstables.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { createStopFlag } from '../../src/ipc/stop-flag.ts';
import { readPage } from '../../src/shard/replica-pages.ts';
import { ReplicaStore } from '../../src/shard/replica-store.ts';
import { ReplicaTrees } from '../../src/shard/replica-trees.ts';
import { withoutPromises } from './defects.ts';
import type { HeldRecord, ProgramHost } from './program.ts';

/** One way through a ring, milliseconds. */
const RING_MS = 0.03;
const SLICE_MS = 0.2;
const ARENA_BYTES = 64 * 1024;
const SHARD_DIRECTORY = '/data/shard-0000';
const NO_BYTES = new Uint8Array(0);
const ALL_TOKENS = 0xffff_ffff;

export class EngineReplica implements LocalReplica, EngineListener {
  readonly #host: ProgramHost;
  readonly #hints: HintStore;
  #engine: ShardEngine | null = null;
  #store: ReplicaStore | null = null;
  #trees: ReplicaTrees | null = null;
  #isCommitDue = false;
  #isClosed = false;

  constructor(host: ProgramHost, hints: HintStore) {
    this.#host = host;
    this.#hints = hints;
  }

  async open(): Promise<void> {
    const { fs, clock, life, self, tuning, defect } = this.#host;
    const { vnodes, gcGraceMs } = tuning;
    if (!fs.exists(SHARD_DIRECTORY)) {
      fs.mkdir(SHARD_DIRECTORY);
      fs.syncDirectory('/data');
    }
    const ownership = { vnodes, shards: 1, shard: 0 };
    const pause = (ms: number): Promise<void> =>
      new Promise((resolve) => {
        life.after(Math.max(ms, SLICE_MS), resolve);
      });
    const jobs = new LocalJobRunner(fs, { tables: new Sstables(clock), clock, pause });
    const opened = await openEngine(
      {
        directory: SHARD_DIRECTORY,
        ownership,
        fileSystem: { kind: 'memory' },
        memory: createMemtableSet({ ...ownership, slots: limits.memtableSlots, arenaBytes: ARENA_BYTES }),
        stop: createStopFlag(),
        durability: 'always',
        syncIntervalMs: 100,
        table: { blockBytes: 512, compression: 'none', bloomBitsPerKey: 10 },
        blockCacheBytes: 16 * 1024,
        compactionDial: 0,
        compactionBytesPerSecond: 0,
        compactionsMax: 1,
        tablesMax: limits.tablesOverlapMax,
        tableTargetBytes: ARENA_BYTES,
        gcGraceMs,
        // As of a node that is, or may come to be, in a cluster.
        purgeBefore: defect === 'purge-early' ? Number.POSITIVE_INFINITY : 0,
        origin: self,
      },
      fs,
      jobs,
      clock,
      this,
      { setTimer: (ms, fire) => void life.after(ms, fire), readMode: 'async', inlineUsMax: 0 },
    );
    const engine = defect === 'ignore-promise' ? withoutPromises(opened) : opened;
    this.#engine = engine;
    this.#store = new ReplicaStore({
      engine,
      clock,
      vnodes,
      gcGraceMs,
      firstTicket: 0,
      isRestart: false,
      appended: () => {
        if (this.#isCommitDue) return;
        this.#isCommitDue = true;
        life.after(RING_MS, () => {
          this.#isCommitDue = false;
          if (!this.#isClosed) engine.commit();
        });
      },
    });
    this.#trees = new ReplicaTrees(engine, {
      vnodes,
      clock,
      gcGraceMs,
      defer: (run) => void life.after(SLICE_MS, run),
    });
  }

  get resurrections(): number {
    return this.#store?.resurrections ?? 0;
  }
  get engine(): ShardEngine {
    return present(this.#engine);
  }
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.engine.close();
  }

  /** Everything that is durable here, dead records included. */
  dump(): HeldRecord[] {
    const held: HeldRecord[] = [];
    const decoder = new TextDecoder();
    this.engine.rawPage(
      {
        from: { tokenHi: 0, tokenLo: 0, keyspace: 0, key: NO_BYTES },
        exclusive: false,
        lastHi: ALL_TOKENS,
        lastLo: ALL_TOKENS,
        recordsMax: Number.MAX_SAFE_INTEGER,
        bytesMax: Number.MAX_SAFE_INTEGER,
      },
      (view, bytes, at) => {
        const key = decoder.decode(keyAt(view, bytes, at));
        const record = bytes.slice(at, at + recordBytesAt(view, at));
        held.push({ keyspace: keyspaceAt(view, at), key, record });
        return true;
      },
    );
    return held;
  }

  // ----------------------------------------------------------------------------------------------- replica

  write(request: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const { record, also } = request;
    const copied = { ...request, record: record.slice(), also: also === null ? null : also.slice() };
    this.#call((answer: (value: WriteAnswer) => void) => present(this.#store).write(copied, answer), done);
  }
  read(request: ReplicaRead, done: (answer: ReadAnswer) => void): void {
    const copied = { ...request, key: request.key.slice() };
    this.#call((answer: (value: ReadAnswer) => void) => present(this.#store).read(copied, answer), done);
  }
  prepare(request: ReplicaPrepare, done: (answer: PrepareAnswer) => void): void {
    const copied = { ...request, key: request.key.slice() };
    this.#call(
      (answer: (value: PrepareAnswer) => void) => present(this.#store).prepare(copied, answer),
      done,
    );
  }
  page(request: ReplicaPage, done: (answer: PageAnswer) => void): void {
    this.#call((answer: (value: PageAnswer) => void) => answer(readPage(this.engine, request)), done);
  }
  tree(request: ReplicaTree, done: (answer: TreeAnswer) => void): void {
    this.#call((answer: (value: TreeAnswer) => void) => present(this.#trees).build(request, answer), done);
  }
  treeNodes(request: ReplicaTreeNodes, done: (answer: TreeNodesAnswer) => void): void {
    this.#call(
      (answer: (value: TreeNodesAnswer) => void) => answer(present(this.#trees).nodes(request)),
      done,
    );
  }
  endTree(session: number): void {
    this.#call(
      () => present(this.#trees).end(session),
      () => undefined,
    );
  }
  hint(target: NodeNumber, request: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    this.#hints.add(target, request, done);
  }
  setPurgeBefore(vnode: number, version: number): void {
    if (this.#host.defect !== 'purge-early') this.engine.setPurgeBefore(vnode, version);
  }

  #call<A>(run: (answer: (value: A) => void) => void, done: (value: A) => void): void {
    const { life } = this.#host;
    life.after(RING_MS, () => {
      // Of a thread that has ended nobody hears.
      if (!this.#isClosed) run((value) => void life.after(RING_MS, () => done(value)));
    });
  }

  // ------------------------------------------------------------------------------------------------ engine

  onDurable(seq: number): void {
    this.#store?.waits.onDurable(seq);
  }
  onWriteFailure(status: number, error: Error): void {
    this.#store?.waits.onWriteFailure(status, error);
  }
  onLookup(ticket: number, outcome: EngineLookup, error: Error | null): void {
    present(this.#store).waits.onLookup(ticket, outcome, error);
  }
  onEvent(level: 'info' | 'warn' | 'error', message: string): void {
    this.#host.log(level, `engine: ${message}`);
  }
}

function present<T>(part: T | null): T {
  if (part === null) throw new Error('the engine is not open');
  return part;
}
