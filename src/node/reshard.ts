/**
 * Changes the number of shards of a node between two starts, on the main thread, before any shard runs. All
 * data is kept; tables are linked, not copied.
 *
 * 1. Until CURRENT is switched the old layout is in force and whole: its shards are only opened, flushed and
 *    compacted as in any other start. From the switch on the new one is, and the old one is removed. A crash
 *    at any call therefore leaves one of the two, and the next start goes on from it.
 * 2. Logs are read through before anything is changed: damage refuses the whole change.
 * 3. A table that is linked holds vnodes of its old shard only. Those that an earlier change left with others'
 *    are rewritten first (settle-shard.ts): otherwise a record that is long deleted in one shard could come
 *    back from a table that another one inherited, and every change would multiply the data.
 */
import { join } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import { tableName } from '../engine/table-format.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { Log } from './contract.ts';
import type { DataDirectory } from './data-directory.ts';
import {
  createLayout,
  type Layout,
  removeOtherLayouts,
  type ShardContents,
  shardDirectory,
  switchLayout,
} from './layout.ts';
import { type OldShard, planReshard } from './reshard-plan.ts';

export interface ShardSettler {
  /** Reads the shard's manifest and log without changing anything. Throws CorruptionError. */
  check(layout: Layout, shard: number): void;
  /** Brings all that the shard holds into tables of its own vnodes. */
  settle(layout: Layout, shard: number): Promise<OldShard>;
}

/**
 * Brings the node to `shards` shards; `data.layout` is the new layout on return. Rejects with CorruptionError,
 * DiskFullError and IoError: then the old layout is as good as before.
 */
export async function reshard(
  fs: FileSystem,
  data: DataDirectory,
  shards: number,
  settler: ShardSettler,
  log: Log,
): Promise<void> {
  const old = data.layout;
  if (shards > old.vnodes)
    throw new ConfigurationError(
      `shards ${shards}: ${data.path} has ${old.vnodes} vnodes, one shard each at most`,
    );
  log('info', `resharding from ${old.shards} to ${shards} shards`, { from: old.shards, to: shards });
  for (let shard = 0; shard < old.shards; shard++) settler.check(old, shard);
  const settled: OldShard[] = [];
  for (let shard = 0; shard < old.shards; shard++) {
    settled.push(await settler.settle(old, shard));
    log('info', `resharding: ${shard + 1} of ${old.shards} old shards are in tables`);
  }
  const contents = planReshard(settled, old.vnodes, shards).map(
    ({ tables, versionMax }): ShardContents => ({
      versionMax,
      tables: tables.map(({ shard, number, meta }) => ({
        from: join(shardDirectory(old, shard), tableName(number)),
        meta,
      })),
    }),
  );
  const layout = createLayout(fs, data.path, old.number + 1, old.vnodes, contents, (shard) =>
    log('info', `resharding: ${shard + 1} of ${shards} new shards are ready`),
  );
  switchLayout(fs, data.path, layout);
  data.layout = layout;
  try {
    removeOtherLayouts(fs, data.path, layout.number);
  } catch (error) {
    // It is retired all the same, and the next start removes it.
    log('warn', `the old layout ${old.number} cannot be removed: ${(error as Error).message}`);
  }
  log('info', `resharded: ${shards} shards`);
}
