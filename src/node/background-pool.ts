/**
 * The threads for background work, owned by the main thread: some for flushes, which writers wait for, and some at a
 * lower priority for compactions and verifications, which nobody waits for. With one priority for all, 256 durable
 * puts in flight on two cores gave 85,000 a second; with compaction at nice 10, 95,000; with flushes at nice 10 too,
 * writes outran them and were refused (docs/performance.md). Hash trees have a thread of low priority to themselves, from the
 * first one on: a repair that waited for a compaction of hours would never come to an end, nor writes that wait for a
 * compaction behind trees.
 */
import { ClosedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Job, JobResult, JobRunner } from '../engine/contract.ts';
import type { Log } from './contract.ts';
import { type JobOutcome, resultOf } from './job-port.ts';
import { JobQueue } from './job-queue.ts';
import { ThreadPool, workerUrl } from './thread-pool.ts';

export interface BackgroundThreads {
  readonly flushes: number;
  readonly others: number;
}

export class BackgroundPool implements JobRunner {
  readonly #flushes: BackgroundLane;
  readonly #others: BackgroundLane;
  #trees: BackgroundLane | null = null;
  readonly #log: Log;
  #closed = false;

  constructor(threads: BackgroundThreads, log: Log) {
    this.#log = log;
    this.#flushes = new BackgroundLane('runBackgroundJob', threads.flushes, log);
    this.#others = new BackgroundLane('runLowPriorityJob', threads.others, log);
  }

  /** Rejects with the classes of src/base/errors.ts; with any other error the thread died, and its file calls are over. */
  run(job: Job): Promise<JobResult> {
    if (job.kind === 'flush') return this.#flushes.run(job);
    if (job.kind !== 'tree' || this.#closed) return this.#others.run(job);
    this.#trees ??= new BackgroundLane('runLowPriorityJob', 1, this.#log);
    return this.#trees.run(job);
  }

  /** What runs ends first: whoever started it has raised its stop flag. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#flushes.close(), this.#others.close(), this.#trees?.close()]);
  }
}

/** A queue in front of a pool of threads that run the export `name` of workers/background.ts. */
class BackgroundLane {
  readonly #pool: ThreadPool;
  readonly #queue: JobQueue;

  constructor(name: string, threads: number, log: Log) {
    this.#pool = new ThreadPool({
      module: workerUrl('background'),
      name,
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

  run(job: Job): Promise<JobResult> {
    return this.#queue.run(job);
  }
  async close(): Promise<void> {
    await this.#queue.close();
    await this.#pool.close();
  }
}
