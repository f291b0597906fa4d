/**
 * Bodies as they arrive. Front-end thread. Bounded one by one, and together by limits.httpBodiesBytesMax; a body
 * that brings too little in a period is given up, before uWebSockets.js closes its connection without a word.
 */
import { OverloadedError, type RingKvError, ValueTooLargeError } from '../base/errors.ts';
import { KiB, limits } from '../base/limits.ts';
import type { Exchange } from './exchange.ts';
import { HttpError } from './outcome.ts';

const FIRST_BYTES = 64 * KiB;

export class Bodies {
  #heldBytes = 0;
  /** Exchanges whose body is arriving. */
  readonly #arriving: Exchange[] = [];

  get heldBytes(): number {
    return this.#heldBytes;
  }
  get arriving(): number {
    return this.#arriving.length;
  }

  /** Sets memory aside for a batch that is being worked on; false where there is none. */
  reserve(bytes: number): boolean {
    if (this.#heldBytes + bytes > limits.httpBodiesBytesMax) return false;
    this.#heldBytes += bytes;
    return true;
  }
  release(bytes: number): void {
    this.#heldBytes -= bytes;
  }

  begin(exchange: Exchange, limit: number, nowMs: number): void {
    exchange.bodyLimit = limit;
    exchange.bodyLength = 0;
    exchange.bodyReserved = 0;
    exchange.periodMs = nowMs;
    exchange.periodLength = 0;
    exchange.bodyIndex = this.#arriving.length;
    this.#arriving.push(exchange);
  }

  /**
   * Takes a chunk, which is valid during the call only. After the last one `exchange.body` is the whole body,
   * valid during the same call. The error says why the body is refused.
   */
  take(exchange: Exchange, chunk: ArrayBuffer, last: boolean): RingKvError | null {
    const length = exchange.bodyLength + chunk.byteLength;
    if (length > exchange.bodyLimit)
      return bodyTooLarge(`more than ${exchange.bodyLimit}`, exchange.bodyLimit);
    if (last && exchange.bodyLength === 0) {
      exchange.body = new Uint8Array(chunk);
      exchange.bodyLength = length;
      return null;
    }
    if (length > exchange.bodyReserved && !this.#grow(exchange, length))
      return new OverloadedError(
        `bodies of ${this.#heldBytes} bytes are arriving; the limit is ${limits.httpBodiesBytesMax}; nothing was done`,
      );
    exchange.body.set(new Uint8Array(chunk), exchange.bodyLength);
    exchange.bodyLength = length;
    if (last) exchange.body = exchange.body.subarray(0, length);
    return null;
  }

  #grow(exchange: Exchange, length: number): boolean {
    const size = Math.min(exchange.bodyLimit, Math.max(FIRST_BYTES, length, 2 * exchange.bodyReserved));
    const added = size - exchange.bodyReserved;
    if (this.#heldBytes + added > limits.httpBodiesBytesMax) return false;
    const grown = new Uint8Array(size);
    grown.set(exchange.body.subarray(0, exchange.bodyLength));
    exchange.body = grown;
    exchange.bodyReserved = size;
    this.#heldBytes += added;
    return true;
  }

  /** The body is complete and done with, refused, or its connection gone. Idempotent. */
  end(exchange: Exchange): void {
    if (exchange.bodyIndex < 0) return;
    const last = this.#arriving.pop() as Exchange;
    if (last !== exchange) {
      this.#arriving[exchange.bodyIndex] = last;
      last.bodyIndex = exchange.bodyIndex;
    }
    exchange.bodyIndex = -1;
    this.#heldBytes -= exchange.bodyReserved;
    exchange.bodyReserved = 0;
  }

  /** Calls `giveUp` for each body that has brought too little for a period. */
  sweep(nowMs: number, giveUp: (exchange: Exchange, error: RingKvError) => void): void {
    for (const exchange of [...this.#arriving]) {
      if (nowMs - exchange.periodMs < limits.httpBodyPeriodMs) continue;
      const came = exchange.bodyLength - exchange.periodLength;
      if (came < limits.httpBodyPeriodBytesMin) giveUp(exchange, tooSlow(came));
      exchange.periodMs = nowMs;
      exchange.periodLength = exchange.bodyLength;
    }
  }
}

const tooSlow = (came: number): HttpError =>
  new HttpError(
    408,
    'TIMEOUT',
    `the body brought ${came} bytes in ${limits.httpBodyPeriodMs} ms; the least is ${limits.httpBodyPeriodBytesMin}; nothing was done`,
  );

export const bodyTooLarge = (length: number | string, limit: number): ValueTooLargeError =>
  new ValueTooLargeError(`a body of ${length} bytes; the limit is ${limit}`);

export function checkValueLength(length: number, limit: number): void {
  if (length > limit) throw new ValueTooLargeError(`a value of ${length} bytes; the limit is ${limit}`);
}
