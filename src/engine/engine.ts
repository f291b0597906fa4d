/**
 * The LSM of one shard: puts log, memtables, tables and background work together. Owned by the shard's
 * thread; every file below has its own part and its own invariants:
 *
 *   write-path.ts       appends, group commit, full disk          engine-recovery.ts  memtables from the log
 *   flusher.ts          memtables to tables                       compactor.ts        tables to fewer tables
 *   lookups.ts          point reads                               scans.ts            pages in order
 *   table-set.ts        tables in force, and those still read     snapshots.ts        pinned states
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { ClosedError, ConfigurationError, DiskFullError, ReadOnlyError, RingKvError } from '../base/errors.ts';
import type { RecordFields } from '../base/record.ts';
import type { MemtableSetMemory } from '../ipc/contract.ts';
import { SharedMemtableWriter } from '../ipc/memtable-writer.ts';
import { StopFlag } from '../ipc/stop-flag.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { Compactor, type PlannedJob } from './compactor.ts';
import type {
  CompactJob,
  EngineListener,
  EngineLookup,
  EngineOptions,
  EngineStats,
  FlushJob,
  FoundRecord,
  JobContext,
  JobResult,
  JobRunner,
  ScanEnd,
  ScanRequest,
  ScanVisitor,
  ShardEngine,
  TableMeta,
  TableReader,
} from './contract.ts';
import { type Recovery, recoverLog } from './engine-recovery.ts';
import { EngineTables, type TableAccess } from './engine-tables.ts';
import { verifyEngine } from './engine-verify.ts';
import { Flusher } from './flusher.ts';
import { Lookups } from './lookups.ts';
import { Manifest } from './manifest.ts';
import { MemtableList } from './memtable-list.ts';
import { scanPage } from './scans.ts';
import { Snapshots } from './snapshots.ts';
import { tableAccess } from './table-access.ts';
import type { TableSet } from './table-set.ts';
import { CommitLog } from './wal.ts';
import { type SetTimer, WritePath } from './write-path.ts';

/** What tests put something of their own in the place of. */
export interface EngineParts {
  readonly setTimer: SetTimer;
  readonly access: TableAccess;
}
const setUnreferencedTimer: SetTimer = (ms, fire) => {
  setTimeout(fire, ms).unref();
};

/**
 * Opens a shard, a new one where the directory is empty. With damage in the commit log or in tables it opens
 * too, serves what is whole and says so (`onEvent`, `stats().writesRefused`). Rejects with CorruptionError for
 * a damaged manifest, FormatVersionError for files of a newer RingKV, ConfigurationError where the directory
 * belongs to another shard, IoError and DiskFullError where files cannot be read or the log not be emptied.
 */
export async function openEngine(
  options: EngineOptions,
  fs: FileSystem,
  jobs: JobRunner,
  clock: Clock,
  listener: EngineListener,
  parts: Partial<EngineParts> = {},
): Promise<ShardEngine> {
  const manifest = openManifest(options, fs);
  try {
    const setTimer = parts.setTimer ?? setUnreferencedTimer;
    const access = parts.access ?? tableAccess(options, fs);
    const files = new EngineTables(options, fs, access, manifest, listener);
    files.deleteOrphans();
    const tables = files.openAll();
    try {
      const memtables = new MemtableList(options.memory, new SharedMemtableWriter(options.memory));
      const base: Base = { options, fs, jobs, clock, listener, setTimer, manifest, files, tables, memtables };
      const recovery = await recoverLog({
        fs,
        directory: options.directory,
        memtables,
        oldestLiveSegment: manifest.state.oldestLiveSegment,
        flush: (memory, slot, segment) => flushRecovered(base, memory, slot, segment),
      });
      return new LsmEngine(base, recovery);
    } catch (error) {
      tables.close();
      throw error;
    }
  } catch (error) {
    manifest.close();
    throw error;
  }
}

interface Base {
  readonly options: EngineOptions;
  readonly fs: FileSystem;
  readonly jobs: JobRunner;
  readonly clock: Clock;
  readonly listener: EngineListener;
  readonly setTimer: SetTimer;
  readonly manifest: Manifest;
  readonly files: EngineTables;
  readonly tables: TableSet;
  readonly memtables: MemtableList;
}

function openManifest({ directory, ownership }: EngineOptions, fs: FileSystem): Manifest {
  if (!Manifest.exists(fs, directory))
    return Manifest.create(fs, directory, {
      ownership,
      nextNumber: 1,
      tables: new Map(),
      oldestLiveSegment: 1,
      versionMax: 0,
    });
  const manifest = Manifest.open(fs, directory);
  const { vnodes, shards, shard } = manifest.state.ownership;
  if (vnodes === ownership.vnodes && shards === ownership.shards && shard === ownership.shard)
    return manifest;
  manifest.close();
  throw new ConfigurationError(
    `${directory} belongs to shard ${shard} of ${shards} with ${vnodes} vnodes, ` +
      `not to shard ${ownership.shard} of ${ownership.shards} with ${ownership.vnodes}`,
  );
}

const contextOf = ({ options }: Base): JobContext => ({
  fileSystem: options.fileSystem,
  directory: options.directory,
  table: options.table,
  ownership: options.ownership,
  stop: options.stop,
});

/** At the start: makes a recovered segment a table before the engine serves. */
async function flushRecovered(
  base: Base,
  memory: MemtableSetMemory,
  slot: number,
  segment: number,
): Promise<void> {
  const { files, manifest, tables, jobs } = base;
  const number = files.takeNumbers(1);
  const job: FlushJob = { ...contextOf(base), kind: 'flush', memory, slot, number };
  const result = await jobs.run(job);
  const readers = result.tables.map((meta) => files.open(meta));
  await new Promise<void>((resolve, reject) => {
    const edit = {
      addTables: result.tables,
      oldestLiveSegment: segment + 1,
      nextNumber: files.nextNumber,
    };
    manifest.append(edit, (error) => (error === null ? resolve() : reject(error)));
  });
  tables.change(readers, [], true);
  files.removeSegment(segment);
}

class LsmEngine implements ShardEngine {
  readonly versionMax: number;
  readonly #base: Base;
  readonly #log: CommitLog;
  readonly #writePath: WritePath;
  readonly #flusher: Flusher;
  readonly #compactor: Compactor;
  readonly #lookups: Lookups;
  readonly #snapshots: Snapshots;
  readonly #stop: StopFlag;
  #closed: Promise<void> | null = null;

  constructor(base: Base, recovery: Recovery) {
    this.#base = base;
    const { options, fs, clock, listener, setTimer, manifest, files, tables, memtables, jobs } = base;
    const { directory } = options;
    this.versionMax = Math.max(manifest.state.versionMax, recovery.versionMax);
    this.#stop = new StopFlag(options.stop);
    this.#log = new CommitLog({
      fs,
      directory,
      durability: options.durability,
      syncIntervalMs: options.syncIntervalMs,
      segmentBytes: options.memory.options.arenaBytes,
      clock,
      setTimer,
      onFailure: (error) => this.#writePath.logFailed(error),
    });
    const onFailed = (why: string): void => this.#writePath.makeReadOnly(why);
    const background = {
      memtables,
      tables,
      manifest,
      jobs,
      setTimer,
      openTable: (meta: TableMeta): TableReader => files.open(meta),
      removeTable: (number: number): void => files.remove(files.path(number)),
      takeNumbers: (count: number): number => files.takeNumbers(count),
      nextNumber: (): number => files.nextNumber,
      onEvent: listener.onEvent.bind(listener),
      onFailed,
    };
    this.#flusher = new Flusher({
      ...background,
      makeJob: (slot, number) => this.#flushJob(slot, number),
      retireSegment: (number) => this.#retire(number),
      onFlushed: () => this.#compactor.poke(),
    });
    this.#compactor = new Compactor(
      {
        ...background,
        clock,
        options: {
          dial: options.compactionDial,
          ownership: options.ownership,
          flushBytes: options.memory.options.arenaBytes,
          tableTargetBytes: options.tableTargetBytes,
          compactionsMax: options.compactionsMax,
          gcGraceMs: options.gcGraceMs,
        },
        makeJob: (planned) => this.#compactJob(planned),
        freeBytes: () => files.freeBytes(),
        onChange: () => this.#weighTables(),
      },
      files.broken,
    );
    this.#writePath = new WritePath({
      memtables,
      log: this.#log,
      listener,
      setTimer,
      freeBytes: () => fs.freeBytes(directory),
      prepareLog: () => recovery.closeNewest?.(),
      onClosed: () => this.#flusher.poke(),
      stalledStatus: () => this.#flusher.stalledStatus,
      onReadOnly: (why) => this.#endBackground(why),
      nextSegment: recovery.nextSegment,
      seq: recovery.seq,
    });
    this.#lookups = new Lookups(memtables, tables, listener, (error) => files.report(error));
    this.#snapshots = new Snapshots(tables);
    if (recovery.damage === null) this.#start();
    else this.#writePath.makeReadOnly(recovery.damage.message);
  }

  #start(): void {
    this.#writePath.start();
    this.#log.prepareSpare();
    this.#flusher.poke();
    this.#compactor.poke();
    this.#weighTables();
  }

  #flushJob(slot: number, number: number): FlushJob {
    const { memory } = this.#base.options;
    return { ...contextOf(this.#base), kind: 'flush', memory, slot, number };
  }
  #compactJob(planned: PlannedJob): CompactJob {
    const { gcGraceMs, compactionBytesPerSecond } = this.#base.options;
    return {
      ...contextOf(this.#base),
      ...planned,
      kind: 'compact',
      gcGraceMs,
      rateBytesPerSecond: compactionBytesPerSecond,
    };
  }

  /** A segment that stays is deleted at the next start. */
  #retire(number: number): void {
    try {
      this.#log.retire(number);
    } catch (error) {
      if (!(error instanceof RingKvError)) throw error;
      this.#base.listener.onEvent('warn', `log segment ${number} stays behind: ${error.message}`);
    }
  }

  /** Writes wait while more tables overlap than allowed and compaction is at work on it. */
  #weighTables(): void {
    const { tablesMax } = this.#base.options;
    const { overlapMax, canLower } = this.#compactor;
    const why =
      overlapMax >= tablesMax && canLower
        ? `${overlapMax} tables overlap, the limit is ${tablesMax}: compaction is behind`
        : '';
    this.#writePath.hold(why);
  }

  #endBackground(why: string): void {
    const error = new ReadOnlyError(`the shard takes no more writes: ${why}`);
    void this.#flusher.stop(error);
    void this.#compactor.stop(error);
  }

  append(record: RecordFields, also: RecordFields | null): number {
    return this.#writePath.append(record, also);
  }
  commit(): void {
    this.#writePath.commit();
  }
  get durableSeq(): number {
    return this.#writePath.durableSeq;
  }

  lookup(
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    latest: boolean,
    ticket: number,
  ): EngineLookup {
    if (this.#closed !== null) throw new ClosedError('the shard is closed');
    return this.#lookups.lookup(keyspace, tokenHi, tokenLo, key, latest, ticket);
  }
  get found(): FoundRecord {
    return this.#lookups.found;
  }

  scan(request: ScanRequest, snapshot: number, visit: ScanVisitor): ScanEnd {
    this.#checkOpen();
    const { tables, memtables, options, clock, files } = this.#base;
    const version = snapshot === 0 ? tables.current : this.#snapshots.versionOf(snapshot);
    try {
      return scanPage(
        request,
        version,
        snapshot === 0 ? memtables : null,
        options.ownership,
        clock.nowMs(),
        visit,
      );
    } catch (error) {
      files.report(error);
      throw error;
    }
  }

  async snapshot(): Promise<number> {
    this.#snapshots.reserve();
    try {
      await this.flush();
      this.#checkOpen();
      return this.#snapshots.take();
    } catch (error) {
      this.#snapshots.giveUp();
      throw error;
    }
  }
  releaseSnapshot(snapshot: number): void {
    this.#snapshots.release(snapshot);
  }
  snapshotFiles(snapshot: number): readonly string[] {
    return this.#snapshots.versionOf(snapshot).tables.map(({ path }) => path);
  }

  async flush(): Promise<void> {
    this.#checkOpen();
    const seq = this.#writePath.lastSeq;
    for (;;) {
      if (this.#writePath.readOnly) throw new ReadOnlyError(this.#writePath.refused);
      if (this.#writePath.full) throw new DiskFullError(this.#writePath.refused);
      const firstSeq = this.#writePath.active?.firstSeq ?? 0;
      if (firstSeq === 0 || firstSeq > seq || this.#writePath.rotate()) break;
      // Every slot is taken: the oldest memtable goes first.
      const oldest = this.#base.memtables.oldest;
      assert(oldest !== undefined, 'flush: no slot is free and no memtable is there');
      await this.#flusher.flushed(oldest.firstSeq);
      this.#checkOpen();
    }
    await this.#flusher.flushed(seq);
  }

  async compactAll(): Promise<void> {
    await this.flush();
    await this.#compactor.compactAll();
  }

  async verify(): Promise<JobResult> {
    this.#checkOpen();
    const { tables, jobs, fs, options, memtables } = this.#base;
    const version = tables.acquire();
    try {
      const metas = [...version.metas.values()];
      const result = await jobs.run({ ...contextOf(this.#base), kind: 'verify', tables: metas });
      const damage = await verifyEngine(fs, options.directory, memtables, this.#log.segment);
      return { ...result, damage: [...result.damage, ...damage] };
    } finally {
      tables.release(version);
    }
  }

  stats(): EngineStats {
    const { memtables, tables, files } = this.#base;
    const { writer } = memtables;
    const cache = files.cacheStats();
    const walBytes = memtables.items.reduce((sum, { end }) => sum + end, 0);
    return {
      memtableBytes: walBytes + (writer.active >= 0 ? Math.max(0, writer.head - this.#log.end) : 0),
      frozenMemtables: memtables.items.length - (this.#writePath.active === null ? 0 : 1),
      tables: tables.current.tables.length,
      tableBytes: tables.bytes,
      tableRecords: tables.records,
      walBytes,
      blockCacheBytes: cache.bytes,
      blockCacheHits: cache.hits,
      blockCacheMisses: cache.misses,
      flushes: this.#flusher.count,
      compactions: this.#compactor.count,
      compactionBytesWritten: this.#compactor.bytesWritten,
      compactionsPending: this.#compactor.pending,
      snapshots: this.#snapshots.count,
      writesRefused: this.#writePath.refused,
    };
  }

  #checkOpen(): void {
    if (this.#closed !== null) throw new ClosedError('the shard is closed');
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const { manifest, tables } = this.#base;
    this.#stop.raise();
    const closed = new ClosedError('the shard is closed');
    const jobs = Promise.all([this.#flusher.stop(closed), this.#compactor.stop(closed)]);
    await this.#writePath.end();
    await jobs;
    const failure = await new Promise<Error | null>((resolve) => this.#log.close(resolve));
    if (failure !== null && !this.#writePath.readOnly)
      this.#base.listener.onEvent('error', `the commit log ended with an error: ${failure.message}`);
    manifest.close();
    this.#flusher.close();
    this.#lookups.close();
    tables.close();
  }
}
