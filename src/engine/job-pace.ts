/**
 * How fast a job goes: in slices between which the thread's other work has its turn, within a rate of bytes
 * written, and not at all once its stop flag is up. Owned by the job's thread.
 */
import type { Clock } from '../base/clock.ts';
import { ClosedError } from '../base/errors.ts';
import { MiB } from '../base/limits.ts';
import { StopFlag, type StopFlagMemory } from '../ipc/stop-flag.ts';
import type { JobTools } from './job-tools.ts';

/** Work between two looks at the stop flag: about a millisecond. */
export const SLICE_BYTES_MAX = MiB;
export const SLICE_RECORDS_MAX = 4096;
/** What a job may write at once after it fell behind its rate, as time at that rate. */
export const BURST_MS_MAX = 100;
/** A job that waits looks at its stop flag this often. */
export const PAUSE_MS_MAX = 50;

/** A token bucket: a debt of bytes that shrinks with time. */
export class RateLimit {
  readonly #bytesPerMs: number;
  readonly #clock: Clock;
  /** When all that was taken has been paid for. */
  #paidMs = Number.NEGATIVE_INFINITY;

  /** 0 bytes per second is unlimited. */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerMs = bytesPerSecond === 0 ? Number.POSITIVE_INFINITY : bytesPerSecond / 1000;
    this.#clock = clock;
  }
  /** Takes bytes that were written. */
  take(bytes: number): void {
    const floor = this.#clock.monotonicMs() - BURST_MS_MAX;
    this.#paidMs = Math.max(this.#paidMs, floor) + bytes / this.#bytesPerMs;
  }
  /** Milliseconds until the next byte may be written, 0 or less for now. */
  get waitMs(): number {
    return this.#paidMs - this.#clock.monotonicMs();
  }
}

export class JobPace {
  readonly #stop: StopFlag;
  readonly #tools: JobTools;
  readonly #rate: RateLimit;
  #bytes = 0;
  #records = 0;

  constructor(stop: StopFlagMemory, tools: JobTools, bytesPerSecond: number) {
    this.#stop = new StopFlag(stop);
    this.#tools = tools;
    this.#rate = new RateLimit(bytesPerSecond, tools.clock);
  }

  /** Throws ClosedError where the job shall give up. */
  check(): void {
    if (this.#stop.raised) throw new ClosedError('the shard is closing: the job was given up');
  }

  /** Notes work done; true where the slice is over and `turn` is due. */
  spend(bytes: number): boolean {
    this.#bytes += bytes;
    this.#records++;
    return this.#bytes >= SLICE_BYTES_MAX || this.#records >= SLICE_RECORDS_MAX;
  }

  /** Lets others have their turn, and waits while more was written than the rate allows. */
  async turn(bytesWritten: number): Promise<void> {
    this.#bytes = 0;
    this.#records = 0;
    this.#rate.take(bytesWritten);
    this.check();
    await this.#tools.pause(0);
    this.check();
    for (let wait = this.#rate.waitMs; wait > 0; wait = this.#rate.waitMs) {
      await this.#tools.pause(Math.min(wait, PAUSE_MS_MAX));
      this.check();
    }
  }
}
