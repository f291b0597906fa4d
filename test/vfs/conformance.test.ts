import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AssertionError } from '../../src/base/assert.ts';
import { IoError, LockedError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import type { FileSystem, OpenMode } from '../../src/vfs/file-system.ts';
import { testSeed } from '../seed.ts';
import {
  automaticSubject,
  errorOf,
  outcomeOf,
  readFile,
  readOpen,
  realSubject,
  type Subject,
  simulatedSubject,
  textBytes,
  writeFile,
} from './harness.ts';

const subjects = [
  ['real', realSubject],
  ['simulated', simulatedSubject],
  ['simulated, automatic', automaticSubject],
] as const;

describe.each(subjects)('the %s file system', (_name, make) => {
  let subject: Subject;
  let fs: FileSystem;
  const at = (...parts: string[]): string => join(subject.root, ...parts);
  /** Expects an IoError that names operation, path and the system's error. */
  const expectIo = (error: Error | null, operation: string, path: string, errno: string): void => {
    expect(error).toBeInstanceOf(IoError);
    expect((error as IoError).errno).toBe(errno);
    expect(error?.message).toContain(`${operation} ${path}`);
    expect(error?.message).toContain(errno);
  };
  const expectFails = (call: () => unknown, operation: string, path: string, errno: string): void =>
    expectIo(errorOf(call), operation, path, errno);

  beforeEach(() => {
    subject = make();
    fs = subject.fs;
  });
  afterEach(() => subject.dispose());

  describe('opens files', () => {
    it('that must exist, or must not', () => {
      expectFails(() => fs.open(at('a'), 'read'), 'open', at('a'), 'ENOENT');
      expectFails(() => fs.open(at('a'), 'write'), 'open', at('a'), 'ENOENT');
      fs.open(at('a'), 'create').close();
      expectFails(() => fs.open(at('a'), 'create'), 'create', at('a'), 'EEXIST');
      for (const mode of ['read', 'write'] as const) {
        const file = fs.open(at('a'), mode);
        expect(file.path).toBe(at('a'));
        expect(file.size()).toBe(0);
        file.close();
      }
    });
    it('and not directories', () => {
      fs.mkdir(at('d'));
      for (const mode of ['read', 'write'] as const)
        expectFails(() => fs.open(at('d'), mode), 'open', at('d'), 'EISDIR');
      expectFails(() => fs.open(at('d'), 'create'), 'create', at('d'), 'EEXIST');
    });
    it('in folders that are there and are folders', () => {
      writeFile(fs, at('file'), 'x');
      for (const mode of ['read', 'create'] satisfies OpenMode[]) {
        const operation = mode === 'read' ? 'open' : 'create';
        expectFails(() => fs.open(at('no', 'a'), mode), operation, at('no', 'a'), 'ENOENT');
        expectFails(() => fs.open(at('file', 'a'), mode), operation, at('file', 'a'), 'ENOTDIR');
      }
    });
  });

  describe('reads and writes at positions', () => {
    it('in any order, with zeros between', () => {
      const file = fs.open(at('a'), 'create');
      file.writeSync(textBytes('__world__'), 2, 5, 6);
      file.writeSync(textBytes('hello'), 0, 5, 0);
      expect(file.size()).toBe(11);
      expect(readOpen(file)).toBe('hello\0world');
      file.writeSync(textBytes('y'), 0, 1, 1);
      expect(readOpen(file)).toBe('hyllo\0world');
      const target = new Uint8Array(6).fill(0x2e);
      expect(file.readSync(target, 2, 3, 6)).toBe(3);
      expect(Buffer.from(target).toString()).toBe('..wor.');
      file.close();
    });
    it('short only at the end of the file', async () => {
      writeFile(fs, at('a'), '0123456789');
      const file = fs.open(at('a'), 'read');
      const cases = [
        [0, 10, 10],
        [0, 20, 10],
        [8, 5, 2],
        [10, 5, 0],
        [99, 5, 0],
        [0, 0, 0],
      ] as const;
      for (const [position, length, bytes] of cases) {
        const target = new Uint8Array(20);
        expect(file.readSync(target, 0, length, position)).toBe(bytes);
        target.fill(0);
        const outcome = await outcomeOf(subject, (done) => file.read(target, 0, length, position, done));
        expect(outcome).toEqual({ error: null, bytes });
        expect(Buffer.from(target.subarray(0, bytes)).toString()).toBe(
          '0123456789'.slice(position, position + bytes),
        );
        expect(target.subarray(bytes).every((byte) => byte === 0)).toBe(true);
      }
      file.close();
    });
    it('asynchronously, also from and into shared memory', async () => {
      const shared = new Uint8Array(new SharedArrayBuffer(4096));
      shared.set(textBytes('shared'), 100);
      const file = fs.open(at('a'), 'create');
      expect(await outcomeOf(subject, (done) => file.write(shared, 100, 6, 10, done))).toEqual({
        error: null,
        bytes: 6,
      });
      expect(await outcomeOf(subject, (done) => file.sync(done))).toEqual({ error: null, bytes: 0 });
      expect(await outcomeOf(subject, (done) => file.read(shared, 2000, 16, 0, done))).toEqual({
        error: null,
        bytes: 16,
      });
      expect(Buffer.from(shared.slice(2000, 2016)).toString()).toBe(`${'\0'.repeat(10)}shared`);
      expect(await outcomeOf(subject, (done) => file.write(shared, 0, 0, 50, done))).toEqual({
        error: null,
        bytes: 0,
      });
      expect(file.size()).toBe(16);
      file.syncSync();
      file.close();
    });
    it('not into a file that is open for reading', async () => {
      writeFile(fs, at('a'), 'kept');
      const file = fs.open(at('a'), 'read');
      expectFails(() => file.writeSync(textBytes('x'), 0, 1, 0), 'write', at('a'), 'EBADF');
      const { error } = await outcomeOf(subject, (done) => file.write(textBytes('x'), 0, 1, 0, done));
      expectIo(error, 'write', at('a'), 'EBADF');
      expectFails(() => file.truncate(0), 'truncate', at('a'), 'EINVAL');
      file.close();
      expect(readFile(fs, at('a'))).toBe('kept');
    });
    it('not outside of a buffer or of a file', () => {
      const file = fs.open(at('a'), 'create');
      const bytes = new Uint8Array(10);
      const wrong = [
        [0, 11, 0],
        [8, 3, 0],
        [-1, 1, 0],
        [0, -1, 0],
        [0, 1, -1],
        [0, 1.5, 0],
        [0, 1, Number.NaN],
        [0, 2, Number.MAX_SAFE_INTEGER],
      ] as const;
      for (const [start, length, position] of wrong) {
        expect(() => file.readSync(bytes, start, length, position)).toThrow(AssertionError);
        expect(() => file.writeSync(bytes, start, length, position)).toThrow(AssertionError);
        expect(() => file.read(bytes, start, length, position, () => undefined)).toThrow(AssertionError);
        expect(() => file.write(bytes, start, length, position, () => undefined)).toThrow(AssertionError);
      }
      expect(file.size()).toBe(0);
      file.close();
    });
    it('as a model says, over random writes and truncations', () => {
      const seed = testSeed();
      const random = new Random(seed);
      const file = fs.open(at('a'), 'create');
      let model = Buffer.alloc(0);
      for (let step = 0; step < 300; step++) {
        const position = random.below(6000);
        const length = random.below(1500);
        if (random.chance(0.2)) {
          file.truncate(position);
          model = Buffer.concat([
            model.subarray(0, position),
            Buffer.alloc(Math.max(0, position - model.length)),
          ]);
        } else {
          const bytes = random.bytes(length);
          file.writeSync(bytes, 0, length, position);
          const size = length === 0 ? model.length : Math.max(model.length, position + length);
          model = Buffer.concat([model, Buffer.alloc(size - model.length)]);
          if (length > 0) model.set(bytes, position);
        }
        expect(file.size(), `seed ${seed}`).toBe(model.length);
        if (step % 10 === 0) expect(readOpen(file) === model.toString('latin1'), `seed ${seed}`).toBe(true);
      }
      file.close();
      expect(readFile(fs, at('a')) === model.toString('latin1'), `seed ${seed}`).toBe(true);
    });
  });

  describe('closes files', () => {
    it('once, and fails every later call on them', async () => {
      const file = fs.open(at('a'), 'create');
      file.close();
      file.close();
      const bytes = new Uint8Array(4);
      const path = at('a');
      expectFails(() => file.readSync(bytes, 0, 4, 0), 'read', path, 'EBADF');
      expectFails(() => file.writeSync(bytes, 0, 4, 0), 'write', path, 'EBADF');
      expectFails(() => file.syncSync(), 'sync', path, 'EBADF');
      expectFails(() => file.truncate(0), 'truncate', path, 'EBADF');
      expectFails(() => file.size(), 'size', path, 'EBADF');
      const read = await outcomeOf(subject, (done) => file.read(bytes, 0, 4, 0, done));
      expectIo(read.error, 'read', path, 'EBADF');
      const write = await outcomeOf(subject, (done) => file.write(bytes, 0, 4, 0, done));
      expectIo(write.error, 'write', path, 'EBADF');
      const sync = await outcomeOf(subject, (done) => file.sync(done));
      expectIo(sync.error, 'sync', path, 'EBADF');
    });
    it('without harm to calls in flight, or to the file that is opened next', async () => {
      const piece = new Uint8Array(65_536).fill(0x61);
      const pieces = 64;
      const file = fs.open(at('a'), 'create');
      const writes = Array.from({ length: pieces }, (_, index) =>
        outcomeOf(subject, (done) => file.write(piece, 0, piece.length, index * piece.length, done)),
      );
      file.close();
      const next = fs.open(at('next'), 'create');
      next.writeSync(textBytes('untouched'), 0, 9, 0);
      for (const outcome of await Promise.all(writes))
        expect(outcome).toEqual({ error: null, bytes: piece.length });
      expect(readOpen(next)).toBe('untouched');
      next.close();
      expect(readFile(fs, at('a')) === 'a'.repeat(pieces * piece.length)).toBe(true);
    });
    it('whose callbacks close them', async () => {
      const file = fs.open(at('a'), 'create');
      const { error } = await outcomeOf(subject, (done) =>
        file.write(textBytes('abc'), 0, 3, 0, (failed, bytes) => {
          file.close();
          done(failed, bytes);
        }),
      );
      expect(error).toBeNull();
      expect(readFile(fs, at('a'))).toBe('abc');
    });
    it('that have no name any more', () => {
      writeFile(fs, at('a'), 'still here');
      const file = fs.open(at('a'), 'read');
      fs.unlink(at('a'));
      expect(fs.exists(at('a'))).toBe(false);
      expect(readOpen(file)).toBe('still here');
      file.close();
    });
  });

  describe('keeps directories', () => {
    it('made with their parents, and made again without an error', () => {
      fs.mkdir(at('x', 'y', 'z'));
      fs.mkdir(at('x', 'y', 'z'));
      fs.mkdir(at('x'));
      expect(fs.readdir(at('x'))).toEqual(['y']);
      expect(fs.readdir(at('x', 'y', 'z'))).toEqual([]);
      writeFile(fs, at('file'), '');
      expectFails(() => fs.mkdir(at('file')), 'mkdir', at('file'), 'EEXIST');
      expectFails(() => fs.mkdir(at('file', 'd')), 'mkdir', at('file', 'd'), 'ENOTDIR');
    });
    it('with names in order', () => {
      for (const name of ['b', 'a', 'c2', 'c10', 'B']) writeFile(fs, at(name), '');
      fs.mkdir(at('aa'));
      expect(fs.readdir(subject.root)).toEqual(['B', 'a', 'aa', 'b', 'c10', 'c2']);
      expectFails(() => fs.readdir(at('no')), 'readdir', at('no'), 'ENOENT');
      expectFails(() => fs.readdir(at('a')), 'readdir', at('a'), 'ENOTDIR');
    });
    it('that are removed only when they are empty', () => {
      fs.mkdir(at('d'));
      writeFile(fs, at('d', 'f'), '');
      expectFails(() => fs.rmdir(at('d')), 'rmdir', at('d'), 'ENOTEMPTY');
      expectFails(() => fs.rmdir(at('d', 'f')), 'rmdir', at('d', 'f'), 'ENOTDIR');
      expectFails(() => fs.unlink(at('d')), 'unlink', at('d'), 'EISDIR');
      fs.unlink(at('d', 'f'));
      fs.rmdir(at('d'));
      expect(fs.exists(at('d'))).toBe(false);
      expectFails(() => fs.rmdir(at('d')), 'rmdir', at('d'), 'ENOENT');
    });
    it('that are synced when they are there', () => {
      writeFile(fs, at('f'), '');
      fs.syncDirectory(subject.root);
      expectFails(() => fs.syncDirectory(at('no')), 'sync-directory', at('no'), 'ENOENT');
      expectFails(() => fs.syncDirectory(at('f')), 'sync-directory', at('f'), 'ENOTDIR');
    });
    it('and knows what exists', () => {
      writeFile(fs, at('f'), '');
      fs.mkdir(at('d'));
      const paths = [subject.root, at('f'), at('d'), at('no'), at('f', 'x'), at('no', 'x')];
      expect(paths.map((path) => fs.exists(path))).toEqual([true, true, true, false, false, false]);
    });
  });

  describe('changes names', () => {
    it('by rename, over a file that is there', () => {
      writeFile(fs, at('a'), 'new');
      writeFile(fs, at('b'), 'old');
      const old = fs.open(at('b'), 'read');
      fs.rename(at('a'), at('b'));
      expect(fs.readdir(subject.root)).toEqual(['b']);
      expect(readFile(fs, at('b'))).toBe('new');
      expect(readOpen(old)).toBe('old');
      old.close();
      expectFails(() => fs.rename(at('a'), at('c')), 'rename', at('a'), 'ENOENT');
      expectFails(() => fs.rename(at('b'), at('no', 'b')), 'rename', at('b'), 'ENOENT');
    });
    it('of directories with what is in them', () => {
      fs.mkdir(at('d', 'e'));
      writeFile(fs, at('d', 'e', 'f'), 'deep');
      fs.mkdir(at('empty'));
      fs.mkdir(at('full', 'x'));
      writeFile(fs, at('file'), '');
      expectFails(() => fs.rename(at('d'), at('full')), 'rename', at('d'), 'ENOTEMPTY');
      expectFails(() => fs.rename(at('d'), at('file')), 'rename', at('d'), 'ENOTDIR');
      expectFails(() => fs.rename(at('file'), at('d')), 'rename', at('file'), 'EISDIR');
      expectFails(() => fs.rename(at('d'), at('d', 'e', 'd')), 'rename', at('d'), 'EINVAL');
      fs.rename(at('d'), at('empty'));
      expect(readFile(fs, at('empty', 'e', 'f'))).toBe('deep');
      expect(fs.exists(at('d'))).toBe(false);
    });
    it('by links, which share their bytes', () => {
      writeFile(fs, at('a'), 'one');
      fs.link(at('a'), at('b'));
      const file = fs.open(at('b'), 'write');
      file.writeSync(textBytes('two'), 0, 3, 0);
      file.close();
      expect(readFile(fs, at('a'))).toBe('two');
      fs.unlink(at('a'));
      expect(readFile(fs, at('b'))).toBe('two');
      writeFile(fs, at('c'), '');
      expectFails(() => fs.link(at('b'), at('c')), 'link', at('b'), 'EEXIST');
      expectFails(() => fs.link(at('no'), at('d')), 'link', at('no'), 'ENOENT');
      // Renaming a file over another name of its own changes nothing.
      fs.link(at('b'), at('d'));
      fs.rename(at('b'), at('d'));
      expect([fs.exists(at('b')), fs.exists(at('d'))]).toEqual([true, true]);
    });
    it('by unlink', () => {
      writeFile(fs, at('a'), '');
      fs.unlink(at('a'));
      expect(fs.readdir(subject.root)).toEqual([]);
      expectFails(() => fs.unlink(at('a')), 'unlink', at('a'), 'ENOENT');
    });
  });

  describe('locks a directory', () => {
    it('once at a time, and names the holder', () => {
      const lock = fs.lock(subject.root);
      const error = errorOf(() => fs.lock(subject.root));
      expect(error).toBeInstanceOf(LockedError);
      expect(error.message).toContain(subject.root);
      expect(error.message).toContain(`process ${process.pid} (this one)`);
      lock.release();
      lock.release();
      const again = fs.lock(subject.root);
      lock.release();
      expect(() => fs.lock(subject.root)).toThrow(LockedError);
      again.release();
      expect(fs.readdir(subject.root)).toEqual(['LOCK']);
    });
    it('and not its neighbour, and none that is not there', () => {
      fs.mkdir(at('a'));
      fs.mkdir(at('b'));
      const locks = [fs.lock(at('a')), fs.lock(at('b'))];
      for (const lock of locks) lock.release();
      expectFails(() => fs.lock(at('no')), 'lock', at('no'), 'ENOENT');
    });
  });

  it('tells how much room there is', () => {
    expect(fs.freeBytes(subject.root)).toBeGreaterThan(0);
    expect(Number.isSafeInteger(fs.freeBytes(subject.root))).toBe(true);
    expectFails(() => fs.freeBytes(at('no')), 'free-bytes', at('no'), 'ENOENT');
  });
});
