/** The jobs of one shard's life, counted, so that the next life begins after the last of them. */
import type { Job, JobResult, JobRunner } from '../engine/contract.ts';

export class TrackedJobs implements JobRunner {
  readonly #runner: JobRunner;
  #running = 0;
  #onIdle: (() => void)[] = [];

  constructor(runner: JobRunner) {
    this.#runner = runner;
  }

  async run(job: Job): Promise<JobResult> {
    this.#running++;
    try {
      return await this.#runner.run(job);
    } finally {
      this.#running--;
      if (this.#running === 0) for (const idle of this.#onIdle.splice(0)) idle();
    }
  }

  /** Resolves when none runs or waits. */
  idle(): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((idle) => this.#onIdle.push(idle));
  }
}
