/**
 * PUT, GET, HEAD and DELETE of one key. Front-end thread. A read that shared memory can answer is answered inside
 * the handler; everything else is an exchange that waits for its shard.
 */

import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { deadlineIn, type MonotonicMs, msAfter } from '../base/clock.ts';
import { Consistency } from '../base/consistency.ts';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import { hashToken, token } from '../base/token.ts';
import { MEMTABLE_HIT, MEMTABLE_MISS } from '../ipc/contract.ts';
import { Condition, Op, type ShardReply } from '../shard/contract.ts';
import { bodyTooLarge, checkValueLength } from './bodies.ts';
import { mismatchMessage, parseTags } from './conditions.ts';
import { ETAG, TagLine } from './entity-tag.ts';
import type { Exchange } from './exchange.ts';
import type { FrontState } from './front-state.ts';
import { decodeBase64, parseJsonObject } from './json.ts';
import { KEEP_ALIVE, KEEP_ALIVE_VALUE } from './keep-alive.ts';
import { BYTES_TYPE, checkEncoding, JSON_TYPE, mediaTypeOf, negotiate } from './media.ts';
import { Metric } from './metrics.ts';
import { plainValue } from './plain-value.ts';
import { answerRecord } from './record-answer.ts';
import {
  DELETE_OPTIONS,
  NO_OPTIONS,
  PUT_OPTIONS,
  READ_OPTIONS,
  RequestOptions,
  readFields,
  readIdempotencyKey,
  readQuery,
  readTimeout,
} from './request-options.ts';
import { messageOf } from './requests.ts';

export const KV_PATH = '/v1/kv/';
const ANSWERS = [JSON_TYPE, BYTES_TYPE];
const BODIES = [JSON_TYPE, BYTES_TYPE];
/**
 * Header names as bytes: uWebSockets.js takes 148 ns to look for one, 549 ns where the name is a string
 * (docs/http-api.md, "What a read costs").
 */
const nameOf = (text: string): ArrayBuffer => new TextEncoder().encode(text).buffer;
const ACCEPT = nameOf('accept');
const IF_MATCH = nameOf('if-match');
const IF_NONE_MATCH = nameOf('if-none-match');
const TIMEOUT = nameOf('x-ringkv-timeout');
const CONTENT_LENGTH = nameOf('content-length');
const TRANSFER_ENCODING = nameOf('transfer-encoding');
const VALUE_FIELD = ['value'];
const NO_CONTENT = nameOf('204 No Content');
const putTag = new TagLine(KEEP_ALIVE);

export const Kind = { GET: 1, PUT: 2, DELETE: 3, BATCH: 4, CLUSTER: 5 } as const;

export class KeyValue {
  readonly #state: FrontState;
  readonly #options = new RequestOptions();
  readonly #jsonBodyBytesMax: number;

  constructor(state: FrontState) {
    this.#state = state;
    this.#jsonBodyBytesMax = 4 * Math.ceil(state.options.maxValueBytes / 3) + limits.httpBodyOverheadBytes;
  }

  read(res: HttpResponse, req: HttpRequest, head: boolean): void {
    const { state } = this;
    const startMs = state.metrics.beginLocal();
    const metric = head ? Metric.HEAD : Metric.GET;
    try {
      const key = state.keys.decode(req.getUrl(), KV_PATH.length);
      const options = this.#readOptions(req);
      const accept = req.getHeader(ACCEPT);
      const raw = negotiate(accept, ANSWERS) === BYTES_TYPE;
      const ifMatch = req.getHeader(IF_MATCH);
      const ifNoneMatch = req.getHeader(IF_NONE_MATCH);
      // Here, while a mistake can still be refused: the record may come later.
      if (ifMatch !== '') parseTags(ifMatch, 'If-Match');
      if (ifNoneMatch !== '') parseTags(ifNoneMatch, 'If-None-Match');
      hashToken(key);
      const { client } = state.requests;
      const nowMs = state.turnMs();
      const outcome = client.getLocal(token.hi, token.lo, key, nowMs);
      if (outcome === MEMTABLE_MISS) {
        const beginMs = startMs === 0 ? state.clock.monotonicMs() : startMs;
        this.#fetch(
          res,
          key,
          head,
          raw,
          ifMatch,
          ifNoneMatch,
          msAfter(beginMs, options.timeoutMs),
          options.consistency,
          beginMs,
        );
        return;
      }
      const http =
        outcome === MEMTABLE_HIT
          ? answerRecord(state.answers, res, client.local, key, nowMs, head, raw, ifMatch, ifNoneMatch)
          : this.#absent(res, head, ifMatch);
      state.metrics.countLocal(metric, http, startMs);
    } catch (error) {
      state.refuse(res, error, metric, startMs === 0 ? state.clock.monotonicMs() : startMs, head);
    }
  }

  #readOptions(req: HttpRequest): RequestOptions {
    const options = this.#options;
    options.timeoutMs = limits.requestTimeoutMsDefault;
    options.consistency = 0;
    const query = req.getQuery();
    if (query !== undefined && query !== '') readQuery(query, READ_OPTIONS, options);
    readTimeout(req.getHeader(TIMEOUT), options);
    if (req.getHeader(CONTENT_LENGTH) !== '' || req.getHeader(TRANSFER_ENCODING) !== '')
      this.#state.heads.read(req);
    return options;
  }

  #absent(res: HttpResponse, head: boolean, ifMatch: string): number {
    const status = ifMatch === '' ? Status.NOT_FOUND : Status.PRECONDITION_FAILED;
    return this.#state.answers.fail(res, status, '', 0, head);
  }

  #fetch(
    res: HttpResponse,
    key: Uint8Array,
    head: boolean,
    raw: boolean,
    ifMatch: string,
    ifNoneMatch: string,
    deadlineMs: MonotonicMs,
    consistency: number,
    startMs: number,
  ): void {
    const exchange = this.#state.begin(res, Kind.GET, head ? Metric.HEAD : Metric.GET, startMs, head);
    if (exchange === null) return;
    exchange.setKey(key);
    exchange.rawAnswer = raw;
    exchange.ifMatch = ifMatch;
    exchange.ifNoneMatch = ifNoneMatch;
    exchange.deadlineMs = deadlineMs;
    this.#sendRead(exchange, key, consistency);
  }

  /** `token` is that of `key`. */
  #sendRead(exchange: Exchange, key: Uint8Array, consistency: number): void {
    this.#state.requests.setRead(key, exchange.deadlineMs, consistency);
    this.#state.send(exchange);
  }

  put(res: HttpResponse, req: HttpRequest): void {
    const { state } = this;
    const { heads } = state;
    const startMs = state.clock.monotonicMs();
    let cutOff = false;
    try {
      heads.read(req);
      cutOff = heads.contentLength > limits.httpDiscardBytesMax;
      const key = state.keys.decode(req.getUrl(), KV_PATH.length);
      const mediaType = mediaTypeOf(heads.contentType, BODIES, BYTES_TYPE);
      checkEncoding(heads.contentEncoding);
      const json = mediaType === JSON_TYPE;
      const limit = json ? this.#jsonBodyBytesMax : state.options.maxValueBytes;
      if (heads.contentLength > limit) throw bodyTooLarge(heads.contentLength, limit);
      const exchange = state.begin(res, Kind.PUT, Metric.PUT, startMs, false);
      if (exchange === null) return;
      try {
        exchange.setKey(key);
        exchange.mediaType = mediaType;
        readQuery(req.getQuery() ?? '', json ? NO_OPTIONS : PUT_OPTIONS, exchange.options);
        this.#takeHeads(exchange);
        // Refuses what is wrong with the headers alone before the body comes.
        exchange.condition.set(exchange.options.version, exchange.ifMatch, exchange.ifNoneMatch);
      } catch (error) {
        state.drop(exchange);
        throw error;
      }
      state.bodies.begin(exchange, limit, startMs);
      res.onData(exchange.onData);
    } catch (error) {
      state.refuse(res, error, Metric.PUT, startMs, false, cutOff);
    }
  }

  delete(res: HttpResponse, req: HttpRequest): void {
    const { state } = this;
    const startMs = state.clock.monotonicMs();
    try {
      state.heads.read(req);
      if (state.heads.chunked || state.heads.contentLength > 0)
        throw new BadRequestError('a DELETE with a body; its options stand in the query');
      const key = state.keys.decode(req.getUrl(), KV_PATH.length);
      const exchange = state.begin(res, Kind.DELETE, Metric.DELETE, startMs, false);
      if (exchange === null) return;
      try {
        exchange.setKey(key);
        readQuery(req.getQuery() ?? '', DELETE_OPTIONS, exchange.options);
        this.#takeHeads(exchange);
        this.#write(exchange);
      } catch (error) {
        state.drop(exchange);
        throw error;
      }
    } catch (error) {
      state.refuse(res, error, Metric.DELETE, startMs, false);
    }
  }

  #takeHeads(exchange: Exchange): void {
    const { heads } = this.#state;
    readTimeout(heads.timeout, exchange.options);
    if (heads.hasIdempotencyKey) readIdempotencyKey(heads.idempotencyKey, exchange.options);
    exchange.ifMatch = heads.ifMatch;
    exchange.ifNoneMatch = heads.ifNoneMatch;
  }

  /** The whole body of a PUT is in `exchange.body`. Throws what is wrong with it. */
  takeBody(exchange: Exchange): void {
    const { maxValueBytes } = this.#state.options;
    exchange.value = exchange.body;
    if (exchange.mediaType === JSON_TYPE) exchange.value = plainValue(exchange.body) ?? this.#parse(exchange);
    checkValueLength(exchange.value.length, maxValueBytes);
    this.#write(exchange);
  }

  /** A body in JSON of any form: sets the options too. */
  #parse(exchange: Exchange): Uint8Array {
    const fields = parseJsonObject(exchange.body);
    readFields(fields, PUT_OPTIONS, VALUE_FIELD, exchange.options);
    const { value } = fields;
    if (typeof value !== 'string')
      throw new BadRequestError('field value is missing or no string; it is the value in base64');
    return decodeBase64(value, 'value');
  }

  #write(exchange: Exchange): void {
    const { condition, options } = exchange;
    condition.set(options.version, exchange.ifMatch, exchange.ifNoneMatch);
    const severalSteps = condition.accepted.length > 1 || condition.refused.length > 0;
    if (severalSteps && options.idempotencyKey !== '')
      throw new BadRequestError('Idempotency-Key with several entity tags, or with If-None-Match of a tag');
    const { clock } = this.#state;
    exchange.deadlineMs = deadlineIn(clock, options.timeoutMs);
    exchange.expiresMs = options.ttlMs === 0 ? 0 : clock.nowMs() + options.ttlMs;
    if (condition.never) {
      this.#state.finish(
        exchange,
        Status.PRECONDITION_FAILED,
        'If-Match names no version that can match',
        -1,
      );
      return;
    }
    // The body's bytes are gone after this turn.
    if (severalSteps) exchange.value = new Uint8Array(exchange.value);
    const { key } = exchange;
    hashToken(key);
    if (condition.refused.length > 0) this.#sendRead(exchange, key, Consistency.SERIAL);
    else this.#sendWrite(exchange, key);
  }

  /** `token` is that of `key`. */
  #sendWrite(exchange: Exchange, key: Uint8Array): void {
    const { condition, options } = exchange;
    this.#state.requests.setWrite(
      exchange.kind === Kind.PUT ? Op.PUT : Op.DELETE,
      key,
      exchange.value,
      exchange.expiresMs,
      condition.condition,
      condition.version,
      exchange.deadlineMs,
      options,
    );
    this.#state.send(exchange);
  }

  /** A reply for a GET. Runs corked. */
  answerRead(exchange: Exchange, reply: ShardReply): void {
    const { state } = this;
    const { res, head } = exchange;
    if (res === null) return;
    const nowMs = state.clock.nowMs();
    if (reply.status === Status.OK) {
      const { rawAnswer, ifMatch, ifNoneMatch, key } = exchange;
      exchange.http = answerRecord(
        state.answers,
        res,
        reply,
        key,
        nowMs,
        head,
        rawAnswer,
        ifMatch,
        ifNoneMatch,
      );
    } else if (reply.status === Status.NOT_FOUND) exchange.http = this.#absent(res, head, exchange.ifMatch);
    else exchange.http = state.answers.fail(res, reply.status, messageOf(reply), -1, head);
  }

  /** A reply for a write, or for the read before one. True: the write goes on with another request. */
  answerWrite(exchange: Exchange, reply: ShardReply): boolean {
    const { condition, res } = exchange;
    const missed = reply.status === Status.VERSION_MISMATCH || reply.status === Status.PRECONDITION_FAILED;
    const { refused, accepted } = condition;
    const probed = refused.length > 0 && condition.condition === Condition.NONE;
    if (probed && (reply.status === Status.OK || reply.status === Status.NOT_FOUND))
      return this.#again(exchange, reply.status === Status.OK ? reply.version : 0);
    if (
      missed &&
      (refused.length > 0 || (accepted.includes(reply.version) && reply.version !== condition.version))
    )
      return this.#again(exchange, reply.version);
    if (res === null) return false;
    const { answers } = this.#state;
    if (reply.status === Status.OK) {
      res.writeStatus(NO_CONTENT);
      if (exchange.kind === Kind.PUT) res.writeHeader(ETAG, putTag.of(reply.version));
      else res.writeHeader('Keep-Alive', KEEP_ALIVE_VALUE);
      if (reply.sloppy) res.writeHeader('X-RingKV-Sloppy', 'true');
      answers.endEmpty(res);
      exchange.http = 204;
      return false;
    }
    const status = missed
      ? condition.byHeader
        ? Status.PRECONDITION_FAILED
        : Status.VERSION_MISMATCH
      : reply.status;
    exchange.http = answers.fail(
      res,
      status,
      missed ? mismatchMessage(condition.condition, condition.version, reply.version) : messageOf(reply),
      reply.version,
      false,
    );
    return false;
  }

  /** Compare-and-set against the version just seen, where the condition lets that one pass. */
  #again(exchange: Exchange, version: number): boolean {
    const { condition } = exchange;
    if (condition.refused.includes(version)) {
      this.#state.finish(
        exchange,
        Status.PRECONDITION_FAILED,
        `the current version ${version} is one of If-None-Match`,
        version,
      );
      return true;
    }
    if (++exchange.attempts > limits.conditionAttemptsMax) {
      const message = `the key changed ${limits.conditionAttemptsMax} times while its condition was met; nothing was written`;
      this.#state.finish(exchange, Status.OVERLOADED, message, -1);
      return true;
    }
    condition.condition = Condition.VERSION;
    condition.version = version;
    const { key } = exchange;
    hashToken(key);
    this.#sendWrite(exchange, key);
    return true;
  }

  get state(): FrontState {
    return this.#state;
  }
}
