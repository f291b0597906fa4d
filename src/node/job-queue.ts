/**
 * Hands jobs to background threads in the order of their coming; owned by the main thread. At most `threads` run, and
 * at most limits.jobsWaitingMax wait: one more is refused with an OverloadedError.
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
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #closed = false;
  #onIdle: (() => void)[] = [];

  /** `execute` runs a job on a background thread; it is called for at most `threads` at a time. */
  constructor(threads: number, execute: (job: Job) => Promise<JobResult>) {
    assert(threads >= 1, () => `jobs: ${threads} threads`);
    this.#threads = threads;
    this.#execute = execute;
  }

  get waiting(): number {
    return this.#waiting.length;
  }
  get running(): number {
    return this.#running;
  }

  run(job: Job): Promise<JobResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new ClosedError('the node is stopping: it takes no more jobs');
      const { length } = this.#waiting;
      if (length >= limits.jobsWaitingMax)
        throw new OverloadedError(`${length} jobs wait; the limit is ${limits.jobsWaitingMax}`);
      this.#waiting.push({ job, resolve, reject });
      this.#start();
    });
  }

  /** Rejects what waits and resolves when what runs has ended. */
  close(): Promise<void> {
    this.#closed = true;
    for (const { reject } of this.#waiting.splice(0))
      reject(new ClosedError('the node is stopping: the job was not run'));
    return this.#running === 0 ? Promise.resolve() : new Promise((done) => this.#onIdle.push(done));
  }

  #start(): void {
    while (this.#running < this.#threads) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#running++;
      const end = (): void => {
        this.#running--;
        this.#start();
        if (this.#running === 0) for (const done of this.#onIdle.splice(0)) done();
      };
      this.#execute(next.job).then(next.resolve, next.reject).finally(end);
    }
  }
}
