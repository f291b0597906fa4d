/**
 * Turns closed memtables into tables. Owned by the shard's thread. Invariants:
 *
 * 1. Jobs run for several memtables at a time, and come into force in the order of the memtables.
 * 2. In this order: the table is written and durable; it can be opened; the manifest names it and no longer
 *    needs the segment, durably; readers see the table; the memtable's slot is free; the segment goes. So at
 *    every step a record is in the log or in a table in force, and in a memtable or a table that readers see.
 * 3. A flush that fails for want of room or of a thread is repeated for ever, at growing intervals; one that
 *    fails otherwise limits.flushAttemptsMax times; one that finds a broken invariant or damage not at all.
 */
import { AssertionError } from '../base/assert.ts';
import { ClosedError, CorruptionError, DiskFullError, ResourceError, RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { FlushJob, JobRunner, TableMeta, TableReader } from './contract.ts';
import type { Manifest } from './manifest.ts';
import type { Memtable, MemtableList } from './memtable-list.ts';
import type { TableSet } from './table-set.ts';
import type { SetTimer } from './write-path-parts.ts';

export interface FlusherParts {
  readonly memtables: MemtableList;
  readonly tables: TableSet;
  readonly manifest: Manifest;
  readonly jobs: JobRunner;
  readonly setTimer: SetTimer;
  readonly makeJob: (slot: number, number: number) => FlushJob;
  readonly openTable: (meta: TableMeta) => TableReader;
  readonly removeTable: (number: number) => void;
  readonly takeNumbers: (count: number) => number;
  /** Highest number given out, plus one. */
  readonly nextNumber: () => number;
  readonly retireSegment: (number: number) => void;
  readonly onEvent: (level: 'info' | 'warn' | 'error', message: string) => void;
  /** After every memtable that became a table. */
  readonly onFlushed: () => void;
  /** Flushing ends for good. */
  readonly onFailed: (why: string) => void;
}

interface Flush {
  readonly memtable: Memtable;
  running: boolean;
  attempts: number;
  /** Its table, open and not in force yet; null before, and where the memtable is empty. */
  reader: TableReader | null;
  done: boolean;
}

interface Waiter {
  readonly seq: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Flusher {
  readonly #parts: FlusherParts;
  /** Oldest first: the closed memtables at the front of the list. */
  readonly #flushes: Flush[] = [];
  readonly #waiters: Waiter[] = [];
  #installing = false;
  #stopped: Error | null = null;
  #count = 0;
  #bytesWritten = 0;
  #retryMs: number = limits.jobRetryMsMin;
  #backingOff = false;
  /** What the disk said when the last flush found no room, '' where it found some. */
  #full = '';
  /** Writes were refused for it. */
  #stalled = false;
  #running = 0;
  #onQuiet: (() => void)[] = [];

  constructor(parts: FlusherParts) {
    this.#parts = parts;
  }

  get count(): number {
    return this.#count;
  }
  /** Of tables, those included that did not come into force. */
  get bytesWritten(): number {
    return this.#bytesWritten;
  }
  /** A write finds no memtable free: the status to refuse it with. */
  refuseWrite(): number {
    if (this.#full === '') return Status.OVERLOADED;
    if (!this.#stalled) this.#parts.onEvent('error', `writes are refused: ${this.#full}`);
    this.#stalled = true;
    return Status.DISK_FULL;
  }
  /** Why flushes stand still for lack of room, '' where they do not. */
  get full(): string {
    return this.#full;
  }

  /** Looks for work: memtables were closed, or a timer fired. */
  poke(): void {
    if (this.#stopped !== null || this.#backingOff) return;
    const { items } = this.#parts.memtables;
    for (let i = 0; i < limits.flushesMax; i++) {
      const memtable = items[i];
      if (memtable === undefined || !memtable.closed) break;
      let flush = this.#flushes[i];
      if (flush === undefined) {
        flush = { memtable, running: false, attempts: 0, reader: null, done: false };
        this.#flushes.push(flush);
      }
      if (!flush.running && !flush.done) this.#start(flush);
    }
    this.#install();
  }

  #start(flush: Flush): void {
    const { memtables, jobs, makeJob, takeNumbers } = this.#parts;
    const { slot } = flush.memtable;
    if (slot < 0 || memtables.writer.recordCount(slot) === 0) {
      flush.done = true;
      return;
    }
    flush.running = true;
    this.#running++;
    const number = takeNumbers(1);
    jobs.run(makeJob(slot, number)).then(
      (result) => {
        this.#ended(flush);
        this.#bytesWritten += result.bytesWritten;
        this.#written(flush, result.tables[0]);
      },
      (error: unknown) => {
        this.#ended(flush);
        this.#retry(flush, asError(error));
      },
    );
  }

  #ended(flush: Flush): void {
    flush.running = false;
    this.#running--;
    this.#tellQuiet();
  }
  #tellQuiet(): void {
    if (this.#running === 0 && !this.#installing) for (const quiet of this.#onQuiet.splice(0)) quiet();
  }

  #written(flush: Flush, meta: TableMeta | undefined): void {
    if (this.#stopped !== null) {
      // Nobody will read it: the next start flushes the log again.
      if (meta !== undefined) this.#parts.removeTable(meta.number);
      return;
    }
    if (meta === undefined) {
      this.#fail(new AssertionError('a flush of a memtable with records wrote no table'));
      return;
    }
    try {
      flush.reader = this.#parts.openTable(meta);
    } catch (error) {
      // Nothing rests on the file yet: it is written anew.
      if (error instanceof RingKvError) this.#parts.removeTable(meta.number);
      this.#retry(flush, asError(error));
      return;
    }
    flush.done = true;
    this.#install();
  }

  /** Brings the oldest flush into force, if it is done. */
  #install(): void {
    const flush = this.#flushes[0];
    if (flush === undefined || !flush.done || this.#installing || this.#stopped !== null) return;
    this.#installing = true;
    const addTables = flush.reader === null ? [] : [flush.reader.meta];
    const oldestLiveSegment = flush.memtable.segment + 1;
    const edit = { addTables, oldestLiveSegment, nextNumber: this.#parts.nextNumber() };
    this.#parts.manifest.append(edit, (error) => {
      this.#installing = false;
      if (error === null) this.#installed(flush);
      else if (error instanceof ResourceError) this.#backOff(error);
      else this.#fail(error);
      this.#tellQuiet();
    });
  }

  #installed(flush: Flush): void {
    const { tables, memtables, retireSegment, onFlushed } = this.#parts;
    this.#flushes.shift();
    if (flush.reader !== null) tables.change([flush.reader], [], true);
    memtables.removeOldest();
    retireSegment(flush.memtable.segment);
    this.#count++;
    this.#retryMs = limits.jobRetryMsMin;
    this.#foundRoom();
    this.#wake();
    onFlushed();
    this.poke();
  }

  #foundRoom(): void {
    const wasFull = this.#full !== '';
    this.#full = '';
    this.#stalled = false;
    if (wasFull) this.#parts.onEvent('info', 'there is room on the disk again: memtables are flushed');
  }

  #retry(flush: Flush, error: Error): void {
    if (this.#stopped !== null) return;
    const final =
      !(error instanceof RingKvError) ||
      error instanceof CorruptionError ||
      (!(error instanceof ResourceError) && ++flush.attempts >= limits.flushAttemptsMax);
    if (final) this.#fail(error);
    else this.#backOff(error);
  }

  #backOff(error: Error): void {
    this.#full = error instanceof DiskFullError ? error.message : '';
    if (error instanceof DiskFullError) this.#rejectWaiters(error);
    if (this.#backingOff) return;
    this.#backingOff = true;
    const ms = this.#retryMs;
    this.#retryMs = Math.min(2 * ms, limits.jobRetryMsMax);
    this.#parts.onEvent('warn', `a flush failed and is repeated in ${ms} ms: ${error.message}`);
    this.#parts.setTimer(ms, () => {
      this.#backingOff = false;
      this.poke();
    });
  }

  #fail(error: Error): void {
    if (this.#stopped !== null) return;
    this.#stopped = error;
    this.#rejectWaiters(error);
    this.#parts.onFailed(`memtables cannot be flushed: ${error.message}`);
  }

  /** Resolves when every record up to `seq` stands in a table in force. */
  flushed(seq: number): Promise<void> {
    if (this.#stopped !== null) return Promise.reject(this.#stopped);
    return new Promise((resolve, reject) => {
      this.#waiters.push({ seq, resolve, reject });
      this.#wake();
    });
  }

  /** What the lowest seq in a memtable is, Infinity where all are empty. */
  #lowestSeq(): number {
    return (
      this.#parts.memtables.items.find(({ firstSeq }) => firstSeq > 0)?.firstSeq ?? Number.POSITIVE_INFINITY
    );
  }

  #wake(): void {
    const lowest = this.#lowestSeq();
    for (const waiter of this.#waiters.splice(0))
      if (waiter.seq < lowest) waiter.resolve();
      else this.#waiters.push(waiter);
  }

  #rejectWaiters(error: Error): void {
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }

  /** Starts nothing more. Resolves when no job runs and no edit of the manifest is in flight. */
  stop(error: Error): Promise<void> {
    this.#stopped ??= error;
    this.#rejectWaiters(this.#stopped);
    if (this.#running === 0 && !this.#installing) return Promise.resolve();
    return new Promise((quiet) => this.#onQuiet.push(quiet));
  }
  /** Closes tables that did not come into force. */
  close(): void {
    for (const { reader } of this.#flushes) reader?.close();
  }
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new ClosedError(String(error));
}
