/**
 * Requests that wait for one WebSocket or are in flight on it, and the decision what goes into the next message. No
 * I/O and no timers of its own. Invariants:
 * 1. A request settles once; after that nothing of it is kept but, while the server still counts it, its id.
 * 2. In flight are never more requests or bytes than the server takes (its first message says so).
 * 3. OVERLOADED halves the number of requests in flight, successes raise it by one for each window (AIMD: Chiu and
 *    Jain, 1989), so that a server that is busy is not asked for more than it takes.
 */
import { type Clock, msLeft } from '../base/clock.ts';
import { OverloadedError, TimeoutError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { KvOp } from './kv.ts';
import type { Pending } from './pending.ts';
import { REQUEST_OVERHEAD_BYTES } from './ws-requests.ts';

/** What the server told at the start; the defaults of docs/websocket.md until then. */
export interface ServerLimits {
  readonly valueBytesMax: number;
  readonly messageBytesMax: number;
  readonly messageRequestsMax: number;
  readonly inFlightMax: number;
  readonly inFlightBytesMax: number;
  readonly pausedBytes: number;
}

export class WsBatch {
  readonly #clock: Clock;
  /** Takes a put whose value is longer than the connection takes. */
  readonly #onTooLong: (pending: Pending) => void;
  #limits: ServerLimits;
  #waiting: Pending[] = [];
  /** Requests before it have gone; they are cut off now and then. */
  #head = 0;
  #waitingBytes = 0;
  readonly #inFlight = new Map<number, Pending>();
  #inFlightBytes = 0;
  #expectedBytes = 0;
  /** Of the values of recent gets, so that no more is asked for than the server keeps for a reader. */
  #valueBytes = 0;
  #window: number;
  /** Ids above it were sent after the window was last halved. */
  #halvedAtId = 0;
  #nextId = 1;

  constructor(clock: Clock, told: ServerLimits, onTooLong: (pending: Pending) => void) {
    this.#clock = clock;
    this.#onTooLong = onTooLong;
    this.#limits = told;
    this.#window = told.inFlightMax - 1;
  }
  get inFlight(): number {
    return this.#inFlight.size;
  }
  get window(): number {
    return Math.floor(this.#window);
  }
  get waiting(): number {
    return this.#waiting.length - this.#head;
  }
  get isEmpty(): boolean {
    return this.waiting === 0 && this.#inFlight.size === 0;
  }
  /** An id for a heartbeat. */
  takeId(): number {
    return this.#nextId++;
  }
  /** A new connection, with what its server told. One place in flight is kept free for heartbeats. */
  restart(told: ServerLimits): void {
    this.#limits = told;
    this.#window = Math.max(1, told.inFlightMax - 1);
    this.#halvedAtId = this.#nextId - 1;
  }

  /** Throws OverloadedError where too much waits: nothing was sent then. */
  add(pending: Pending): void {
    if (this.waiting >= limits.clientQueueMax)
      throw new OverloadedError(
        `${this.waiting} requests wait for the connection; the limit is ${limits.clientQueueMax}; nothing was sent`,
      );
    if (this.waiting > 0 && this.#waitingBytes + pending.bytes > limits.clientQueueBytesMax)
      throw new OverloadedError(
        `${this.#waitingBytes} bytes wait for the connection; the limit is ${limits.clientQueueBytesMax}; nothing was sent`,
      );
    this.#waiting.push(pending);
    this.#waitingBytes += pending.bytes;
  }

  /** Takes what goes into one message; empty where nothing waits or the server takes no more. */
  next(): Pending[] {
    const batch: Pending[] = [];
    const told = this.#limits;
    const nowMs = this.#clock.monotonicMs();
    let messageBytes = limits.wsMessageOverheadBytes;
    while (this.#head < this.#waiting.length && batch.length < told.messageRequestsMax) {
      const pending = this.#waiting[this.#head] as Pending;
      pending.expireUnsent(nowMs);
      const { value } = pending.request;
      const isTooLong = value !== null && value.length > told.valueBytesMax;
      if (pending.settled || isTooLong) {
        this.#shift(pending);
        if (!pending.settled) this.#onTooLong(pending);
        continue;
      }
      const size = pending.bytes + REQUEST_OVERHEAD_BYTES;
      if (batch.length > 0 && messageBytes + size > told.messageBytesMax) break;
      if (!this.#takes(pending)) break;
      messageBytes += size;
      this.#shift(pending);
      this.#send(pending);
      batch.push(pending);
    }
    return batch;
  }

  /** The request of an answer, which is no longer in flight, or undefined where none has this id. */
  answered(id: number): Pending | undefined {
    const pending = this.#inFlight.get(id);
    if (pending === undefined) return undefined;
    this.#inFlight.delete(id);
    this.#inFlightBytes -= pending.bytes;
    this.#expectedBytes -= pending.expectedBytes;
    return pending;
  }
  /** Learns from a success. `bytes`: of its value. */
  succeeded(pending: Pending, bytes: number): void {
    this.#window = Math.min(Math.max(1, this.#limits.inFlightMax - 1), this.#window + 1 / this.#window);
    // Up at once, down slowly: a large value that was not expected costs more than a small one that was.
    if (pending.request.op === KvOp.GET)
      this.#valueBytes = bytes > this.#valueBytes ? bytes : this.#valueBytes * 0.99 + bytes * 0.01;
  }
  /** Learns from OVERLOADED: once for all requests that were in flight together. */
  overloaded(pending: Pending): void {
    if (pending.id <= this.#halvedAtId) return;
    this.#halvedAtId = this.#nextId - 1;
    // Of what was in flight (RFC 5681, 3.1), not of what might have been.
    this.#window = Math.max(1, Math.min(this.#window, pending.rank) / 2);
  }

  /** Rejects all whose deadline has passed; whether one of them has been unanswered for far too long. */
  expire(): boolean {
    const nowMs = this.#clock.monotonicMs();
    let stuck = false;
    for (const pending of this.#inFlight.values()) {
      const lateMs = -msLeft(pending.deadlineMs, nowMs);
      if (lateMs < limits.clientGraceMs) continue;
      pending.reject(new TimeoutError('no answer by the deadline; whether the request was done is unknown'));
      if (lateMs > limits.clientStuckMs) stuck = true;
    }
    // Those that wait are mostly in order of their deadlines; one that is not is found when its turn comes.
    for (let at = this.#head; at < this.#waiting.length; at++)
      (this.#waiting[at] as Pending).expireUnsent(nowMs);
    while (this.#head < this.#waiting.length && (this.#waiting[this.#head] as Pending).settled)
      this.#shift(this.#waiting[this.#head] as Pending);
    return stuck;
  }

  /** Ends all: `sent` those that may have been done, `unsent` the others. */
  fail(sent: unknown, unsent: unknown): void {
    const lost = [...this.#inFlight.values()];
    const left = this.#waiting.slice(this.#head);
    this.#inFlight.clear();
    this.#inFlightBytes = 0;
    this.#expectedBytes = 0;
    this.#waiting = [];
    this.#head = 0;
    this.#waitingBytes = 0;
    for (const pending of lost) pending.reject(sent);
    for (const pending of left) pending.reject(unsent);
  }

  #takes(pending: Pending): boolean {
    if (this.#inFlight.size === 0) return true;
    const { inFlightBytesMax, pausedBytes } = this.#limits;
    const expected = pending.request.op === KvOp.GET ? this.#valueBytes : 0;
    return (
      this.#inFlight.size < this.window &&
      this.#inFlightBytes + pending.bytes <= inFlightBytesMax &&
      this.#expectedBytes + expected <= pausedBytes
    );
  }
  #send(pending: Pending): void {
    pending.id = this.#nextId++;
    pending.expectedBytes = pending.request.op === KvOp.GET ? this.#valueBytes : 0;
    this.#inFlight.set(pending.id, pending);
    pending.rank = this.#inFlight.size;
    this.#inFlightBytes += pending.bytes;
    this.#expectedBytes += pending.expectedBytes;
  }
  #shift(pending: Pending): void {
    this.#head++;
    this.#waitingBytes -= pending.bytes;
    // Cut off when half of it has gone: each request is moved once on average.
    if (this.#head * 2 < this.#waiting.length) return;
    this.#waiting = this.#waiting.slice(this.#head);
    this.#head = 0;
  }
}
