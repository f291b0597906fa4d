/**
 * Whether a group of the commit log is written and synced on the shard's thread or through the thread pool. On a disk that
 * syncs in 0.2 ms the two ways through the pool take longer than the disk; on one that takes 10 ms, reads must not wait
 * behind it. What counts is how most of the recent groups went, and not their average: a single stop of 20 ms says nothing
 * about the disk. Nor does the time in which this thread waited for a processor: it is taken off where the system tells it. Groups in
 * the pool cannot tell a slow disk from a machine that is short of processor time, which the
 * pool would only make shorter: so one in a while goes inline all the same, ever more rarely while it stays slow.
 */
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';

/** Slow groups less fast ones: from here on the pool takes them. */
const SLOW_MAX = 8;
/** As far as the count goes: so many fast ones bring it back. */
const SLOW_CEILING = 2 * SLOW_MAX;

export class GroupPace {
  readonly #clock: Clock;
  readonly #inlineUsMax: number;
  #slow = 0;
  readonly #processorWaitUs: () => number;
  #startedMs = 0;
  #startedWaitUs = 0;
  #inline = false;
  #probing = false;
  #probeMs: number = limits.walInlineProbeMsMin;
  #probeAtMs = 0;

  /** `inlineUsMax` 0: never inline. `processorWaitUs`: as src/vfs/processor-wait.ts. */
  constructor(clock: Clock, inlineUsMax: number, processorWaitUs: () => number) {
    this.#clock = clock;
    this.#inlineUsMax = inlineUsMax;
    this.#processorWaitUs = processorWaitUs;
  }

  /** A group starts; whether it goes inline. */
  start(): boolean {
    this.#startedMs = this.#clock.monotonicMs();
    this.#probing = this.#slow >= SLOW_MAX && this.#startedMs >= this.#probeAtMs;
    this.#inline = this.#inlineUsMax > 0 && (this.#slow < SLOW_MAX || this.#probing);
    if (this.#inline) this.#startedWaitUs = this.#processorWaitUs();
    return this.#inline;
  }
  /** It has ended. */
  end(): void {
    const nowMs = this.#clock.monotonicMs();
    let us = (nowMs - this.#startedMs) * 1000;
    if (this.#inline && us >= this.#inlineUsMax) us -= this.#processorWaitUs() - this.#startedWaitUs;
    const slow = us >= this.#inlineUsMax;
    const before = this.#slow;
    if (slow) this.#slow = Math.min(before + 1, SLOW_CEILING);
    // The disk itself, and it is fast: the next one that is slow says otherwise again.
    else if (this.#probing) this.#slow = SLOW_MAX - 1;
    else this.#slow = Math.max(before - 1, 0);
    if (this.#slow < SLOW_MAX) this.#probeMs = limits.walInlineProbeMsMin;
    else if (before < SLOW_MAX) this.#probeAtMs = nowMs + this.#probeMs;
    else if (this.#probing) {
      this.#probeMs = Math.min(2 * this.#probeMs, limits.walInlineProbeMsMax);
      this.#probeAtMs = nowMs + this.#probeMs;
    }
    this.#probing = false;
  }
}
