import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';
import { killAll, run } from './node-process.ts';

type Ringkv = typeof import('../../src/index.ts');
const entry = pathToFileURL(resolve(import.meta.dirname, '../../dist/src/index.js')).href;
const { open } = (await import(/* @vite-ignore */ entry)) as Ringkv;

const seed = testSeed();
const KEYS = 512;
let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-kill-'));
});
afterEach(async () => {
  await killAll();
  rmSync(root, { recursive: true, force: true });
});

describe(`a store whose process is killed under load (seed ${seed})`, () => {
  it('holds every acknowledged write, again and again, also with another number of shards', async () => {
    const random = new Random(seed);
    const path = join(root, 'data');
    const last = new Map<number, number>();
    let highest = 0;
    for (let round = 0; round < 5; round++) {
      const options = { shards: random.between(1, 3), memtableBytes: '2MiB', blockCacheBytes: '1MiB' };
      const writer = run('node-writer.mjs', { path, keys: KEYS, first: highest, options });
      const enough = random.between(2000, 20_000);
      await writer.line(() => writer.lines.length >= enough);
      writer.process.kill('SIGKILL');
      expect(await writer.ended).toBe(-1);
      for (const line of writer.lines) {
        const number = Number(line);
        highest = Math.max(highest, number);
        last.set(number % KEYS, Math.max(number, last.get(number % KEYS) ?? 0));
      }
      const store = await open({ path });
      for (const [key, number] of last) {
        const value = Buffer.from((await store.get(`key-${key}`)) ?? '').toString();
        const [found, filling] = value.split(' ');
        expect(Number(found)).toBeGreaterThanOrEqual(number);
        expect(Number(found) % KEYS).toBe(key);
        expect(filling).toBe('v'.repeat(Number(found) % 3000));
        highest = Math.max(highest, Number(found));
      }
      await store.close();
    }
  });
});

describe(`a store whose threads are killed under load (seed ${seed})`, () => {
  it('starts shards again, tells requests in flight, and loses nothing that it acknowledged', async () => {
    const child = run('node-thread-killer.mjs', { path: join(root, 'data'), seed, kills: 4 });
    const report = JSON.parse(await child.line((line) => line.startsWith('{'))) as Record<string, unknown>;
    expect(report).toMatchObject({ lost: [], codes: expect.arrayContaining(['UNAVAILABLE']) });
    const codes = (report.codes as string[]).filter(
      (code) => !['UNAVAILABLE', 'SHARD_DOWN', 'OVERLOADED'].includes(code),
    );
    expect(codes).toEqual([]);
    expect(report.restarts).toBe(4);
    // The other shard did not notice.
    expect(report.otherFailures).toBe(0);
    expect(await child.ended).toBe(0);
    expect(child.errors()).toBe('');
  });

  it('does without a shard that dies again and again, and the others go on', async () => {
    const child = run('node-thread-killer.mjs', { path: join(root, 'data'), seed, kills: 6 });
    const report = JSON.parse(await child.line((line) => line.startsWith('{'))) as Record<string, unknown>;
    expect(report).toMatchObject({ lost: [], down: true, otherFailures: 0 });
    expect((report.log as string[]).some((line) => line.includes('stays down: it ended 6 times'))).toBe(true);
    expect(await child.ended).toBe(0);
  });
});
