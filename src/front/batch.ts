/**
 * POST /v1/batch: ops side by side, each with its own result, in order of the ops. Not atomic, and in no order
 * among themselves. Front-end thread. At most limits.batchOpsInFlightMax are in flight; what the batch holds is
 * reserved with the bodies.
 */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { BadRequestError, OverloadedError, RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import { hashToken, token } from '../base/token.ts';
import { MEMTABLE_HIT, MEMTABLE_MISS } from '../ipc/contract.ts';
import { Condition, Op, type ShardReply } from '../shard/contract.ts';
import { type BatchOp, type BatchResult, encodeResults, parseBatch, parseOp } from './batch-format.ts';
import { bodyTooLarge } from './bodies.ts';
import type { Exchange } from './exchange.ts';
import type { FrontState } from './front-state.ts';
import { kept } from './keep-alive.ts';
import { Kind } from './kv.ts';
import { CBOR_TYPE, checkEncoding, JSON_TYPE, mediaTypeOf, negotiate } from './media.ts';
import { Metric } from './metrics.ts';
import { httpOfError, outcomeOf } from './outcome.ts';
import { type FoundRecord, secondsLeft } from './record-answer.ts';
import { queryPairs, readTimeout } from './request-options.ts';
import { messageOf } from './requests.ts';
import { Run } from './run.ts';

const BODIES = [JSON_TYPE, CBOR_TYPE];

export class Batches {
  readonly #state: FrontState;
  constructor(state: FrontState) {
    this.#state = state;
  }

  post(res: HttpResponse, req: HttpRequest): void {
    const state = this.#state;
    const { heads } = state;
    const startMs = state.clock.monotonicMs();
    let cutOff = false;
    try {
      heads.read(req);
      cutOff = heads.contentLength > limits.httpDiscardBytesMax;
      queryPairs(req.getQuery() ?? '', []);
      if (heads.hasIdempotencyKey || heads.ifMatch !== '' || heads.ifNoneMatch !== '')
        throw new BadRequestError('Idempotency-Key, If-Match and If-None-Match do not apply to a batch');
      const mediaType = mediaTypeOf(heads.contentType, BODIES, '');
      checkEncoding(heads.contentEncoding);
      const limit = limits.batchBodyBytesMax;
      if (heads.contentLength > limit) throw bodyTooLarge(heads.contentLength, limit);
      const exchange = state.begin(res, Kind.BATCH, Metric.BATCH, startMs, false);
      if (exchange === null) return;
      try {
        readTimeout(heads.timeout, exchange.options);
      } catch (error) {
        state.drop(exchange);
        throw error;
      }
      exchange.mediaType = mediaType;
      exchange.answerType = negotiate(
        heads.accept,
        mediaType === CBOR_TYPE ? [CBOR_TYPE, JSON_TYPE] : [JSON_TYPE, CBOR_TYPE],
      );
      state.bodies.begin(exchange, limit, startMs);
      res.onData(exchange.onData);
    } catch (error) {
      state.refuse(res, error, Metric.BATCH, startMs, false, cutOff);
    }
  }

  /** The whole body is in `exchange.body`. The run takes the response over from the exchange. */
  takeBody(exchange: Exchange): void {
    const { res, mediaType, answerType, startMs, options } = exchange;
    if (res === null) return;
    const items = parseBatch(exchange.body, mediaType);
    // Decoded values come to less than twice the body.
    const reserved = 2 * exchange.body.length;
    if (!this.#state.bodies.reserve(reserved))
      throw new OverloadedError(
        `batches hold ${this.#state.bodies.heldBytes} bytes; the limit is ${limits.httpBodiesBytesMax}; nothing was done`,
      );
    const run = new BatchRun(this.#state, items, mediaType, answerType, startMs, options.timeoutMs, reserved);
    this.#state.drop(exchange);
    run.begin(res);
  }
}

class BatchRun extends Run {
  readonly #ops: (BatchOp | null)[];
  readonly #results: (BatchResult | null)[];
  readonly #answerType: string;
  #reserved: number;
  #replyBytes = 0;
  #next = 0;

  constructor(
    state: FrontState,
    items: readonly unknown[],
    mediaType: string,
    answerType: string,
    startMs: number,
    timeoutMs: number,
    reserved: number,
  ) {
    super(state, Metric.BATCH, startMs, false, timeoutMs);
    this.#answerType = answerType;
    this.#reserved = reserved;
    this.#results = new Array<null>(items.length).fill(null);
    this.#ops = items.map((item, index) => this.#parse(item, index, mediaType === CBOR_TYPE));
  }

  #parse(item: unknown, index: number, inCbor: boolean): BatchOp | null {
    try {
      const { maxKeyBytes, maxValueBytes } = this.state.options;
      return parseOp(item, inCbor, maxKeyBytes, maxValueBytes);
    } catch (error) {
      if (!(error instanceof RingKvError)) throw error;
      const { code, message } = error;
      this.#results[index] = { status: httpOfError(error), error: { code, message } };
      return null;
    }
  }

  protected override next(): void {
    for (; this.#next < this.#ops.length && this.inFlight < limits.batchOpsInFlightMax; this.#next++) {
      const op = this.#ops[this.#next] ?? null;
      if (op === null) continue;
      const status = this.#start(op, this.#next);
      // A full client: goes on when one of this batch's own comes back.
      if (status === Status.OVERLOADED && this.inFlight > 0) return;
      if (status !== Status.OK) this.#fail(this.#next, status, this.state.requests.refusal, -1);
    }
    if (this.#next === this.#ops.length && this.inFlight === 0) this.#finish();
  }

  #start(op: BatchOp, index: number): number {
    const { requests, clock } = this.state;
    hashToken(op.key);
    if (op.op === 'get') {
      const nowMs = clock.nowMs();
      const outcome = requests.client.getLocal(token.hi, token.lo, op.key, nowMs);
      if (outcome === MEMTABLE_HIT) this.#found(index, requests.client.local);
      else if (outcome !== MEMTABLE_MISS) this.#fail(index, Status.NOT_FOUND, '', -1);
      if (outcome !== MEMTABLE_MISS) return Status.OK;
    }
    if (op.op === 'get') requests.setRead(op.key, this.deadlineMs, op.consistency);
    else
      requests.setWrite(
        op.op === 'put' ? Op.PUT : Op.DELETE,
        op.key,
        op.value,
        op.ttlMs === 0 ? 0 : clock.nowMs() + op.ttlMs,
        op.version < 0 ? Condition.NONE : Condition.VERSION,
        Math.max(0, op.version),
        this.deadlineMs,
        op,
      );
    return this.send(index);
  }

  protected override take(reply: ShardReply, index: number): void {
    if (reply.status !== Status.OK) {
      const version = reply.status === Status.VERSION_MISMATCH ? reply.version : -1;
      this.#fail(index, reply.status, messageOf(reply), version);
    } else if (this.#ops[index]?.op === 'get') this.#found(index, reply);
    else
      this.#results[index] = {
        status: 204,
        version: reply.version,
        ...(reply.sloppy ? { sloppy: true } : {}),
      };
    // Its value has been written: nothing of it is needed any more.
    this.#ops[index] = null;
  }

  #found(index: number, { version, expiresMs, bytes, start, length }: FoundRecord): void {
    if (this.#replyBytes + length > limits.batchReplyBytesMax || !this.state.bodies.reserve(length)) {
      const message = `the answer holds ${this.#replyBytes} bytes of values; the limit is ${limits.batchReplyBytesMax}; ask again for this key`;
      this.#fail(index, Status.OVERLOADED, message, -1);
      return;
    }
    this.#replyBytes += length;
    this.#reserved += length;
    const copy = Buffer.from(bytes.subarray(start, start + length));
    const value = this.#answerType === CBOR_TYPE ? copy : copy.toString('base64');
    const ttl = expiresMs === 0 ? {} : { ttl: secondsLeft(expiresMs, this.state.clock.nowMs()) };
    this.#results[index] = { status: 200, value, version, ...ttl };
  }

  #fail(index: number, status: number, ownMessage: string, version: number): void {
    const { http, code, message } = outcomeOf(status);
    const text = ownMessage === '' ? message : ownMessage;
    this.#results[index] =
      version < 0
        ? { status: http, error: { code, message: text } }
        : { status: http, error: { code, message: text, version }, version };
  }

  #finish(): void {
    const results = this.#results.filter((result) => result !== null);
    const body = encodeResults(results, this.#answerType);
    this.answer((res) => {
      res.writeHeader('Content-Type', kept(this.#answerType));
      this.state.answers.end(res, body, false);
      return 200;
    });
  }

  protected override release(): void {
    this.state.bodies.release(this.#reserved);
    this.#reserved = 0;
  }
}
