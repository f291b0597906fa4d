/**
 * One shard's LSM, put together from its parts and running; engine.ts opens it. Owned by the shard's thread.
 * What happens where:
 *
 *   write-path.ts       appends, group commit, full disk          flusher.ts    memtables to tables
 *   lookups.ts          point reads                               compactor.ts  tables to fewer tables
 *   scans.ts            pages in order                            snapshots.ts  pinned states
 *   table-set.ts        tables in force, and those still read engine-trees.ts  hash trees
 */
import { assert } from '../base/assert.ts';
import { ClosedError, DiskFullError, ReadOnlyError, RingKvError } from '../base/errors.ts';
import type { RecordFields } from '../base/record.ts';
import { createJobUrgency, JobUrgency } from '../ipc/job-urgency.ts';
import { StopFlag } from '../ipc/stop-flag.ts';
import { Compactor, type PlannedJob } from './compactor.ts';
import type {
  CompactJob,
  EngineLookup,
  EngineStats,
  FlushJob,
  FoundRecord,
  JobResult,
  RawPageRequest,
  RawVisitor,
  ScanEnd,
  ScanRequest,
  ScanVisitor,
  ShardEngine,
  TableMeta,
  TableReader,
} from './contract.ts';
import { contextOf, type EngineBase } from './engine-base.ts';
import type { Recovery } from './engine-recovery.ts';
import { EngineTrees } from './engine-trees.ts';
import { verifyEngine } from './engine-verify.ts';
import { Flusher } from './flusher.ts';
import { Lookups } from './lookups.ts';
import { PurgeHorizons } from './purge-horizons.ts';
import { rawPage } from './raw-pages.ts';
import { scanPage } from './scans.ts';
import { Snapshots } from './snapshots.ts';
import type { TreePart, TreeSums } from './tree-contract.ts';
import { CommitLog } from './wal.ts';
import { WritePath } from './write-path.ts';

export class LsmEngine implements ShardEngine {
  readonly versionMax: number;
  readonly #base: EngineBase;
  readonly #log: CommitLog;
  readonly #writePath: WritePath;
  readonly #flusher: Flusher;
  readonly #compactor: Compactor;
  readonly #lookups: Lookups;
  readonly #snapshots: Snapshots;
  readonly #trees: EngineTrees;
  readonly #stop: StopFlag;
  readonly #urgency = createJobUrgency();
  readonly #horizons: PurgeHorizons;
  #closed: Promise<void> | null = null;

  constructor(base: EngineBase, recovery: Recovery) {
    this.#base = base;
    const { options, fs, clock, listener, setTimer, manifest, files, tables, memtables, jobs } = base;
    const { recordCache } = base;
    const { directory } = options;
    this.versionMax = Math.max(manifest.state.versionMax, recovery.versionMax);
    this.#stop = new StopFlag(options.stop);
    this.#horizons = new PurgeHorizons(options, base.defer, () => this.#compactor.poke());
    this.#log = new CommitLog({
      fs,
      directory,
      durability: options.durability,
      syncIntervalMs: options.syncIntervalMs,
      segmentBytes: options.memory.options.arenaBytes,
      clock,
      setTimer,
      inlineUsMax: base.inlineUsMax,
      processorWaitUs: base.processorWaitUs,
      defer: base.defer,
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
      onFlushed: () => {
        this.#compactor.poke();
        this.#weighTables();
      },
    });
    this.#compactor = new Compactor(
      {
        ...background,
        urgency: new JobUrgency(this.#urgency),
        tablesMax: options.tablesMax,
        clock,
        options: {
          dial: options.compactionDial,
          ownership: options.ownership,
          flushBytes: options.memory.options.arenaBytes,
          tableTargetBytes: options.tableTargetBytes,
          compactionsMax: options.compactionsMax,
          gcGraceMs: options.gcGraceMs,
        },
        purgeBefore: () => this.#horizons.highest,
        makeJob: (planned) => this.#compactJob(planned),
        freeBytes: () => files.freeBytes(),
        onChange: () => this.#weighTables(),
      },
      files.broken,
    );
    this.#writePath = new WritePath({
      memtables,
      recordCache,
      log: this.#log,
      listener,
      setTimer,
      freeBytes: () => fs.freeBytes(directory),
      prepareLog: () => recovery.closeNewest?.(),
      onClosed: () => this.#flusher.poke(),
      refuseWrite: () => this.#flusher.refuseWrite(),
      onReadOnly: (why) => this.#endBackground(why),
      nextSegment: recovery.nextSegment,
      seq: recovery.seq,
    });
    const report = (error: Error): void => files.report(error);
    this.#lookups = new Lookups(memtables, tables, recordCache, listener, report, recovery.damage);
    this.#snapshots = new Snapshots(tables);
    this.#trees = new EngineTrees(base);
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
      urgency: this.#urgency,
      kind: 'compact',
      gcGraceMs,
      ...this.#horizons.forJob(),
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

  lookupMemory(keyspace: number, tokenHi: number, tokenLo: number, key: Uint8Array): boolean {
    this.#checkOpen();
    return this.#lookups.lookupMemory(keyspace, tokenHi, tokenLo, key);
  }
  tablesVersionMax(tokenHi: number, tokenLo: number): number {
    return this.#lookups.tablesVersionMax(tokenHi, tokenLo);
  }
  rawPage(request: RawPageRequest, visit: RawVisitor): boolean {
    this.#checkOpen();
    const { tables, memtables, options, files } = this.#base;
    try {
      const version = request.memoryOnly === true ? null : tables.current;
      return rawPage(request, version, memtables, options.ownership, visit);
    } catch (error) {
      files.report(error);
      throw error;
    }
  }
  async sumTree(part: TreePart): Promise<TreeSums> {
    this.#checkOpen();
    return this.#trees.sum(part);
  }
  readonly setPurgeBefore = (vnode: number, version: number): void => this.#horizons.set(vnode, version);
  readonly purgeBefore = (vnode: number): number => this.#horizons.of(vnode);

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
    const { memtables, tables, files, recordCache } = this.#base;
    const { writer } = memtables;
    const { cacheBytes, cacheHits, cacheMisses, syncReads, asyncReads } = files.access;
    const walBytes = memtables.items.reduce((sum, { end }) => sum + end, 0);
    return {
      memtableBytes: walBytes + (writer.active >= 0 ? Math.max(0, writer.head - this.#log.end) : 0),
      frozenMemtables: memtables.items.length - (this.#writePath.active === null ? 0 : 1),
      keptMemtables: memtables.keptSlots,
      tables: tables.current.tables.length,
      tableBytes: tables.bytes,
      tableRecords: tables.records,
      walBytes,
      appendedBytes: this.#writePath.appendedBytes,
      walBytesWritten: this.#log.bytesWritten,
      flushBytesWritten: this.#flusher.bytesWritten,
      tableLookups: this.#lookups.inTables,
      tablesAsked: this.#lookups.tablesAsked,
      tableReads: syncReads + asyncReads,
      tableReadBytes: files.access.readBytes,
      tablesOverlap: this.#compactor.overlapMax,
      compactionLevels: this.#compactor.levels,
      blockCacheBytes: cacheBytes,
      blockCacheHits: cacheHits,
      blockCacheMisses: cacheMisses,
      blockReadsDirect: syncReads,
      blockReadsPooled: asyncReads,
      recordCacheBytes: recordCache?.usedBytes ?? 0,
      recordCacheFills: recordCache?.fills ?? 0,
      recordCacheEvictions: recordCache?.evictions ?? 0,
      flushes: this.#flusher.count,
      compactions: this.#compactor.count,
      compactionBytesWritten: this.#compactor.bytesWritten,
      compactionsPending: this.#compactor.pending,
      compactionsRunning: this.#compactor.running,
      snapshots: this.#snapshots.count,
      writesRefused: this.#refused,
    };
  }

  /** Flushes without room stop writes when every memtable is full; until then they are no reason. */
  get #refused(): string {
    const { refused } = this.#writePath;
    return refused === '' && this.#base.memtables.freeSlots === 0 ? this.#flusher.full : refused;
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
    const jobs = Promise.all([this.#flusher.stop(closed), this.#compactor.stop(closed), this.#trees.quiet()]);
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
