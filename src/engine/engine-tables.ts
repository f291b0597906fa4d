/**
 * The files of a shard's tables: numbers, opening, deleting, and who hears of damage. Owned by the shard's
 * thread. A number is given out once: the counter starts above every table that the manifest or a file names.
 */
import { join } from 'node:path';
import { CorruptionError, IoError, RingKvError } from '../base/errors.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { BrokenTable } from './broken-table.ts';
import type { EngineListener, EngineOptions, TableMeta, TableReader } from './contract.ts';
import type { Manifest } from './manifest.ts';
import { listOrphans } from './manifest-reader.ts';
import type { TableAccess } from './table-access.ts';
import { TableSet } from './table-set.ts';
import { segmentPath } from './wal-recovery.ts';

/** Errors named once; a block that is asked for a thousand times a second must not flood the log. */
const REPORTED_MAX = 1000;
/** The process lacks something; the file may be sound. */
const SHORTAGES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EACCES', 'EPERM']);

export class EngineTables {
  /** Numbers of tables in force that could not be opened. */
  readonly broken = new Set<number>();
  readonly access: TableAccess;
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #manifest: Manifest;
  readonly #listener: EngineListener;
  readonly #reported = new Set<string>();
  #nextNumber: number;

  constructor(
    options: EngineOptions,
    fs: FileSystem,
    access: TableAccess,
    manifest: Manifest,
    listener: EngineListener,
  ) {
    this.#fs = fs;
    this.#directory = options.directory;
    this.access = access;
    this.#manifest = manifest;
    this.#listener = listener;
    this.#nextNumber = fs
      .readdir(options.directory)
      .reduce((next, name) => Math.max(next, access.numberOfName(name) + 1), manifest.state.nextNumber);
  }

  get nextNumber(): number {
    return this.#nextNumber;
  }
  /** The first of `count` numbers that nobody else gets. */
  takeNumbers(count: number): number {
    const first = this.#nextNumber;
    this.#nextNumber += count;
    return first;
  }
  path(number: number): string {
    return this.access.path(number);
  }
  open(meta: TableMeta): TableReader {
    return this.access.open(meta);
  }
  /** Deletes what no manifest names. What cannot be deleted stays, and does no harm. */
  deleteOrphans(): void {
    const names = listOrphans(this.#fs, this.#directory, this.#manifest, (name) =>
      this.access.numberOfName(name),
    );
    for (const name of names) this.remove(join(this.#directory, name));
  }
  removeSegment(segment: number): void {
    this.remove(segmentPath(this.#directory, segment));
  }
  remove(path: string): void {
    try {
      if (this.#fs.exists(path)) this.#fs.discard(path);
    } catch (error) {
      if (!(error instanceof RingKvError)) throw error;
      this.#listener.onEvent('warn', `${path} stays behind: ${error.message}`);
    }
  }

  /** Tells of damage, once each. */
  report(error: unknown): void {
    if (!(error instanceof CorruptionError || error instanceof IoError)) return;
    if (this.#reported.has(error.message) || this.#reported.size >= REPORTED_MAX) return;
    this.#reported.add(error.message);
    this.#listener.onEvent('error', error.message);
  }

  /** Bytes free on the disk; where that cannot be told, the writing will show. */
  freeBytes(): number {
    try {
      return this.#fs.freeBytes(this.#directory);
    } catch (error) {
      this.report(error);
      return Number.MAX_SAFE_INTEGER;
    }
  }

  /** Opens the tables in force. One that is damaged or gone takes part as a BrokenTable. */
  openAll(): TableSet {
    const readers: TableReader[] = [];
    try {
      for (const meta of this.#manifest.state.tables.values()) readers.push(this.#openOrBreak(meta));
    } catch (error) {
      for (const reader of readers) reader.close();
      throw error;
    }
    return new TableSet(readers, (path) => this.remove(path));
  }

  #openOrBreak(meta: TableMeta): TableReader {
    try {
      return this.open(meta);
    } catch (error) {
      const damaged =
        error instanceof CorruptionError || (error instanceof IoError && !SHORTAGES.has(error.errno));
      if (!damaged) throw error;
      this.broken.add(meta.number);
      this.report(error);
      return new BrokenTable(meta, this.path(meta.number), error);
    }
  }
}
