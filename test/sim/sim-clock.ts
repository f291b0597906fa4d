/**
 * The clock of one simulated machine: off by a skew, running at its own rate, set forward and back on demand. It goes on
 * while the machine's process is down or stopped. Its monotonic side drifts too and never jumps; each process counts it from its
 * own start, so that a monotonic time which is kept over a restart, or told to another node, shows.
 */
import type { Clock } from '../../src/base/clock.ts';
import { monotonic } from '../base/clocks.ts';
import type { Scheduler } from './scheduler.ts';

/** When simulations begin: 2023-11-14T22:13:20Z. */
export const EPOCH_MS = 1_700_000_000_000;

export class SimClock {
  readonly #scheduler: Scheduler;
  #offsetUs: number;
  #rate = 1;
  /** Local running time was `#runUs` at the true time `#sinceUs`. */
  #runUs = 0;
  #sinceUs = 0;

  constructor(scheduler: Scheduler, skewMs = 0, rate = 1) {
    this.#scheduler = scheduler;
    this.#offsetUs = EPOCH_MS * 1000 + Math.round(skewMs * 1000);
    this.#rate = rate;
  }

  nowUs(): number {
    return this.#offsetUs + Math.floor(this.#ranUs());
  }
  nowMs(): number {
    return Math.floor(this.nowUs() / 1000);
  }
  /** As a process reads it that starts now. */
  ofProcess(): Clock {
    const startUs = this.#ranUs();
    return {
      nowMs: () => this.nowMs(),
      nowUs: () => this.nowUs(),
      monotonicMs: () => monotonic((this.#ranUs() - startUs) / 1000),
    };
  }

  /** How far it is ahead of the true time. */
  get skewMs(): number {
    return (this.nowUs() - EPOCH_MS * 1000 - this.#scheduler.nowUs) / 1000;
  }
  /** Somebody sets it: forward, or back. */
  jump(ms: number): void {
    this.#offsetUs += Math.round(ms * 1000);
  }
  /** Sets it right. */
  synchronize(): void {
    this.setRate(1);
    this.jump(-this.skewMs);
  }
  /** Seconds that it counts in one true second. */
  setRate(rate: number): void {
    this.#runUs = this.#ranUs();
    this.#sinceUs = this.#scheduler.nowUs;
    this.#rate = rate;
  }
  /** True microseconds until so much time has passed on it. */
  trueUs(localUs: number): number {
    return localUs / this.#rate;
  }

  #ranUs(): number {
    return this.#runUs + (this.#scheduler.nowUs - this.#sinceUs) * this.#rate;
  }
}
