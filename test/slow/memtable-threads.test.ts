/**
 * One writer thread and several reader threads over one memtable set whose small slots are frozen, released
 * and used again thousands of times. Every HIT must be whole, of the key asked for, at least as new as what
 * was durable before the lookup, and not newer than what was durable after it.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { testSeed } from '../seed.ts';

interface Report {
  readonly role: 'writer' | 'reader';
  readonly rotations: number;
  readonly faults: readonly string[];
  readonly hit: number;
  readonly dead: number;
  readonly miss: number;
}

async function hammer(arenaBytes: number, keysMax: number, valueWordsMax: number): Promise<void> {
  const readers = 2;
  const seed = testSeed();
  const shared = {
    memory: createMemtableSet({ slots: 3, arenaBytes, vnodes: 16, shard: 0, shards: 1 }),
    published: new SharedArrayBuffer(4 * keysMax),
    announced: new SharedArrayBuffer(4 * keysMax),
    progress: new SharedArrayBuffer(4 * (1 + readers)),
    ...{ keysMax, valueWordsMax, readers, groupMax: 40, rotationsMin: 4000, checkedMin: 150_000 },
  };
  const thread = async (role: string, index: number): Promise<Report> => {
    const worker = new Worker(join(import.meta.dirname, 'memtable-thread.mjs'), {
      workerData: { ...shared, role, index, seed: seed + index },
    });
    const [report] = (await once(worker, 'message')) as [Report];
    await worker.terminate();
    return report;
  };
  const all = [thread('writer', readers), ...Array.from({ length: readers }, (_, i) => thread('reader', i))];
  const [writer, ...found] = await Promise.all(all);
  expect(writer?.rotations, `seed ${seed}`).toBeGreaterThanOrEqual(4000);
  for (const reader of found) {
    expect(reader.faults, `seed ${seed}`).toEqual([]);
    expect(reader.hit, `seed ${seed}`).toBeGreaterThan(1000);
    expect(reader.dead, `seed ${seed}`).toBeGreaterThan(1000);
    expect(reader.miss, `seed ${seed}`).toBeGreaterThan(100);
  }
}

describe('memtables under concurrent readers', () => {
  it('never give a torn, stale, foreign or undurable record while tiny slots are recycled', async () => {
    await hammer(4 * 1024, 40, 40);
  });
  it('never give a torn, stale, foreign or undurable record with values of 8 KB', async () => {
    await hammer(256 * 1024, 300, 2048);
  });
});
