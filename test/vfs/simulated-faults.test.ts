import { describe, expect, it } from 'vitest';
import { DiskFullError, IoError, LockedError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import type { FileSystem } from '../../src/vfs/file-system.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { CHANGES, Crash, LOOKS, type Operation } from '../../src/vfs/simulated-faults.ts';
import { testSeed } from '../seed.ts';
import { errorOf, outcomeOf, readFile, readOpen, simulatedSubject, textBytes, writeFile } from './harness.ts';

function diskWith(path: string, text: string): SimulatedFileSystem {
  const disk = new SimulatedFileSystem();
  disk.place(path, textBytes(text));
  return disk;
}

/** Every operation once, in an order in which each succeeds; `each` comes after each. */
function everyOperation(disk: FileSystem, each: (operation: Operation) => void): void {
  const step = <T>(operation: Operation, call: () => T): T => {
    const result = call();
    each(operation);
    return result;
  };
  step('mkdir', () => disk.mkdir('/d'));
  const lock = step('lock', () => disk.lock('/d'));
  const file = step('create', () => disk.open('/d/a', 'create'));
  step('write', () => file.writeSync(textBytes('abc'), 0, 3, 0));
  step('sync', () => file.syncSync());
  step('sync-directory', () => disk.syncDirectory('/d'));
  step('read', () => file.readSync(new Uint8Array(3), 0, 3, 0));
  step('size', () => file.size());
  step('truncate', () => file.truncate(1));
  step('close', () => file.close());
  step('open', () => disk.open('/d/a', 'read')).close();
  each('close');
  step('link', () => disk.link('/d/a', '/d/b'));
  step('rename', () => disk.rename('/d/b', '/d/c'));
  step('exists', () => disk.exists('/d/c'));
  step('readdir', () => disk.readdir('/d'));
  for (const name of ['a', 'c', 'LOCK']) step('unlink', () => disk.unlink(`/d/${name}`));
  step('unlock', () => lock.release());
  step('rmdir', () => disk.rmdir('/d'));
  step('free-bytes', () => disk.freeBytes('/'));
}
function operationsInOrder(): Operation[] {
  const order: Operation[] = [];
  everyOperation(new SimulatedFileSystem(), (operation) => order.push(operation));
  return order;
}

describe('injected faults', () => {
  it('strike every operation there is but close, and name it', () => {
    const all: Operation[] = [...CHANGES, ...LOOKS];
    expect(new Set(operationsInOrder())).toEqual(new Set(all));
    for (const operation of all) {
      if (operation === 'close') continue;
      const disk = new SimulatedFileSystem();
      const fault = disk.inject({ operation, times: 1, errno: 'EIO' });
      const done: Operation[] = [];
      const error = errorOf(() => everyOperation(disk, (one) => done.push(one)));
      expect(error).toBeInstanceOf(IoError);
      expect(error.message).toMatch(new RegExp(`^${operation} /.*: EIO`));
      expect(fault.hits).toBe(1);
      expect(done).not.toContain(operation);
    }
  });

  it('strike by path, after so many calls and so many times', () => {
    const disk = new SimulatedFileSystem();
    const byName = disk.inject({ operation: 'create', path: 'b', after: 1, times: 2, errno: 'EACCES' });
    const byPattern = disk.inject({ operation: 'create', path: /^\/x\//, errno: 'EROFS' });
    disk.mkdir('/x');
    const create = (path: string): string => {
      try {
        disk.open(path, 'create').close();
        disk.unlink(path);
        return 'ok';
      } catch (error) {
        return error instanceof IoError ? error.errno : String(error);
      }
    };
    expect(['/a', '/b', '/b', '/b', '/b', '/bb'].map(create)).toEqual([
      ...['ok', 'ok', 'EACCES', 'EACCES', 'ok', 'ok'],
    ]);
    expect(['/x/a', '/a', '/x/b'].map(create)).toEqual(['EROFS', 'ok', 'EROFS']);
    expect([byName.matches, byName.hits, byPattern.matches, byPattern.hits]).toEqual([5, 2, 2, 2]);
    byPattern.stop();
    expect(create('/x/a')).toBe('ok');
    expect([byPattern.matches, byPattern.hits]).toEqual([3, 2]);
    disk.inject({ operation: 'create', errno: 'EIO' });
    disk.clearFaults();
    expect(create('/a')).toBe('ok');
  });

  it('give a DiskFullError for ENOSPC and EDQUOT', () => {
    for (const errno of ['ENOSPC', 'EDQUOT']) {
      const disk = new SimulatedFileSystem();
      disk.inject({ operation: 'create', errno });
      expect(errorOf(() => disk.open('/a', 'create'))).toBeInstanceOf(DiskFullError);
    }
  });

  it('leave a write undone, or done in part', () => {
    const disk = diskWith('/a', '......');
    const file = disk.open('/a', 'write');
    disk.inject({ operation: 'write', times: 1, errno: 'EIO' });
    disk.inject({ operation: 'write', after: 1, times: 1, errno: 'EIO', bytes: 2 });
    expect(errorOf(() => file.writeSync(textBytes('abcd'), 0, 4, 0)).message).toContain('EIO');
    expect(readOpen(file)).toBe('......');
    expect(errorOf(() => file.writeSync(textBytes('abcd'), 1, 3, 3)).message).toContain('EIO');
    expect(readOpen(file)).toBe('...bc.');
  });

  it('come back through the callback of an asynchronous call', async () => {
    const subject = simulatedSubject();
    const disk = subject.fs as SimulatedFileSystem;
    const file = disk.open('/root/a', 'create');
    for (const operation of ['read', 'write', 'sync'] as const) disk.inject({ operation, errno: 'EIO' });
    const bytes = new Uint8Array(4);
    const starts = [
      (done: (error: Error | null, bytes: number) => void) => file.read(bytes, 0, 4, 0, done),
      (done: (error: Error | null, bytes: number) => void) => file.write(bytes, 0, 4, 0, done),
      (done: (error: Error | null, bytes: number) => void) => file.sync(done),
    ];
    for (const start of starts) {
      const outcome = await outcomeOf(subject, start);
      expect(outcome.error).toBeInstanceOf(IoError);
      expect(outcome.bytes).toBe(0);
    }
  });
});

describe('a full disk', () => {
  it('takes what there is room for, fails, and takes more when there is room', () => {
    const disk = new SimulatedFileSystem({ capacityBytes: 10 });
    const file = disk.open('/a', 'create');
    file.writeSync(textBytes('12345678'), 0, 8, 0);
    expect(disk.freeBytes('/')).toBe(2);
    file.writeSync(textBytes('abcd'), 0, 4, 6);
    expect(readOpen(file)).toBe('123456abcd');
    expect(errorOf(() => file.writeSync(textBytes('xy'), 0, 2, 9))).toBeInstanceOf(DiskFullError);
    expect(readOpen(file)).toBe('123456abcx');
    expect(errorOf(() => file.writeSync(textBytes('z'), 0, 1, 10))).toBeInstanceOf(DiskFullError);
    expect(errorOf(() => file.truncate(11))).toBeInstanceOf(DiskFullError);
    expect(file.size()).toBe(10);
    file.writeSync(textBytes('over'), 0, 4, 0);
    file.truncate(5);
    expect([disk.usedBytes, disk.freeBytes('/')]).toEqual([5, 5]);
    disk.capacityBytes = 100;
    file.writeSync(textBytes('z'), 0, 1, 50);
    expect(disk.usedBytes).toBe(51);
  });

  it('has the bytes of a file free again when it has neither a name nor an open file', () => {
    const disk = new SimulatedFileSystem({ capacityBytes: 10 });
    writeFile(disk, '/a', '12345');
    disk.link('/a', '/b');
    const file = disk.open('/b', 'read');
    disk.unlink('/a');
    disk.unlink('/b');
    expect(disk.freeBytes('/')).toBe(5);
    file.close();
    expect(disk.freeBytes('/')).toBe(10);
    writeFile(disk, '/c', '123');
    writeFile(disk, '/d', '4567');
    disk.rename('/c', '/d');
    expect(disk.freeBytes('/')).toBe(7);
    disk.place('/d', textBytes('1'));
    expect(disk.freeBytes('/')).toBe(9);
    expect(disk.powerCut(new Random(1)).capacityBytes).toBe(10);
  });
});

describe('open files', () => {
  it('are bounded, and those that leak are seen', () => {
    const disk = new SimulatedFileSystem({ openFilesMax: 2 });
    const first = disk.open('/a', 'create');
    const second = disk.open('/a', 'read');
    const error = errorOf(() => disk.open('/b', 'create'));
    expect((error as IoError).errno).toBe('EMFILE');
    expect(disk.exists('/b')).toBe(false);
    expect(errorOf(() => disk.open('/a', 'write')).message).toContain('EMFILE');
    expect(disk.openPaths).toEqual(['/a', '/a']);
    first.close();
    first.close();
    expect(disk.openPaths).toEqual(['/a']);
    disk.open('/b', 'create').close();
    second.close();
    expect(disk.openPaths).toEqual([]);
  });

  it('stay open until the calls in flight have ended', async () => {
    const disk = diskWith('/a', '');
    const file = disk.open('/a', 'write');
    file.write(textBytes('abc'), 0, 3, 0, () => undefined);
    file.close();
    expect(disk.openPaths).toEqual(['/a']);
    await disk.settle();
    expect(disk.openPaths).toEqual([]);
    expect(readFile(disk, '/a')).toBe('abc');
  });
});

describe('flipped bits', () => {
  it('are in what is read and in what a power cut leaves, where they were asked for', () => {
    const disk = diskWith('/a', 'aaaa');
    expect(disk.flipBit('/a', 2, 1)).toBe(2);
    expect(readFile(disk, '/a')).toBe('aaca');
    expect(readFile(disk.powerCut(new Random(1)), '/a')).toBe('aaca');
    disk.flipBit('/a', 2, 1);
    expect(readFile(disk, '/a')).toBe('aaaa');
  });
  it('are in what the disk has of a sector that is not synced too', () => {
    const disk = diskWith('/a', 'aaaa');
    const file = disk.open('/a', 'write');
    file.writeSync(textBytes('bbbb'), 0, 4, 0);
    disk.flipBit('/a', 2, 1);
    const seed = testSeed();
    const random = new Random(seed);
    const seen = new Set<string>();
    for (let cut = 0; cut < 200; cut++) seen.add(readFile(disk.powerCut(random), '/a').charAt(2));
    expect(seen, `seed ${seed}`).toEqual(new Set(['c', '`']));
  });
  it('are one bit at a place drawn from the seed', () => {
    const places = new Set<number>();
    for (let seed = 1; seed <= 30; seed++) {
      const disk = new SimulatedFileSystem({ seed });
      disk.place('/a', new Uint8Array(1000));
      const at = disk.flipBit('/a');
      const flipped = [...disk.bytesOf('/a').entries()].filter(([, byte]) => byte !== 0);
      expect(flipped.map(([index]) => index)).toEqual([at]);
      expect(Math.log2(flipped[0]?.[1] ?? 0) % 1).toBe(0);
      places.add(at);
    }
    expect(places.size).toBeGreaterThan(20);
  });
});

describe('a crash', () => {
  it('comes at every call of any kind, and nothing is done from it on', () => {
    const order = operationsInOrder();
    for (let ordinal = 0; ordinal < order.length; ordinal++) {
      const disk = new SimulatedFileSystem();
      disk.crashAtCall(ordinal);
      const done: Operation[] = [];
      expect(errorOf(() => everyOperation(disk, (one) => done.push(one)))).toBeInstanceOf(Crash);
      expect(done).toEqual(order.slice(0, ordinal));
      expect([disk.crashed, disk.calls]).toEqual([true, ordinal]);
      expect(() => disk.exists('/')).toThrow(Crash);
      expect(() => disk.mkdir('/more')).toThrow(Crash);
    }
  });

  it('comes at every change, counted without the calls that only look', () => {
    const order = operationsInOrder();
    const changing = order.filter((one) => (CHANGES as readonly string[]).includes(one));
    for (let ordinal = 0; ordinal < changing.length; ordinal++) {
      const disk = new SimulatedFileSystem();
      disk.crashAtChange(ordinal);
      expect(() => everyOperation(disk, () => undefined)).toThrow(Crash);
      expect(disk.changes).toBe(ordinal);
      expect(disk.log.map((entry) => entry.split(' ')[0])).toEqual(changing.slice(0, ordinal));
    }
  });

  it('makes asynchronous calls never come back', async () => {
    const disk = diskWith('/a', '');
    const file = disk.open('/a', 'write');
    const back: string[] = [];
    file.write(textBytes('a'), 0, 1, 0, () => back.push('first'));
    file.sync(() => back.push('second'));
    file.read(new Uint8Array(1), 0, 1, 0, () => back.push('third'));
    disk.crashAtCall(disk.calls + 1);
    await disk.settle();
    expect(back).toEqual(['first']);
    file.write(textBytes('a'), 0, 1, 0, () => back.push('fourth'));
    await disk.settle();
    expect(back).toEqual(['first']);
    expect(() => file.writeSync(textBytes('a'), 0, 1, 0)).toThrow(Crash);
  });
});

describe('what a simulated disk counts', () => {
  it('are all calls by kind, and in the log those that change something', () => {
    const disk = new SimulatedFileSystem();
    everyOperation(disk, () => undefined);
    const order = operationsInOrder();
    expect(disk.calls).toBe(order.length);
    for (const operation of [...CHANGES, ...LOOKS])
      expect(disk.callsOf(operation)).toBe(order.filter((one) => one === operation).length);
    expect(disk.log.slice(0, 6)).toEqual([
      ...['mkdir d', 'lock d', 'create a', 'write a', 'sync a', 'sync-directory d'],
    ]);
    disk.resetCounts();
    expect([disk.calls, disk.changes, disk.log.length, disk.callsOf('mkdir')]).toEqual([0, 0, 0, 0]);
  });
  it('is no lock that a power cut or another disk keeps', () => {
    const disk = new SimulatedFileSystem();
    disk.lock('/');
    expect(() => disk.lock('/')).toThrow(LockedError);
    disk.powerCut(new Random(1)).lock('/').release();
  });
  it('is nothing in the automatic mode, which a store may use for days', () => {
    const disk = new SimulatedFileSystem({ automatic: true });
    everyOperation(disk, () => undefined);
    expect(disk.log).toEqual([]);
    expect(() => disk.powerCut()).toThrow('nothing is tracked');
  });
});
