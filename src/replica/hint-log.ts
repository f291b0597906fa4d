/**
 * Hints on disk: writes that were acknowledged, or are to be, for nodes that were away. Owned by the peer worker. The files are
 * those of hint-files.ts, written by hint-target.ts. Invariants:
 *
 * 1. `add` ends with OK only when the hint is synced, in a file whose name is.
 * 2. A file is listed from its first acknowledged hint on, and goes only by `discard`. One that a group is being
 *    written to is neither handed out nor expired: its hints are about to be acknowledged.
 * 3. After a write or sync that failed its pages cannot be trusted: its hints are refused, the file is read no further than it
 *    was synced, and the next ones go into a new file.
 * 4. Bytes that fail their checksum are never served, and never passed in silence: the batch, or the loss, says that there
 *    were such. The whole hints behind them are handed out.
 * 5. What a file holds lies within limits.hintSegmentAgeMs, and it expires when its last hint does.
 * 6. Bytes of listed files, of files that cannot be removed and of what waits are counted, and nothing else is.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { tokenHiAt } from '../base/record.ts';
import { Status } from '../base/status.ts';
import type {
  HintBatch,
  HintLoss,
  HintPart,
  HintStore,
  NodeNumber,
  ReplicaWrite,
  WriteAnswer,
} from '../cluster/contract.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { type HintFile, HintFiles, type HintLogReport } from './hint-files.ts';
import { type HintScan, hintBytes, hintFault } from './hint-format.ts';
import { HintTarget, type HintTotals, nameOf, refuse } from './hint-target.ts';

/** Bytes for one target and for all, and targets. */
export interface HintBounds {
  readonly bytesMax: number;
  readonly bytesTotalMax: number;
  readonly targetsMax: number;
}
const BOUNDS: HintBounds = {
  bytesMax: limits.hintBytesMax,
  bytesTotalMax: limits.hintBytesTotalMax,
  targetsMax: limits.hintTargetsMax,
};

export class HintLog implements HintStore {
  readonly #files: HintFiles;
  readonly #clock: Clock;
  readonly #report: HintLogReport;
  readonly #bounds: HintBounds;
  readonly #targets = new Map<NodeNumber, HintTarget>();
  readonly #totals: HintTotals = { bytes: 0, queuedBytes: 0 };
  #isClosed = false;

  /** Opens the hints under `parent`/hints, or makes the directory, durably. Throws IoError and DiskFullError. */
  constructor(fs: FileSystem, parent: string, clock: Clock, report: HintLogReport, bounds = BOUNDS) {
    this.#bounds = bounds;
    this.#files = new HintFiles(fs, parent, report);
    this.#clock = clock;
    this.#report = report;
    for (const file of this.#files.found(clock.nowMs())) this.#targetOf(file.target).list(file);
  }

  add(node: NodeNumber, write: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const fault = hintFault(write.record, write.also);
    const [status, why] =
      fault === '' ? this.#refusal(node, hintBytes(write.record, write.also)) : [Status.BAD_REQUEST, fault];
    if (status === Status.OK) this.#targetOf(node).add(write, done);
    else refuse(done, status, why);
  }

  targets(): ReadonlyMap<NodeNumber, number> {
    const found = new Map<NodeNumber, number>();
    for (const { node, files, bytes, queuedBytes } of this.#targets.values())
      if (files.length > 0 || queuedBytes > 0) found.set(node, bytes + queuedBytes);
    return found;
  }
  /** Bytes that count against the bound for all targets. */
  get bytesHeld(): number {
    return this.#totals.bytes + this.#files.undeletedBytes + this.#totals.queuedBytes;
  }

  /** Reads one file as a whole (twice limits.hintSegmentBytes and one hint at most), and those before it that prove too old. */
  next(node: NodeNumber, done: (batch: HintBatch | null, error: Error | null) => void): void {
    let batch: HintBatch | null = null;
    let failure: Error | null = null;
    const target = this.#targets.get(node);
    while (target !== undefined && batch === null && failure === null) {
      const file = this.#nextOf(target);
      if (file === null) break;
      try {
        batch = this.#read(file);
      } catch (error) {
        failure = error as Error;
        // It may be readable later, and until it expires; the others need not wait for it.
        target.postpone(file.number);
      }
    }
    queueMicrotask(() => done(batch, failure));
  }

  postpone({ target, position }: HintPart): void {
    this.#targets.get(target)?.postpone(position);
  }

  discard({ target: node, position }: HintPart): void {
    const target = this.#targets.get(node);
    const file = target?.files.find(({ number }) => number === position);
    if (file !== undefined) target?.remove(file);
  }

  /** Of limits.hintExpiriesMax files at a time. */
  expire(nowMs: number): readonly HintLoss[] {
    this.#files.retryRemoval();
    const losses: HintLoss[] = [];
    for (const target of this.#targets.values())
      for (const file of target.files) {
        if (losses.length === limits.hintExpiriesMax) return losses;
        // A clock that goes back makes nothing last longer than from now on.
        file.lastMs = Math.min(file.lastMs, nowMs);
        if (file.isExpired || file.isBusy || !isTooOld(file, nowMs)) continue;
        target.seal(file);
        const loss = this.#lossOf(file, nowMs);
        if (loss === null) continue;
        file.isExpired = true;
        losses.push(loss);
      }
    return losses;
  }

  close(): void {
    this.#isClosed = true;
    for (const target of [...this.#targets.values()]) target.close();
  }

  #refusal(node: NodeNumber, bytes: number): [status: number, why: string] {
    const { hintQueueBytesMax } = limits;
    const { bytesMax, bytesTotalMax, targetsMax } = this.#bounds;
    const target = this.#targets.get(node);
    const held = target === undefined ? 0 : target.bytes + target.queuedBytes;
    const all = this.bytesHeld;
    const queued = this.#totals.queuedBytes;
    if (this.#isClosed) return [Status.UNAVAILABLE, 'the node is stopping'];
    if (target === undefined && this.#targets.size >= targetsMax)
      return [Status.OVERLOADED, `hints are kept for ${targetsMax} nodes, which is the limit`];
    if (held + bytes > bytesMax || all + bytes > bytesTotalMax)
      return [
        Status.OVERLOADED,
        `${nameOf(node)} take ${held} bytes, those for all ${all}; the limits are ${bytesMax} and ${bytesTotalMax}`,
      ];
    if (queued + bytes > hintQueueBytesMax)
      return [
        Status.OVERLOADED,
        `${queued} bytes of hints wait for the disk; the limit is ${hintQueueBytesMax}`,
      ];
    return [Status.OK, ''];
  }

  /** The file to be handed out: it takes no more hints. */
  #nextOf(target: HintTarget): HintFile | null {
    const nowMs = this.#clock.nowMs();
    for (const file of target.files) {
      if (file.isExpired || isTooOld(file, nowMs)) continue;
      target.seal(file);
      if (!file.isBusy) return file;
    }
    return null;
  }

  /** null: all in it is too old, which a damaged header did not tell. It expires. */
  #read(file: HintFile): HintBatch | null {
    const { hints, bytesDamaged } = this.#scan(file);
    const lastMs = hints.reduce((last, { addedMs }) => Math.max(last, addedMs), 0);
    if (hints.length > 0 && this.#clock.nowMs() - lastMs > limits.hintAgeMsMax) {
      file.lastMs = lastMs;
      return null;
    }
    return { target: file.target, position: file.number, writes: hints, bytesDamaged };
  }

  #scan(file: HintFile): HintScan {
    const scan = this.#files.read(file);
    const { bytesDamaged, damagedAt } = scan;
    if (bytesDamaged > 0)
      this.#report(
        'error',
        `${file.path}: damaged at byte ${damagedAt}: ${bytesDamaged} bytes are no whole hints`,
      );
    return scan;
  }

  /** null: it is not too old after all. The age of a file of an earlier life was that of a header nobody had checked. */
  #lossOf(file: HintFile, nowMs: number): HintLoss | null {
    const part = { target: file.target, position: file.number };
    try {
      const { hints, bytesDamaged } = this.#scan(file);
      // A time that is still to come, of a clock that was ahead, tells nothing.
      const past = (addedMs: number): number => (addedMs > nowMs ? 0 : addedMs);
      const lastMs = hints.reduce((last, { addedMs }) => Math.max(last, past(addedMs)), 0);
      if (nowMs - lastMs <= limits.hintAgeMsMax) {
        file.lastMs = lastMs;
        return null;
      }
      const tokens = hints.map(({ record }) => tokenHiAt(new DataView(record.buffer, record.byteOffset), 0));
      return { ...part, hints: hints.length, tokens, isDamaged: bytesDamaged > 0 };
    } catch (error) {
      if (!file.isAgeKnown) {
        // Its header may be damaged, and what it holds be young: it is kept as if it were of now.
        file.isAgeKnown = true;
        file.lastMs = nowMs;
        this.#report('error', `${file.path} seems old and cannot be read: ${(error as Error).message}`);
        return null;
      }
      this.#report('error', `${file.path} expired and cannot be read: ${(error as Error).message}`);
      return { ...part, hints: 0, tokens: [], isDamaged: true };
    }
  }

  #targetOf(node: NodeNumber): HintTarget {
    const known = this.#targets.get(node);
    if (known !== undefined) return known;
    const target = new HintTarget(node, {
      disk: this.#files,
      clock: this.#clock,
      report: this.#report,
      totals: this.#totals,
      onEmpty: () => void this.#targets.delete(node),
    });
    this.#targets.set(node, target);
    return target;
  }
}

const isTooOld = ({ lastMs }: HintFile, nowMs: number): boolean => nowMs - lastMs > limits.hintAgeMsMax;
