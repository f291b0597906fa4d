/**
 * The tables in force, and those that somebody still reads. Owned by the shard's thread. After LevelDB's
 * versions. Invariants:
 *
 * 1. A TableVersion never changes. `current` holds exactly the tables that the durable manifest names.
 * 2. A table is closed and its file deleted only when no version that somebody holds contains it: a lookup in
 *    flight, a snapshot or a verification holds the version that it started with.
 * 3. `flushes` rises with every table that comes from a memtable, and before that memtable goes.
 */
import { assert } from '../base/assert.ts';
import type { SeekTarget } from '../ipc/contract.ts';
import type { TableMeta, TableReader, TableRecordCursor } from './contract.ts';
import { newestFirst } from './manifest-state.ts';
import { formRuns } from './merge-run.ts';
import { compareTokens } from './token-range.ts';

class OpenTable {
  readonly reader: TableReader;
  /** Versions that contain it. */
  references = 0;
  obsolete = false;
  constructor(reader: TableReader) {
    this.reader = reader;
  }
}

export class TableVersion {
  /** By versionMax, the highest first. */
  readonly tables: readonly TableReader[];
  readonly metas: ReadonlyMap<number, TableMeta>;
  references = 1;
  #runs: readonly (readonly TableReader[])[] | null = null;

  constructor(readers: ReadonlyMap<number, TableReader>) {
    this.metas = new Map([...readers].map(([number, { meta }]) => [number, meta]));
    this.tables = newestFirst(this.metas.values()).map(({ number }) => readers.get(number) as TableReader);
  }

  /** The tables in as few runs that do not overlap as there can be, each in order of tokens. */
  get runs(): readonly (readonly TableReader[])[] {
    if (this.#runs === null) {
      const readers = new Map(this.tables.map((reader) => [reader.meta.number, reader]));
      this.#runs = formRuns([...this.metas.values()]).map((run) =>
        run.map(({ number }) => readers.get(number) as TableReader),
      );
    }
    return this.#runs;
  }

  /** One cursor for each run that has records at or after `from`, to be released. */
  cursors(from: SeekTarget | null): TableRecordCursor[] {
    return this.runs.map((run) => new TableRunCursor(run, from));
  }
}

export class TableSet {
  #current: TableVersion;
  readonly #open = new Map<number, OpenTable>();
  readonly #delete: (path: string) => void;
  #flushes = 0;
  #bytes = 0;
  #records = 0;

  /** `remove` deletes the file of a table that is closed and in no version any more; it does not throw. */
  constructor(readers: readonly TableReader[], remove: (path: string) => void) {
    this.#delete = remove;
    this.#current = this.#makeVersion(new Map(readers.map((reader) => [reader.meta.number, reader])));
  }

  get current(): TableVersion {
    return this.#current;
  }
  get flushes(): number {
    return this.#flushes;
  }
  /** Of the tables in force. */
  get bytes(): number {
    return this.#bytes;
  }
  get records(): number {
    return this.#records;
  }

  /** Puts the next version into force, as the durable manifest has it. */
  change(add: readonly TableReader[], remove: readonly number[], flushed: boolean): void {
    const readers = new Map(this.#current.tables.map((reader) => [reader.meta.number, reader]));
    for (const number of remove) {
      const table = this.#open.get(number);
      assert(table !== undefined && readers.delete(number), () => `tables: ${number} is not in force`);
      table.obsolete = true;
    }
    for (const reader of add) readers.set(reader.meta.number, reader);
    const before = this.#current;
    this.#current = this.#makeVersion(readers);
    if (flushed) this.#flushes++;
    this.release(before);
  }

  /** The version in force, held until `release`. */
  acquire(): TableVersion {
    this.#current.references++;
    return this.#current;
  }

  release(version: TableVersion): void {
    assert(version.references > 0, 'tables: a version released too often');
    version.references--;
    if (version.references > 0) return;
    for (const { meta } of version.tables) {
      const table = this.#open.get(meta.number);
      assert(table !== undefined, 'tables: a version of a closed table');
      table.references--;
      if (table.references > 0) continue;
      this.#open.delete(meta.number);
      retire(table, this.#delete);
    }
  }

  /** Closes every file, and deletes those that were kept for a snapshot alone. */
  close(): void {
    for (const table of this.#open.values()) retire(table, this.#delete);
  }

  #makeVersion(readers: ReadonlyMap<number, TableReader>): TableVersion {
    const version = new TableVersion(readers);
    this.#bytes = 0;
    this.#records = 0;
    for (const [number, reader] of readers) {
      let table = this.#open.get(number);
      if (table === undefined) {
        table = new OpenTable(reader);
        this.#open.set(number, table);
      }
      table.references++;
      this.#bytes += reader.meta.bytes;
      this.#records += reader.meta.records;
    }
    return version;
  }
}

/** Deletes first: the blocks of a file are given back with its last descriptor, which is closed in the background. */
function retire({ reader, obsolete }: OpenTable, remove: (path: string) => void): void {
  if (obsolete) remove(reader.path);
  reader.close();
}

const NO_BYTES = new Uint8Array(0);

/** Steps through tables that do not overlap, one after another; each is sought only when its turn has come. */
class TableRunCursor implements TableRecordCursor {
  bytes: Uint8Array = NO_BYTES;
  view: DataView = new DataView(NO_BYTES.buffer);
  offset = 0;
  valid = false;
  readonly #run: readonly TableReader[];
  #next: number;
  #cursor: TableRecordCursor | null = null;

  constructor(run: readonly TableReader[], from: SeekTarget | null) {
    this.#run = run;
    this.#next = from === null ? 0 : firstAtOrAfter(run, from.tokenHi, from.tokenLo);
    this.#cursor = run[this.#next++]?.cursor(from) ?? null;
    this.#show();
  }

  next(): void {
    this.#cursor?.next();
    this.#show();
  }

  release(): void {
    this.#cursor?.release();
    this.valid = false;
  }

  #show(): void {
    while (this.#cursor === null || !this.#cursor.valid) {
      this.#cursor = this.#run[this.#next++]?.cursor(null) ?? null;
      if (this.#cursor !== null) continue;
      this.valid = false;
      return;
    }
    this.bytes = this.#cursor.bytes;
    this.view = this.#cursor.view;
    this.offset = this.#cursor.offset;
    this.valid = true;
  }
}

/** Index of the first table of the run that ends at or after a token. */
function firstAtOrAfter(run: readonly TableReader[], hi: number, lo: number): number {
  let low = 0;
  let high = run.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const { lastHi, lastLo } = (run[middle] as TableReader).meta.range;
    if (compareTokens(lastHi, lastLo, hi, lo) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
