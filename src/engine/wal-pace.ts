/**
 * Whether a group of the commit log is written and synced on the shard's thread or through the thread pool. On a
 * disk that syncs in 0.2 ms the two ways through the pool take longer than the disk; on one that takes 10 ms, reads must
 * not wait behind it. Groups are taken inline while they last less than `inlineUsMax` on average, in whichever way
 * they went: a slow disk shows by a few groups, and a disk that is fast again too.
 */
import type { Clock } from '../base/clock.ts';

/** Of the newest group in the average. */
const WEIGHT = 1 / 8;

export class GroupPace {
  readonly #clock: Clock;
  readonly #inlineUsMax: number;
  #averageUs = 0;
  #startedMs = 0;

  /** `inlineUsMax` 0: never inline. */
  constructor(clock: Clock, inlineUsMax: number) {
    this.#clock = clock;
    this.#inlineUsMax = inlineUsMax;
  }

  /** A group starts; whether it goes inline. */
  start(): boolean {
    this.#startedMs = this.#clock.monotonicMs();
    return this.#averageUs < this.#inlineUsMax;
  }
  /** It has ended. */
  end(): void {
    const us = (this.#clock.monotonicMs() - this.#startedMs) * 1000;
    this.#averageUs += (us - this.#averageUs) * WEIGHT;
  }
}
