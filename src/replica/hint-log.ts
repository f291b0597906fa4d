/**
 * Hints on disk: writes that were acknowledged, or are to be, for nodes that were away. Owned by the peer worker.
 * The format is that of hint-format.ts. Invariants:
 *
 * 1. `add` ends with OK only when the hint is synced, in a file whose name is. All that waits for one target is one write
 *    and one sync; the next group collects meanwhile.
 * 2. A file is deleted only when all its hints were delivered, expired, or belong to a node that was removed. Where a crash
 *    comes before that, they are delivered once more, which does no harm.
 * 3. A sync that failed is never tried again: its hints are refused, what may have come of them is left behind in a file
 *    that is read no further than it was synced, and the next ones go into a new file.
 * 4. Bytes that fail their checksum are never served: in the newest file they are a torn tail, elsewhere damage, which is
 *    reported; what lies behind them in that file is given up.
 */
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { DiskFullError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import type { HintBatch, HintStore, NodeNumber, ReplicaWrite, WriteAnswer } from '../cluster/contract.ts';
import type { File, FileSystem } from '../vfs/file-system.ts';
import { decodeHint, encodeHint, type Hint } from './hint-format.ts';

const FILE_NAME = /^([0-9]{10})\.hints$/;
const TARGET_NAME = /^[0-9a-f]{8}$/;
const NOTHING_WRITTEN = '; nothing was written';

const fileName = (number: number): string => `${String(number).padStart(10, '0')}.hints`;
const targetName = (target: NodeNumber): string => target.toString(16).padStart(8, '0');

interface Segment {
  readonly number: number;
  readonly path: string;
  /** Bytes that are synced, and hold whole frames. */
  bytes: number;
  hints: number;
  oldestMs: number;
}
interface Waiting {
  readonly hint: Hint;
  readonly done: (answer: WriteAnswer) => void;
}
interface Target {
  readonly node: NodeNumber;
  readonly directory: string;
  /** Oldest first; the last one takes hints while `file` is open. */
  readonly segments: Segment[];
  file: File | null;
  waiting: Waiting[];
  waitingBytes: number;
  isWriting: boolean;
  isDropped: boolean;
}

export type HintLogReport = (level: 'info' | 'warn' | 'error', message: string) => void;

export class HintLog implements HintStore {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #report: HintLogReport;
  readonly #targets = new Map<NodeNumber, Target>();
  #bytes = 0;
  #lastNumber = 0;

  /** Opens the hints under `parent`/hints, or makes the directory, durably. Throws IoError and DiskFullError. */
  constructor(fs: FileSystem, parent: string, clock: Clock, report: HintLogReport) {
    this.#fs = fs;
    this.#directory = join(parent, 'hints');
    this.#clock = clock;
    this.#report = report;
    if (fs.exists(this.#directory)) {
      for (const name of fs.readdir(this.#directory)) if (TARGET_NAME.test(name)) this.#open(name);
      return;
    }
    fs.mkdir(this.#directory);
    fs.syncDirectory(parent);
  }

  add(node: NodeNumber, { record, also }: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const size = record.length + (also?.length ?? 0);
    const target = this.#targets.get(node);
    const held = target === undefined ? 0 : bytesOf(target) + target.waitingBytes;
    if (held + size > limits.hintBytesMax || this.#bytes + size > limits.hintBytesTotalMax) {
      const message = `hints for node ${targetName(node)} take ${held} bytes, those for all ${this.#bytes}; the limits are ${limits.hintBytesMax} and ${limits.hintBytesTotalMax}`;
      queueMicrotask(() => done(answerOf(Status.OVERLOADED, message + NOTHING_WRITTEN)));
      return;
    }
    const to = target ?? this.#newTarget(node);
    to.waiting.push({ hint: { record, also, addedMs: this.#clock.nowMs() }, done });
    to.waitingBytes += size;
    // What the turn brings goes together.
    if (!to.isWriting) {
      to.isWriting = true;
      queueMicrotask(() => this.#write(to));
    }
  }

  targets(): ReadonlyMap<NodeNumber, number> {
    const found = new Map<NodeNumber, number>();
    for (const target of this.#targets.values())
      if (bytesOf(target) > 0) found.set(target.node, bytesOf(target));
    return found;
  }

  /** Reads the oldest file of a target, as a whole: limits.hintSegmentBytes and one hint at most. */
  next(
    node: NodeNumber,
    _bytesMax: number,
    done: (batch: HintBatch | null, error: Error | null) => void,
  ): void {
    const target = this.#targets.get(node);
    let batch: HintBatch | null = null;
    let failure: Error | null = null;
    try {
      if (target !== undefined) batch = this.#read(target);
    } catch (error) {
      failure = error as Error;
    }
    queueMicrotask(() => done(batch, failure));
  }

  discard(batch: HintBatch, done: (error: Error | null) => void): void {
    const target = this.#targets.get(batch.target);
    let failure: Error | null = null;
    try {
      const at = target?.segments.findIndex(({ number }) => number === batch.position) ?? -1;
      if (target !== undefined && at >= 0) this.#remove(target, at);
    } catch (error) {
      failure = error as Error;
    }
    queueMicrotask(() => done(failure));
  }

  expire(nowMs: number): readonly { readonly target: NodeNumber; readonly hints: number }[] {
    const lost: { target: NodeNumber; hints: number }[] = [];
    for (const target of this.#targets.values()) {
      let hints = 0;
      for (let oldest = target.segments[0]; oldest !== undefined; oldest = target.segments[0]) {
        if (nowMs - oldest.oldestMs <= limits.hintAgeMsMax) break;
        hints += oldest.hints;
        this.#removeLoudly(target, 0);
      }
      if (hints > 0) lost.push({ target: target.node, hints });
    }
    return lost;
  }

  drop(node: NodeNumber): void {
    const target = this.#targets.get(node);
    if (target === undefined) return;
    target.isDropped = true;
    while (target.segments.length > 0) this.#removeLoudly(target, 0);
    if (!target.isWriting) this.#targets.delete(node);
  }

  close(): void {
    for (const target of this.#targets.values()) this.#seal(target);
  }

  // ------------------------------------------------------------------------------------------------- writing

  #newTarget(node: NodeNumber): Target {
    const directory = join(this.#directory, targetName(node));
    const target: Target = {
      node,
      directory,
      segments: [],
      file: null,
      waiting: [],
      waitingBytes: 0,
      isWriting: false,
      isDropped: false,
    };
    this.#targets.set(node, target);
    return target;
  }

  /** One group: a write, a sync, the answers. */
  #write(target: Target): void {
    const group = target.waiting;
    target.waiting = [];
    target.waitingBytes = 0;
    let segment: Segment;
    let file: File;
    let bytes: Uint8Array;
    try {
      [segment, file] = this.#segmentFor(target);
      bytes = Buffer.concat(group.map(({ hint }) => encodeHint(hint, segment.number)));
    } catch (error) {
      this.#refuse(target, group, error as Error);
      return;
    }
    const failed = (error: Error): void => {
      // Nobody knows what of it is on the disk: this file ends where it was synced.
      this.#seal(target);
      this.#refuse(target, group, error);
    };
    file.write(bytes, 0, bytes.length, segment.bytes, (writeError) => {
      if (writeError !== null) {
        failed(writeError);
        return;
      }
      file.sync((syncError) => {
        if (syncError !== null) {
          failed(syncError);
          return;
        }
        segment.bytes += bytes.length;
        this.#bytes += bytes.length;
        segment.oldestMs = Math.min(segment.oldestMs, group[0]?.hint.addedMs ?? segment.oldestMs);
        segment.hints += group.length;
        if (segment.bytes >= limits.hintSegmentBytes) this.#seal(target);
        for (const { done } of group) done(answerOf(Status.OK, ''));
        this.#writeNext(target);
      });
    });
  }

  #refuse(target: Target, group: readonly Waiting[], error: Error): void {
    const status = error instanceof DiskFullError ? Status.DISK_FULL : Status.UNAVAILABLE;
    queueMicrotask(() => {
      for (const { done } of group) done(answerOf(status, `${error.message}${NOTHING_WRITTEN}`));
      this.#writeNext(target);
    });
  }

  #writeNext(target: Target): void {
    target.isWriting = target.waiting.length > 0;
    if (target.isWriting) queueMicrotask(() => this.#write(target));
    else if (target.isDropped) {
      target.isDropped = false;
      this.drop(target.node);
    }
  }

  #segmentFor(target: Target): [Segment, File] {
    const last = target.segments.at(-1);
    if (target.file !== null && last !== undefined) return [last, target.file];
    const fs = this.#fs;
    if (!fs.exists(target.directory)) {
      fs.mkdir(target.directory);
      fs.syncDirectory(this.#directory);
    }
    const number = ++this.#lastNumber;
    const path = join(target.directory, fileName(number));
    const file = fs.open(path, 'create');
    try {
      fs.syncDirectory(target.directory);
    } catch (error) {
      file.close();
      throw error;
    }
    const segment = { number, path, bytes: 0, hints: 0, oldestMs: Number.POSITIVE_INFINITY };
    target.segments.push(segment);
    target.file = file;
    return [segment, file];
  }

  #seal(target: Target): void {
    target.file?.close();
    target.file = null;
  }

  // ------------------------------------------------------------------------------------------------- reading

  #read(target: Target): HintBatch | null {
    const [segment] = target.segments;
    if (segment === undefined || segment.bytes === 0) return null;
    // The file is handed out as a whole and then deleted: it takes no more hints.
    if (target.segments.length === 1) {
      if (target.isWriting) return null;
      this.#seal(target);
    }
    const writes: Hint[] = [];
    this.#scan(segment, (hint) => writes.push(hint));
    return { target: target.node, position: segment.number, writes };
  }

  /** Visits whole frames up to what is synced; gives where they end. */
  #scan(segment: Segment, visit: (hint: Hint) => void): number {
    const file = this.#fs.open(segment.path, 'read');
    try {
      const bytes = new Uint8Array(segment.bytes);
      const length = file.readSync(bytes, 0, bytes.length, 0);
      let at = 0;
      for (;;) {
        const frame = decodeHint(bytes.subarray(0, length), at, segment.number);
        if (frame === null) return at;
        visit(frame.hint);
        at = frame.end;
      }
    } finally {
      file.close();
    }
  }

  // ------------------------------------------------------------------------------------------ opening, removing

  #open(name: string): void {
    const node = Number.parseInt(name, 16);
    const target = this.#newTarget(node);
    const numbers = this.#fs
      .readdir(target.directory)
      .map((file) => Number(FILE_NAME.exec(file)?.[1] ?? 0))
      .filter((number) => number > 0)
      .sort((a, b) => a - b);
    for (const number of numbers) {
      this.#lastNumber = Math.max(this.#lastNumber, number);
      this.#openSegment(target, number, number === numbers.at(-1));
    }
  }

  #openSegment(target: Target, number: number, isNewest: boolean): void {
    const path = join(target.directory, fileName(number));
    const file = this.#fs.open(path, 'read');
    const size = file.size();
    file.close();
    const segment = { number, path, bytes: size, hints: 0, oldestMs: Number.POSITIVE_INFINITY };
    const end = this.#scan(segment, ({ addedMs }) => {
      segment.hints++;
      segment.oldestMs = Math.min(segment.oldestMs, addedMs);
    });
    if (end < size && !isNewest)
      this.#report('error', `${path}: damaged at byte ${end}: ${size - end} bytes of hints are given up`);
    segment.bytes = end;
    this.#bytes += end;
    target.segments.push(segment);
    if (segment.hints === 0) this.#removeLoudly(target, target.segments.length - 1);
  }

  #remove(target: Target, at: number): void {
    const [segment] = target.segments.splice(at, 1);
    if (segment === undefined) return;
    if (at === target.segments.length) this.#seal(target);
    this.#bytes -= segment.bytes;
    // Without a sync of the directory: a file that comes back after a crash is delivered once more.
    this.#fs.unlink(segment.path);
  }
  #removeLoudly(target: Target, at: number): void {
    try {
      this.#remove(target, at);
    } catch (error) {
      this.#report('warn', `a file of hints stays behind: ${(error as Error).message}`);
    }
  }
}

const bytesOf = ({ segments }: Target): number => segments.reduce((sum, { bytes }) => sum + bytes, 0);
const answerOf = (status: number, message: string): WriteAnswer => ({
  status,
  beat: 0,
  barred: false,
  newer: null,
  message,
});
