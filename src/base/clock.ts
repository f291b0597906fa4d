/**
 * Time. Nobody but this file reads the clock. `HybridClock` gives versions: hybrid logical time (Kulkarni
 * et al. 2014) in one number, microseconds since 1970, strictly increasing and above every version seen.
 */
import { BadRequestError } from './errors.ts';
import { limits } from './limits.ts';

export interface Clock {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** Microseconds since 1970, a safe integer until 2255. */
  nowUs(): number;
  /** Milliseconds from an arbitrary start that never go back: for durations. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  nowUs: () => Math.floor((performance.timeOrigin + performance.now()) * 1000),
  monotonicMs: () => performance.now(),
};

/** A clock that moves only when told: for tests and the simulator. */
export class ManualClock implements Clock {
  #us: number;
  constructor(startMs: number) {
    this.#us = startMs * 1000;
  }
  advanceMs(ms: number): void {
    this.#us += ms * 1000;
  }
  nowMs(): number {
    return Math.floor(this.#us / 1000);
  }
  nowUs(): number {
    return this.#us;
  }
  monotonicMs(): number {
    return this.#us / 1000;
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
