/**
 * What a background job works with beside the file system, given to it so that tests can put their own in its
 * place: tables, time, and a way to wait.
 */
import type { Clock } from '../base/clock.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { JobResult, TableBuilder, TableMeta, TableOptions, TableReader } from './contract.ts';

export type Damage = JobResult['damage'][number];

export interface TableVerification {
  /** Bytes read. */
  readonly bytes: number;
  /** Records of a sound table, 0 of a damaged one. */
  readonly records: number;
  readonly damage: readonly Damage[];
}

export interface TableFactory {
  path(directory: string, number: number): string;
  /** The number in a table's file name, -1 where the name is none. */
  numberOf(name: string): number;
  /** A new file; there must be none of that number. */
  create(fs: FileSystem, directory: string, number: number, options: TableOptions): TableBuilder;
  /** For cursors only: the reader gets no cache. */
  open(fs: FileSystem, directory: string, meta: TableMeta): TableReader;
  /**
   * Reads every byte and compares with `meta` where the manifest has one. Damage is returned; throws IoError
   * where the file cannot be read. `onBytes` hears of bytes read, and may throw to end it.
   */
  verify(
    fs: FileSystem,
    path: string,
    meta: TableMeta | null,
    onBytes: (bytes: number) => void,
  ): TableVerification;
}

export interface JobTools {
  readonly tables: TableFactory;
  readonly clock: Clock;
  /** Comes back after `ms` at the earliest, and never before other work of the thread had its turn. */
  pause(ms: number): Promise<void>;
}

export function systemPause(ms: number): Promise<void> {
  return new Promise((done) => {
    if (ms > 0) setTimeout(done, ms);
    else setImmediate(done);
  });
}
