/**
 * Hands the engine's jobs to the background threads; owned by the main thread. Invariants:
 *
 * 1. At most `threads` jobs run, and at most `threads` - 1 of them are no flush: there is always a thread
 *    for the flush that writers wait for. Waiting flushes go first; within a kind the oldest does.
 * 2. Of each kind at most limits.jobsWaitingMax wait; one more is refused with an OverloadedError.
 */
import { assert } from '../base/assert.ts';
import { ClosedError, OverloadedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Job, JobResult, JobRunner } from '../engine/contract.ts';

interface Waiting {
  readonly job: Job;
  readonly resolve: (result: JobResult) => void;
  readonly reject: (error: unknown) => void;
}

export class JobQueue implements JobRunner {
  readonly #threads: number;
  readonly #execute: (job: Job) => Promise<JobResult>;
  readonly #flushes: Waiting[] = [];
  readonly #others: Waiting[] = [];
  #running = 0;
  #othersRunning = 0;
  #closed = false;
  #onIdle: (() => void)[] = [];

  /** `execute` runs a job on a background thread; it is called for at most `threads` at a time. */
  constructor(threads: number, execute: (job: Job) => Promise<JobResult>) {
    assert(threads >= 2, () => `jobs: ${threads} threads; a flush needs one beside a compaction`);
    this.#threads = threads;
    this.#execute = execute;
  }

  get waiting(): number {
    return this.#flushes.length + this.#others.length;
  }
  get running(): number {
    return this.#running;
  }

  run(job: Job): Promise<JobResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new ClosedError('the node is stopping: it takes no more jobs');
      const queue = job.kind === 'flush' ? this.#flushes : this.#others;
      if (queue.length >= limits.jobsWaitingMax)
        throw new OverloadedError(`${queue.length} jobs wait; the limit is ${limits.jobsWaitingMax}`);
      queue.push({ job, resolve, reject });
      this.#start();
    });
  }

  /** Rejects what waits and resolves when what runs has ended. */
  close(): Promise<void> {
    this.#closed = true;
    for (const { reject } of [...this.#flushes.splice(0), ...this.#others.splice(0)])
      reject(new ClosedError('the node is stopping: the job was not run'));
    return this.#running === 0 ? Promise.resolve() : new Promise((done) => this.#onIdle.push(done));
  }

  #start(): void {
    while (this.#running < this.#threads) {
      const next =
        this.#flushes.shift() ?? (this.#othersRunning < this.#threads - 1 ? this.#others.shift() : undefined);
      if (next === undefined) return;
      const other = next.job.kind === 'flush' ? 0 : 1;
      this.#running++;
      this.#othersRunning += other;
      const end = (): void => {
        this.#running--;
        this.#othersRunning -= other;
        this.#start();
        if (this.#running === 0) for (const done of this.#onIdle.splice(0)) done();
      };
      this.#execute(next.job).then(next.resolve, next.reject).finally(end);
    }
  }
}
