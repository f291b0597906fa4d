import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { testSeed } from '../seed.ts';
import { cutEveryReshardCall, drawWrites, ShardedDisk, sorted, VNODES, writeAll } from './reshard-harness.ts';

const seed = testSeed();

describe(`data through changes of the number of shards (seed ${seed})`, () => {
  it('stays equal as a set, and deleted keys do not come back, whatever the numbers', async () => {
    const random = new Random(seed);
    for (let round = 0; round < 2; round++) {
      const model = new Map<string, string>();
      let sharded = new ShardedDisk(new SimulatedFileSystem({ seed: random.uint32() }), random.between(1, 5));
      for (let change = 0; change < 6; change++) {
        await writeAll(sharded, random, random.between(0, 300), model);
        const shards = random.pick([1, 2, 3, 4, 5, 7, VNODES]);
        await sharded.reshard(shards);
        expect(sharded.data.layout.shards).toBe(shards);
        if (random.chance(0.3)) {
          const { disk, clock } = sharded;
          sharded = new ShardedDisk(disk.powerCut(random), 1, clock.nowMs());
          expect(sharded.data.layout.shards).toBe(shards);
        }
        if (random.chance(0.5)) expect(sorted(await sharded.contents())).toEqual(sorted(model));
      }
      expect(sorted(await sharded.contents())).toEqual(sorted(model));
      // Foreign records go with the next compaction of each shard, and nothing has multiplied.
      await sharded.reshard(3);
      await writeAll(sharded, random, 300, model);
      expect(await sharded.recordsAfterCompaction()).toBe(model.size);
    }
  });

  it('keeps a deletion apart from the table of what it deletes, as long as that is there', async () => {
    const sharded = new ShardedDisk(new SimulatedFileSystem({ seed: 1 }), 1);
    const keys = Array.from({ length: 50 }, (_, i) => `key-${i}`);
    await sharded.write(0, new Map(keys.map((key) => [key, 'old'])), (engine) => engine.flush());
    await sharded.write(0, new Map(keys.map((key) => [key, null])), (engine) => engine.flush());
    for (const shards of [2, 3, 1]) await sharded.reshard(shards);
    expect(await sharded.contents()).toEqual(new Map());
  });

  it('does not multiply when shards are changed again and again without a compaction between', async () => {
    const sharded = new ShardedDisk(new SimulatedFileSystem({ seed: 1 }), 1);
    const model = new Map(Array.from({ length: 400 }, (_, i) => [`key-${i}`, `${i}-${'x'.repeat(600)}`]));
    const batches = [0, 1, 2, 3, 4, 5, 6, 7].map((part) => [...model].slice(50 * part, 50 * (part + 1)));
    for (const batch of batches) await sharded.write(0, new Map(batch), (engine) => engine.flush());
    await sharded.reshard(2);
    const used = sharded.disk.usedBytes;
    expect(used).toBeGreaterThan(250_000);
    for (const shards of [3, 5, 2, 1]) {
      await sharded.reshard(shards);
      // Of each record one copy, and a little for each table.
      expect(sharded.disk.usedBytes).toBeLessThan(used * 1.4);
    }
    expect(sorted(await sharded.contents())).toEqual(sorted(model));
  });

  // At every call: test/slow/node-reshard-crash.test.ts.
  it('is whole after a power cut at some calls of the change', async () => {
    const random = new Random(seed);
    const step = 6 + random.below(6);
    const { cuts, layouts } = await cutEveryReshardCall(random, random.below(step), step);
    expect(cuts).toBeGreaterThan(15);
    expect(layouts).toEqual([2, 3]);
  });

  it('refuses a damaged log, names it, and leaves every byte of the old layout as it was', async () => {
    const random = new Random(seed);
    const model = new Map<string, string>();
    const sharded = new ShardedDisk(new SimulatedFileSystem({ seed: 1 }), 2);
    const writes = drawWrites(sharded, random, 100, 100, model);
    for (const [shard, own] of writes.entries()) await sharded.write(shard, own, () => Promise.resolve());
    const { disk, data } = sharded;
    const home = `${data.layout.directory}/shard-1`;
    const log = disk.readdir(home).find((name) => name.startsWith('wal-')) ?? '';
    disk.flipBit(`${home}/${log}`, 100, 3);
    disk.resetCounts();
    await expect(sharded.reshard(3)).rejects.toMatchObject({ code: 'CORRUPTION', file: `${home}/${log}` });
    expect(disk.log).toEqual([]);
    expect(data.layout.shards).toBe(2);
    disk.flipBit(`${home}/${log}`, 100, 3);
    await sharded.reshard(3);
    expect(sorted(await sharded.contents())).toEqual(sorted(model));
  });
});
