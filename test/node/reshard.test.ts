import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CorruptionError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import type { TableMeta } from '../../src/engine/contract.ts';
import { Manifest } from '../../src/engine/manifest.ts';
import { readManifest } from '../../src/engine/manifest-reader.ts';
import { tableName } from '../../src/engine/table-format.ts';
import { DataDirectory } from '../../src/node/data-directory.ts';
import { shardDirectory } from '../../src/node/layout.ts';
import { reshard, type ShardSettler } from '../../src/node/reshard.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { Crash } from '../../src/vfs/simulated-faults.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const VNODES = 16;
const CALLS_MAX = 2000;
const OPTIONS = { path: '/data', vnodes: VNODES, shards: 2, newNodeId: () => 'a'.repeat(32) };

function table(number: number, first: number, last: number): TableMeta {
  const width = 0x1_0000_0000 / VNODES;
  const range = { firstHi: first * width, firstLo: 0, lastHi: (last + 1) * width - 1, lastLo: 0 };
  const none = { tombstones: 0, expiring: 0, expiresMsMin: 0, expiresMsMax: 0, tombstoneVersionMin: 0 };
  return { ...none, number, bytes: 4, records: 1, range, versionMin: number, versionMax: number + 5 };
}
/** Tables of shards 0 and 1; what each file holds is its name. */
const tables = [
  [table(3, 0, 15), table(7, 2, 4)],
  [table(4, 1, 15), table(9, 7, 7), table(12, 12, 12)],
];
const contentOf = (shard: number, number: number): string => `${shard}/${number}`;

/** A settler over manifests that stand as they are. */
const standing = (fs: SimulatedFileSystem): ShardSettler => ({
  check: () => undefined,
  settle: (layout, shard) => {
    const { state } = readManifest(fs, shardDirectory(layout, shard));
    return Promise.resolve({ shard, tables: [...state.tables.values()], versionMax: state.versionMax });
  },
});

async function prepare(fs: SimulatedFileSystem): Promise<void> {
  const data = DataDirectory.open(fs, OPTIONS);
  for (const shard of [0, 1]) {
    const home = shardDirectory(data.layout, shard);
    const addTables = tables[shard] ?? [];
    for (const { number } of addTables)
      fs.place(join(home, tableName(number)), Buffer.from(contentOf(shard, number)));
    const manifest = Manifest.open(fs, home);
    const done = new Promise((resolve) => manifest.append({ addTables, nextNumber: 20 }, resolve));
    await fs.settle();
    expect(await done).toBeNull();
    manifest.close();
  }
  data.close();
}

/** What each shard of the layout in force can read, by the manifest and the files. */
function contents(fs: SimulatedFileSystem, data: DataDirectory): string[][] {
  return Array.from({ length: data.layout.shards }, (_, shard) => {
    const home = shardDirectory(data.layout, shard);
    const { state } = readManifest(fs, home);
    expect(state.ownership).toEqual({ vnodes: VNODES, shards: data.layout.shards, shard });
    return [...state.tables.keys()].map((number) =>
      Buffer.from(fs.bytesOf(join(home, tableName(number)))).toString(),
    );
  });
}
const BEFORE = [
  ['0/3', '0/7'],
  ['1/4', '1/9', '1/12'],
];
// Vnodes of old shard 0 are even, of 1 odd; 2 to 4 even: 2, 4; new shards by v mod 3.
const AFTER = [
  ['0/3', '1/4'],
  ['0/3', '0/7', '1/4', '1/9'],
  ['0/3', '0/7', '1/4'],
];

describe(`a change of the number of shards on disk (seed ${seed})`, () => {
  it('links every table into each shard that needs it, and removes the old layout', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 });
    await prepare(fs);
    const data = DataDirectory.open(fs, OPTIONS);
    const log: string[] = [];
    await reshard(fs, data, 3, standing(fs), (_level, message) => log.push(message));
    expect(contents(fs, data)).toEqual(AFTER);
    expect(data.layout).toMatchObject({ number: 2, shards: 3, inherited: [2, 4, 3] });
    expect(readManifest(fs, shardDirectory(data.layout, 1)).state).toMatchObject({
      nextNumber: 5,
      versionMax: 17,
    });
    expect(fs.readdir('/data')).not.toContain('layout-1');
    expect(log[0]).toBe('resharding from 2 to 3 shards');
    expect(log).toContain('resharding: 3 of 3 new shards are ready');
  });

  it('leaves the old layout or the new one, whole, after a power cut at any call', async () => {
    const random = new Random(seed);
    const seen = new Set<number>();
    let calls = 0;
    for (let done = false; !done; calls++) {
      expect(calls).toBeLessThan(CALLS_MAX);
      const fs = new SimulatedFileSystem({ seed: random.uint32() });
      await prepare(fs);
      const data = DataDirectory.open(fs, OPTIONS);
      fs.resetCounts();
      fs.crashAtCall(calls);
      try {
        await reshard(fs, data, 3, standing(fs), () => undefined);
        done = !fs.crashed;
      } catch (error) {
        expect(error).toBeInstanceOf(Crash);
      }
      for (const disk of [fs.powerCut(random), fs.powerCut(random)]) {
        const after = DataDirectory.open(disk, OPTIONS);
        const { shards } = after.layout;
        seen.add(shards);
        if (done) expect(shards).toBe(3);
        expect(contents(disk, after)).toEqual(shards === 2 ? BEFORE : AFTER);
        const layouts = disk.readdir('/data').filter((name) => name.startsWith('layout'));
        expect(layouts).toEqual([`layout-${after.layout.number}`]);
        // The change goes through when it is tried again.
        await reshard(disk, after, 3, standing(disk), () => undefined);
        if (shards === 2) expect(contents(disk, after)).toEqual(AFTER);
      }
    }
    expect(calls).toBeGreaterThan(60);
    expect([...seen].sort()).toEqual([2, 3]);
  });

  it('changes nothing where a shard cannot be read, or the disk is full', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 });
    await prepare(fs);
    const data = DataDirectory.open(fs, OPTIONS);
    const damaged = new CorruptionError('/data/layout-1/shard-1/wal-0000000001.log', 77, 'checksum');
    const settler = standing(fs);
    let settled = 0;
    const refusing: ShardSettler = {
      check: (_layout, shard) => {
        if (shard === 1) throw damaged;
      },
      settle: (layout, shard) => {
        settled++;
        return settler.settle(layout, shard);
      },
    };
    fs.resetCounts();
    await expect(reshard(fs, data, 3, refusing, () => undefined)).rejects.toBe(damaged);
    expect([settled, fs.log]).toEqual([0, []]);
    fs.capacityBytes = fs.usedBytes + 300;
    await expect(reshard(fs, data, 3, settler, () => undefined)).rejects.toMatchObject({ code: 'DISK_FULL' });
    data.close();
    const again = DataDirectory.open(fs, OPTIONS);
    expect(contents(fs, again)).toEqual(BEFORE);
    await expect(reshard(fs, again, 17, settler, () => undefined)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: 'shards 17: /data has 16 vnodes, one shard each at most',
    });
  });
});
