/**
 * Deletes large files without holding up the disk. ext4 gives the blocks of a file back in one transaction of its
 * journal, 0.25 ms a MiB, and a sync of any other file waits for that: five tables of 12 MiB that went at once cost the
 * commit log 5 to 17 ms (docs/performance.md). So a file loses its name at once, and its blocks in steps of
 * limits.unlinkStepBytes with limits.unlinkStepPauseMs between them. After RocksDB's SstFileManager. Owned by the thread
 * that deletes; the steps run in libuv's pool. Invariants:
 *
 * 1. Only a file without any name is cut: one that has a second name keeps every byte.
 * 2. One step is in flight at most, and at most limits.unlinksWaitingMax files are open for it. One more file is given
 *    back by its close, at once.
 * 3. Nothing here is needed for the files to go: what is not cut when the process ends, the system gives back.
 */
import * as fs from 'node:fs';
import { limits } from '../base/limits.ts';

interface Nameless {
  readonly descriptor: number;
  bytes: number;
}

export class GradualUnlink {
  /** Oldest first: the first one is being cut. */
  readonly #files: Nameless[] = [];
  /** A step is in flight, or the pause after it. */
  #stepping = false;
  readonly #onCut = (error: Error | null): void => this.#cut(error);
  readonly #onPaused = (): void => {
    this.#stepping = false;
    this.#step();
  };

  /** Files that are not given back yet. */
  get pending(): number {
    return this.#files.length;
  }

  /** Removes the name. Throws what `unlinkSync` throws. */
  unlink(path: string): void {
    const descriptor = openWritable(path);
    try {
      fs.unlinkSync(path);
    } catch (error) {
      if (descriptor >= 0) fs.closeSync(descriptor);
      throw error;
    }
    if (descriptor < 0) return;
    const { nlink, size } = fs.fstatSync(descriptor);
    if (nlink > 0 || size <= limits.unlinkStepBytes || this.pending >= limits.unlinksWaitingMax) {
      fs.close(descriptor, noMatter);
      return;
    }
    this.#files.push({ descriptor, bytes: size });
    this.#step();
  }

  #step(): void {
    const file = this.#files[0];
    if (file === undefined || this.#stepping) return;
    this.#stepping = true;
    file.bytes = Math.max(0, file.bytes - limits.unlinkStepBytes);
    fs.ftruncate(file.descriptor, file.bytes, this.#onCut);
  }

  #cut(error: Error | null): void {
    const file = this.#files[0];
    if (file !== undefined && (file.bytes === 0 || error !== null)) {
      this.#files.shift();
      fs.close(file.descriptor, noMatter);
    }
    // Not needed for a thread to live on.
    setTimeout(this.#onPaused, limits.unlinkStepPauseMs).unref();
  }
}

/** A descriptor that can cut the file, -1 where there is none to be had: then the file goes in one piece. */
function openWritable(path: string): number {
  try {
    return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NOFOLLOW);
  } catch {
    return -1;
  }
}

/** The descriptor is gone in any case, and so is what it stood for. */
const noMatter = (): void => undefined;
