/**
 * A background thread: runs one of the engine's jobs at a time, on a file system of its own. Errors come back as
 * plain data, since a structured clone would lose their class (src/node/job-port.ts).
 */
import { systemClock } from '../src/base/clock.ts';
import type { Job } from '../src/engine/contract.ts';
import { systemPause } from '../src/engine/job-tools.ts';
import { runJob } from '../src/engine/run-job.ts';
import { Sstables } from '../src/engine/sstables.ts';
import { type JobOutcome, plainError } from '../src/node/job-port.ts';
import { lowerThreadPriority } from '../src/node/thread-priority.ts';
import { fileSystemOf } from '../src/vfs/open.ts';

const tools = { tables: new Sstables(systemClock), clock: systemClock, pause: systemPause };

export async function runBackgroundJob(job: Job): Promise<JobOutcome> {
  try {
    return { result: await runJob(job, fileSystemOf(job.fileSystem), tools), error: null };
  } catch (error) {
    return { result: null, error: plainError(error) };
  }
}

let lowered = false;
/** The same on a thread that gives way to all others from its first job on. */
export function runLowPriorityJob(job: Job): Promise<JobOutcome> {
  if (!lowered) lowerThreadPriority();
  lowered = true;
  return runBackgroundJob(job);
}
