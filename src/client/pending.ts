/** A request that waits to be sent, or for its answer, among others of the same message. It settles once. */
import { hasPassed, type MonotonicMs } from '../base/clock.ts';
import { TimeoutError } from '../base/errors.ts';
import { bytesOfRequest, type KvAnswer, type KvRequest } from './kv.ts';

export class Pending {
  readonly request: KvRequest;
  readonly deadlineMs: MonotonicMs;
  readonly bytes: number;
  readonly signal: AbortSignal | undefined;
  /** Others are sent in the same turn. */
  isOneOfMany = false;
  id = 0;
  /** Requests in flight, with this one, when it was sent. */
  rank = 0;
  /** Bytes of the answer that are reckoned with while it is in flight. */
  expectedBytes = 0;
  settled = false;
  /** Called when the signal has ended it. */
  onAborted: (() => void) | null = null;
  #resolve: (answer: KvAnswer) => void;
  #reject: (reason: unknown) => void;
  #onAbort: (() => void) | null = null;

  constructor(
    request: KvRequest,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
    resolve: (answer: KvAnswer) => void,
    reject: (reason: unknown) => void,
  ) {
    this.request = request;
    this.deadlineMs = deadlineMs;
    this.bytes = bytesOfRequest(request);
    this.#resolve = resolve;
    this.#reject = reject;
    this.signal = signal;
    if (signal !== undefined) {
      this.#onAbort = () => {
        this.reject(signal.reason);
        this.onAborted?.();
      };
      signal.addEventListener('abort', this.#onAbort, { once: true });
    }
  }
  resolve(answer: KvAnswer): void {
    if (this.#settle()) this.#resolve(answer);
  }
  reject(reason: unknown): void {
    if (this.#settle()) this.#reject(reason);
  }
  /** Ends it where it was not sent by its deadline. */
  expireUnsent(nowMs: MonotonicMs): void {
    if (hasPassed(this.deadlineMs, nowMs))
      this.reject(new TimeoutError('the deadline passed before the request was sent; nothing was done'));
  }
  #settle(): boolean {
    if (this.settled) return false;
    this.settled = true;
    if (this.#onAbort !== null) this.signal?.removeEventListener('abort', this.#onAbort);
    this.#onAbort = null;
    return true;
  }
}
