/** The threads for flushes, compactions and verifications: a JobQueue in front of a pool. Owned by the main thread. */
import { ClosedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Job, JobResult, JobRunner } from '../engine/contract.ts';
import type { Log } from './contract.ts';
import { type JobOutcome, resultOf } from './job-port.ts';
import { JobQueue } from './job-queue.ts';
import { ThreadPool, workerUrl } from './thread-pool.ts';

export class BackgroundPool implements JobRunner {
  readonly #pool: ThreadPool;
  readonly #queue: JobQueue;

  constructor(threads: number, log: Log) {
    this.#pool = new ThreadPool({
      module: workerUrl('background'),
      name: 'runBackgroundJob',
      threads,
      heapBytesMax: limits.threadHeapBytesMax,
      onError: (error) => log('error', `an idle background thread ended: ${error.message}`),
    });
    this.#queue = new JobQueue(threads, async (job) => {
      try {
        return resultOf(await this.#pool.run<JobOutcome>(job));
      } catch (error) {
        if (!(error instanceof ClosedError))
          log('warn', `a ${job.kind} job in ${job.directory} failed: ${(error as Error).message}`);
        throw error;
      }
    });
  }

  /** Rejects with the classes of src/base/errors.ts; with any other error the thread died, and its file calls are over. */
  run(job: Job): Promise<JobResult> {
    return this.#queue.run(job);
  }

  /** What runs ends first: whoever started it has raised its stop flag. */
  async close(): Promise<void> {
    await this.#queue.close();
    await this.#pool.close();
  }
}
