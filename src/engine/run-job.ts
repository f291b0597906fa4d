/**
 * Runs the engine's jobs, on whatever thread calls it: a background thread (workers/background.ts), or a shard
 * thread whose files lie in memory, where no other thread can see them.
 */
import type { FileSystem } from '../vfs/file-system.ts';
import { runCompactJob } from './compact-job.ts';
import type { Job, JobResult, JobRunner } from './contract.ts';
import { runFlushJob } from './flush-job.ts';
import type { JobTools } from './job-tools.ts';
import { runTreeJob } from './tree-job.ts';
import { runVerifyJob } from './verify-job.ts';

/**
 * Resolves when the job's outputs are durable; they count once the manifest names them. Rejects with the classes
 * of src/base/errors.ts, ClosedError where `job.stop` was raised, and then none of the outputs is there.
 */
export function runJob(job: Job, fs: FileSystem, tools: JobTools): Promise<JobResult> {
  switch (job.kind) {
    case 'flush':
      return runFlushJob(job, fs, tools);
    case 'compact':
      return runCompactJob(job, fs, tools);
    case 'verify':
      return runVerifyJob(job, fs, tools);
    case 'tree':
      return runTreeJob(job, fs, tools);
  }
}

/** Runs jobs in place, each in slices between which the thread's other work has its turn. */
export class LocalJobRunner implements JobRunner {
  readonly #fs: FileSystem;
  readonly #tools: JobTools;
  constructor(fs: FileSystem, tools: JobTools) {
    this.#fs = fs;
    this.#tools = tools;
  }
  run(job: Job): Promise<JobResult> {
    return runJob(job, this.#fs, this.#tools);
  }
}
