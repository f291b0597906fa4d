/**
 * Reads and writes of one node over HTTP: one of many in batches (http-batch.ts), others alone. Values travel raw, not as
 * base64. Each request has its own timer. Those that have no answer yet, on a connection or waiting for one, are bounded in number and bytes.
 */
import { type Clock, type MonotonicMs, msLeft } from '../base/clock.ts';
import { ClosedError, OverloadedError, TimeoutError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { bytesOf, escapeBytes, isDots, type RawAnswer, versionOfETag } from './encoding.ts';
import { ConnectionError, errorOfAnswer, ProtocolError, UnsupportedError } from './errors.ts';
import { HttpBatch } from './http-batch.ts';
import { type KvAnswer, type KvLink, KvOp, type KvRequest } from './kv.ts';
import type { HttpNode, HttpRequest } from './platform.ts';
import { reconnectMs } from './retry.ts';

const RAW = 'application/octet-stream';
const MISSING = 404;
const FAILED = 400;
const NOTHING: KvAnswer = { found: false, version: 0, ttl: null, value: null };

export class HttpLink implements KvLink {
  readonly #url: string;
  readonly #http: HttpNode;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #batch: HttpBatch;
  #failures = 0;
  #downUntilMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  /** Requests without an answer, and the bytes of their paths and bodies. */
  #waiting = 0;
  #waitingBytes = 0;

  constructor(url: string, http: HttpNode, clock: Clock, random: Random, soon: (what: () => void) => void) {
    this.#url = url;
    this.#http = http;
    this.#clock = clock;
    this.#random = random;
    this.#batch = new HttpBatch({
      clock,
      soon,
      call: (request, deadlineMs, signal) => this.call(request, deadlineMs, signal),
      one: (request, deadlineMs, signal) => this.#one(request, deadlineMs, signal),
    });
  }
  get usable(): boolean {
    return this.#clock.monotonicMs() >= this.#downUntilMs;
  }

  async send(
    request: KvRequest,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
    isOneOfMany: boolean,
  ): Promise<KvAnswer> {
    if (this.#isClosed) throw new ClosedError('the client is closed');
    return (isOneOfMany || isDots(request.key)) && HttpBatch.takes(request)
      ? await this.#batch.send(request, deadlineMs, signal)
      : await this.#one(request, deadlineMs, signal);
  }

  async #one(
    request: KvRequest,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
  ): Promise<KvAnswer> {
    const { op, key, value, consistency, ttl, version, idempotencyKey } = request;
    const path = `/v1/kv/${escapeBytes(key)}${queryOf({ consistency, ttl, version })}`;
    const once: Record<string, string> =
      idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey };
    if (op === KvOp.GET) {
      const answer = await this.#exchange(
        { method: 'GET', path, headers: { accept: RAW }, body: null },
        deadlineMs,
        signal,
      );
      if (answer.status >= FAILED) {
        const error = errorOfAnswer(answer, this.#url);
        if (answer.status === MISSING && error instanceof UnsupportedError) return NOTHING;
        throw error;
      }
      const left = answer.header('x-ringkv-ttl');
      return {
        found: true,
        version: versionIn(answer),
        ttl: left === undefined ? null : Number(left),
        value: answer.body,
      };
    }
    if (op === KvOp.DELETE) {
      await this.call({ method: 'DELETE', path, headers: once, body: null }, deadlineMs, signal);
      return NOTHING;
    }
    const headers = { 'content-type': RAW, ...once };
    const answer = await this.call({ method: 'PUT', path, headers, body: value }, deadlineMs, signal);
    return { found: true, version: versionIn(answer), ttl: null, value: null };
  }

  /** Any request: an answer with a status below 400, or the error that it stands for. */
  async call(
    request: HttpRequest,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
  ): Promise<RawAnswer> {
    const answer = await this.#exchange(request, deadlineMs, signal);
    if (answer.status >= FAILED) throw errorOfAnswer(answer, this.#url);
    return answer;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#batch.close(new ClosedError('the client was closed'));
    return this.#http.close();
  }

  async #exchange(
    request: HttpRequest,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
  ): Promise<RawAnswer> {
    if (this.#isClosed) throw new ClosedError('the client is closed');
    signal?.throwIfAborted();
    const bytes = request.path.length + (request.body?.length ?? 0);
    this.#checkRoom(bytes);
    const leftMs = Math.max(1, Math.ceil(msLeft(deadlineMs, this.#clock.monotonicMs())));
    const over = new AbortController();
    const expire = setTimeout(
      () => over.abort(new TimeoutError(`no answer within ${leftMs} ms; a write may have been done`)),
      leftMs + limits.clientGraceMs,
    );
    const cancel = (): void => over.abort(signal?.reason);
    signal?.addEventListener('abort', cancel, { once: true });
    this.#waiting++;
    this.#waitingBytes += bytes;
    try {
      const headers = { ...request.headers, 'x-ringkv-timeout': String(leftMs) };
      const answer = await this.#http.send({ ...request, headers }, over.signal);
      this.#failures = 0;
      this.#downUntilMs = Number.NEGATIVE_INFINITY;
      return answer;
    } catch (error) {
      if (this.#isClosed) throw new ClosedError('the client was closed', { cause: error });
      if (error instanceof ConnectionError && this.usable)
        this.#downUntilMs = this.#clock.monotonicMs() + reconnectMs(this.#failures++, this.#random);
      throw error;
    } finally {
      this.#waiting--;
      this.#waitingBytes -= bytes;
      clearTimeout(expire);
      signal?.removeEventListener('abort', cancel);
    }
  }

  /** One is always taken, however long. */
  #checkRoom(bytes: number): void {
    if (this.#waiting >= limits.clientQueueMax)
      throw new OverloadedError(
        `${this.#waiting} requests to ${this.#url} have no answer yet; the limit is ${limits.clientQueueMax}; nothing was sent`,
      );
    if (this.#waiting > 0 && this.#waitingBytes + bytes > limits.clientQueueBytesMax)
      throw new OverloadedError(
        `requests of ${this.#waitingBytes} bytes to ${this.#url} have no answer yet and the next has ${bytes}; the limit is ${limits.clientQueueBytesMax}; nothing was sent`,
      );
  }
}

function versionIn(answer: RawAnswer): number {
  const version = versionOfETag(answer.header('etag'));
  if (version >= 0) return version;
  const told = JSON.stringify(answer.header('etag') ?? null);
  throw new ProtocolError(`status ${answer.status} with the ETag ${told}: not a version`);
}

/** `?name=value&...` of what is there, or nothing. */
export function queryOf(
  parameters: Readonly<Record<string, string | number | Uint8Array | undefined>>,
): string {
  const pairs: string[] = [];
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined)
      pairs.push(`${name}=${escapeBytes(bytesOf(typeof value === 'number' ? String(value) : value))}`);
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}
