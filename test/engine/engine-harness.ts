import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import type { Random } from '../../src/base/random.ts';
import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  KEYSPACE_USER,
  keyAt,
  type RecordFields,
  valueAt,
  versionAt,
} from '../../src/base/record.ts';
import { hashToken, shardOf, token } from '../../src/base/token.ts';
import {
  type Durability,
  type EngineListener,
  type EngineLookup,
  type EngineOptions,
  type Job,
  type JobRunner,
  LOOKUP_PENDING,
  type ShardEngine,
} from '../../src/engine/contract.ts';
import { openEngine } from '../../src/engine/engine.ts';
import type { ReadMode } from '../../src/engine/read-policy.ts';
import { LocalJobRunner } from '../../src/engine/run-job.ts';
import { Sstables } from '../../src/engine/sstables.ts';
import type { MemtableSetMemory, SeekTarget } from '../../src/ipc/contract.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { createStopFlag } from '../../src/ipc/stop-flag.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { Crash } from '../../src/vfs/simulated-faults.ts';
import { SharedReads, type SmallRecordCache, smallRecordCache } from './shared-reads.ts';

export const DIRECTORY = '/shard';
const PUMP_TURNS_MAX = 200_000;
const APPEND_TRIES_MAX = 100;

export interface Shape {
  readonly vnodes: number;
  readonly shards: number;
  readonly shard: number;
  readonly arenaBytes: number;
  readonly slots: number;
  readonly durability: Durability;
  readonly blockBytes: number;
  readonly compression: 'none' | 'snappy';
  readonly bloomBitsPerKey: number;
  readonly blockCacheBytes: number;
  readonly recordCache: SmallRecordCache | null;
  readonly keepsFlushed: boolean;
  readonly dial: number;
  readonly compactionsMax: number;
  readonly tablesMax: number;
  readonly tableTargetBytes: number;
  readonly gcGraceMs: number;
  readonly purgeBefore: number;
  readonly readMode: ReadMode;
  readonly inlineUsMax: number;
}

export const SHAPE: Shape = {
  vnodes: 16,
  shards: 1,
  shard: 0,
  arenaBytes: 64 * 1024,
  slots: 3,
  durability: 'always',
  blockBytes: 512,
  compression: 'none',
  bloomBitsPerKey: 10,
  blockCacheBytes: 64 * 1024,
  recordCache: null,
  keepsFlushed: false,
  dial: 0,
  compactionsMax: 2,
  tablesMax: 64,
  tableTargetBytes: 64 * 1024,
  gcGraceMs: 3_600_000,
  purgeBefore: Number.POSITIVE_INFINITY,
  readMode: 'async',
  inlineUsMax: 0,
};

export function randomShape(random: Random): Shape {
  const shards = random.pick([1, 1, 2]);
  return {
    vnodes: random.pick([2, 16, 256]),
    shards,
    shard: random.below(shards),
    arenaBytes: random.pick([64, 64, 128, 256]) * 1024,
    slots: random.between(2, 4),
    durability: 'always',
    blockBytes: random.pick([256, 512, 4096]),
    compression: random.pick(['none', 'snappy'] as const),
    bloomBitsPerKey: random.pick([1, 10]),
    blockCacheBytes: random.pick([0, 16, 1024]) * 1024,
    recordCache: random.pick([null, [4, 2048], [64, 16 * 1024], [1024, 256 * 1024]] as const),
    keepsFlushed: random.chance(0.5),
    dial: random.between(-10, 10),
    compactionsMax: random.between(1, 3),
    tablesMax: random.pick([16, 64]),
    tableTargetBytes: random.pick([32, 128, 512]) * 1024,
    gcGraceMs: random.pick([0, 1000, 3_600_000]),
    purgeBefore: random.pick([0, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]),
    readMode: random.pick(['async', 'async', 'adaptive'] as const),
    inlineUsMax: random.pick([0, limits.walInlineUsMax]),
  };
}

/** Where the process dies, what was under way never ends. */
function untilCrash(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof Crash)) throw error;
  }
}

export interface Answer {
  readonly outcome: EngineLookup;
  readonly error: Error | null;
}
export type OnAnswer = (answer: Answer) => void;

/** Drives one engine on a simulated disk, on one thread: every asynchronous call is run by `pump`. */
export class EngineHarness implements EngineListener {
  disk: SimulatedFileSystem;
  shape: Shape;
  readonly clock: ManualClock;
  readonly random: Random | null;
  readonly events: string[] = [];
  readonly failures: { status: number; error: Error }[] = [];
  /** Timers in the order in which they were set. */
  timers: { at: number; fire: () => void }[] = [];
  memory: MemtableSetMemory;
  shared: SharedReads;
  /** What a job waits for before it runs. */
  beforeJob: ((job: Job) => Promise<void>) | null = null;
  onDurableHook: (seq: number) => void = () => undefined;
  onFailureHook: (status: number) => void = () => undefined;
  readonly #answers = new Map<number, OnAnswer>();
  #ticket = 0;
  #engine: ShardEngine | null = null;
  /** Jobs yield to the disk between their slices, which are followed by this. */
  onPause: () => Promise<void> = () => Promise.resolve();

  constructor(
    disk: SimulatedFileSystem,
    shape: Shape = SHAPE,
    random: Random | null = null,
    clock = new ManualClock(1_700_000_000_000),
  ) {
    this.disk = disk;
    this.shape = shape;
    this.random = random;
    this.clock = clock;
    this.memory = this.#newMemory();
    this.shared = new SharedReads(this.memory, null);
  }

  #newMemory(): MemtableSetMemory {
    const { slots, arenaBytes, vnodes, shards, shard } = this.shape;
    return createMemtableSet({ slots, arenaBytes, vnodes, shards, shard });
  }

  get engine(): ShardEngine {
    if (this.#engine === null) throw new Error('the engine is not open');
    return this.#engine;
  }
  get isOpen(): boolean {
    return this.#engine !== null;
  }

  async open(): Promise<ShardEngine> {
    const s = this.shape;
    this.memory = this.#newMemory();
    const recordCache = smallRecordCache(s.recordCache);
    this.shared = new SharedReads(this.memory, recordCache);
    this.timers = [];
    this.#answers.clear();
    const options: EngineOptions = {
      directory: DIRECTORY,
      ownership: { vnodes: s.vnodes, shards: s.shards, shard: s.shard },
      fileSystem: { kind: 'memory' },
      memory: this.memory,
      stop: createStopFlag(),
      durability: s.durability,
      syncIntervalMs: 100,
      table: { blockBytes: s.blockBytes, compression: s.compression, bloomBitsPerKey: s.bloomBitsPerKey },
      blockCacheBytes: s.blockCacheBytes,
      recordCache,
      keepsFlushed: s.keepsFlushed,
      compactionDial: s.dial,
      compactionBytesPerSecond: 0,
      compactionsMax: s.compactionsMax,
      tablesMax: s.tablesMax,
      tableTargetBytes: s.tableTargetBytes,
      gcGraceMs: s.gcGraceMs,
      purgeBefore: s.purgeBefore,
      origin: 1,
    };
    const tools = { tables: new Sstables(this.clock), clock: this.clock, pause: () => this.onPause() };
    const local = new LocalJobRunner(this.disk, tools);
    const jobs: JobRunner = {
      run: (job) =>
        this.beforeJob === null ? local.run(job) : this.beforeJob(job).then(() => local.run(job)),
    };
    this.#engine = await this.wait(
      openEngine(options, this.disk, jobs, this.clock, this, {
        setTimer: (ms, fire) => this.timers.push({ at: this.clock.monotonicMs() + ms, fire }),
        readMode: s.readMode,
        inlineUsMax: s.inlineUsMax,
        defer: (run) => queueMicrotask(() => untilCrash(run)),
      }),
    );
    return this.#engine;
  }

  async close(): Promise<void> {
    const engine = this.engine;
    await this.wait(engine.close());
    this.#engine = null;
  }
  /** As after a power cut: the engine is left lying, and the disk replaced. */
  abandon(disk: SimulatedFileSystem): void {
    this.#engine = null;
    this.disk = disk;
    this.timers = [];
    this.#answers.clear();
  }

  /** Runs the disk until `promise` has settled; throws what it rejects with, and the disk's crash. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    promise.then(
      () => {
        settled = true;
      },
      () => {
        settled = true;
      },
    );
    for (let turns = 0; ; turns++) {
      await turn();
      if (settled) return promise;
      if (this.disk.crashed) throw new Error('the disk crashed');
      if (turns > PUMP_TURNS_MAX) throw new Error(`nothing after ${turns} turns`);
      if (this.disk.waiting > 0) this.stepDisk();
      else if (turns % 64 === 63) this.advance(50);
    }
  }
  /** Runs the disk and background work until nothing is left but timers. */
  async settle(): Promise<void> {
    for (let idle = 0, turns = 0; idle < 3; turns++) {
      if (turns > PUMP_TURNS_MAX) throw new Error(`still busy after ${turns} turns`);
      await turn();
      if (this.disk.crashed) throw new Error('the disk crashed');
      if (this.disk.waiting > 0) {
        idle = 0;
        this.stepDisk();
      } else idle++;
    }
  }
  /** Appends and commits, as soon as memtables and tables leave room. */
  async appendWhenTaken(fields: RecordFields): Promise<void> {
    for (let tries = 0; tries < APPEND_TRIES_MAX; tries++) {
      if (this.engine.append(fields, null) > 0) {
        this.engine.commit();
        return;
      }
      await this.settle();
      this.advance(100);
    }
    throw new Error('appends are refused for ever');
  }
  stepDisk(): void {
    this.disk.step(this.random === null ? 0 : this.random.below(this.disk.waiting));
  }

  advance(ms: number): void {
    this.clock.advanceMs(ms);
    const now = this.clock.monotonicMs();
    const due = this.timers.filter(({ at }) => at <= now);
    this.timers = this.timers.filter(({ at }) => at > now);
    for (const { fire } of due) fire();
  }

  lookup(key: Uint8Array, latest: boolean, answer: OnAnswer, keyspace = KEYSPACE_USER): void {
    hashToken(key);
    const ticket = ++this.#ticket;
    let outcome: EngineLookup;
    try {
      outcome = this.engine.lookup(keyspace, token.hi, token.lo, key, latest, ticket);
    } catch (error) {
      answer({ outcome: 0, error: error as Error });
      return;
    }
    if (outcome === LOOKUP_PENDING) this.#answers.set(ticket, answer);
    else answer({ outcome, error: null });
  }
  get lookupsPending(): number {
    return this.#answers.size;
  }

  onDurable(seq: number): void {
    this.onDurableHook(seq);
  }
  onWriteFailure(status: number, error: Error): void {
    this.failures.push({ status, error });
    this.onFailureHook(status);
  }
  onLookup(ticket: number, outcome: EngineLookup, error: Error | null): void {
    const answer = this.#answers.get(ticket);
    if (answer === undefined) throw new Error(`ticket ${ticket} was answered twice`);
    this.#answers.delete(ticket);
    answer({ outcome, error });
  }
  onEvent(level: 'info' | 'warn' | 'error', message: string): void {
    this.events.push(`${level}: ${message}`);
  }
}

export const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

export interface Put {
  readonly key: Uint8Array;
  readonly value?: Uint8Array;
  readonly version: number;
  readonly deleted?: boolean;
  readonly expiresMs?: number;
  readonly keyspace?: number;
}
export function fieldsOf({ key, value, version, deleted, expiresMs, keyspace }: Put): RecordFields {
  hashToken(key);
  return {
    tokenHi: token.hi,
    tokenLo: token.lo,
    keyspace: keyspace ?? KEYSPACE_USER,
    key,
    value: value ?? new Uint8Array(0),
    version,
    origin: 1,
    flags: (deleted === true ? FLAG_TOMBSTONE : 0) | (expiresMs === undefined ? 0 : FLAG_EXPIRING),
    expiresMs: expiresMs ?? 0,
  };
}

/** Keys that belong to the shard, in a fixed order. */
export function ownKeys(count: number, { vnodes, shards, shard }: Shape): Uint8Array[] {
  const keys: Uint8Array[] = [];
  for (let i = 0; keys.length < count; i++) {
    const key = Buffer.from(`key-${i}`);
    hashToken(key);
    if (shardOf(token.hi, vnodes, shards) === shard) keys.push(key);
  }
  return keys;
}

export interface Seen {
  readonly key: string;
  readonly value: string;
  readonly version: number;
}
export interface Pages {
  readonly limit: number;
  readonly bytesMax: number;
  readonly examinedMax: number;
}
/** Visits all live records, page by page. */
export function visitAll(
  engine: ShardEngine,
  snapshot: number,
  pages: Pages,
  prefix: string,
  visit: (view: DataView, bytes: Uint8Array, offset: number) => void,
): void {
  let from: SeekTarget = { tokenHi: 0, tokenLo: 0, keyspace: KEYSPACE_USER, key: new Uint8Array(0) };
  for (let exclusive = false; ; exclusive = true) {
    const end = engine.scan(
      { from, exclusive, prefix: Buffer.from(prefix), keyspace: KEYSPACE_USER, ...pages },
      snapshot,
      visit,
    );
    if (end.done) return;
    from = { tokenHi: end.tokenHi, tokenLo: end.tokenLo, keyspace: KEYSPACE_USER, key: end.key };
  }
}
/** All live records, page by page. */
export function scanAll(engine: ShardEngine, snapshot: number, pages: Pages, prefix = ''): Seen[] {
  const out: Seen[] = [];
  visitAll(engine, snapshot, pages, prefix, (view, bytes, offset) => {
    out.push({
      key: Buffer.from(keyAt(view, bytes, offset)).toString(),
      value: Buffer.from(valueAt(view, bytes, offset)).toString('latin1'),
      version: versionAt(view, offset),
    });
  });
  return out;
}
