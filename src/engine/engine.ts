/**
 * Opens one shard's LSM (lsm-engine.ts) from its files, on the shard's thread. In this order, each step with what
 * the one before made durable: the manifest; files that it does not name, deleted; the tables; the commit log,
 * into memtables. A crash between any two steps leaves what the next start opens just as well.
 */
import type { Clock } from '../base/clock.ts';
import { ConfigurationError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { MemtableSetMemory } from '../ipc/contract.ts';
import { SharedMemtableWriter } from '../ipc/memtable-writer.ts';
import { RecordCacheWriter } from '../ipc/record-cache-writer.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { processorWaitUs } from '../vfs/processor-wait.ts';
import type { EngineListener, EngineOptions, FlushJob, JobRunner, ShardEngine } from './contract.ts';
import { contextOf, type EngineBase } from './engine-base.ts';
import { recoverLog } from './engine-recovery.ts';
import { EngineTables } from './engine-tables.ts';
import { LsmEngine } from './lsm-engine.ts';
import { Manifest } from './manifest.ts';
import { MemtableList } from './memtable-list.ts';
import type { ReadMode } from './read-policy.ts';
import { TableAccess } from './table-access.ts';
import { setUnreferencedTimer } from './wal-options.ts';
import type { SetTimer } from './write-path-parts.ts';

/** What tests put something of their own in the place of. */
export interface EngineParts {
  readonly setTimer: SetTimer;
  /** How blocks of tables are read: 'adaptive' where it is missing. */
  readonly readMode: ReadMode;
  /** As GroupPace; where it is missing, limits.walInlineUsMax on the real file system, and never on others. */
  readonly inlineUsMax: number;
  /** As CommitLogOptions. */
  readonly defer: (run: () => void) => void;
}

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
    const isReal = options.fileSystem.kind === 'real';
    const setTimer = parts.setTimer ?? setUnreferencedTimer;
    const access = new TableAccess(options, fs, clock, parts.readMode ?? 'adaptive');
    const files = new EngineTables(options, fs, access, manifest, listener);
    files.deleteOrphans();
    const tables = files.openAll();
    try {
      const memtables = new MemtableList(
        options.memory,
        new SharedMemtableWriter(options.memory),
        options.keepsFlushed ?? false,
      );
      const base: EngineBase = {
        options,
        fs,
        jobs,
        clock,
        listener,
        setTimer,
        defer: parts.defer ?? queueMicrotask,
        inlineUsMax: parts.inlineUsMax ?? (isReal ? limits.walInlineUsMax : 0),
        processorWaitUs: isReal ? processorWaitUs : () => 0,
        manifest,
        files,
        tables,
        memtables,
        recordCache: options.recordCache ? new RecordCacheWriter(options.recordCache) : null,
      };
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

/** At the start: makes a recovered segment a table before the engine serves. */
async function flushRecovered(
  base: EngineBase,
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
