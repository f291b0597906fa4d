/**
 * Reads and checks every byte of tables that are in force, beside a running shard. On a background thread, or in
 * place. Damage is the result, not an error: the tables after a damaged one are checked too.
 */
import type { FileSystem } from '../vfs/file-system.ts';
import type { JobResult, VerifyJob } from './contract.ts';
import { JobPace } from './job-pace.ts';
import type { Damage, JobTools } from './job-tools.ts';

/** Findings that are kept; a disk that is damaged throughout would fill the memory with them. */
export const DAMAGE_MAX = 1000;

/** Rejects with IoError or ClosedError. */
export async function runVerifyJob(job: VerifyJob, fs: FileSystem, tools: JobTools): Promise<JobResult> {
  const pace = new JobPace(job.stop, tools, 0);
  const damage: Damage[] = [];
  let bytesRead = 0;
  let recordsRead = 0;
  for (const meta of job.tables) {
    pace.check();
    const found = tools.tables.verify(fs, tools.tables.path(job.directory, meta.number), meta, () =>
      pace.check(),
    );
    bytesRead += found.bytes;
    recordsRead += found.records;
    for (const one of found.damage) if (damage.length < DAMAGE_MAX) damage.push(one);
    await pace.turn(0);
  }
  return { tables: [], bytesRead, bytesWritten: 0, recordsRead, recordsWritten: 0, damage };
}
