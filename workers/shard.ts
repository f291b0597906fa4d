/**
 * A shard thread: runs one shard for as long as it lives (src/shard/shard-thread.ts), as one long task of the pool.
 * Shards whose files lie in memory run their jobs themselves, because no other thread can see those files.
 */
import { systemClock } from '../src/base/clock.ts';
import { systemPause } from '../src/engine/job-tools.ts';
import { LocalJobRunner } from '../src/engine/run-job.ts';
import { Sstables } from '../src/engine/sstables.ts';
import { PortJobRunner, plainError } from '../src/node/job-port.ts';
import { type PlainFailure, runShardThread, type ShardThreadData } from '../src/shard/shard-thread.ts';
import { fileSystemOf } from '../src/vfs/open.ts';

export async function runShard(data: ShardThreadData): Promise<PlainFailure | null> {
  const fs = fileSystemOf(data.engine.fileSystem);
  const tools = { tables: new Sstables(systemClock), clock: systemClock, pause: systemPause };
  const port = data.jobs === null ? null : new PortJobRunner(data.jobs);
  const jobs = port ?? new LocalJobRunner(fs, tools);
  try {
    const outcome = await runShardThread(data, { fs, jobs, clock: systemClock, plain: plainError });
    port?.close();
    return outcome;
  } catch (error) {
    // A broken invariant. The task must not end before its thread: the shard would be started again beside it.
    setImmediate(() => {
      throw error;
    });
    return new Promise(() => undefined);
  }
}
