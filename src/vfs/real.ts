/**
 * The file system of the operating system. Every thread may use it, and has files in the course of deletion of its own
 * (gradual-unlink.ts) but no other state; each file belongs to the thread that opened it. Files and directories are for the owner alone (0600, 0700): they hold users'
 * data, and a wider right is for the operator to give.
 */
import * as fs from 'node:fs';
import type { File, FileLock, FileSystem, OpenMode } from './file-system.ts';
import { GradualUnlink } from './gradual-unlink.ts';
import { failureOf, ioFailure, isSystemError } from './io-failure.ts';
import { lockDirectory } from './lock.ts';
import { RealFile } from './real-file.ts';

const gradual = new GradualUnlink();

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY, COPYFILE_FICLONE } = fs.constants;
const flagsOf = { read: O_RDONLY, write: O_RDWR, create: O_RDWR | O_CREAT | O_EXCL } as const;

/** What a file system says that has no hard links, not these, or not so many. */
const noLink: ReadonlySet<string> = new Set(['EPERM', 'EXDEV', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

function attempt<T>(operation: string, path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw failureOf(error, operation, path);
  }
}

export const realFileSystem: FileSystem = {
  mkdir(path: string): void {
    attempt('mkdir', path, () => fs.mkdirSync(path, { recursive: true, mode: DIRECTORY_MODE }));
  },

  readdir(path: string): string[] {
    return attempt('readdir', path, () => fs.readdirSync(path)).sort();
  },

  exists(path: string): boolean {
    try {
      return fs.statSync(path, { throwIfNoEntry: false }) !== undefined;
    } catch (error) {
      // A file in the place of a folder: nothing can be below it. Any other error is no answer.
      if (isSystemError(error) && error.code === 'ENOTDIR') return false;
      throw failureOf(error, 'exists', path);
    }
  },

  open(path: string, mode: OpenMode): File {
    const operation = mode === 'create' ? 'create' : 'open';
    const descriptor = attempt(operation, path, () => fs.openSync(path, flagsOf[mode], FILE_MODE));
    try {
      // A directory opens for reading, and fails only at the first read.
      if (mode === 'read' && fs.fstatSync(descriptor).isDirectory())
        throw ioFailure(operation, path, 'EISDIR', 'it is a directory');
    } catch (error) {
      fs.closeSync(descriptor);
      throw failureOf(error, operation, path);
    }
    return new RealFile(path, descriptor, mode === 'read');
  },

  rename(from: string, to: string): void {
    attempt('rename', `${from} to ${to}`, () => fs.renameSync(from, to));
  },

  link(from: string, to: string): void {
    try {
      fs.linkSync(from, to);
    } catch (error) {
      if (!isSystemError(error) || !noLink.has(error.code))
        throw failureOf(error, 'link', `${from} to ${to}`);
      copy(from, to);
    }
  },

  unlink(path: string): void {
    attempt('unlink', path, () => fs.unlinkSync(path));
  },

  discard(path: string): void {
    attempt('unlink', path, () => gradual.unlink(path));
  },

  rmdir(path: string): void {
    attempt('rmdir', path, () => fs.rmdirSync(path));
  },

  syncDirectory(path: string): void {
    // Windows opens no directories; NTFS keeps its names in a journal of its own.
    if (process.platform === 'win32') return;
    attempt('sync-directory', path, () => {
      const descriptor = fs.openSync(path, O_RDONLY | O_DIRECTORY);
      try {
        fs.fsyncSync(descriptor);
      } finally {
        fs.closeSync(descriptor);
      }
    });
  },

  lock(directory: string): FileLock {
    return lockDirectory(directory);
  },

  freeBytes(path: string): number {
    const { bavail, bsize } = attempt('free-bytes', path, () => fs.statfsSync(path));
    return bavail * bsize;
  },
};

/**
 * What a link would give, as far as a copy can: `to` appears whole or not at all, and is as durable as a
 * file that was synced before it was linked.
 */
export function copy(from: string, to: string): void {
  const temporary = `${to}.copy`;
  attempt('copy', `${from} to ${to}`, () => {
    if (!fs.statSync(from).isFile()) throw ioFailure('copy', from, 'EPERM', 'not a file');
    if (fs.existsSync(to)) throw ioFailure('copy', to, 'EEXIST');
    try {
      fs.copyFileSync(from, temporary, COPYFILE_FICLONE);
      const descriptor = fs.openSync(temporary, O_RDWR);
      try {
        fs.fsyncSync(descriptor);
      } finally {
        fs.closeSync(descriptor);
      }
      fs.renameSync(temporary, to);
    } catch (error) {
      fs.rmSync(temporary, { force: true });
      throw error;
    }
  });
}
