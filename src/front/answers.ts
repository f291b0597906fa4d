/**
 * Writes answers. Front-end thread. What a client does not read is bounded:
 * 1. A body goes out by `tryEnd`, which takes only what the kernel takes. The rest is held here, and while it is
 *    held uWebSockets.js closes the connection if a further request arrives on it.
 * 2. All that is held stays below limits.httpAnswersBytesMax; beyond it the connections go that have taken nothing for longest, so that clients
 *    that read do not pay for others.
 * 3. uWebSockets.js closes a connection that takes nothing for 8 to 12 s.
 */
import type { HttpResponse } from 'uWebSockets.js';
import type { RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { kept } from './keep-alive.ts';
import { JSON_TYPE } from './media.ts';
import { HttpError, httpOfError, outcomeOf, statusLine } from './outcome.ts';

export type Body = string | Uint8Array;
const RETRY_AFTER_SECONDS = '1';
const JSON_KEPT = kept(JSON_TYPE);

export class Answers {
  #heldBytes = 0;
  readonly #heldBytesMax: number;
  /** Who has taken nothing for longest comes first. */
  readonly #held = new Set<Held>();

  constructor(heldBytesMax: number = limits.httpAnswersBytesMax) {
    this.#heldBytesMax = heldBytesMax;
  }

  /** Bytes of answers that wait for clients to read. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Ends an answer whose status and headers are written. `head` leaves the body out but not its length. `close`
   * ends the connection with it, whatever of the request is still on its way.
   */
  end(res: HttpResponse, body: Body, head: boolean, close = false): void {
    if (body.length === 0 || close) {
      res.end(head ? '' : body, close);
      return;
    }
    if (head) {
      // endWithoutBody(length) leaves the response open in this version of uWebSockets.js; this ends it.
      res.tryEnd('', byteLengthOf(body));
      res.end();
      return;
    }
    const total = byteLengthOf(body);
    // By index: taking the array apart by its iterator costs more than the call.
    if (!res.tryEnd(body, total)[1]) this.#hold(res, body, total);
  }

  /** 204 and 304: neither body nor length. */
  endEmpty(res: HttpResponse): void {
    res.endWithoutBody();
  }

  /** A JSON answer of a status other than 200. */
  endJson(res: HttpResponse, http: number, body: Body, head: boolean, close = false): void {
    res.writeStatus(statusLine(http));
    res.writeHeader('Content-Type', close ? JSON_TYPE : JSON_KEPT);
    this.end(res, body, head, close);
  }

  /** The answer to an outcome of the store; returns its HTTP status. `message` '' takes the table's own; `version` is of a mismatch. */
  fail(res: HttpResponse, status: number, message: string, version: number, head: boolean): number {
    const outcome = outcomeOf(status);
    res.writeStatus(statusLine(outcome.http));
    if (outcome.retryAfter) res.writeHeader('Retry-After', RETRY_AFTER_SECONDS);
    res.writeHeader('Content-Type', JSON_KEPT);
    const text = message === '' ? outcome.message : message;
    this.end(
      res,
      errorBody(outcome.code, text, outcome.http === 409 || outcome.http === 412 ? version : -1),
      head,
    );
    return outcome.http;
  }

  /** The answer to a mistake that was found before the store was asked. */
  refuse(res: HttpResponse, error: RingKvError, head: boolean, close = false): number {
    const http = httpOfError(error);
    res.writeStatus(statusLine(http));
    if (error instanceof HttpError && error.allow !== '') res.writeHeader('Allow', error.allow);
    if (http === 503) res.writeHeader('Retry-After', RETRY_AFTER_SECONDS);
    if (http === 426) {
      res.writeHeader('Upgrade', 'websocket');
      res.writeHeader('Sec-WebSocket-Version', '13');
    }
    res.writeHeader('Content-Type', close ? JSON_TYPE : JSON_KEPT);
    this.end(res, errorBody(error.code, error.message, -1), head, close);
    return http;
  }

  /** Keeps what the kernel did not take. It may lie in shared memory or in a scratch buffer: copied. */
  #hold(res: HttpResponse, body: Body, total: number): void {
    const from = res.getWriteOffset();
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const rest = new Uint8Array(bytes.subarray(from));
    const held: Held = { res, bytes: rest.length };
    res.onAborted(() => this.#letGo(held));
    for (const one of this.#held) {
      if (this.#heldBytes + rest.length <= this.#heldBytesMax) break;
      this.#letGo(one);
      one.res.close();
    }
    if (rest.length > this.#heldBytesMax) {
      res.close();
      return;
    }
    this.#held.add(held);
    this.#heldBytes += held.bytes;
    res.onWritable((offset) => {
      const [ok, done] = res.tryEnd(rest.subarray(offset - from), total);
      // It has taken something.
      if (done) this.#letGo(held);
      else if (this.#held.delete(held)) this.#held.add(held);
      return ok;
    });
  }

  /** Idempotent. */
  #letGo(held: Held): void {
    if (this.#held.delete(held)) this.#heldBytes -= held.bytes;
  }
}

/** An answer of which the kernel has not taken all. */
interface Held {
  readonly res: HttpResponse;
  readonly bytes: number;
}

const byteLengthOf = (body: Body): number =>
  typeof body === 'string' ? Buffer.byteLength(body) : body.length;

/** `version` stands beside the code and at the top, for clients that look in either place; -1 leaves it out. */
export function errorBody(code: string, message: string, version: number): Buffer {
  const error = version < 0 ? { code, message } : { code, message, version };
  return Buffer.from(JSON.stringify(version < 0 ? { error } : { error, version }));
}
