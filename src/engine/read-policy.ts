/**
 * Whether a block is read at once or by the thread pool. A read from the page cache takes some 5 us at once
 * and 30 to 60 us through libuv's pool; one from a cold disk would hold up the whole shard. One per shard
 * thread, for all its tables. Reads are synchronous while the average of recent ones stays below
 * limits.tableReadSlowUs and those of this turn of the event loop took less than limits.tableReadTurnUs
 * together. When they became slow, one in a while tries again, ever more rarely while it stays slow.
 *
 * A read during which another thread got the core takes milliseconds, and says nothing about the disk: on a machine whose cores
 * are full every few hundredth one does. So the average goes over some 64 reads, and none counts for more than
 * SAMPLE_US_MAX. Over 8 reads, and counted in full, one such read sent all reads of the next tenth of a second to the pool, which costs
 * the processor time that was short.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';

export type ReadMode = 'adaptive' | 'sync' | 'async';

/** Weight of the newest read in the average. */
const WEIGHT = 1 / 64;
/** A disk whose reads all take as long as this is found slow after 7 of them. */
const SAMPLE_US_MAX = 10 * limits.tableReadSlowUs;

export class ReadPolicy {
  readonly clock: Clock;
  readonly mode: ReadMode;
  readonly #nextTurn: (run: () => void) => void;
  readonly #onTurn = (): void => {
    this.#turnUs = 0;
    this.#armed = false;
  };
  #averageUs = 0;
  #turnUs = 0;
  #armed = false;
  #probeMs: number = limits.tableReadProbeMsMin;
  #probeAtMs = 0;
  syncReads = 0;
  asyncReads = 0;

  /** `nextTurn` runs a function in the next turn of the event loop. */
  constructor(
    clock: Clock,
    mode: ReadMode = 'adaptive',
    nextTurn: (run: () => void) => void = (run) => void setImmediate(run),
  ) {
    this.clock = clock;
    this.mode = mode;
    this.#nextTurn = nextTurn;
  }

  /** Average of recent synchronous reads, microseconds. */
  get averageUs(): number {
    return this.#averageUs;
  }

  /** Decides about one read; where true, `observe` follows. */
  synchronous(): boolean {
    const yes = this.#decide();
    if (yes) this.syncReads++;
    else this.asyncReads++;
    return yes;
  }

  #decide(): boolean {
    if (this.mode !== 'adaptive') return this.mode === 'sync';
    if (this.#turnUs >= limits.tableReadTurnUs) return false;
    if (this.#averageUs <= limits.tableReadSlowUs) return true;
    return this.clock.monotonicMs() >= this.#probeAtMs;
  }

  /** A synchronous read that began at `startMs` of the monotonic clock has ended. */
  observe(startMs: number): void {
    if (this.mode !== 'adaptive') return;
    const nowMs = this.clock.monotonicMs();
    const us = (nowMs - startMs) * 1000;
    this.#turnUs += us;
    if (!this.#armed) {
      this.#armed = true;
      this.#nextTurn(this.#onTurn);
    }
    const wasSlow = this.#averageUs > limits.tableReadSlowUs;
    // A fast probe says that the page cache answers again: the old average says nothing about that.
    if (wasSlow && us <= limits.tableReadSlowUs) this.#averageUs = us;
    else this.#averageUs += (Math.min(us, SAMPLE_US_MAX) - this.#averageUs) * WEIGHT;
    if (this.#averageUs <= limits.tableReadSlowUs) {
      this.#probeMs = limits.tableReadProbeMsMin;
      return;
    }
    if (wasSlow) this.#probeMs = Math.min(2 * this.#probeMs, limits.tableReadProbeMsMax);
    this.#probeAtMs = nowMs + this.#probeMs;
  }
}
