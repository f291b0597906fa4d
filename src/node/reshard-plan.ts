/**
 * Which tables of the old shards a new shard needs after a change of the number of shards. Pure: metas in,
 * links out. A table's records lie in the vnodes of its old shard alone, so the new shard gets the table where
 * one vnode of the table's range belonged to the old shard and belongs to the new one.
 */
import { assert } from '../base/assert.ts';
import { vnodeOf } from '../base/token.ts';
import type { TableMeta, TokenRange } from '../engine/contract.ts';

export interface OldShard {
  readonly shard: number;
  /** None of them inherited: they hold vnodes of this shard only. */
  readonly tables: readonly TableMeta[];
  readonly versionMax: number;
}
export interface PlannedTable {
  /** Where it is now. */
  readonly shard: number;
  readonly number: number;
  /** With its number in the new shard. */
  readonly meta: TableMeta;
}
export interface PlannedShard {
  readonly tables: readonly PlannedTable[];
  readonly versionMax: number;
}

/** Shards, of `newShards`, that get a vnode of `range` from shard `oldShard` of `oldShards`; ascending. */
export function shardsOfRange(
  range: TokenRange,
  vnodes: number,
  oldShards: number,
  oldShard: number,
  newShards: number,
): number[] {
  const first = vnodeOf(range.firstHi, vnodes);
  const last = vnodeOf(range.lastHi, vnodes);
  const found = new Set<number>();
  // The first vnode at or after `first` that is the old shard's.
  const start = first + ((((oldShard - first) % oldShards) + oldShards) % oldShards);
  for (let vnode = start; vnode <= last && found.size < newShards; vnode += oldShards)
    found.add(vnode % newShards);
  return [...found].sort((a, b) => a - b);
}

/**
 * The new shards. Numbers follow the order of the old shards and of their tables' numbers; they mean nothing
 * else. Every new shard starts its versions above all that the node has given.
 */
export function planReshard(
  old: readonly OldShard[],
  vnodes: number,
  newShards: number,
): readonly PlannedShard[] {
  assert(newShards >= 1 && newShards <= vnodes, () => `reshard: ${newShards} shards of ${vnodes} vnodes`);
  const versionMax = old.reduce((highest, shard) => Math.max(highest, shard.versionMax), 0);
  const planned = Array.from({ length: newShards }, (): PlannedTable[] => []);
  for (const { shard, tables } of old)
    for (const table of [...tables].sort((a, b) => a.number - b.number))
      for (const target of shardsOfRange(table.range, vnodes, old.length, shard, newShards)) {
        const list = planned[target];
        assert(list !== undefined, 'reshard: a vnode of no shard');
        list.push({ shard, number: table.number, meta: { ...table, number: list.length + 1 } });
      }
  return planned.map((tables) => ({ tables, versionMax }));
}
