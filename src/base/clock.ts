/**
 * Time. Nobody but this file reads the clock. `HybridClock` gives versions: hybrid logical time (Kulkarni
 * et al. 2014) in one number, microseconds since 1970, strictly increasing and above every version seen.
 */
import { BadRequestError } from './errors.ts';
import { limits } from './limits.ts';
import { WallUs } from './wall-us.ts';

/** Where ManualClock.monotonicMs begins. */
export const MANUAL_MONOTONIC_MS = 5000;

declare const isMonotonic: unique symbol;
/**
 * A point in time by Clock.monotonicMs: every deadline is one. It means the same in all threads of this process, and nothing
 * outside of them: it is never stored, and other nodes are told the milliseconds that are left
 * (docs/decisions/0022-deadlines-by-the-monotonic-clock.md). A type of its own, for a time since 1970 in its place would be a
 * deadline that never comes.
 */
export type MonotonicMs = number & { readonly [isMonotonic]: true };

export interface Clock {
  /** Milliseconds since 1970, as it was set: it jumps when it is set anew. For what is stored or shown, never for waiting. */
  nowMs(): number;
  /** Microseconds since 1970, a safe integer until 2255: nowMs with a fraction, within a millisecond of it, also once it has jumped. */
  nowUs(): number;
  /**
   * Milliseconds, with a fraction, from a start that all threads of a process share; they never go back, and nobody sets them.
   * For durations and deadlines.
   */
  monotonicMs(): MonotonicMs;
}

/** Once: the global is a getter, which takes as long as half a look at the clock. */
const { performance } = globalThis;
export const systemClock: Clock = newSystemClock();

function newSystemClock(): Clock {
  const wallUs = new WallUs(
    () => Date.now(),
    () => performance.now(),
    performance.timeOrigin,
  );
  return {
    nowMs: () => Date.now(),
    nowUs: () => wallUs.now(),
    // Node counts from the start of the process in its worker threads too: test/base/clock-threads.test.ts.
    monotonicMs: () => performance.now() as MonotonicMs,
  };
}

/** `ms` milliseconds after `from`. */
export const msAfter = (from: MonotonicMs, ms: number): MonotonicMs => (from + ms) as MonotonicMs;

/** The deadline of what begins now and may take `ms` milliseconds. */
export const deadlineIn = (clock: Pick<Clock, 'monotonicMs'>, ms: number): MonotonicMs =>
  msAfter(clock.monotonicMs(), ms);

/** Milliseconds that are left at `nowMs`; 0 or less where the deadline has passed. */
export const msLeft = (deadlineMs: MonotonicMs, nowMs: MonotonicMs): number => deadlineMs - nowMs;

export const hasPassed = (deadlineMs: MonotonicMs, nowMs: MonotonicMs): boolean => deadlineMs <= nowMs;

/** The first of two. */
export const earlier = (a: MonotonicMs, b: MonotonicMs): MonotonicMs => (a < b ? a : b);
export const latest = (deadlines: readonly MonotonicMs[]): MonotonicMs =>
  Math.max(...deadlines) as MonotonicMs;

/** Before every time that a clock gives: of what was not looked up yet. As a deadline it has passed; it never says that there is none. */
export const MONOTONIC_ZERO = 0 as MonotonicMs;

/**
 * A clock that moves only when told: for tests and the simulator. Its monotonic side begins at MANUAL_MONOTONIC_MS, far from any
 * time since 1970: what takes the one for the other shows.
 */
export class ManualClock implements Clock {
  #wallUs: number;
  #monotonicUs = MANUAL_MONOTONIC_MS * 1000;
  constructor(startMs: number) {
    this.#wallUs = startMs * 1000;
  }
  /** Time passes. */
  advanceMs(ms: number): void {
    this.#wallUs += ms * 1000;
    this.#monotonicUs += ms * 1000;
  }
  /** Somebody sets the wall clock: forward, or back where `ms` is negative. No time passes. */
  jumpMs(ms: number): void {
    this.#wallUs += ms * 1000;
  }
  nowMs(): number {
    return Math.floor(this.#wallUs / 1000);
  }
  nowUs(): number {
    return this.#wallUs;
  }
  monotonicMs(): MonotonicMs {
    return (this.#monotonicUs / 1000) as MonotonicMs;
  }
}

export class HybridClock {
  readonly #clock: Clock;
  #last = 0;
  constructor(clock: Clock) {
    this.#clock = clock;
  }
  /** The last version given or seen. */
  get last(): number {
    return this.#last;
  }
  /** A version above all given and seen before. */
  next(): number {
    const now = this.#clock.nowUs();
    this.#last = now > this.#last ? now : this.#last + 1;
    return this.#last;
  }
  /** Takes note of a version from this node's own files: the clock never falls behind it. */
  observe(version: number): void {
    if (version > this.#last) this.#last = version;
  }
  /** The same for a version from outside, refused where it lies too far ahead to be an honest clock's. */
  observeForeign(version: number): void {
    const ahead = version - this.#clock.nowUs();
    if (!Number.isSafeInteger(version) || version < 0 || ahead > limits.clockDriftUsMax)
      throw new BadRequestError(
        `version ${version} lies ${ahead} us ahead of this clock; the limit is ${limits.clockDriftUsMax} us`,
      );
    this.observe(version);
  }
}
