/** Times of the monotonic clock, and clocks of which both sides are told. */
import type { Clock, MonotonicMs } from '../../src/base/clock.ts';

export const monotonic = (ms: number): MonotonicMs => ms as MonotonicMs;

/** A deadline that no test comes to. */
export const FAR_MS = monotonic(Number.MAX_SAFE_INTEGER);

/** `wallMs`: since 1970. */
export const clockOf = (wallMs: () => number, monotonicMs: () => number): Clock => ({
  nowMs: () => Math.floor(wallMs()),
  nowUs: () => Math.floor(wallMs() * 1000),
  monotonicMs: () => monotonic(monotonicMs()),
});
