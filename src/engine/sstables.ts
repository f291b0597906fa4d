/** The tables that jobs work with: SSTables, read by cursors and around any cache. One per thread. */
import type { Clock } from '../base/clock.ts';
import { systemSeed } from '../base/random.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { BlockCache } from './block-cache.ts';
import type { TableBuilder, TableMeta, TableOptions, TableReader } from './contract.ts';
import type { TableFactory, TableVerification } from './job-tools.ts';
import { ReadPolicy } from './read-policy.ts';
import { createTable } from './table-builder.ts';
import { readTableMeta } from './table-file.ts';
import { tableNumberOfName, tablePath } from './table-format.ts';
import { openTable } from './table-reader.ts';
import { verifyTable } from './table-verify.ts';

export class Sstables implements TableFactory {
  readonly #cache = new BlockCache(0);
  readonly #policy: ReadPolicy;

  constructor(clock: Clock) {
    this.#policy = new ReadPolicy(clock, 'sync');
  }
  path(directory: string, number: number): string {
    return tablePath(directory, number);
  }
  numberOf(name: string): number {
    return tableNumberOfName(name);
  }
  create(fs: FileSystem, directory: string, number: number, options: TableOptions): TableBuilder {
    return createTable(fs, directory, number, options, systemSeed(), this.#cache.buffers);
  }
  open(fs: FileSystem, directory: string, meta: TableMeta): TableReader {
    return openTable(fs, directory, meta, this.#cache, this.#policy);
  }
  verify(
    fs: FileSystem,
    path: string,
    meta: TableMeta | null,
    onBytes: (bytes: number) => void,
  ): TableVerification {
    // The footer is read twice: progress counts bytes of the file.
    const size = fileBytes(fs, path);
    let read = 0;
    const damage = verifyTable(fs, path, meta, (bytes) => {
      const more = Math.min(bytes, size - read);
      read += more;
      onBytes(more);
    });
    if (damage.length > 0) return { bytes: read, records: 0, damage };
    const { records } = meta ?? readTableMeta(fs, path, this.numberOf(path.slice(path.lastIndexOf('/') + 1)));
    return { bytes: read, records, damage };
  }
}

function fileBytes(fs: FileSystem, path: string): number {
  const file = fs.open(path, 'read');
  try {
    return file.size();
  } finally {
    file.close();
  }
}
