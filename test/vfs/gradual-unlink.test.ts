import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { GradualUnlink } from '../../src/vfs/gradual-unlink.ts';

/** Cuts that are in flight, and an error for them all. */
const system = vi.hoisted(() => ({ inFlight: 0, inFlightMax: 0, cuts: [] as number[], broken: false }));
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  return {
    ...real,
    ftruncate: (descriptor: number, length: number, done: (error: Error | null) => void): void => {
      system.cuts.push(length);
      system.inFlightMax = Math.max(system.inFlightMax, ++system.inFlight);
      const ended = (error: Error | null): void => {
        system.inFlight--;
        done(error);
      };
      if (system.broken) setImmediate(ended, new Error('EIO: injected'));
      else real.ftruncate(descriptor, length, ended);
    },
  };
});

const { unlinkStepBytes: STEP, unlinksWaitingMax } = limits;
let root: string;
const at = (name: string): string => join(root, name);
function make(name: string, bytes: number): string {
  fs.writeFileSync(at(name), Buffer.alloc(bytes, name));
  return at(name);
}
beforeEach(() => {
  root = fs.mkdtempSync(join(tmpdir(), 'ringkv-unlink-'));
  Object.assign(system, { inFlight: 0, inFlightMax: 0, cuts: [], broken: false });
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

describe('a file that is discarded', () => {
  it('has no name from then on, and gives its room back in steps', async () => {
    const unlinks = new GradualUnlink();
    const path = make('a', 3 * STEP + 5);
    const watch = fs.openSync(path, 'r');
    unlinks.unlink(path);
    expect(fs.readdirSync(root)).toEqual([]);
    await expect.poll(() => unlinks.pending).toBe(0);
    expect(system.cuts).toEqual([2 * STEP + 5, STEP + 5, 5, 0]);
    expect(fs.fstatSync(watch).size).toBe(0);
    fs.closeSync(watch);
  });

  it('keeps every byte under a second name', () => {
    const unlinks = new GradualUnlink();
    const path = make('a', 2 * STEP);
    fs.linkSync(path, at('backup'));
    unlinks.unlink(path);
    expect([unlinks.pending, system.cuts]).toEqual([0, []]);
    expect(fs.readFileSync(at('backup')).equals(Buffer.alloc(2 * STEP, 'a'))).toBe(true);
  });

  it('is cut alone, however many were discarded, also where they come between two steps', async () => {
    const unlinks = new GradualUnlink();
    for (const name of ['a', 'b', 'c']) unlinks.unlink(make(name, 2 * STEP));
    await expect.poll(() => unlinks.pending, { interval: 1 }).toBe(2);
    unlinks.unlink(make('d', 2 * STEP));
    await expect.poll(() => unlinks.pending, { interval: 1 }).toBe(0);
    // The pause after the last cut has not ended.
    unlinks.unlink(make('e', 2 * STEP));
    await expect.poll(() => unlinks.pending).toBe(0);
    expect(system.inFlightMax).toBe(1);
    expect(system.cuts).toEqual([STEP, 0, STEP, 0, STEP, 0, STEP, 0, STEP, 0]);
  });

  it('goes at once where it is small or too many wait, and always at an error', async () => {
    const unlinks = new GradualUnlink();
    unlinks.unlink(make('small', STEP));
    expect(unlinks.pending).toBe(0);
    system.broken = true;
    for (let i = 0; i <= unlinksWaitingMax; i++) {
      fs.closeSync(fs.openSync(at(`f${i}`), 'w'));
      fs.truncateSync(at(`f${i}`), 2 * STEP);
      unlinks.unlink(at(`f${i}`));
    }
    expect(unlinks.pending).toBe(unlinksWaitingMax);
    expect(fs.readdirSync(root)).toEqual([]);
    await expect.poll(() => unlinks.pending).toBe(0);
    expect(system.cuts).toHaveLength(unlinksWaitingMax);
  });

  it('that is not there is an error', () => {
    expect(() => new GradualUnlink().unlink(at('no'))).toThrow('ENOENT');
  });
});
