/**
 * Writes one SSTable (table-format.ts) from records in order, on the thread of a background job. Memory: one
 * block, one index page, one filter page, the write buffer, and 24 bytes a page for the roots. Invariants:
 *
 * 1. Records come in rising order of (token, keyspace, key), one a key: anything else breaks the merge above.
 * 2. A page is written only behind the data frames that it describes.
 * 3. Nobody opens the file before `finish` returned: its bytes are synced then, its name is not.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { systemSeed } from '../base/random.ts';
import {
  comparePlace,
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  keyAt,
  keyspaceAt,
  recordBytesAt,
  recordFault,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../base/record.ts';
import type { File, FileSystem } from '../vfs/file-system.ts';
import type { TableBuilder, TableMeta, TableOptions } from './contract.ts';
import { NO_BUFFER, type TableBuffer, TableBuffers } from './table-buffers.ts';
import { FilterBuilder } from './table-filter-builder.ts';
import {
  encodeFooter,
  FOOTER_BYTES,
  FRAME_DATA,
  FRAME_INDEX,
  FRAME_INDEX_ROOT,
  type TableShape,
  tablePath,
} from './table-format.ts';
import { IndexBuilder } from './table-index-builder.ts';
import { TableOutput } from './table-output.ts';
import { TableStatistics } from './table-statistics.ts';

const RECORDS_START = 64;

/** Starts table `number`, whose file must not exist. `salt` tells its frames from those of all other tables. */
export function createTable(
  fs: FileSystem,
  directory: string,
  number: number,
  options: TableOptions,
  salt = systemSeed(),
  buffers = new TableBuffers(),
): TableBuilder {
  assert(
    options.blockBytes >= 1 && options.blockBytes <= limits.tableBlockBytesMax,
    () => `table: blocks of ${options.blockBytes} bytes, at most ${limits.tableBlockBytesMax}`,
  );
  assert(
    options.bloomBitsPerKey >= 0 && options.bloomBitsPerKey <= limits.tableBloomBitsPerKeyMax,
    () => `table: ${options.bloomBitsPerKey} filter bits a key, at most ${limits.tableBloomBitsPerKeyMax}`,
  );
  return new SortedTableBuilder(fs, directory, number, options, salt >>> 0, buffers);
}

class SortedTableBuilder implements TableBuilder {
  readonly number: number;
  readonly #fs: FileSystem;
  readonly #path: string;
  readonly #options: TableOptions;
  readonly #salt: number;
  readonly #file: File;
  readonly #output: TableOutput;
  readonly #statistics = new TableStatistics();
  readonly #filter: FilterBuilder;
  readonly #page = new IndexBuilder();
  readonly #root = new IndexBuilder();
  #dataFrames = 0;
  #open = true;

  readonly #buffers: TableBuffers;
  #block: TableBuffer;
  #used = 0;
  #starts = new Uint32Array(RECORDS_START);
  #count = 0;
  /** The record before: its place, and whether the first record of the block shares its token. */
  #lastHi = 0;
  #lastLo = 0;
  #lastKeyspace = 0;
  #lastKey = new Uint8Array(limits.keyBytesMax);
  #lastKeyLength = -1;
  #sharesToken = false;

  constructor(
    fs: FileSystem,
    directory: string,
    number: number,
    options: TableOptions,
    salt: number,
    buffers: TableBuffers,
  ) {
    this.number = number;
    this.#fs = fs;
    this.#path = tablePath(directory, number);
    this.#options = options;
    this.#salt = salt;
    this.#buffers = buffers;
    this.#block = buffers.take(2 * options.blockBytes + 64);
    this.#filter = new FilterBuilder(options.bloomBitsPerKey);
    this.#file = fs.open(this.#path, 'create');
    this.#output = new TableOutput(this.#file, salt, buffers);
  }

  get bytes(): number {
    return this.#output.position + this.#used;
  }
  get records(): number {
    return this.#statistics.records;
  }

  add(view: DataView, bytes: Uint8Array, offset: number): void {
    const fault = recordFault(bytes, offset, bytes.length);
    assert(fault === '', fault);
    this.#checkOrder(view, bytes, offset);
    const size = recordBytesAt(view, offset);
    assert(offset + size <= bytes.length, 'table: a record without its padding');
    if (this.#used > 0 && this.#used + size > this.#options.blockBytes) this.#endBlock();
    const tokenHi = tokenHiAt(view, offset);
    const tokenLo = tokenLoAt(view, offset);
    const sameToken = this.#lastKeyLength >= 0 && tokenHi === this.#lastHi && tokenLo === this.#lastLo;
    if (this.#used === 0) this.#sharesToken = sameToken;
    if (!sameToken) this.#filter.add(tokenHi, tokenLo);
    this.#copyIn(bytes, offset, size);
    this.#remember(view, bytes, offset, tokenHi, tokenLo);
    const flags = flagsAt(view, offset);
    this.#statistics.add(
      tokenHi,
      tokenLo,
      versionAt(view, offset),
      (flags & FLAG_TOMBSTONE) !== 0,
      (flags & FLAG_EXPIRING) === 0 ? 0 : expiresMsAt(view, offset),
    );
  }

  finish(): TableMeta {
    assert(this.#open && this.#statistics.records > 0, 'table: finished without records, or twice');
    this.#endBlock();
    this.#filter.endPages(this.#output, true);
    this.#endPage();
    const filterRootAt = this.#output.position;
    const filterRootBytes = this.#filter.endRoot(this.#output);
    const indexRootAt = this.#output.position;
    const indexPages = this.#root.count;
    const indexRootBytes = this.#writeIndex(this.#root, FRAME_INDEX_ROOT);
    const shape: TableShape = {
      salt: this.#salt,
      hashes: this.#filter.hashes,
      dataFrames: this.#dataFrames,
      indexPages,
      filterPages: this.#filter.pages,
      filterRootAt,
      filterRootBytes,
      indexRootAt,
      indexRootBytes,
    };
    const meta = this.#statistics.meta(this.number, this.#output.position + FOOTER_BYTES);
    this.#output.append(encodeFooter({ meta, shape }));
    this.#output.flush();
    this.#file.syncSync();
    this.#file.close();
    this.#end();
    return meta;
  }

  abandon(): void {
    this.#end();
    this.#file.close();
    if (this.#fs.exists(this.#path)) this.#fs.unlink(this.#path);
  }

  #end(): void {
    this.#open = false;
    this.#output.release();
    this.#buffers.give(this.#block);
    this.#block = NO_BUFFER;
  }

  #checkOrder(view: DataView, bytes: Uint8Array, offset: number): void {
    assert(this.#open, 'table: a record after finish or abandon');
    if (this.#lastKeyLength < 0) return;
    const hi = tokenHiAt(view, offset);
    // Tokens are uniform: nearly always the first word decides, and the key need not be looked at.
    if (hi > this.#lastHi) return;
    const key = this.#lastKey.subarray(0, this.#lastKeyLength);
    assert(
      comparePlace(view, bytes, offset, this.#lastHi, this.#lastLo, this.#lastKeyspace, key) > 0,
      () => `table ${this.number}: record ${this.records} does not come after the one before`,
    );
  }

  #copyIn(bytes: Uint8Array, offset: number, size: number): void {
    const needed = this.#used + size + 4 * (this.#count + 2);
    if (needed > this.#block.bytes.length) {
      const wider = this.#buffers.take(needed);
      wider.bytes.set(this.#block.bytes.subarray(0, this.#used));
      this.#buffers.give(this.#block);
      this.#block = wider;
    }
    this.#block.bytes.set(bytes.subarray(offset, offset + size), this.#used);
    if (this.#count === this.#starts.length) {
      const wider = new Uint32Array(2 * this.#count);
      wider.set(this.#starts);
      this.#starts = wider;
    }
    this.#starts[this.#count++] = this.#used;
    this.#used += size;
  }

  #remember(view: DataView, bytes: Uint8Array, offset: number, tokenHi: number, tokenLo: number): void {
    const key = keyAt(view, bytes, offset);
    if (key.length > this.#lastKey.length) this.#lastKey = new Uint8Array(key.length);
    this.#lastKey.set(key);
    this.#lastKeyLength = key.length;
    this.#lastKeyspace = keyspaceAt(view, offset);
    this.#lastHi = tokenHi;
    this.#lastLo = tokenLo;
  }

  /** Writes the block as a data frame, and the pages that became full with it. */
  #endBlock(): void {
    const { bytes, view } = this.#block;
    let end = this.#used;
    for (let i = 0; i < this.#count; i++, end += 4) view.setUint32(end, this.#starts[i] as number, true);
    view.setUint32(end, this.#count, true);
    const position = this.#output.position;
    const length = this.#output.frame(
      FRAME_DATA,
      this.#count,
      bytes,
      0,
      end + 4,
      this.#options.compression === 'snappy',
    );
    this.#page.add(
      tokenHiAt(view, 0),
      tokenLoAt(view, 0),
      position,
      length,
      keyspaceAt(view, 0),
      this.#sharesToken ? keyAt(view, bytes, 0) : null,
    );
    this.#dataFrames++;
    this.#used = 0;
    this.#count = 0;
    this.#filter.endPages(this.#output, false);
    if (this.#page.bytes >= limits.tableIndexPageBytes) this.#endPage();
  }

  #endPage(): void {
    if (this.#page.count === 0) return;
    const { firstHi, firstLo, firstKeyspace, firstKey } = this.#page;
    const position = this.#output.position;
    const length = this.#writeIndex(this.#page, FRAME_INDEX);
    this.#root.add(firstHi, firstLo, position, length, firstKeyspace, firstKey);
  }

  /** The block's buffer is free between two blocks: pages are put together in it. */
  #writeIndex(index: IndexBuilder, kind: number): number {
    const length = index.bytes;
    const entries = index.count;
    if (length > this.#block.bytes.length) {
      this.#buffers.give(this.#block);
      this.#block = this.#buffers.take(length);
    }
    const { bytes, view } = this.#block;
    index.take(bytes, view, 0);
    return this.#output.frame(kind, entries, bytes, 0, length, false);
  }
}
