/**
 * An open SSTable on the shard's thread: point lookups through filter page, index page and data frame, each
 * by way of the block cache (block-source.ts); cursors go around it (table-cursor.ts). Memory beside the
 * cache: the two roots, 24 bytes for 11 MB of data and for 3,276 keys: 2 MB for a table of 256 GB. Invariants:
 *
 * 1. A lookup that was PENDING comes back once, with an outcome or an error, also after `close`: the file
 *    stays open until then.
 * 2. The record in `found` stays in place until the next lookup on this table.
 */
import { assert } from '../base/assert.ts';
import { ClosedError, CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { comparePlace, recordFault } from '../base/record.ts';
import type { SeekTarget } from '../ipc/contract.ts';
import type { File, FileSystem } from '../vfs/file-system.ts';
import type { BlockCache } from './block-cache.ts';
import { countAt, entryBytes, entryPosition, findEntry, findRecord, recordOffsetAt } from './block-search.ts';
import { BlockSource, type BlockWaiter } from './block-source.ts';
import { bloomMayContain } from './bloom.ts';
import {
  type EngineLookup,
  type FoundRecord,
  LOOKUP_ABSENT,
  LOOKUP_FOUND,
  LOOKUP_PENDING,
  type TableLookupListener,
  type TableMeta,
  type TableReader,
  type TableRecordCursor,
} from './contract.ts';
import type { ReadPolicy } from './read-policy.ts';
import { TableCursor } from './table-cursor.ts';
import { newFields, type Payload, readFooter, readFrame } from './table-file.ts';
import { FILTER_TRAILER_BYTES } from './table-filter-builder.ts';
import {
  FRAME_DATA,
  FRAME_FILTER,
  FRAME_FILTER_ROOT,
  FRAME_INDEX,
  FRAME_INDEX_ROOT,
  type TableShape,
  tablePath,
} from './table-format.ts';
import { metaDifferences } from './table-statistics.ts';

const NO_KEY = new Uint8Array(0);
/** Objects and buffers of a reader, roughly. */
const READER_BYTES = 2048;

/**
 * Opens table `meta.number` for one thread. Throws CorruptionError, also where the footer says something else
 * than the manifest; FormatVersionError; IoError.
 */
export function openTable(
  fs: FileSystem,
  directory: string,
  meta: TableMeta,
  cache: BlockCache,
  policy: ReadPolicy,
): TableReader {
  const file = fs.open(tablePath(directory, meta.number), 'read');
  try {
    const { meta: stored, shape } = readFooter(file, meta.number);
    const differences = metaDifferences(stored, meta);
    if (differences.length > 0)
      throw new CorruptionError(
        file.path,
        stored.bytes,
        `the footer and the manifest differ: ${differences.join(', ')}`,
      );
    const fields = newFields();
    const root = readFrame(
      file,
      FRAME_INDEX_ROOT,
      shape.indexRootAt,
      shape.indexRootBytes,
      shape.salt,
      fields,
    );
    const filterRoot =
      shape.filterRootBytes === 0
        ? null
        : readFrame(file, FRAME_FILTER_ROOT, shape.filterRootAt, shape.filterRootBytes, shape.salt, fields);
    return new SortedTableReader(file, meta, shape, root, filterRoot, cache, policy);
  } catch (error) {
    file.close();
    throw error;
  }
}

/** A lookup on its way: the frame it needs next. */
class TableLookup implements BlockWaiter {
  readonly #reader: SortedTableReader;
  ticket = 0;
  listener: TableLookupListener | null = null;
  keyspace = 0;
  tokenHi = 0;
  tokenLo = 0;
  key: Uint8Array = NO_KEY;
  kind = 0;
  position = 0;
  length = 0;
  constructor(reader: SortedTableReader) {
    this.#reader = reader;
  }
  onBlock(error: Error | null): void {
    this.#reader.resume(this, error);
  }
}

class SortedTableReader implements TableReader {
  readonly meta: TableMeta;
  readonly path: string;
  readonly memoryBytes: number;
  readonly found: FoundRecord;
  readonly #file: File;
  readonly #shape: TableShape;
  readonly #root: Payload;
  readonly #filterRoot: Payload | null;
  readonly #cache: BlockCache;
  readonly #blocks: BlockSource;
  /** The lookup that has not had to wait yet. */
  readonly #direct = new TableLookup(this);
  #pending = 0;
  #foundSlot = 0;
  #closed = false;

  constructor(
    file: File,
    meta: TableMeta,
    shape: TableShape,
    root: Payload,
    filterRoot: Payload | null,
    cache: BlockCache,
    policy: ReadPolicy,
  ) {
    this.meta = meta;
    this.path = file.path;
    this.memoryBytes = READER_BYTES + root.bytes.length + (filterRoot?.bytes.length ?? 0);
    this.#file = file;
    this.#shape = shape;
    this.#root = root;
    this.#filterRoot = filterRoot;
    this.#cache = cache;
    this.#blocks = new BlockSource(file, shape.salt, cache, policy);
    this.found = { bytes: cache.bytes, view: cache.view, offset: 0, seq: 0 };
  }

  lookup(
    keyspace: number,
    tokenHi: number,
    tokenLo: number,
    key: Uint8Array,
    ticket: number,
    listener: TableLookupListener,
  ): EngineLookup {
    if (this.#closed) throw new ClosedError(`${this.path} is closed`);
    this.#unpin();
    const lookup = this.#direct;
    lookup.keyspace = keyspace;
    lookup.tokenHi = tokenHi;
    lookup.tokenLo = tokenLo;
    lookup.key = key;
    const outcome = this.#begin(lookup) ? this.#advance(lookup) : LOOKUP_ABSENT;
    if (outcome === LOOKUP_PENDING) this.#park(lookup, ticket, listener);
    lookup.key = NO_KEY;
    return outcome;
  }

  cursor(from: SeekTarget | null): TableRecordCursor {
    if (this.#closed) throw new ClosedError(`${this.path} is closed`);
    const { buffers } = this.#cache;
    return new TableCursor(this.#file, this.meta, this.#shape, this.#root, buffers, from, () => this.#closed);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closeFile();
  }

  /** Goes on with a lookup whose frame has come. */
  resume(lookup: TableLookup, error: Error | null): void {
    let outcome: EngineLookup = LOOKUP_ABSENT;
    let failure = error;
    if (failure === null)
      try {
        this.#unpin();
        outcome = this.#advance(lookup);
      } catch (thrown) {
        failure = thrown as Error;
      }
    if (outcome === LOOKUP_PENDING) {
      this.#blocks.wait(lookup.kind, lookup.position, lookup.length, lookup);
      return;
    }
    this.#pending--;
    lookup.listener?.onTableLookup(lookup.ticket, outcome, failure);
    this.#closeFile();
  }

  #park(from: TableLookup, ticket: number, listener: TableLookupListener): void {
    assert(
      this.#pending < limits.shardRequestsMax,
      () => `table: more than ${limits.shardRequestsMax} lookups wait`,
    );
    this.#pending++;
    const lookup = new TableLookup(this);
    lookup.ticket = ticket;
    lookup.listener = listener;
    lookup.keyspace = from.keyspace;
    lookup.tokenHi = from.tokenHi;
    lookup.tokenLo = from.tokenLo;
    // Not slice(): of a Buffer that would be a view.
    lookup.key = new Uint8Array(from.key);
    lookup.kind = from.kind;
    lookup.position = from.position;
    lookup.length = from.length;
    this.#blocks.wait(lookup.kind, lookup.position, lookup.length, lookup);
  }

  /** Points the lookup at its first frame; false where the table cannot hold the key. */
  #begin(lookup: TableLookup): boolean {
    const { tokenHi, tokenLo } = lookup;
    const { firstHi, firstLo, lastHi, lastLo } = this.meta.range;
    if (tokenHi < firstHi || (tokenHi === firstHi && tokenLo < firstLo)) return false;
    if (tokenHi > lastHi || (tokenHi === lastHi && tokenLo > lastLo)) return false;
    const root = this.#filterRoot;
    return root === null
      ? this.#point(lookup, FRAME_INDEX, this.#root.view, this.#root.bytes, 0, this.#root.end)
      : this.#point(lookup, FRAME_FILTER, root.view, root.bytes, 0, root.end);
  }

  /** Points the lookup at the frame that an index payload names for its place. */
  #point(
    lookup: TableLookup,
    kind: number,
    view: DataView,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    const { tokenHi, tokenLo, keyspace, key } = lookup;
    const entry = findEntry(view, bytes, start, end, tokenHi, tokenLo, keyspace, key);
    if (entry < 0) return false;
    lookup.kind = kind;
    lookup.position = entryPosition(view, start, entry);
    lookup.length = entryBytes(view, start, entry);
    return true;
  }

  #advance(lookup: TableLookup): EngineLookup {
    const blocks = this.#blocks;
    const root = this.#root;
    for (;;) {
      if (!blocks.load(lookup.kind, lookup.position, lookup.length)) return LOOKUP_PENDING;
      const { view, bytes, start, end } = blocks;
      if (lookup.kind === FRAME_DATA) return this.#search(lookup);
      if (lookup.kind === FRAME_FILTER) {
        const bits = (end - start - FILTER_TRAILER_BYTES) * 8;
        const hashes = view.getUint32(end - FILTER_TRAILER_BYTES, true);
        if (!bloomMayContain(bytes, start, bits, hashes, lookup.tokenHi, lookup.tokenLo))
          return LOOKUP_ABSENT;
        if (!this.#point(lookup, FRAME_INDEX, root.view, root.bytes, 0, root.end)) return LOOKUP_ABSENT;
      } else if (!this.#point(lookup, FRAME_DATA, view, bytes, start, end)) return LOOKUP_ABSENT;
    }
  }

  #search(lookup: TableLookup): EngineLookup {
    const { view, bytes, start, end, slot } = this.#blocks;
    const { tokenHi, tokenLo, keyspace, key } = lookup;
    const index = findRecord(view, bytes, start, end, tokenHi, tokenLo, keyspace, key);
    const count = countAt(view, end);
    if (index === count) return LOOKUP_ABSENT;
    const offset = recordOffsetAt(view, start, end, count, index);
    const fault = recordFault(bytes, offset, end);
    if (fault !== '') throw new CorruptionError(this.path, lookup.position, fault);
    if (comparePlace(view, bytes, offset, tokenHi, tokenLo, keyspace, key) !== 0) return LOOKUP_ABSENT;
    if (slot !== 0) this.#cache.pin(slot);
    this.#foundSlot = slot;
    this.found.bytes = bytes;
    this.found.view = view;
    this.found.offset = offset;
    return LOOKUP_FOUND;
  }

  /** The record that the last lookup found may go. */
  #unpin(): void {
    if (this.#foundSlot !== 0) this.#cache.unpin(this.#foundSlot);
    this.#foundSlot = 0;
  }

  #closeFile(): void {
    if (!this.#closed || this.#pending > 0) return;
    this.#unpin();
    this.#blocks.close();
  }
}
