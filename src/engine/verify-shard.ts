/**
 * Checks a shard's directory that no shard has open: every byte of the manifest in force, of the commit log and
 * of the tables. Reads only. For the command line, which holds the data directory's lock.
 *
 * Damage does not end it, so that one run tells all there is: only a directory without a readable manifest
 * leaves it unknown which files count, and then each is checked by itself.
 */
import { join } from 'node:path';
import { CorruptionError, IoError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { TableMeta } from './contract.ts';
import type { Damage, TableFactory } from './job-tools.ts';
import { MANIFEST_TEMPORARY, manifestOfName } from './manifest-format.ts';
import { manifestPath, type ReadManifest, readManifest } from './manifest-reader.ts';
import { DAMAGE_MAX } from './verify-job.ts';
import { segmentOfName, spareOfName } from './wal-format.ts';
import { recoverSegment, segmentPath } from './wal-recovery.ts';

export interface ShardVerification {
  readonly tables: number;
  readonly segments: number;
  readonly bytes: number;
  /** Records in tables and in the log, older versions of a key included. */
  readonly records: number;
  /** At most DAMAGE_MAX, in the order of reading. */
  readonly damage: readonly Damage[];
  /** Names of RingKV's files that are in use no more or never were: the shard deletes them when it opens. */
  readonly orphans: readonly string[];
  /** Names that no part of a shard gives to its files. */
  readonly foreign: readonly string[];
}

/** Both in bytes; `total` is what the files had when the check began. */
export type VerifyProgress = (done: number, total: number) => void;

/** Throws IoError where the directory cannot be read; a file that cannot be read is damage. */
export function verifyShard(
  fs: FileSystem,
  directory: string,
  tables: TableFactory,
  onProgress: VerifyProgress,
): ShardVerification {
  return new ShardVerifier(fs, directory, tables, onProgress).run();
}

class ShardVerifier {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #tables: TableFactory;
  readonly #onProgress: VerifyProgress;
  readonly #damage: Damage[] = [];
  #total = 0;
  #bytes = 0;
  #records = 0;

  constructor(fs: FileSystem, directory: string, tables: TableFactory, onProgress: VerifyProgress) {
    this.#fs = fs;
    this.#directory = directory;
    this.#tables = tables;
    this.#onProgress = onProgress;
  }

  run(): ShardVerification {
    const names = this.#fs.readdir(this.#directory);
    const manifest = this.#manifest();
    const state = manifest?.state ?? null;
    const sizes = new Map(names.map((name) => [name, this.#sizeOf(name)]));
    const segments = this.#segmentsToRead(names, state?.oldestLiveSegment ?? null);
    const metas: (TableMeta | number)[] =
      state === null ? this.#tableNumbers(names) : [...state.tables.values()];
    const read = new Set<string>(segments.map((number) => segmentPath(this.#directory, number)));
    for (const meta of metas) read.add(this.#pathOf(meta));
    if (manifest !== null) read.add(manifestPath(this.#directory, manifest.number));
    for (const [name, size] of sizes) if (read.has(join(this.#directory, name))) this.#total += size;

    if (manifest !== null) this.#advance(manifest.end);
    const newest = Math.max(0, ...segments);
    for (const number of segments) this.#segment(number, number === newest);
    for (const meta of metas) this.#table(meta);
    const rest = names.filter((name) => !read.has(join(this.#directory, name)) && spareOfName(name) < 0);
    return {
      tables: metas.length,
      segments: segments.length,
      bytes: this.#bytes,
      records: this.#records,
      damage: this.#damage,
      orphans: rest.filter((name) => this.#isOurs(name)),
      foreign: rest.filter((name) => !this.#isOurs(name)),
    };
  }

  #manifest(): ReadManifest | null {
    try {
      return readManifest(this.#fs, this.#directory);
    } catch (error) {
      this.#note(this.#directory, error);
      return null;
    }
  }

  /** Segments from `oldest` on that are there, all where it is not known; one that is missing between them is damage. */
  #segmentsToRead(names: readonly string[], oldest: number | null): number[] {
    const numbers = names.map(segmentOfName).filter((number) => number >= (oldest ?? 0));
    numbers.sort((a, b) => a - b);
    let expected = oldest ?? numbers[0] ?? 0;
    for (const number of numbers) {
      if (number !== expected)
        this.#note(
          segmentPath(this.#directory, expected),
          new CorruptionError(
            segmentPath(this.#directory, expected),
            0,
            `the segment is missing, and segment ${number} is there`,
          ),
        );
      expected = number + 1;
    }
    return numbers;
  }

  #segment(number: number, newest: boolean): void {
    const path = segmentPath(this.#directory, number);
    try {
      const size = Math.min(this.#sizeOf(path.slice(this.#directory.length + 1)), limits.memtableBytesMax);
      const bytes = new Uint8Array(size);
      const options = { number, newest, bytes, view: new DataView(bytes.buffer) };
      const found = recoverSegment(this.#fs, path, options, () => undefined);
      this.#records += found.records;
      if (found.damage !== null) this.#note(path, found.damage);
      this.#advance(size);
    } catch (error) {
      this.#note(path, error);
    }
  }

  #table(meta: TableMeta | number): void {
    const path = this.#pathOf(meta);
    const onBytes = (bytes: number): void => this.#advance(bytes);
    try {
      const found = this.#tables.verify(this.#fs, path, typeof meta === 'number' ? null : meta, onBytes);
      this.#records += found.records;
      for (const one of found.damage) this.#push(one);
    } catch (error) {
      this.#note(path, error);
    }
  }

  #tableNumbers(names: readonly string[]): number[] {
    return names.map((name) => this.#tables.numberOf(name)).filter((number) => number >= 0);
  }
  #pathOf(meta: TableMeta | number): string {
    return this.#tables.path(this.#directory, typeof meta === 'number' ? meta : meta.number);
  }
  #isOurs(name: string): boolean {
    if (name === MANIFEST_TEMPORARY) return true;
    return this.#tables.numberOf(name) >= 0 || segmentOfName(name) >= 0 || manifestOfName(name) >= 0;
  }

  #sizeOf(name: string): number {
    try {
      const file = this.#fs.open(join(this.#directory, name), 'read');
      try {
        return file.size();
      } finally {
        file.close();
      }
    } catch (error) {
      // A directory, or a file that will be reported where it is read.
      if (error instanceof IoError) return 0;
      throw error;
    }
  }

  #advance(bytes: number): void {
    this.#bytes += bytes;
    this.#onProgress(this.#bytes, this.#total);
  }
  #note(path: string, error: unknown): void {
    if (error instanceof CorruptionError) {
      const { file, offset } = error;
      this.#push({ file, offset, what: error.message.slice(`${file}: corrupt at byte ${offset}: `.length) });
    } else if (error instanceof IoError) this.#push({ file: path, offset: 0, what: error.message });
    else throw error;
  }
  #push(one: Damage): void {
    if (this.#damage.length < DAMAGE_MAX) this.#damage.push(one);
  }
}
