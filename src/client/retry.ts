/**
 * When a call is repeated. Invariants:
 * 1. A write whose outcome is unknown is not repeated unless it carries an idempotency key.
 * 2. Waits grow exponentially with full jitter (Brooker, "Exponential Backoff And Jitter", 2015), and are not
 *    shorter than the server's Retry-After.
 * 3. Repeats of a client are at most a fixed part of its successful calls (gRPC's retry throttling), so that
 *    clients do not hold an overloaded server down.
 */
import {
  OverloadedError,
  ReadOnlyError,
  type RingKvError,
  TimeoutError,
  UnavailableError,
} from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import { ConnectionError, RateLimitedError } from './errors.ts';

const BACKOFF_MS_FIRST = 20;
const BACKOFF_MS_MAX = 2000;
const BUDGET_MAX = 100;
const BUDGET_PER_SUCCESS = 0.1;

/** Whether the server says, or nobody but us can know, that nothing was done. */
export function nothingWasDone(error: RingKvError): boolean {
  if (error instanceof ConnectionError) return !error.sent;
  return error instanceof OverloadedError || error instanceof RateLimitedError;
}

/** Whether the same call may succeed later. `repeatable`: doing it twice is the same as doing it once. */
export function worthRepeating(error: RingKvError, repeatable: boolean): boolean {
  if (nothingWasDone(error)) return true;
  if (!repeatable) return false;
  if (error instanceof ReadOnlyError) return false;
  return (
    error instanceof ConnectionError || error instanceof UnavailableError || error instanceof TimeoutError
  );
}

/** Milliseconds to wait before repeat number `attempt`, from 0. */
export function backoffMs(attempt: number, retryAfterMs: number, random: Random): number {
  const most = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** Math.min(attempt, 16));
  return Math.max(retryAfterMs, random.between(1, most));
}

export class RetryBudget {
  #left = BUDGET_MAX;
  /** Takes one repeat; false where there is none left. */
  take(): boolean {
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
  succeeded(): void {
    this.#left = Math.min(BUDGET_MAX, this.#left + BUDGET_PER_SUCCESS);
  }
}
