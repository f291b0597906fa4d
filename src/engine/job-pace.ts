/**
 * How fast a job goes: in slices between which the thread's other work has its turn, within a rate of bytes
 * written, and not at all once its stop flag is up. Owned by the job's thread.
 *
 * While nobody waits for it a job rests REST_PER_WORK times as long as it has worked, by the clock on the wall: so it
 * takes a quarter of a core at most, and less where others want that core too. Compactions that ran as fast as they
 * could took what two cores had left for tenths of a second every few seconds, and requests queued up
 * (docs/performance.md).
 */
import type { Clock } from '../base/clock.ts';
import { ClosedError } from '../base/errors.ts';
import { KiB } from '../base/limits.ts';
import { StopFlag, type StopFlagMemory } from '../ipc/stop-flag.ts';
import type { JobTools } from './job-tools.ts';

/** Work between two looks at the stop flag: one or two milliseconds. */
export const SLICE_BYTES_MAX = 256 * KiB;
export const SLICE_RECORDS_MAX = 4096;
/** What a job may write at once after it fell behind its rate, as time at that rate. */
export const BURST_MS_MAX = 100;
/** A job that waits looks at its stop flag this often. */
export const PAUSE_MS_MAX = 50;
/** Rest for each millisecond of work that is not urgent. */
export const REST_PER_WORK = 3;

/** Whether somebody waits for a job: src/ipc/job-urgency.ts, or a constant. */
export interface Urgency {
  readonly urgent: boolean;
}
export const NEVER_URGENT: Urgency = { urgent: false };

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
  readonly #urgency: Urgency | null;
  #bytes = 0;
  #records = 0;
  /** When the slice began. */
  #startedMs: number;

  /** `urgency` null: always urgent. */
  constructor(stop: StopFlagMemory, tools: JobTools, bytesPerSecond: number, urgency: Urgency | null = null) {
    this.#stop = new StopFlag(stop);
    this.#tools = tools;
    this.#rate = new RateLimit(bytesPerSecond, tools.clock);
    this.#urgency = urgency;
    this.#startedMs = tools.clock.monotonicMs();
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
    await this.#tools.pause(this.#restMs());
    this.check();
    for (let wait = this.#rate.waitMs; wait > 0; wait = this.#rate.waitMs) {
      await this.#tools.pause(Math.min(wait, PAUSE_MS_MAX));
      this.check();
    }
    this.#startedMs = this.#tools.clock.monotonicMs();
  }

  #restMs(): number {
    if (this.#urgency === null || this.#urgency.urgent) return 0;
    const workedMs = this.#tools.clock.monotonicMs() - this.#startedMs;
    return Math.min(REST_PER_WORK * workedMs, PAUSE_MS_MAX);
  }
}
