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
import { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { ConnectionError, RateLimitedError } from './errors.ts';

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
  return Math.max(
    retryAfterMs,
    jittered(attempt, limits.clientBackoffMsMin, limits.clientBackoffMsMax, random),
  );
}
/** Milliseconds to wait before a node that failed so many times is tried again. */
export const reconnectMs = (failures: number, random: Random): number =>
  jittered(failures, limits.clientReconnectMsMin, limits.clientReconnectMsMax, random);

const DOUBLINGS_MAX = 16;
const jittered = (attempt: number, first: number, most: number, random: Random): number =>
  random.between(1, Math.min(most, first * 2 ** Math.min(attempt, DOUBLINGS_MAX)));

/** A token bucket: it is full at first, each call adds a share of a token, each repeat (or hedge) takes one. */
export class Budget {
  readonly #most: number;
  readonly #share: number;
  #left: number;
  constructor(most: number, share: number) {
    this.#most = most;
    this.#share = share;
    this.#left = most;
  }
  /** Takes one; false where there is none left. */
  take(): boolean {
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
  add(): void {
    this.#left = Math.min(this.#most, this.#left + this.#share);
  }
}
