/**
 * Cursors over tables that do not overlap, one after another, each open only while it is being read. So a
 * compaction holds as many files open as tables overlap, however many it reads. Owned by the job's thread.
 */
import { defined } from '../base/assert.ts';
import type { RecordCursor, SeekTarget } from '../ipc/contract.ts';
import type { TableMeta, TableReader, TableRecordCursor } from './contract.ts';
import { compareFirst, compareTokens } from './token-range.ts';

/** Sorts tables into as few runs as there can be: as many as overlap at one token. */
export function formRuns(tables: readonly TableMeta[]): TableMeta[][] {
  const runs: TableMeta[][] = [];
  for (const table of [...tables].sort((a, b) => compareFirst(a.range, b.range) || a.number - b.number)) {
    const { firstHi, firstLo } = table.range;
    const run = runs.find((one) => {
      const last = defined(one.at(-1), 'runs: an empty run').range;
      return compareTokens(last.lastHi, last.lastLo, firstHi, firstLo) < 0;
    });
    if (run === undefined) runs.push([table]);
    else run.push(table);
  }
  return runs;
}

export class RunCursor implements RecordCursor {
  bytes: Uint8Array = new Uint8Array(0);
  view: DataView = new DataView(this.bytes.buffer);
  offset = 0;
  valid = false;
  readonly #tables: readonly TableMeta[];
  readonly #open: (meta: TableMeta) => TableReader;
  #next = 0;
  #from: SeekTarget | null = null;
  #reader: TableReader | null = null;
  #cursor: TableRecordCursor | null = null;

  /** `tables` in order of their tokens, none overlapping another. Opens nothing before `start`. */
  constructor(tables: readonly TableMeta[], open: (meta: TableMeta) => TableReader) {
    this.#tables = tables;
    this.#open = open;
  }

  /** Goes to the first record at or after `from`. After a throw `close` closes what is open. */
  start(from: SeekTarget | null = null): void {
    this.#from = from;
    this.#show();
    this.#from = null;
  }

  next(): void {
    this.#cursor?.next();
    this.#show();
  }

  close(): void {
    this.#cursor?.release();
    this.#reader?.close();
    this.#reader = null;
    this.#cursor = null;
    this.valid = false;
  }

  #show(): void {
    while (this.#cursor === null || !this.#cursor.valid) {
      this.close();
      const table = this.#tables[this.#next];
      if (table === undefined) return;
      this.#next++;
      this.#reader = this.#open(table);
      this.#cursor = this.#reader.cursor(this.#from);
    }
    this.bytes = this.#cursor.bytes;
    this.view = this.#cursor.view;
    this.offset = this.#cursor.offset;
    this.valid = true;
  }
}
