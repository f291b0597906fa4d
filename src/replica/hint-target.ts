/**
 * The hints for one node: its files, and the groups that are written to the last of them. Owned by the peer worker.
 *
 * All that waits is one write and one sync, up to limits.hintSegmentBytes; the next group collects meanwhile. What must hold:
 * hint-log.ts.
 */
import { assert } from '../base/assert.ts';
import { type Clock, hasPassed, type MonotonicMs } from '../base/clock.ts';
import { DiskFullError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { NodeNumber, ReplicaWrite, WriteAnswer } from '../cluster/contract.ts';
import { type HintFile, type HintFiles, type HintLogReport, targetName } from './hint-files.ts';
import { encodeHint, hintBytes } from './hint-format.ts';

const NOTHING_WRITTEN = '; nothing was written';

type Done = (answer: WriteAnswer) => void;
interface Waiting {
  readonly record: Uint8Array;
  readonly also: Uint8Array | null;
  readonly bytes: number;
  readonly deadlineMs: MonotonicMs;
  readonly done: Done;
}

/** Of all targets together: in listed files, and waiting or on their way. */
export interface HintTotals {
  bytes: number;
  queuedBytes: number;
}

export interface HintTargetOptions {
  readonly disk: HintFiles;
  readonly clock: Clock;
  readonly report: HintLogReport;
  readonly totals: HintTotals;
  /** It holds nothing any more, and nothing is on its way. */
  readonly onEmpty: () => void;
}

export const nameOf = (node: NodeNumber): string => `hints for node ${targetName(node)}`;

/** Tells that a hint is not kept, in a turn of its own. */
export function refuse(done: Done, status: number, why: string): void {
  queueMicrotask(() => done(answerOf(status, why + NOTHING_WRITTEN)));
}

export class HintTarget {
  readonly node: NodeNumber;
  readonly #options: HintTargetOptions;
  /** Those that are listed, in the order in which they are handed out. */
  readonly #files: HintFile[] = [];
  #bytes = 0;
  /** The one that takes hints, listed or not. */
  #open: HintFile | null = null;
  #waiting: Waiting[] = [];
  /** Of what waits and of the group on its way. */
  #queuedBytes = 0;
  #isWriting = false;

  constructor(node: NodeNumber, options: HintTargetOptions) {
    this.node = node;
    this.#options = options;
  }

  get files(): readonly HintFile[] {
    return this.#files;
  }
  get bytes(): number {
    return this.#bytes;
  }
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  add({ record, also, deadlineMs }: ReplicaWrite, done: Done): void {
    const bytes = hintBytes(record, also);
    this.#waiting.push({ record, also, bytes, deadlineMs, done });
    this.#queue(bytes);
    // What the turn brings goes together.
    if (this.#isWriting) return;
    this.#isWriting = true;
    queueMicrotask(() => this.#write());
  }

  list(file: HintFile): void {
    this.#files.push(file);
    this.#count(file.bytes);
  }
  remove(file: HintFile): void {
    this.#files.splice(this.#files.indexOf(file), 1);
    this.#count(-file.bytes);
    if (this.#open === file) this.#open = null;
    this.#options.disk.remove(file);
    this.#lookEmpty();
  }
  postpone(position: number): void {
    const at = this.#files.findIndex(({ number }) => number === position);
    if (at >= 0) this.#files.push(...this.#files.splice(at, 1));
  }

  /** It takes no more hints. A group that is on its way to it is not disturbed: `#written` closes it. */
  seal(file: HintFile): void {
    if (this.#open === file) this.#open = null;
    if (!file.isBusy) file.close();
  }

  /** What waits is refused; nobody may add to it any more. */
  close(): void {
    if (this.#open !== null) this.seal(this.#open);
    this.#refuse(this.#waiting.splice(0), Status.UNAVAILABLE, 'the node is stopping');
  }

  /** One group: a write, a sync, the answers. */
  #write(): void {
    const { clock } = this.#options;
    const group = this.#takeGroup(clock.monotonicMs());
    if (group.length === 0) {
      this.#writeNext();
      return;
    }
    // The age of hints is one of what is stored, over restarts: by the wall clock.
    const nowMs = clock.nowMs();
    let file: HintFile;
    try {
      file = this.#openFor(nowMs);
    } catch (error) {
      this.#refuseFor(group, error as Error);
      this.#writeNext();
      return;
    }
    const frames = group.map(({ record, also }) => encodeHint({ record, also, addedMs: nowMs }, file.number));
    const bytes = Buffer.concat(frames);
    const handle = file.file;
    assert(handle !== null, 'the open file of hints is closed');
    file.isBusy = true;
    const end = (error: Error | null): void => this.#written(file, group, bytes.length, nowMs, error);
    handle.write(bytes, 0, bytes.length, file.bytes, (error) => {
      if (error === null) handle.sync(end);
      else end(error);
    });
  }

  /** What goes into one write. What came too late is refused: a hint is about as young as its write. */
  #takeGroup(nowMs: MonotonicMs): Waiting[] {
    const isLate = ({ deadlineMs }: Waiting): boolean => hasPassed(deadlineMs, nowMs);
    this.#refuse(this.#waiting.filter(isLate), Status.TIMEOUT, 'the deadline passed');
    this.#waiting = this.#waiting.filter((one) => !isLate(one));
    let bytes = 0;
    let count = 0;
    for (const one of this.#waiting) {
      if (bytes >= limits.hintSegmentBytes) break;
      bytes += one.bytes;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #written(
    file: HintFile,
    group: readonly Waiting[],
    bytes: number,
    nowMs: number,
    error: Error | null,
  ): void {
    const { disk, report } = this.#options;
    const isListed = file.bytes > 0;
    file.isBusy = false;
    if (error !== null) {
      if (this.#open === file) this.#open = null;
      file.giveUp(report);
      if (!isListed) disk.remove(file);
    }
    if (error !== null) this.#refuseFor(group, error);
    else {
      if (!isListed) this.#files.push(file);
      file.bytes += bytes;
      file.lastMs = Math.max(file.lastMs, nowMs);
      this.#count(bytes);
      this.#dequeue(group);
      // Where it is not open any more it was to be handed out, or the node stops: it only waited for this group.
      if (this.#open !== file || file.bytes >= limits.hintSegmentBytes) this.seal(file);
      for (const { done } of group) done(answerOf(Status.OK, ''));
    }
    this.#writeNext();
  }

  #writeNext(): void {
    this.#isWriting = this.#waiting.length > 0;
    if (this.#isWriting) queueMicrotask(() => this.#write());
    else this.#lookEmpty();
  }
  #lookEmpty(): void {
    if (this.#files.length === 0 && !this.#isWriting) this.#options.onEmpty();
  }

  /** The file for a group of now. */
  #openFor(nowMs: number): HintFile {
    const open = this.#open;
    if (open !== null && Math.abs(nowMs - open.firstMs) <= limits.hintSegmentAgeMs) return open;
    if (open !== null) this.seal(open);
    this.#open = this.#options.disk.create(this.node, nowMs);
    return this.#open;
  }

  #refuseFor(group: readonly Waiting[], error: Error): void {
    const status = error instanceof DiskFullError ? Status.DISK_FULL : Status.UNAVAILABLE;
    this.#refuse(group, status, error.message);
  }
  #refuse(group: readonly Waiting[], status: number, why: string): void {
    this.#dequeue(group);
    for (const { done } of group) refuse(done, status, why);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#options.totals.bytes += bytes;
  }
  #queue(bytes: number): void {
    this.#queuedBytes += bytes;
    this.#options.totals.queuedBytes += bytes;
  }
  #dequeue(group: readonly Waiting[]): void {
    for (const { bytes } of group) this.#queue(-bytes);
  }
}

const answerOf = (status: number, message: string): WriteAnswer => ({
  status,
  beat: 0,
  barred: false,
  newer: null,
  message,
});
