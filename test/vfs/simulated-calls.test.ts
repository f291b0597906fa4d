import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import type { File } from '../../src/vfs/file-system.ts';
import { fileSystemOf } from '../../src/vfs/open.ts';
import { realFileSystem } from '../../src/vfs/real.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { testSeed } from '../seed.ts';
import { readOpen, textBytes, writeFile } from './harness.ts';

function diskWith(path: string, text: string): SimulatedFileSystem {
  const disk = new SimulatedFileSystem();
  disk.place(path, textBytes(text));
  return disk;
}

describe('asynchronous calls', () => {
  const start = (file: File, order: number[], count: number): void => {
    for (let call = 0; call < count; call++) {
      const bytes = textBytes(String(call));
      file.write(bytes, 0, 1, 0, () => order.push(call));
    }
  };

  it('take effect one by one, in the order that a test chooses', () => {
    const disk = diskWith('/a', '');
    const file = disk.open('/a', 'write');
    const order: number[] = [];
    start(file, order, 4);
    expect([disk.waiting, file.size()]).toEqual([4, 0]);
    disk.step(2);
    expect([readOpen(file), disk.waiting]).toEqual(['2', 3]);
    disk.step();
    disk.step(1);
    disk.step(7);
    disk.step();
    expect(order).toEqual([2, 0, 3, 1]);
    expect(readOpen(file)).toBe('1');
  });

  it('settle in order, or in one drawn from a seed', async () => {
    const run = async (random: Random | null): Promise<string> => {
      const disk = diskWith('/a', '');
      const order: number[] = [];
      start(disk.open('/a', 'write'), order, 8);
      await disk.settle(random);
      return order.join('');
    };
    expect(await run(null)).toBe('01234567');
    const seed = testSeed();
    expect(await run(new Random(seed)), `seed ${seed}`).toBe(await run(new Random(seed)));
    const drawn = await Promise.all([1, 2, 3, 4].map((one) => run(new Random(one))));
    expect(new Set(drawn).size).toBe(4);
  });

  it('settle with those that callbacks start, and code that starts them for ever is found out', async () => {
    const disk = diskWith('/a', '');
    const file = disk.open('/a', 'write');
    let rounds = 0;
    file.sync(function again(): void {
      if (++rounds < 50) void Promise.resolve().then(() => file.sync(again));
    });
    await disk.settle();
    expect(rounds).toBe(50);
    file.sync(function forever(): void {
      file.sync(forever);
    });
    await expect(disk.settle()).rejects.toThrow('still busy');
  });

  it('come back by themselves and in order in the automatic mode', async () => {
    const disk = fileSystemOf({ kind: 'memory' });
    const file = disk.open('/a', 'create');
    const order: number[] = [];
    start(file, order, 5);
    expect(order).toEqual([]);
    await new Promise<void>((resolve) => file.sync(() => resolve()));
    expect(order).toEqual([0, 1, 2, 3, 4]);
  });
});

describe('a large simulated disk', () => {
  it('takes 100,000 calls on a file of 48 MiB', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const disk = new SimulatedFileSystem({ seed });
    const file = disk.open('/a', 'create');
    const size = 48 * 1024 * 1024;
    const chunk = random.bytes(1024);
    for (let at = 0; at < size; at += chunk.length) file.writeSync(chunk, 0, chunk.length, at);
    file.syncSync();
    for (let call = 0; call < 50_000; call++) {
      file.writeSync(chunk, 0, 100, random.below(size - 100));
      if (call % 10 === 0) file.syncSync();
    }
    expect(file.size()).toBe(size);
    expect(disk.calls).toBeGreaterThan(100_000);
    disk.syncDirectory('/');
    expect(disk.powerCut(random).usedBytes).toBe(size);
  });
});

describe('fileSystemOf', () => {
  it('gives the real file system, or a new one in memory each time', () => {
    expect(fileSystemOf({ kind: 'real' })).toBe(realFileSystem);
    const memory = fileSystemOf({ kind: 'memory' });
    writeFile(memory, '/a', '');
    expect(fileSystemOf({ kind: 'memory' }).exists('/a')).toBe(false);
    expect(memory.exists('/a')).toBe(true);
  });
});
