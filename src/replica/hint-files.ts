/**
 * The files of hints on disk: their names, and what must be synced before one can be relied on. Owned by the peer worker.
 * Bytes are those of hint-format.ts. Invariants:
 *
 * 1. `create` returns with the name of the file and those of its directories durable. A sync of a directory that failed is made
 *    again before the next file in it is given out; the file that was made meanwhile is removed.
 * 2. A file of an earlier life takes no more hints: what it ends with may be half a write.
 * 3. A file that cannot be removed is remembered, counts as used, and is tried again. After a crash it is there again, and its
 *    hints are delivered once more, which does no harm.
 * 4. What is not ours in the directories is left alone.
 */
import { join } from 'node:path';
import { IoError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { NodeNumber } from '../cluster/contract.ts';
import type { File, FileSystem } from '../vfs/file-system.ts';
import { firstAddedMs, HINT_HEADER_BYTES, type HintScan, scanHints } from './hint-format.ts';

const FILE_NAME = /^([0-9]{10,15})\.hints$/;
const TARGET_NAME = /^[0-9a-f]{8}$/;
/** A group is begun in a file below hintSegmentBytes, and ends with the hint that reaches that many bytes. */
const FILE_BYTES_MAX = 2 * limits.hintSegmentBytes + 2 * limits.peerRecordBytesMax + HINT_HEADER_BYTES;

const fileName = (number: number): string => `${String(number).padStart(10, '0')}.hints`;
export const targetName = (target: NodeNumber): string => target.toString(16).padStart(8, '0');

export type HintLogReport = (level: 'info' | 'warn' | 'error', message: string) => void;

/** One file of hints for one target. */
export class HintFile {
  readonly target: NodeNumber;
  readonly number: number;
  readonly path: string;
  /** Bytes that are synced, all in whole frames; of a file of an earlier life: its size, whatever is in it. */
  bytes = 0;
  /** When its hints were added, milliseconds since 1970: its first, and the last or at least nothing before the last. */
  firstMs: number;
  lastMs: number;
  /** A write or a sync is under way. */
  isBusy = false;
  /** Its loss was told. */
  isExpired = false;
  /** `firstMs` is of this life. One of an earlier life has it from a header that nobody has checked. */
  isAgeKnown: boolean;
  /** Open for hints; null: it takes no more. */
  file: File | null;

  constructor(target: NodeNumber, number: number, path: string, addedMs: number, file: File | null) {
    this.target = target;
    this.number = number;
    this.path = path;
    this.firstMs = addedMs;
    this.lastMs = addedMs;
    this.isAgeKnown = file !== null;
    this.file = file;
  }

  /** Idempotent. Calls in flight still come back. */
  close(): void {
    this.file?.close();
    this.file = null;
  }
  /** A write or its sync failed: nobody knows what of it is on the disk, so it ends where it was synced. */
  giveUp(report: HintLogReport): void {
    try {
      this.file?.truncate(this.bytes);
    } catch (error) {
      // After a restart what is behind counts as damaged, and is repaired: it costs, and loses nothing.
      report('warn', `${this.path} keeps the rest of a write that failed: ${(error as Error).message}`);
    }
    this.close();
  }
}

export class HintFiles {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #report: HintLogReport;
  /** Targets whose directory is there, and its name durable. */
  readonly #durable = new Set<NodeNumber>();
  readonly #undeleted: HintFile[] = [];
  #undeletedBytes = 0;
  #lastNumber = 0;

  /** Opens `parent`/hints, or makes it. Throws IoError and DiskFullError, as `found` does. */
  constructor(fs: FileSystem, parent: string, report: HintLogReport) {
    this.#fs = fs;
    this.#directory = join(parent, 'hints');
    this.#report = report;
    if (!fs.exists(this.#directory)) fs.mkdir(this.#directory);
    // Also where it is there: an earlier life may have ended before its syncs.
    fs.syncDirectory(parent);
    fs.syncDirectory(this.#directory);
  }

  /** Bytes of files that are to be removed and could not be yet. */
  get undeletedBytes(): number {
    return this.#undeletedBytes;
  }

  /** The files of earlier lives, oldest first for each target. To be called once, before any other. */
  found(nowMs: number): HintFile[] {
    const files: HintFile[] = [];
    for (const name of this.#fs.readdir(this.#directory)) {
      const target = TARGET_NAME.test(name) ? Number.parseInt(name, 16) : 0;
      if (target > 0) files.push(...this.#foundFor(target, nowMs));
    }
    return files;
  }

  /** A new, empty file. Throws IoError and DiskFullError: then nothing of it is left that counts. */
  create(target: NodeNumber, nowMs: number): HintFile {
    const directory = join(this.#directory, targetName(target));
    if (!this.#durable.has(target)) {
      if (!this.#fs.exists(directory)) this.#fs.mkdir(directory);
      this.#fs.syncDirectory(this.#directory);
      this.#durable.add(target);
    }
    if (this.#undeleted.length >= limits.hintUndeletedMax)
      throw new UnavailableError(
        `${this.#undeleted.length} files of hints could not be removed; the limit is ${limits.hintUndeletedMax}`,
      );
    const number = ++this.#lastNumber;
    const path = join(directory, fileName(number));
    let opened: File | null = null;
    try {
      opened = this.#fs.open(path, 'create');
      this.#fs.syncDirectory(directory);
      return new HintFile(target, number, path, nowMs, opened);
    } catch (error) {
      // Should the directory be gone, it is made again.
      this.#durable.delete(target);
      opened?.close();
      if (opened !== null) this.remove(new HintFile(target, number, path, nowMs, null));
      throw error;
    }
  }

  /** What is in a file. Throws IoError and FormatVersionError. */
  read(from: HintFile): HintScan {
    const bytes = new Uint8Array(Math.min(from.bytes, FILE_BYTES_MAX));
    const file = this.#fs.open(from.path, 'read');
    try {
      const length = file.readSync(bytes, 0, bytes.length, 0);
      const scan = scanHints(bytes.subarray(0, length), from.number);
      const bytesDamaged = scan.bytesDamaged + from.bytes - length;
      const damagedAt = scan.bytesDamaged > 0 ? scan.damagedAt : length;
      return bytesDamaged === 0 ? scan : { hints: scan.hints, bytesDamaged, damagedAt };
    } finally {
      file.close();
    }
  }

  /** Without a sync of the directory: a file that comes back after a power cut is delivered once more, or expires again. */
  remove(file: HintFile): void {
    file.close();
    const failure = this.#unlink(file);
    if (failure === null) return;
    this.#report('warn', `a file of hints stays behind and is tried again: ${failure.message}`);
    this.#undeleted.push(file);
    this.#undeletedBytes += file.bytes;
  }
  /** Tries once more to remove one of those that could not be. */
  retryRemoval(): void {
    const file = this.#undeleted.shift();
    if (file === undefined) return;
    if (this.#unlink(file) === null) this.#undeletedBytes -= file.bytes;
    else this.#undeleted.push(file);
  }

  #unlink({ path }: HintFile): Error | null {
    try {
      this.#fs.unlink(path);
      return null;
    } catch (error) {
      return error instanceof IoError && error.errno === 'ENOENT' ? null : (error as Error);
    }
  }

  #foundFor(target: NodeNumber, nowMs: number): HintFile[] {
    const directory = join(this.#directory, targetName(target));
    const names = unlessErrno('ENOTDIR', () => this.#fs.readdir(directory));
    if (names === null) return [];
    this.#durable.add(target);
    const files: HintFile[] = [];
    for (const name of names) {
      const number = Number(FILE_NAME.exec(name)?.[1] ?? 0);
      if (number === 0) continue;
      this.#lastNumber = Math.max(this.#lastNumber, number);
      const file = new HintFile(target, number, join(directory, name), nowMs, null);
      if (unlessErrno('EISDIR', () => this.#look(file, nowMs)) === null) continue;
      // Nothing in it was ever acknowledged.
      if (file.bytes === 0) this.remove(file);
      else files.push(file);
    }
    return files.sort((a, b) => a.number - b.number);
  }

  /** Its size and age, without reading it through: a file spans hintSegmentAgeMs at most. */
  #look(found: HintFile, nowMs: number): true {
    const file = this.#fs.open(found.path, 'read');
    try {
      found.bytes = file.size();
      found.firstMs = Math.min(nowMs, this.#firstAddedMs(file, found) ?? nowMs);
      found.lastMs = Math.min(nowMs, found.firstMs + limits.hintSegmentAgeMs);
      return true;
    } finally {
      file.close();
    }
  }
  #firstAddedMs(file: File, { path, bytes }: HintFile): number | null {
    const header = new Uint8Array(Math.min(HINT_HEADER_BYTES, bytes));
    try {
      file.readSync(header, 0, header.length, 0);
      return firstAddedMs(header);
    } catch (error) {
      if (error instanceof IoError && error.errno === 'EISDIR') throw error;
      // Until it expires it is tried again.
      this.#report('error', `${path} cannot be read: ${(error as Error).message}`);
      return null;
    }
  }
}

/** null where it fails with this error: what is there is not ours. */
function unlessErrno<T>(errno: string, run: () => T): T | null {
  try {
    return run();
  } catch (error) {
    if (error instanceof IoError && error.errno === errno) return null;
    throw error;
  }
}
