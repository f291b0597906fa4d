import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MiB } from '../../src/base/limits.ts';
import { ThreadPool } from '../../src/node/thread-pool.ts';

const module = pathToFileURL(resolve(import.meta.dirname, 'node-pool-task.mjs'));
let root = '';
let pool: ThreadPool;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-pool-'));
  pool = new ThreadPool({
    module,
    name: 'run',
    threads: 1,
    heapBytesMax: 32 * MiB,
    onError: (error) => {
      throw error;
    },
  });
});
afterEach(async () => {
  await pool.close();
  rmSync(root, { recursive: true, force: true });
});

describe('a pool of threads', () => {
  it.each([
    ['exit', 'worker exited with code: 3'],
    ['throw', 'thrown'],
    ['heap', 'memory limit'],
  ])(
    'rejects a task when its thread has ended by %s, its file operations with it, and goes on',
    async (how, message) => {
      const file = join(root, how);
      for (let round = 0; round < 3; round++) {
        await expect(pool.run({ how, file })).rejects.toThrow(message);
        const { size } = statSync(file);
        // The thread that comes in its place is given time, and nothing more is written meanwhile.
        expect(await pool.run({ how: 'return' })).toBe('done');
        expect(statSync(file).size).toBe(size);
      }
    },
  );

  it('keeps a thread whose task was rejected', async () => {
    await expect(pool.run({ how: 'reject' })).rejects.toThrow('rejected');
    expect(await pool.run({ how: 'return' })).toBe('done');
  });
});
