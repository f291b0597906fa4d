/**
 * Spare segment files of a commit log: preallocated with zeros in the background, or retired segments that
 * are kept for the next use. A write into a file that has its blocks syncs faster than one that grows it
 * (native-bench/wal-batch.mjs). Owned by the shard's thread. Invariants:
 *
 * 1. A spare's content never counts: its name is no segment's, and once it is renamed to one, its bytes are
 *    zeros or carry another segment number.
 * 2. A spare is an optimisation. A failure to make one is reported and leaves no file. None is begun where the disk has no room
 *    for it and for the segment in use: it must not take what writes need, and give it back when they were refused.
 * 3. A file longer than a segment is never a spare: recovery reads a segment into an arena of that size.
 */
import { join } from 'node:path';
import { DiskFullError, IoError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { File, FileSystem, IoCallback } from '../vfs/file-system.ts';
import { spareName, spareOfName } from './wal-format.ts';

export type SpareCallback = (error: Error | null) => void;

export class SpareSegments {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #segmentBytes: number;
  /** Paths of spares ready for use. */
  readonly #ready: string[] = [];
  #lastNumber = 0;

  /** The spare in the making. */
  #file: File | null = null;
  #position = 0;
  #zeros: Uint8Array | null = null;
  #done: SpareCallback | null = null;
  #stopping: (() => void) | null = null;
  readonly #onWritten: IoCallback = (error) => this.#written(error);
  readonly #onSynced: IoCallback = (error) => this.#synced(error);

  /** Takes over the spares in `directory` and deletes those that are of no use. */
  constructor(fs: FileSystem, directory: string, segmentBytes: number) {
    this.#fs = fs;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
    for (const name of fs.readdir(directory)) {
      const number = spareOfName(name);
      if (number < 0) continue;
      this.#lastNumber = Math.max(this.#lastNumber, number);
      this.#keepOrDelete(join(directory, name));
    }
  }

  get ready(): number {
    return this.#ready.length;
  }
  get preparing(): boolean {
    return this.#file !== null;
  }

  /** Gives a ready spare its new name; false where there is none. */
  renameTo(path: string): boolean {
    const spare = this.#ready[this.#ready.length - 1];
    if (spare === undefined) return false;
    this.#fs.rename(spare, path);
    this.#ready.pop();
    return true;
  }

  /** Keeps the file at `path`, of a segment that is no longer needed, or deletes it. */
  recycle(path: string): void {
    if (this.#ready.length + (this.preparing ? 1 : 0) >= limits.walSpareSegmentsMax || !this.#fits(path)) {
      this.#fs.discard(path);
      return;
    }
    const spare = this.#nextPath();
    this.#fs.rename(path, spare);
    this.#ready.push(spare);
  }

  /** Starts to write a spare, where one is missing and there is room; `done` follows in any case. */
  prepare(done: SpareCallback): void {
    if (this.preparing || this.#ready.length >= limits.walSpareSegmentsMax) {
      queueMicrotask(() => done(null));
      return;
    }
    try {
      const free = this.#fs.freeBytes(this.#directory);
      if (free < 2 * this.#segmentBytes)
        throw new DiskFullError(
          `${free} bytes are free, and segment and spare take ${2 * this.#segmentBytes}`,
        );
      this.#file = this.#fs.open(this.#nextPath(), 'create');
    } catch (error) {
      const failure = asError(error);
      queueMicrotask(() => done(failure));
      return;
    }
    this.#done = done;
    this.#position = 0;
    this.#zeros = new Uint8Array(Math.min(limits.walPrepareChunkBytes, this.#segmentBytes));
    this.#writeChunk();
  }

  /** Gives up a spare in the making; `stopped` follows when its file is gone. */
  stop(stopped: () => void): void {
    if (this.preparing) this.#stopping = stopped;
    else stopped();
  }

  #nextPath(): string {
    this.#lastNumber++;
    return join(this.#directory, spareName(this.#lastNumber));
  }

  #fits(path: string): boolean {
    const file = this.#fs.open(path, 'read');
    try {
      // At least half preallocated: a file that was never preallocated and hardly written gains nothing.
      const size = file.size();
      return size <= this.#segmentBytes && size * 2 >= this.#segmentBytes;
    } finally {
      file.close();
    }
  }

  #keepOrDelete(path: string): void {
    if (this.#ready.length < limits.walSpareSegmentsMax && this.#fits(path)) this.#ready.push(path);
    else this.#fs.unlink(path);
  }

  #writeChunk(): void {
    const file = this.#file;
    const zeros = this.#zeros;
    if (file === null || zeros === null) return;
    const length = Math.min(zeros.length, this.#segmentBytes - this.#position);
    file.write(zeros, 0, length, this.#position, this.#onWritten);
  }

  #written(error: Error | null): void {
    if (error !== null) this.#end(error);
    else this.#file?.sync(this.#onSynced);
  }

  #synced(error: Error | null): void {
    if (error !== null) {
      this.#end(error);
      return;
    }
    this.#position = Math.min(this.#position + limits.walPrepareChunkBytes, this.#segmentBytes);
    if (this.#position < this.#segmentBytes && this.#stopping === null) this.#writeChunk();
    else this.#end(null);
  }

  #end(failure: Error | null): void {
    const file = this.#file;
    const done = this.#done;
    const stopped = this.#stopping;
    let error = failure;
    this.#file = null;
    this.#zeros = null;
    this.#done = null;
    this.#stopping = null;
    if (file !== null) {
      file.close();
      if (error === null && this.#position === this.#segmentBytes) this.#ready.push(file.path);
      else
        try {
          this.#fs.unlink(file.path);
        } catch (unlinkError) {
          error ??= asError(unlinkError);
        }
    }
    done?.(error);
    stopped?.();
  }
}

function asError(error: unknown): Error {
  if (error instanceof DiskFullError || error instanceof IoError) return error;
  throw error;
}
