/** What an engine and its parts are put together from. Owned by the shard's thread. */
import type { Clock } from '../base/clock.ts';
import type { RecordCacheWriter } from '../ipc/record-cache-writer.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { EngineListener, EngineOptions, JobContext, JobRunner } from './contract.ts';
import type { EngineTables } from './engine-tables.ts';
import type { Manifest } from './manifest.ts';
import type { MemtableList } from './memtable-list.ts';
import type { TableSet } from './table-set.ts';
import type { SetTimer } from './write-path-parts.ts';

export interface EngineBase {
  readonly options: EngineOptions;
  readonly fs: FileSystem;
  readonly jobs: JobRunner;
  readonly clock: Clock;
  readonly listener: EngineListener;
  readonly setTimer: SetTimer;
  readonly inlineUsMax: number;
  readonly processorWaitUs: () => number;
  readonly defer: (run: () => void) => void;
  readonly manifest: Manifest;
  readonly files: EngineTables;
  readonly tables: TableSet;
  readonly memtables: MemtableList;
  readonly recordCache: RecordCacheWriter | null;
}

export const contextOf = ({ options }: EngineBase): JobContext => ({
  fileSystem: options.fileSystem,
  directory: options.directory,
  table: options.table,
  ownership: options.ownership,
  stop: options.stop,
});
