/** A file system whose files of some names are never synced, though it says so: the defect that every store must fear. */
import type { File, FileSystem, IoCallback } from '../../src/vfs/file-system.ts';

const NOTHING = new Uint8Array(0);

class UnsyncedFile implements File {
  readonly #file: File;
  constructor(file: File) {
    this.#file = file;
  }
  get path(): string {
    return this.#file.path;
  }
  readSync(target: Uint8Array, start: number, length: number, position: number): number {
    return this.#file.readSync(target, start, length, position);
  }
  read(target: Uint8Array, start: number, length: number, position: number, done: IoCallback): void {
    this.#file.read(target, start, length, position, done);
  }
  writeSync(source: Uint8Array, start: number, length: number, position: number): void {
    this.#file.writeSync(source, start, length, position);
  }
  write(source: Uint8Array, start: number, length: number, position: number, done: IoCallback): void {
    this.#file.write(source, start, length, position, done);
  }
  syncSync(): void {
    this.#file.size();
  }
  /** Takes its time as a sync does, and syncs nothing. */
  sync(done: IoCallback): void {
    this.#file.read(NOTHING, 0, 0, 0, done);
  }
  truncate(length: number): void {
    this.#file.truncate(length);
  }
  size(): number {
    return this.#file.size();
  }
  close(): void {
    this.#file.close();
  }
}

export function withoutSync(fs: FileSystem, paths: RegExp): FileSystem {
  return {
    mkdir: (path) => fs.mkdir(path),
    readdir: (path) => fs.readdir(path),
    exists: (path) => fs.exists(path),
    open: (path, mode) => {
      const file = fs.open(path, mode);
      return paths.test(path) ? new UnsyncedFile(file) : file;
    },
    rename: (from, to) => fs.rename(from, to),
    link: (from, to) => fs.link(from, to),
    unlink: (path) => fs.unlink(path),
    discard: (path) => fs.discard(path),
    rmdir: (path) => fs.rmdir(path),
    syncDirectory: (path) => fs.syncDirectory(path),
    lock: (directory) => fs.lock(directory),
    freeBytes: (path) => fs.freeBytes(path),
  };
}
