/**
 * One writer thread and several reader threads over one record cache that is too small for its keys, so that places and
 * bytes are used again all the time. Every HIT must be whole, of the key asked for, and not older than what was
 * acknowledged before the lookup began.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { testSeed } from '../seed.ts';

interface Report {
  readonly role: 'writer' | 'reader';
  readonly fills: number;
  readonly evictions: number;
  readonly faults: readonly string[];
  readonly hit: number;
  readonly miss: number;
}

const READERS = 2;
const PUTS_MIN = 200_000;

async function hammer(
  places: number,
  arenaBytes: number,
  keysMax: number,
  valueWordsMax: number,
): Promise<void> {
  const seed = testSeed();
  console.log(`record cache threads: seed ${seed}`);
  const shared = {
    memory: { index: new SharedArrayBuffer(places * 16), arena: new SharedArrayBuffer(arenaBytes) },
    acknowledged: new SharedArrayBuffer(4 * keysMax),
    progress: new SharedArrayBuffer(4 * (1 + READERS)),
    ...{ keysMax, valueWordsMax, readers: READERS, putsMin: PUTS_MIN, checkedMin: 100_000 },
  };
  const thread = async (role: string, index: number): Promise<Report> => {
    const worker = new Worker(join(import.meta.dirname, 'record-cache-thread.mjs'), {
      workerData: { ...shared, role, index, seed: seed + index },
    });
    const [report] = (await once(worker, 'message')) as [Report];
    await worker.terminate();
    return report;
  };
  const all = [thread('writer', READERS), ...Array.from({ length: READERS }, (_, i) => thread('reader', i))];
  const [writer, ...found] = await Promise.all(all);
  expect(writer?.fills, `seed ${seed}`).toBeGreaterThanOrEqual(PUTS_MIN);
  expect(writer?.evictions, `seed ${seed}`).toBeGreaterThan(1000);
  for (const reader of found) {
    expect(reader.faults, `seed ${seed}`).toEqual([]);
    expect(reader.hit, `seed ${seed}`).toBeGreaterThan(1000);
    expect(reader.miss, `seed ${seed}`).toBeGreaterThan(100);
  }
}

describe('the record cache under concurrent readers', () => {
  it('never gives a torn, stale or foreign record while a few places are used again and again', async () => {
    await hammer(32, 4 * 1024, 40, 40);
  });
  it('never gives a torn, stale or foreign record with values of 8 KB', async () => {
    await hammer(64, 128 * 1024, 60, 2048);
  });
});
