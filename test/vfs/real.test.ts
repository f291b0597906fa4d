import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DiskFullError, IoError } from '../../src/base/errors.ts';
import { realFileSystem as fs } from '../../src/vfs/real.ts';
import { errorOf, readFile, readOpen, realSubject, textBytes, writeFile } from './harness.ts';

/** What the system is made to do instead: at most so many bytes a call, or an error by the function's name. */
const system = vi.hoisted(() => ({
  bytesMax: Number.POSITIVE_INFINITY,
  errors: new Map<string, string>(),
  calls: [] as string[],
}));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  const failureOf = (name: string): Error | null => {
    const code = system.errors.get(name);
    return code === undefined ? null : Object.assign(new Error(`${code}: injected`), { code, errno: -1 });
  };
  const spied =
    <A extends unknown[], R>(name: string, call: (...args: A) => R) =>
    (...args: A): R => {
      system.calls.push(name);
      const failure = failureOf(name);
      if (failure !== null) throw failure;
      return call(...args);
    };
  type Done = (error: Error | null, bytes: number) => void;
  type Transfer = (
    fd: number,
    buffer: Uint8Array,
    start: number,
    length: number,
    at: number,
    done: Done,
  ) => void;
  const transfers: Record<'read' | 'write', Transfer> = { read: real.read, write: real.write };
  const short =
    (name: 'read' | 'write') =>
    (fd: number, buffer: Uint8Array, start: number, length: number, position: number, done: Done): void => {
      system.calls.push(name);
      const failure = failureOf(name);
      if (failure !== null) setImmediate(done, failure, 0);
      else transfers[name](fd, buffer, start, Math.min(length, system.bytesMax), position, done);
    };
  return {
    ...real,
    read: short('read'),
    write: short('write'),
    readSync: (fd: number, buffer: Uint8Array, start: number, length: number, position: number) =>
      real.readSync(fd, buffer, start, Math.min(length, system.bytesMax), position),
    writeSync: (fd: number, buffer: Uint8Array, start: number, length: number, position: number) =>
      real.writeSync(fd, buffer, start, Math.min(length, system.bytesMax), position),
    fsyncSync: spied('fsyncSync', real.fsyncSync),
    fdatasyncSync: spied('fdatasyncSync', real.fdatasyncSync),
    linkSync: spied('linkSync', real.linkSync),
    copyFileSync: spied('copyFileSync', real.copyFileSync),
    closeSync: spied('closeSync', real.closeSync),
    statSync: spied('statSync', real.statSync),
    statfsSync: spied('statfsSync', real.statfsSync),
  };
});

let root: string;
const at = (name: string): string => join(root, name);
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-real-'));
  system.calls.length = 0;
});
afterEach(() => {
  system.bytesMax = Number.POSITIVE_INFINITY;
  system.errors.clear();
  rmSync(root, { recursive: true, force: true });
});

describe('a real file', () => {
  it('finishes reads and writes that the system cuts short', async () => {
    const text = 'abcdefghijklmnopqrstuvwxyz'.repeat(10);
    system.bytesMax = 7;
    const file = fs.open(at('a'), 'create');
    file.writeSync(textBytes(text), 0, 100, 0);
    const written = await new Promise<number>((resolve, reject) =>
      file.write(textBytes(text), 100, 160, 100, (error, bytes) => (error ? reject(error) : resolve(bytes))),
    );
    expect(written).toBe(160);
    expect(system.calls.filter((name) => name === 'write')).toHaveLength(23);
    expect(readFileSync(at('a'), 'latin1')).toBe(text);
    expect(readOpen(file)).toBe(text);
    const target = new Uint8Array(300);
    const read = await new Promise<number>((resolve, reject) =>
      file.read(target, 10, 290, 0, (error, bytes) => (error ? reject(error) : resolve(bytes))),
    );
    expect(read).toBe(260);
    expect(Buffer.from(target.subarray(10, 270)).toString()).toBe(text);
    file.close();
  });

  it('says so when the system takes nothing, and does not try for ever', async () => {
    const file = fs.open(at('a'), 'create');
    system.bytesMax = 0;
    const error = errorOf(() => file.writeSync(textBytes('abc'), 0, 3, 5));
    expect((error as IoError).errno).toBe('EIO');
    expect(error.message).toContain('nothing of 3 bytes at 5 was taken');
    const late = await new Promise<Error | null>((resolve) => file.write(textBytes('abc'), 0, 3, 5, resolve));
    expect(late?.message).toBe(error.message);
    file.close();
  });

  it('gives an IoError with the cause for what the system says of reading, writing and syncing', async () => {
    const file = fs.open(at('a'), 'create');
    system.errors.set('read', 'EIO').set('write', 'ENOSPC').set('fdatasyncSync', 'EIO');
    const read = await new Promise<Error | null>((resolve) => file.read(new Uint8Array(9), 0, 9, 0, resolve));
    expect(read).toBeInstanceOf(IoError);
    expect(read?.message).toBe(`read ${at('a')}: EIO, 9 bytes at 0`);
    expect(read?.cause).toMatchObject({ message: 'EIO: injected', code: 'EIO' });
    const write = await new Promise<Error | null>((resolve) => file.write(textBytes('x'), 0, 1, 0, resolve));
    expect(write).toBeInstanceOf(DiskFullError);
    expect(errorOf(() => file.syncSync()).message).toBe(`sync ${at('a')}: EIO`);
    file.close();
  });

  it('gives its descriptor back once, when the last call in flight has ended', async () => {
    const file = fs.open(at('a'), 'create');
    const closes = (): number => system.calls.filter((name) => name === 'closeSync').length;
    const ends = ['abc', 'def'].map(
      (text, index) =>
        new Promise<void>((resolve) => file.write(textBytes(text), 0, 3, index * 3, () => resolve())),
    );
    file.close();
    file.close();
    expect(closes()).toBe(0);
    await Promise.all(ends);
    expect(closes()).toBe(1);
    expect(readFileSync(at('a'), 'latin1')).toBe('abcdef');
  });

  it('of which closing fails is closed all the same', () => {
    const file = fs.open(at('a'), 'create');
    system.errors.set('closeSync', 'EIO');
    file.close();
    file.close();
    expect(system.calls.filter((name) => name === 'closeSync')).toHaveLength(1);
    const other = fs.open(at('b'), 'create');
    system.errors.set('closeSync', 'EBADF');
    expect(() => other.close()).toThrow('EBADF');
  });

  it('reuses what carries its calls, so that many calls one after another need one carrier', async () => {
    const file = fs.open(at('a'), 'create');
    const seen: number[] = [];
    await new Promise<void>((resolve, reject) => {
      const next = (error: Error | null, bytes: number): void => {
        if (error !== null) reject(error);
        seen.push(bytes);
        if (seen.length > 200) resolve();
        else file.write(textBytes('abc'), 0, 1 + (seen.length % 3), seen.length, next);
      };
      file.write(textBytes('abc'), 0, 3, 0, next);
    });
    expect(seen).toEqual([3, ...Array.from({ length: 200 }, (_, index) => 1 + ((index + 1) % 3))]);
    file.close();
  });
});

describe.runIf(existsSync('/dev/full') && existsSync('/proc/self/mem'))('devices that fail by nature', () => {
  it('are full', async () => {
    const file = fs.open('/dev/full', 'write');
    const error = errorOf(() => file.writeSync(textBytes('x'), 0, 1, 0));
    expect(error).toBeInstanceOf(DiskFullError);
    expect(error.message).toContain('write /dev/full: ENOSPC');
    const late = await new Promise<Error | null>((resolve) => file.write(textBytes('x'), 0, 1, 0, resolve));
    expect(late).toBeInstanceOf(DiskFullError);
    file.close();
  });
  it('cannot be read or synced', async () => {
    const file = fs.open('/proc/self/mem', 'read');
    const error = errorOf(() => file.readSync(new Uint8Array(1), 0, 1, 0));
    expect(error).toBeInstanceOf(IoError);
    expect((error as IoError).errno).toBe('EIO');
    const late = await new Promise<Error | null>((resolve) => file.sync(resolve));
    expect((late as IoError).errno).toBe('EINVAL');
    file.close();
  });
});

describe('the real file system', () => {
  it('gives files and directories to their owner alone', () => {
    fs.mkdir(at('d'));
    fs.open(at('a'), 'create').close();
    fs.lock(root).release();
    expect([at('d'), at('a'), at('LOCK')].map((path) => statSync(path).mode & 0o777)).toEqual([
      0o700, 0o600, 0o600,
    ]);
  });

  it('syncs a directory by the directory itself', () => {
    fs.syncDirectory(root);
    expect(system.calls).toEqual(['fsyncSync', 'closeSync']);
    system.errors.set('fsyncSync', 'EIO');
    expect(errorOf(() => fs.syncDirectory(root)).message).toBe(`sync-directory ${root}: EIO`);
    expect(system.calls.filter((name) => name === 'closeSync')).toHaveLength(2);
  });

  it.each(['EPERM', 'EXDEV', 'EMLINK', 'ENOTSUP'])('copies where links fail with %s', (code) => {
    writeFile(fs, at('a'), 'content');
    system.errors.set('linkSync', code);
    system.calls.length = 0;
    fs.link(at('a'), at('b'));
    expect(system.calls).toEqual(['linkSync', 'statSync', 'copyFileSync', 'fsyncSync', 'closeSync']);
    expect(fs.readdir(root)).toEqual(['a', 'b']);
    expect(readFile(fs, at('b'))).toBe('content');
    expect(errorOf(() => fs.link(at('a'), at('b')))).toMatchObject({ errno: 'EEXIST' });
    expect(errorOf(() => fs.link(at('no'), at('c')))).toMatchObject({ errno: 'ENOENT' });
    fs.mkdir(at('d'));
    expect(errorOf(() => fs.link(at('d'), at('e')))).toMatchObject({ errno: 'EPERM' });
  });

  it('leaves nothing of a copy that failed, and takes over what a crash left of one', () => {
    writeFile(fs, at('a'), 'content');
    writeFileSync(at('b.copy'), 'of an earlier life, and longer');
    system.errors.set('linkSync', 'EXDEV').set('fsyncSync', 'ENOSPC');
    expect(errorOf(() => fs.link(at('a'), at('b')))).toBeInstanceOf(DiskFullError);
    expect(fs.readdir(root)).toEqual(['a']);
    system.errors.delete('fsyncSync');
    writeFileSync(at('b.copy'), 'of an earlier life, and longer');
    fs.link(at('a'), at('b'));
    expect([fs.readdir(root), readFile(fs, at('b'))]).toEqual([['a', 'b'], 'content']);
  });

  it('does not take an error for absence', () => {
    system.errors.set('statSync', 'EACCES');
    expect(errorOf(() => fs.exists(at('a')))).toMatchObject({ errno: 'EACCES' });
    system.errors.set('statSync', 'ENOTDIR');
    expect(fs.exists(at('a'))).toBe(false);
  });

  it('says why it cannot tell the free bytes', () => {
    system.errors.set('statfsSync', 'EIO');
    expect(errorOf(() => fs.freeBytes(root)).message).toBe(`free-bytes ${root}: EIO`);
  });

  it('leaves no descriptor behind when opening fails', () => {
    const subject = realSubject();
    const opened = system.calls.length;
    expect(errorOf(() => fs.open(subject.root, 'read'))).toMatchObject({ errno: 'EISDIR' });
    expect(system.calls.slice(opened)).toEqual(['closeSync']);
    subject.dispose();
  });
});
