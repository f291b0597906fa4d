import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LockedError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import type { FileLock } from '../../src/vfs/file-system.ts';
import { openLocked } from '../../src/vfs/kernel-lock.ts';
import { type LockSystem, lockDirectory } from '../../src/vfs/lock.ts';
import { judge, type LockHolder, parseHolder, startOf, thisProcess } from '../../src/vfs/lock-holder.ts';
import { testSeed } from '../seed.ts';
import { errorOf } from './harness.ts';

const hasProc = existsSync('/proc/self/stat');
const hasFlock = spawnSync('flock', ['--help']).status === 0;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-lock-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A system where flock(1) is not installed: the record is all there is. */
const recordOnly: LockSystem = {
  openLocked: (path) => ({ state: 'none', descriptor: openSync(path, 'a') }),
  thisProcess,
  judge,
};
const withKernel: LockSystem = { openLocked, thisProcess, judge };
const systems: [string, LockSystem][] = [['the record', recordOnly]];
if (hasFlock) systems.push(['the record and the kernel', withKernel]);

/** Puts the record of a holder in place, as if it had been killed. */
function leave(holder: LockHolder | string, name = '1-aa'): void {
  mkdirSync(join(root, 'LOCK.holder'));
  const text = typeof holder === 'string' ? holder : JSON.stringify(holder);
  writeFileSync(join(root, 'LOCK.holder', name), text);
}
const holderNow = (): LockHolder | null => {
  const folder = join(root, 'LOCK.holder');
  return parseHolder(readFileSync(join(folder, readdirSync(folder)[0] ?? ''), 'utf8'));
};
const self = thisProcess(false);
/** A process that ran with the id of this one, before it. */
const former: LockHolder = { ...self, start: '1' };

describe.each(systems)('a lock by %s', (_name, system) => {
  it('excludes a second taker, names the holder, and is there again after a release', () => {
    for (let round = 0; round < 3; round++) {
      const lock = lockDirectory(root, system);
      expect(holderNow()).toMatchObject({ pid: process.pid });
      const error = errorOf(() => lockDirectory(root, system));
      expect(error).toBeInstanceOf(LockedError);
      expect(error.message).toBe(`${root} is locked by process ${process.pid} (this one)`);
      expect(readdirSync(root).sort()).toEqual(['LOCK', 'LOCK.holder']);
      lock.release();
      expect(readdirSync(root)).toEqual(['LOCK']);
    }
  });

  it.runIf(hasProc)('is taken over at once from a holder that is gone, though its id runs again', () => {
    leave(former);
    const lock = lockDirectory(root, system);
    expect(holderNow()).toEqual({ ...self, kernel: system === withKernel });
    lock.release();
  });

  it('is taken over from a record that a power cut left empty, torn or strange', () => {
    const whole = JSON.stringify(former);
    const strange = ['[]', 'null', '3', '{"pid":0}', JSON.stringify({ ...former, pid: '1' })];
    for (const text of ['', whole.slice(0, 20), '\0'.repeat(whole.length), ...strange]) {
      leave(text);
      lockDirectory(root, system).release();
    }
  });

  it('is taken over where only the empty folder of a record was left', () => {
    mkdirSync(join(root, 'LOCK.holder'));
    lockDirectory(root, system).release();
  });

  it('clears away what takers left that died on the way, and nothing of one that may live', () => {
    const aside = (name: string, text: string | null): void => {
      mkdirSync(join(root, name));
      if (text !== null) writeFileSync(join(root, name, 'r'), text);
    };
    aside('LOCK.taking-dead', JSON.stringify({ ...former, boot: 'another' }));
    aside('LOCK.taking-empty', null);
    aside('LOCK.taking-elsewhere', JSON.stringify({ ...self, host: 'elsewhere', boot: 'another' }));
    aside('LOCK.taking-writing', '{"pi');
    lockDirectory(root, system).release();
    expect(readdirSync(root).sort()).toEqual(['LOCK', 'LOCK.taking-elsewhere', 'LOCK.taking-writing']);
  });
});

describe('takers of one lock', () => {
  it('have one holder among them however their steps mix where one judges another', () => {
    const seed = testSeed();
    const random = new Random(seed);
    for (let round = 0; round < 60; round++) {
      const dead: LockHolder = { ...self, boot: 'before the reboot' };
      leave(dead, `1-${round}`);
      const held: FileLock[] = [];
      const take = (depth: number): void => {
        // Other takers run between what this one saw and what it does.
        const mixed: LockSystem = {
          ...recordOnly,
          judge: (holder, own) => {
            const verdict = judge(holder, own);
            for (let other = random.below(3); other > 0 && depth < 3; other--) take(depth + 1);
            return verdict;
          },
        };
        try {
          const lock = lockDirectory(root, mixed);
          if (depth > 0 && random.chance(0.3)) lock.release();
          else held.push(lock);
        } catch (error) {
          expect(error, `seed ${seed}`).toBeInstanceOf(LockedError);
        }
        expect(held.length, `seed ${seed}, round ${round}`).toBeLessThanOrEqual(1);
      };
      take(0);
      expect(held, `seed ${seed}, round ${round}`).toHaveLength(1);
      for (const lock of held) lock.release();
      expect(readdirSync(root)).toEqual(['LOCK']);
    }
  });
});

describe('a holder of whom nobody can say whether it lives', () => {
  const elsewhere: LockHolder = { ...self, host: 'elsewhere', namespace: 'pid:[1]', kernel: true };

  it('keeps the lock where there is nothing but the record, and the message says what to do', () => {
    for (const holder of [elsewhere, { ...self, host: 'elsewhere', boot: 'another' }]) {
      leave(holder);
      const { message } = errorOf(() => lockDirectory(root, recordOnly));
      expect(message).toContain(`locked by process ${self.pid} on host elsewhere`);
      expect(message).toContain(`delete ${join(root, 'LOCK.holder')}`);
      expect(readdirSync(root).sort()).toEqual(['LOCK', 'LOCK.holder']);
      rmSync(join(root, 'LOCK.holder'), { recursive: true });
    }
  });

  it.runIf(hasFlock)('loses it when the kernel has released its lock, and only if it had that', () => {
    leave({ ...elsewhere, kernel: false });
    expect(() => lockDirectory(root, withKernel)).toThrow(LockedError);
    rmSync(join(root, 'LOCK.holder'), { recursive: true });
    leave(elsewhere);
    lockDirectory(root, withKernel).release();
  });

  it.runIf(hasFlock)(
    'is named while the kernel says that it holds the lock, or said to be on its way',
    () => {
      const kernel = openLocked(join(root, 'LOCK'));
      expect(kernel.state).toBe('held');
      expect(errorOf(() => lockDirectory(root, withKernel)).message).toContain('just starting or ending');
      leave(elsewhere);
      expect(errorOf(() => lockDirectory(root, withKernel)).message).toContain('process');
      rmSync(join(root, 'LOCK.holder'), { recursive: true });
      leave(former);
      if (hasProc)
        expect(errorOf(() => lockDirectory(root, withKernel)).message).toContain('just starting or ending');
    },
  );
});

describe('a judgement', () => {
  it.runIf(hasProc)('goes by start time, namespace, boot and host', () => {
    const verdictOf = (change: Partial<LockHolder>): string => judge({ ...self, ...change }, self);
    expect(verdictOf({})).toBe('alive');
    expect(verdictOf({ start: '1' })).toBe('gone');
    expect(verdictOf({ pid: 2 ** 22 + 1 })).toBe('gone');
    expect(verdictOf({ boot: 'another' })).toBe('gone');
    expect(verdictOf({ namespace: 'pid:[1]' })).toBe('gone');
    expect(verdictOf({ namespace: 'pid:[1]', host: 'elsewhere' })).toBe('unknown');
    expect(verdictOf({ boot: 'another', host: 'elsewhere' })).toBe('unknown');
  });
  it('goes by the process id where the system tells no start times, and then is never sure of life', () => {
    const bare: LockHolder = { ...self, start: '' };
    expect(judge(bare, self)).toBe('unknown');
    expect(judge({ ...bare, pid: 2 ** 22 + 1 }, self)).toBe('gone');
    expect(judge({ ...bare, host: 'elsewhere' }, self)).toBe('unknown');
  });
  it.runIf(hasProc)('reads the start time behind any name that a process may have', () => {
    expect(startOf(process.pid)).toMatch(/^\d+$/);
    const name = process.title;
    const start = startOf(process.pid);
    process.title = 'x) R 1 1 (y';
    expect(readFileSync('/proc/self/stat', 'latin1')).toContain('x) R 1 1 (y');
    expect(startOf(process.pid)).toBe(start);
    process.title = name;
  });
});

describe.runIf(hasFlock && process.platform === 'linux')('the lock of the kernel', () => {
  it('stays with the open file when the child that asked for it has ended', () => {
    const path = join(root, 'LOCK');
    const first = openLocked(path);
    expect(first.state).toBe('held');
    expect(openLocked(path)).toEqual({ state: 'busy', descriptor: -1 });
    expect(spawnSync('flock', ['-x', '-n', path, 'true']).status).toBe(1);
    closeSync(first.descriptor);
    expect(spawnSync('flock', ['-x', '-n', path, 'true']).status).toBe(0);
  });
  it('is held as long as the lock of the directory is', () => {
    const lock = lockDirectory(root, withKernel);
    expect(openLocked(join(root, 'LOCK')).state).toBe('busy');
    lock.release();
    const free = openLocked(join(root, 'LOCK'));
    expect(free.state).toBe('held');
    closeSync(free.descriptor);
  });
  it('is none where the command is missing or fails', () => {
    expect(openLocked(join(root, 'a'), 'no-such-command').state).toBe('none');
    expect(openLocked(join(root, 'a'), 'false').state).toBe('busy');
    expect(openLocked(join(root, 'a'), 'ls').state).toBe('none');
  });
});
