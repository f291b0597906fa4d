/**
 * The tables that a job writes. Owned by the job's thread. Invariants:
 *
 * 1. `done` comes back only when every output and its name are durable.
 * 2. `discard` leaves none of them, and touches no file with another number than theirs.
 * 3. A file that already has an output's number was left behind by the same job before a crash: no manifest
 *    names it, because numbers are given out once. It goes before the output is begun.
 */
import { assert } from '../base/assert.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { JobContext, TableBuilder, TableMeta } from './contract.ts';
import type { TableFactory } from './job-tools.ts';

export class JobOutputs {
  readonly #fs: FileSystem;
  readonly #context: JobContext;
  readonly #tables: TableFactory;
  readonly #firstNumber: number;
  readonly #max: number;
  readonly #finished: TableMeta[] = [];
  /** Numbers from #firstNumber on whose files may be there. */
  #begun = 0;
  #builder: TableBuilder | null = null;
  #finishedBytes = 0;

  constructor(fs: FileSystem, context: JobContext, tables: TableFactory, firstNumber: number, max: number) {
    assert(max >= 1, 'job: no number for an output');
    this.#fs = fs;
    this.#context = context;
    this.#tables = tables;
    this.#firstNumber = firstNumber;
    this.#max = max;
  }

  /** The open output; the next one is begun where none is. */
  get current(): TableBuilder {
    return this.#builder ?? this.#begin();
  }
  get open(): boolean {
    return this.#builder !== null;
  }
  /** Whether a number is left after the open output's. */
  get canCut(): boolean {
    return this.#builder !== null && this.#begun < this.#max;
  }
  /** Bytes of the open output so far, 0 where none is. */
  get openBytes(): number {
    return this.#builder?.bytes ?? 0;
  }
  /** Bytes written so far, the open output's included. */
  get bytes(): number {
    return this.#finishedBytes + this.openBytes;
  }

  /** Ends the open output, synced. */
  finish(): void {
    const builder = this.#builder;
    if (builder === null) return;
    const meta = builder.finish();
    this.#builder = null;
    this.#finished.push(meta);
    this.#finishedBytes += meta.bytes;
  }

  done(): readonly TableMeta[] {
    this.finish();
    if (this.#finished.length > 0) this.#fs.syncDirectory(this.#context.directory);
    return this.#finished;
  }

  /** Deletes what there is. Throws nothing: the error that led here counts, and opening deletes orphans. */
  discard(): void {
    this.#attempt(() => this.#builder?.abandon());
    this.#builder = null;
    for (let i = 0; i < this.#begun; i++) this.#attempt(() => this.#deleteFile(this.#firstNumber + i));
  }

  #begin(): TableBuilder {
    assert(this.#begun < this.#max, () => `job: more than ${this.#max} outputs`);
    const number = this.#firstNumber + this.#begun;
    this.#begun++;
    this.#deleteFile(number);
    const { directory, table } = this.#context;
    this.#builder = this.#tables.create(this.#fs, directory, number, table);
    return this.#builder;
  }

  #deleteFile(number: number): void {
    const path = this.#tables.path(this.#context.directory, number);
    if (this.#fs.exists(path)) this.#fs.unlink(path);
  }

  #attempt(action: () => void): void {
    try {
      action();
    } catch {
      // Best effort: a file that stays is an orphan, deleted when the shard opens.
    }
  }
}
