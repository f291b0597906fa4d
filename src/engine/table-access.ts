/**
 * How an engine reaches its tables: files, one block cache and one read policy for all of them, on the shard's
 * thread. Tests may choose how blocks are read.
 */
import type { Clock } from '../base/clock.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { BlockCache } from './block-cache.ts';
import type { EngineOptions, TableMeta, TableReader } from './contract.ts';
import { type ReadMode, ReadPolicy } from './read-policy.ts';
import { tableNumberOfName, tablePath } from './table-format.ts';
import { openTable } from './table-reader.ts';

export class TableAccess {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #cache: BlockCache;
  readonly #policy: ReadPolicy;

  constructor(options: EngineOptions, fs: FileSystem, clock: Clock, mode: ReadMode) {
    this.#fs = fs;
    this.#directory = options.directory;
    this.#cache = new BlockCache(options.blockCacheBytes);
    this.#policy = new ReadPolicy(clock, mode);
  }

  path(number: number): string {
    return tablePath(this.#directory, number);
  }
  /** The number in a table's file name, -1 where the name is none. */
  numberOfName(name: string): number {
    return tableNumberOfName(name);
  }
  open(meta: TableMeta): TableReader {
    return openTable(this.#fs, this.#directory, meta, this.#cache, this.#policy);
  }

  get cacheBytes(): number {
    return this.#cache.usedBytes;
  }
  get cacheHits(): number {
    return this.#cache.hits;
  }
  get cacheMisses(): number {
    return this.#cache.misses;
  }
  /** Reads of files for lookups, done at once and by the thread pool. */
  get syncReads(): number {
    return this.#policy.syncReads;
  }
  get asyncReads(): number {
    return this.#policy.asyncReads;
  }
  get readBytes(): number {
    return this.#cache.readBytes;
  }
}
