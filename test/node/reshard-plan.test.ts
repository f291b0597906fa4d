import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import type { TableMeta } from '../../src/engine/contract.ts';
import { type OldShard, planReshard, shardsOfRange } from '../../src/node/reshard-plan.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();

/** A table over vnodes `first` to `last` of `vnodes`. */
function tableOf(number: number, vnodes: number, first: number, last: number): TableMeta {
  const width = 0x1_0000_0000 / vnodes;
  return {
    number,
    bytes: 4096 * number,
    records: 10,
    tombstones: 1,
    expiring: 0,
    range: { firstHi: first * width, firstLo: 0, lastHi: (last + 1) * width - 1, lastLo: 0xffff_ffff },
    versionMin: number,
    versionMax: number + 10,
    expiresMsMin: 0,
    expiresMsMax: 0,
    tombstoneVersionMin: number,
  };
}

describe('the plan of a change of shards', () => {
  it('gives a table to each new shard that takes over a vnode of its range, and to no other', () => {
    const range = (first: number, last: number) => tableOf(1, 16, first, last).range;
    expect(shardsOfRange(range(0, 15), 16, 1, 0, 3)).toEqual([0, 1, 2]);
    expect(shardsOfRange(range(4, 5), 16, 1, 0, 3)).toEqual([1, 2]);
    // Vnodes 1, 5, 9, 13 of shard 1 of 4: with 2 shards all of them are odd.
    expect(shardsOfRange(range(0, 15), 16, 4, 1, 2)).toEqual([1]);
    expect(shardsOfRange(range(6, 8), 16, 4, 1, 2)).toEqual([]);
    expect(shardsOfRange(range(9, 9), 16, 4, 1, 3)).toEqual([0]);
    expect(shardsOfRange(range(15, 15), 16, 4, 3, 16)).toEqual([15]);
  });

  it(`leaves no vnode of any table behind, whatever the numbers of shards (seed ${seed})`, () => {
    const random = new Random(seed);
    for (let round = 0; round < 300; round++) {
      const vnodes = 1 << random.between(0, 7);
      const oldShards = random.between(1, Math.min(9, vnodes));
      const newShards = random.between(1, Math.min(9, vnodes));
      const old: OldShard[] = Array.from({ length: oldShards }, (_, shard) => ({
        shard,
        versionMax: random.below(1000),
        tables: Array.from({ length: random.below(5) }, (_, i) => {
          const first = random.below(vnodes);
          return tableOf(3 + 2 * i, vnodes, first, random.between(first, vnodes - 1));
        }),
      }));
      const plan = planReshard(old, vnodes, newShards);
      expect(plan).toHaveLength(newShards);
      const highest = Math.max(...old.map(({ versionMax }) => versionMax));
      const wanted = new Set<string>();
      for (const { shard, tables } of old)
        for (const { number, range } of tables)
          for (let vnode = shard; vnode < vnodes; vnode += oldShards) {
            const start = vnode * (0x1_0000_0000 / vnodes);
            if (start >= range.firstHi && start <= range.lastHi)
              wanted.add(`${vnode % newShards} from ${shard}/${number}`);
          }
      const planned = plan.flatMap(({ tables }, target) =>
        tables.map(({ shard, number }) => `${target} from ${shard}/${number}`),
      );
      expect(planned.sort()).toEqual([...wanted].sort());
      for (const { tables, versionMax } of plan) {
        expect(versionMax).toBe(highest);
        expect(tables.map(({ meta }) => meta.number)).toEqual(tables.map((_, index) => index + 1));
        for (const { shard, number, meta } of tables) {
          const source = old[shard]?.tables.find((table) => table.number === number);
          expect({ ...meta, number }).toEqual(source);
        }
      }
    }
  });
});
