/**
 * Requests that cannot be answered at once: one reused object each, from the head of the request to its answer.
 * Front-end thread. Callbacks are made once per object, so that a request allocates none.
 * 1. `res` is null as soon as the response is ended or the connection gone; nothing is written after that.
 * 2. An exchange goes back to the pool only when no callback of its request can come any more; where one can (a
 *    body that is still arriving), it is retired instead and never used again.
 */

import type { HttpResponse } from 'uWebSockets.js';
import { assert } from '../base/assert.ts';
import { MONOTONIC_ZERO } from '../base/clock.ts';
import type { ShardReply } from '../shard/contract.ts';
import { WriteCondition } from './conditions.ts';
import { RequestOptions } from './request-options.ts';

/** What a request in flight waits for: an exchange, an op of a batch, a page of a scan, a figure of a shard. */
export interface ReplySink {
  /** `tag` is what the sink gave with its request; the reply is valid only during the call. */
  takeReply(reply: ShardReply, tag: number): void;
}

/** The parts of the front end that an exchange calls back. */
export interface ExchangeOwner {
  onBody(exchange: Exchange, chunk: ArrayBuffer, last: boolean): void;
  onGone(exchange: Exchange): void;
  onReply(exchange: Exchange, reply: ShardReply): void;
}

const EMPTY = new Uint8Array(0);

export class Exchange implements ReplySink {
  res: HttpResponse | null = null;
  retired = false;
  /** A request of this exchange is at a shard. */
  inFlight = false;
  /** Reading from the connection is paused, so that a pipelined request waits for this one's answer. */
  paused = false;
  /** HTTP status of the answer. */
  http = 0;
  /** Index in the list of bodies that are arriving; -1 where none is. */
  bodyIndex = -1;

  /** Kind.* of kv.ts, and the metric it counts for. */
  kind = 0;
  metric = 0;
  startMs = 0;
  head = false;
  rawAnswer = false;
  mediaType = '';
  answerType = '';
  ifMatch = '';
  ifNoneMatch = '';
  readonly options = new RequestOptions();
  readonly condition = new WriteCondition();
  readonly #keyBytes: Uint8Array;
  keyLength = 0;
  /** Kept where a request may have to be sent again. */
  value: Uint8Array = EMPTY;
  expiresMs = 0;
  deadlineMs = MONOTONIC_ZERO;
  attempts = 0;

  body: Uint8Array = EMPTY;
  bodyLength = 0;
  bodyLimit = 0;
  /** Bytes of bodies that this one accounts for. */
  bodyReserved = 0;
  /** When the period began that the body is now measured in, and what had come by then. */
  periodMs = 0;
  periodLength = 0;

  readonly onData: (chunk: ArrayBuffer, last: boolean) => void;
  readonly onAborted: () => void;
  /** To be corked: answers `reply`. */
  readonly answer: () => void;
  reply: ShardReply | null = null;
  readonly #owner: ExchangeOwner;

  constructor(owner: ExchangeOwner, keyBytesMax: number) {
    this.#owner = owner;
    this.#keyBytes = new Uint8Array(keyBytesMax);
    this.onData = (chunk, last) => {
      if (!this.retired) owner.onBody(this, chunk, last);
    };
    this.onAborted = () => {
      this.res = null;
      owner.onGone(this);
    };
    this.answer = () => {
      if (this.reply !== null) owner.onReply(this, this.reply);
    };
  }

  setKey(key: Uint8Array): void {
    this.#keyBytes.set(key);
    this.keyLength = key.length;
  }
  get key(): Uint8Array {
    return this.#keyBytes.subarray(0, this.keyLength);
  }

  takeReply(reply: ShardReply): void {
    this.reply = reply;
    const { res } = this;
    if (res === null) this.#owner.onReply(this, reply);
    else res.cork(this.answer);
    this.reply = null;
  }

  reset(): void {
    this.res = null;
    this.value = EMPTY;
    this.body = EMPTY;
    this.bodyLength = 0;
    this.attempts = 0;
    this.paused = false;
    this.http = 0;
    this.ifMatch = '';
    this.ifNoneMatch = '';
    this.options.reset();
    this.condition.reset();
  }
}

export class ExchangePool {
  readonly #owner: ExchangeOwner;
  readonly #keyBytesMax: number;
  readonly #countMax: number;
  readonly #free: Exchange[] = [];
  #busy = 0;

  constructor(owner: ExchangeOwner, keyBytesMax: number, countMax: number) {
    this.#owner = owner;
    this.#keyBytesMax = keyBytesMax;
    this.#countMax = countMax;
  }

  get busy(): number {
    return this.#busy;
  }

  /** null where as many as may be are busy. */
  take(): Exchange | null {
    if (this.#busy === this.#countMax) return null;
    this.#busy++;
    return this.#free.pop() ?? new Exchange(this.#owner, this.#keyBytesMax);
  }

  give(exchange: Exchange): void {
    assert(this.#busy > 0 && !exchange.retired, 'an exchange was given back twice');
    this.#busy--;
    exchange.reset();
    this.#free.push(exchange);
  }

  /** For one whose body is still arriving: its callback may come again and must find nobody. */
  retire(exchange: Exchange): void {
    assert(this.#busy > 0 && !exchange.retired, 'an exchange was retired twice');
    this.#busy--;
    exchange.reset();
    exchange.retired = true;
  }
}
