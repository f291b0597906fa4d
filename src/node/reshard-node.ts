/** Changes the number of shards of a node before they run: reshard.ts with engines and jobs on the main thread. */
import { systemClock } from '../base/clock.ts';
import { systemPause } from '../engine/job-tools.ts';
import { LocalJobRunner } from '../engine/run-job.ts';
import { Sstables } from '../engine/sstables.ts';
import { realFileSystem } from '../vfs/real.ts';
import type { Log, NodeConfig } from './contract.ts';
import type { DataDirectory } from './data-directory.ts';
import { reshard } from './reshard.ts';
import { EngineSettler } from './settle-shard.ts';
import { arenaBytesOf, shardSettings } from './shard-options.ts';

/** Rejects as `reshard` does; the layout in force is then the old one, complete. */
export async function reshardNode(config: NodeConfig, data: DataDirectory, log: Log): Promise<void> {
  const tools = { tables: new Sstables(systemClock), clock: systemClock, pause: systemPause };
  const settler = new EngineSettler({
    fs: realFileSystem,
    jobs: new LocalJobRunner(realFileSystem, tools),
    clock: systemClock,
    // Tombstones stay: this is to move records, and nobody has said yet which may go.
    engine: shardSettings(config, data.layout.shards, data.nodeId, 0),
    memtableBytes: arenaBytesOf(config),
  });
  await reshard(realFileSystem, data, config.shards, settler, log);
}
