import { ManualClock } from '../../src/base/clock.ts';
import type { Timers } from '../../src/cluster/contract.ts';

interface Timer {
  readonly dueMs: number;
  readonly run: () => void;
}

/** Timers over a clock that moves when told. */
export class ManualTimers implements Timers {
  readonly clock = new ManualClock(0);
  #timers: Timer[] = [];

  after(ms: number, run: () => void): () => void {
    const timer = { dueMs: this.clock.monotonicMs() + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }
  /** Each timer runs in its time. */
  advance(ms: number): void {
    const endMs = this.clock.monotonicMs() + ms;
    for (let next = this.#nextBy(endMs); next !== null; next = this.#nextBy(endMs)) {
      this.clock.advanceMs(Math.max(0, next.dueMs - this.clock.monotonicMs()));
      next.run();
    }
    this.clock.advanceMs(Math.max(0, endMs - this.clock.monotonicMs()));
  }
  /** The process stands still: what came due meanwhile runs at the end, late. */
  standStill(ms: number): void {
    this.clock.advanceMs(ms);
    const nowMs = this.clock.monotonicMs();
    for (let next = this.#nextBy(nowMs); next !== null; next = this.#nextBy(nowMs)) next.run();
  }
  #nextBy(ms: number): Timer | null {
    const [next] = this.#timers.filter(({ dueMs }) => dueMs <= ms).sort((a, b) => a.dueMs - b.dueMs);
    if (next === undefined) return null;
    this.#timers = this.#timers.filter((one) => one !== next);
    return next;
  }
}
