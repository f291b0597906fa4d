/**
 * Microseconds since 1970 by the machine's clock, which tells milliseconds and may be set, and by the monotonic one, which tells fractions
 * and is never set. Each thread has its own.
 *
 * 1. What it gives lies within a millisecond of the machine's clock as of the last look, and it looks again after LOOK_MS: a step of
 *    that clock, ahead or back, is followed by then, in every thread alike.
 * 2. While nobody sets the clock it rises: what it adds to the monotonic clock moves only where two readings of that enclose a reading of
 *    the machine's clock which it cannot have given. So a thread that stands still between two readings sees no step, and threads
 *    come to agree to some microseconds, whenever they began.
 */

/** As long as what the machine's clock leaves out: to look more often would tell nothing more. */
const LOOK_MS = 1;

export class WallUs {
  readonly #wallMs: () => number;
  readonly #monotonicMs: () => number;
  /** When the monotonic clock stood at 0, milliseconds since 1970. */
  #originMs: number;
  /** By the monotonic clock. */
  #lookMs = Number.NEGATIVE_INFINITY;

  /** `wallMs`: whole milliseconds since 1970, the fraction left out. `originMs`: as far as it is known. */
  constructor(wallMs: () => number, monotonicMs: () => number, originMs: number) {
    this.#wallMs = wallMs;
    this.#monotonicMs = monotonicMs;
    this.#originMs = originMs;
  }

  now(): number {
    const nowMs = this.#monotonicMs();
    if (nowMs >= this.#lookMs) this.#look(nowMs);
    return Math.floor((this.#originMs + nowMs) * 1000);
  }

  #look(beforeMs: number): void {
    const wallMs = this.#wallMs();
    const afterMs = this.#monotonicMs();
    const least = wallMs - afterMs;
    const most = wallMs + 1 - beforeMs;
    if (this.#originMs < least) this.#originMs = least;
    else if (this.#originMs > most) this.#originMs = most;
    this.#lookMs = afterMs + LOOK_MS;
  }
}
