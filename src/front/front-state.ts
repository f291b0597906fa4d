/**
 * What the parts of one front end share, and the life of an exchange: begun with a request's head, sent to a
 * shard, answered, given back. Front-end thread.
 */
import type { HttpResponse } from 'uWebSockets.js';
import type { Clock } from '../base/clock.ts';
import { RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import { TurnTime } from '../base/turn-time.ts';
import type { ShardReply } from '../shard/contract.ts';
import { Answers } from './answers.ts';
import { Bodies } from './bodies.ts';
import type { FrontOptions } from './contract.ts';
import { type Exchange, type ExchangeOwner, ExchangePool } from './exchange.ts';
import { Heads } from './heads.ts';
import { FrontMetrics } from './metrics.ts';
import { KeyDecoder } from './percent.ts';
import { Requests } from './requests.ts';
import { WsMetrics } from './ws-metrics.ts';

/** What the routes do when an exchange's body or reply has come. */
export interface ExchangeRoutes {
  /** The body is whole, in `exchange.body`, valid during the call. Throws what is wrong with it. */
  takeBody(exchange: Exchange): void;
  /** Answers; true where another request was sent, or the exchange finished, instead. Runs corked. */
  takeReply(exchange: Exchange, reply: ShardReply): boolean;
}

export class FrontState implements ExchangeOwner {
  readonly options: FrontOptions;
  readonly clock: Clock;
  readonly requests: Requests;
  readonly keys: KeyDecoder;
  readonly heads = new Heads();
  readonly answers: Answers;
  readonly bodies = new Bodies();
  readonly metrics: FrontMetrics;
  readonly wsMetrics = new WsMetrics();
  readonly pool: ExchangePool;
  readonly #turn: TurnTime<number>;
  #routes: ExchangeRoutes | null = null;
  /** Requests that are no exchanges and are not answered yet: batches and scans. */
  runs = 0;

  constructor(options: FrontOptions) {
    this.options = options;
    this.clock = options.clock;
    this.#turn = new TurnTime(() => options.clock.nowMs());
    this.answers = new Answers(options.httpAnswersBytesMax);
    this.requests = new Requests(options.client);
    this.keys = new KeyDecoder(options.maxKeyBytes);
    this.metrics = new FrontMetrics(options.clock);
    this.pool = new ExchangePool(this, options.maxKeyBytes, limits.requestsInFlightMax);
  }

  /** Milliseconds since 1970, looked up once a turn of the loop: by this it is decided whether a record in shared memory has expired. */
  turnMs(): number {
    return this.#turn.ms;
  }

  setRoutes(routes: ExchangeRoutes): void {
    this.#routes = routes;
  }

  /** HTTP requests that are not answered yet. */
  get busy(): number {
    return this.pool.busy + this.runs;
  }

  /** An exchange for a request that cannot be answered at once; null where there is none: answered so. */
  begin(res: HttpResponse, kind: number, metric: number, startMs: number, head: boolean): Exchange | null {
    const exchange = this.pool.take();
    if (exchange === null) {
      const message = `${this.pool.busy} requests are in flight; the limit is ${limits.requestsInFlightMax}; nothing was done`;
      this.metrics.count(metric, this.answers.fail(res, Status.OVERLOADED, message, -1, head), startMs);
      return null;
    }
    exchange.kind = kind;
    exchange.metric = metric;
    exchange.startMs = startMs;
    exchange.head = head;
    exchange.res = res;
    res.onAborted(exchange.onAborted);
    return exchange;
  }

  /** Sends the client's request for an exchange, or answers that it could not be sent. */
  send(exchange: Exchange): void {
    const status = this.requests.send(exchange, 0);
    if (status !== Status.OK) {
      this.finish(exchange, status, this.requests.refusal, -1);
      return;
    }
    exchange.inFlight = true;
    if (exchange.res !== null && !exchange.paused) {
      exchange.paused = true;
      exchange.res.pause();
    }
  }

  /** Answers with an outcome and gives the exchange back. */
  finish(exchange: Exchange, status: number, message: string, version: number): void {
    const { res, head } = exchange;
    if (res !== null) {
      this.#resume(exchange);
      exchange.http = this.answers.fail(res, status, message, version, head);
    }
    this.#complete(exchange);
  }

  /** Gives back an exchange whose request is answered some other way and sends no more. */
  drop(exchange: Exchange): void {
    this.bodies.end(exchange);
    this.pool.give(exchange);
  }

  /** Answers a mistake; throws on what is none. */
  refuse(
    res: HttpResponse,
    error: unknown,
    metric: number,
    startMs: number,
    head: boolean,
    close = false,
  ): void {
    if (!(error instanceof RingKvError)) throw error;
    this.metrics.count(metric, this.answers.refuse(res, error, head, close), startMs);
  }

  /** Ends bodies that come too slowly; called about once a second. */
  sweep(): void {
    this.bodies.sweep(this.clock.monotonicMs(), (exchange, error) => this.#refuseBody(exchange, error, true));
  }

  onBody(exchange: Exchange, chunk: ArrayBuffer, last: boolean): void {
    const refused = this.bodies.take(exchange, chunk, last);
    if (refused !== null) {
      this.#refuseBody(exchange, refused, false);
      return;
    }
    if (!last) return;
    this.bodies.end(exchange);
    const { res, metric, startMs } = exchange;
    try {
      this.#routes?.takeBody(exchange);
    } catch (error) {
      this.pool.give(exchange);
      if (res !== null) this.refuse(res, error, metric, startMs, false);
    }
  }

  /** Answers before the body has come. What still comes is discarded, or cut off where `close` says so. */
  #refuseBody(exchange: Exchange, error: RingKvError, close: boolean): void {
    const { res, metric, startMs } = exchange;
    this.bodies.end(exchange);
    this.pool.retire(exchange);
    res?.cork(() => this.refuse(res, error, metric, startMs, false, close));
  }

  onGone(exchange: Exchange): void {
    this.metrics.aborted++;
    if (exchange.inFlight) return;
    this.bodies.end(exchange);
    this.pool.retire(exchange);
  }

  onReply(exchange: Exchange, reply: ShardReply): void {
    exchange.inFlight = false;
    if (exchange.res === null) {
      this.pool.give(exchange);
      return;
    }
    this.#resume(exchange);
    if (this.#routes?.takeReply(exchange, reply) !== true) this.#complete(exchange);
  }

  #resume(exchange: Exchange): void {
    if (!exchange.paused) return;
    exchange.paused = false;
    exchange.res?.resume();
  }

  #complete(exchange: Exchange): void {
    if (exchange.http !== 0) this.metrics.count(exchange.metric, exchange.http, exchange.startMs);
    this.pool.give(exchange);
  }
}
