/**
 * The one way to files. `real.ts` is the operating system, `simulated.ts` a disk in memory that loses
 * unsynced data, tears writes, fills up, fails and flips bits on demand.
 *
 * Errors: every failed call throws (or passes to its callback) an IoError that names operation and path,
 * with the system's error name in `errno`; ENOSPC and EDQUOT give a DiskFullError instead. Contract:
 * - Bytes written are durable after `sync`; a file's name is durable after `syncDirectory` of its folder.
 * - `rename` is atomic and, before `syncDirectory`, either way after a power cut.
 * - Reads and writes are positional, complete or failing: a short write is finished or reported, a short
 *   read happens only at the end of the file and returns the bytes read.
 * - A callback never comes before its call has returned. Asynchronous calls on one file may take effect in
 *   any order: a caller that needs one waits for the first before it makes the second.
 * - Calls in flight survive a `close`, and come back as usual; calls made after it fail with EBADF.
 */
export type OpenMode =
  /** The file must exist. */
  | 'read'
  /** Read and write; the file must exist. */
  | 'write'
  /** Read and write; created, and must not exist. */
  | 'create';

export type IoCallback = (error: Error | null, bytes: number) => void;

export interface File {
  readonly path: string;
  readSync(target: Uint8Array, start: number, length: number, position: number): number;
  read(target: Uint8Array, start: number, length: number, position: number, done: IoCallback): void;
  writeSync(source: Uint8Array, start: number, length: number, position: number): void;
  write(source: Uint8Array, start: number, length: number, position: number, done: IoCallback): void;
  /** fdatasync: data, and the size where it changed. */
  syncSync(): void;
  sync(done: IoCallback): void;
  truncate(length: number): void;
  size(): number;
  /** Idempotent. A close never makes data durable. A file opened with `read` gives its descriptor back a little later. */
  close(): void;
}

/** Held until `release`, which is idempotent, or the end of the process; a file named LOCK stays behind. */
export interface FileLock {
  release(): void;
}

export interface FileSystem {
  /** Creates a directory and its parents; no error where it exists. */
  mkdir(path: string): void;
  /** Names, sorted; throws ENOENT where there is no such directory. */
  readdir(path: string): string[];
  exists(path: string): boolean;
  open(path: string, mode: OpenMode): File;
  rename(from: string, to: string): void;
  /** Hard link, or a copy where links are not possible. */
  link(from: string, to: string): void;
  unlink(path: string): void;
  /** As `unlink`, of a file that nobody reads any more: its room comes back a little later, in steps. */
  discard(path: string): void;
  /** Removes an empty directory. */
  rmdir(path: string): void;
  syncDirectory(path: string): void;
  /**
   * Takes the lock of a directory, or throws LockedError that names the holder. Excludes other processes, and
   * other opens of this one. Names that begin with LOCK in that directory belong to it.
   */
  lock(directory: string): FileLock;
  /** Bytes free for this process on the file system of `path`. */
  freeBytes(path: string): number;
}

/** A file system that another thread can make for itself. */
export type FileSystemSpec = { readonly kind: 'real' } | { readonly kind: 'memory' };
