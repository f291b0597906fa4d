/**
 * The client over HTTP. Values travel raw, not as base64. Each call has one deadline for all its tries; repeats
 * follow retry.ts. Nodes are asked in turn: one answers until it fails, then the next one does.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { BadRequestError, ClosedError, RingKvError, TimeoutError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import type { ClusterChange, ClusterStatus, KeyStatus, RingStatus } from '../cluster/administration.ts';
import { bytesOf, escapeBytes, type RawAnswer, versionOfETag } from './encoding.ts';
import { ConnectionError, errorOfAnswer, ProtocolError, retryAfterMsOf, UnsupportedError } from './errors.ts';
import { HttpNode, type HttpRequest } from './http-node.ts';
import { backoffMs, RetryBudget, worthRepeating } from './retry.ts';
import { parseScanPage } from './scan-page.ts';
import type {
  Bytes,
  CallOptions,
  Entry,
  PutOptions,
  ReadOptions,
  ScanEntry,
  ScanOptions,
  WriteOptions,
} from './types.ts';

export interface ClientSettings {
  readonly nodes: readonly string[];
  readonly connections: number;
  readonly timeoutMs: number;
  readonly retries: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** The server answers at the deadline; only where it does not, this much later, the client gives up alone. */
const GRACE_MS = 500;
const RAW = 'application/octet-stream';
const MISSING = 404;
const FAILED = 400;

export class Client {
  readonly #settings: ClientSettings;
  readonly #nodes: readonly HttpNode[];
  readonly #budget = new RetryBudget();
  #turn = 0;
  #closing: Promise<void> | null = null;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
    this.#nodes = settings.nodes.map((url) => new HttpNode(url, settings.connections));
  }

  /** The value of a key, or null where the key is absent. */
  async get(key: Bytes, options: ReadOptions = {}): Promise<Uint8Array | null> {
    return (await this.getEntry(key, options))?.value ?? null;
  }

  /** The same with version and time to live. */
  async getEntry(key: Bytes, options: ReadOptions = {}): Promise<Entry | null> {
    const path = `/v1/kv/${pathOf(key)}${queryOf({ consistency: options.consistency })}`;
    const answer = await this.#call(
      { method: 'GET', path, headers: { accept: RAW }, body: null },
      options,
      true,
    );
    if (answer.status === MISSING) return null;
    const ttl = answer.header('x-ringkv-ttl');
    return {
      value: answer.body,
      version: this.#version(answer),
      ttl: ttl === undefined ? null : Number(ttl),
    };
  }

  /** A value that is JSON, or undefined where the key is absent. Throws ProtocolError where it is not JSON. */
  async getJson(key: Bytes, options: ReadOptions = {}): Promise<unknown> {
    const value = await this.get(key, options);
    if (value === null) return undefined;
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(value)) as unknown;
    } catch (error) {
      throw new ProtocolError(`the value is not JSON: ${(error as Error).message}`, { cause: error });
    }
  }

  /**
   * Writes a value and resolves with its version. Rejects with VersionMismatchError, OverloadedError,
   * RateLimitedError and DiskFullError (nothing was done), with TimeoutError, UnavailableError and ConnectionError
   * (whether it was done is unknown, unless it says so), and with BadRequestError and its kin.
   */
  async put(key: Bytes, value: Bytes, options: PutOptions = {}): Promise<number> {
    const { consistency, ttl, version } = options;
    const path = `/v1/kv/${pathOf(key)}${queryOf({ consistency, ttl, version })}`;
    const headers = { 'content-type': RAW, ...idempotency(options) };
    const request: HttpRequest = { method: 'PUT', path, headers, body: bytesOf(value) };
    return this.#version(await this.#call(request, options, options.idempotencyKey !== undefined));
  }

  /** `put` of a value's JSON text. */
  async putJson(key: Bytes, value: unknown, options: PutOptions = {}): Promise<number> {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) throw new BadRequestError(`a ${typeof value} has no JSON text`);
    return await this.put(key, text, options);
  }

  /** Deletes a key, there or not. Rejects as `put` does. */
  async delete(key: Bytes, options: WriteOptions = {}): Promise<void> {
    const { consistency, version } = options;
    const path = `/v1/kv/${pathOf(key)}${queryOf({ consistency, version })}`;
    const request: HttpRequest = { method: 'DELETE', path, headers: idempotency(options), body: null };
    await this.#call(request, options, options.idempotencyKey !== undefined);
  }

  /** Live entries in order of (token, key), read page by page: what is written meanwhile may be seen or not. */
  async *scan(options: ScanOptions = {}): AsyncGenerator<ScanEntry, void, undefined> {
    const { prefix, limit = Number.POSITIVE_INFINITY, values = false } = options;
    if (!(limit >= 0)) throw new BadRequestError(`limit ${limit} is not a number from 0`);
    const start = prefix === undefined ? undefined : bytesOf(prefix);
    let cursor: string | null = null;
    for (let left = limit; left > 0; ) {
      const query = queryOf({
        limit: Math.min(left, limits.scanLimitMax),
        prefix: start,
        values: values ? 'true' : undefined,
        cursor: cursor ?? undefined,
      });
      const request: HttpRequest = { method: 'GET', path: `/v1/scan${query}`, headers: {}, body: null };
      const page = parseScanPage((await this.#call(request, options, true)).body, values);
      for (const entry of page.entries) {
        if (left-- <= 0) return;
        yield entry;
      }
      if (page.cursor === null) return;
      if (page.cursor === cursor)
        throw new ProtocolError('a scan that does not move: the server gave the same cursor again');
      cursor = page.cursor;
    }
  }

  /** Resolves where a node is ready to serve, and rejects as a read does where none is. */
  async ready(options: CallOptions = {}): Promise<void> {
    await this.#call({ method: 'GET', path: '/readyz', headers: {}, body: null }, options, true);
  }

  /** What the node that answers knows of its cluster: members and their state, the change under way, repairs. */
  async clusterStatus(options: CallOptions = {}): Promise<ClusterStatus> {
    return (await this.#json('/v1/cluster', options)) as ClusterStatus;
  }
  /** Which nodes hold which vnodes. */
  async clusterRing(options: CallOptions = {}): Promise<RingStatus> {
    return (await this.#json('/v1/cluster/ring', options)) as RingStatus;
  }
  /** Where a key lives, and what each of its replicas holds. */
  async clusterKey(key: Bytes, options: CallOptions = {}): Promise<KeyStatus> {
    return (await this.#json(`/v1/cluster/key/${pathOf(key)}`, options)) as KeyStatus;
  }
  /** Asks for a change: join, decommission, replace, reweigh, repair, drain, undo. Resolves when it has begun. */
  async clusterChange(change: ClusterChange, options: CallOptions = {}): Promise<unknown> {
    const { do: name, ...fields } = change;
    const body = new TextEncoder().encode(JSON.stringify(fields));
    const headers = { 'content-type': 'application/json' };
    const path = `/v1/cluster/${name}`;
    return parsed(await this.#call({ method: 'POST', path, headers, body }, options, false), path);
  }

  async #json(path: string, options: CallOptions): Promise<unknown> {
    return parsed(await this.#call({ method: 'GET', path, headers: {}, body: null }, options, true), path);
  }

  /** Ends the client; calls in flight reject with a ClosedError. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= Promise.all(this.#nodes.map((node) => node.close())).then(() => undefined);
    return this.#closing;
  }

  async #call(request: HttpRequest, options: CallOptions, repeatable: boolean): Promise<RawAnswer> {
    const timeoutMs = options.timeoutMs ?? this.#settings.timeoutMs;
    checkTimeout(timeoutMs);
    const { signal } = options;
    signal?.throwIfAborted();
    const over = new AbortController();
    const expire = setTimeout(
      () => over.abort(new TimeoutError(`no answer within ${timeoutMs} ms`)),
      timeoutMs + GRACE_MS,
    );
    const cancel = (): void => over.abort(signal?.reason);
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await this.#tries(request, timeoutMs, over.signal, repeatable);
    } finally {
      clearTimeout(expire);
      signal?.removeEventListener('abort', cancel);
    }
  }

  async #tries(
    request: HttpRequest,
    timeoutMs: number,
    signal: AbortSignal,
    repeatable: boolean,
  ): Promise<RawAnswer> {
    const { clock, random, retries } = this.#settings;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    for (let attempt = 0; ; attempt++) {
      if (this.#closing !== null) throw new ClosedError('the client is closed');
      const turn = this.#turn;
      const node = this.#nodes[turn % this.#nodes.length] as HttpNode;
      const leftMs = Math.max(1, Math.ceil(deadlineMs - clock.monotonicMs()));
      const outcome = await this.#try(node, request, leftMs, signal);
      if (!(outcome instanceof RingKvError)) {
        this.#budget.succeeded();
        return outcome;
      }
      if (this.#closing !== null) throw new ClosedError('the client was closed', { cause: outcome });
      const elsewhere = outcome instanceof ConnectionError || outcome instanceof UnavailableError;
      // Only the first of many calls that fail at one node moves the turn.
      if (elsewhere && this.#turn === turn) this.#turn = (turn + 1) % this.#nodes.length;
      if (attempt >= retries || !worthRepeating(outcome, repeatable)) throw outcome;
      const untried = elsewhere && attempt < this.#nodes.length - 1;
      const waitMs = untried ? 0 : backoffMs(attempt, retryAfterMsOf(outcome), random);
      if (clock.monotonicMs() + waitMs >= deadlineMs || !this.#budget.take()) throw outcome;
      if (waitMs > 0) await pause(waitMs, signal);
    }
  }

  /** One try: an answer, or the error that it stands for. */
  async #try(
    node: HttpNode,
    request: HttpRequest,
    leftMs: number,
    signal: AbortSignal,
  ): Promise<RawAnswer | RingKvError> {
    try {
      const headers = { ...request.headers, 'x-ringkv-timeout': String(leftMs) };
      const answer = await node.send({ ...request, headers }, signal);
      if (answer.status < FAILED) return answer;
      const error = errorOfAnswer(answer, node.url);
      const absent = answer.status === MISSING && error instanceof UnsupportedError;
      return absent && request.method === 'GET' && request.path.startsWith('/v1/kv/') ? answer : error;
    } catch (error) {
      if (error instanceof RingKvError) return error;
      throw error;
    }
  }

  #version(answer: RawAnswer): number {
    const version = versionOfETag(answer.header('etag'));
    if (version < 0)
      throw new ProtocolError(
        `status ${answer.status} with the ETag ${JSON.stringify(answer.header('etag') ?? null)}: not a version`,
      );
    return version;
  }
}

function parsed(answer: RawAnswer, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(answer.body)) as unknown;
  } catch (cause) {
    throw new ProtocolError(`${path}: the answer is not JSON`, { cause });
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

function checkTimeout(timeoutMs: number): void {
  if (!(Number.isInteger(timeoutMs) && timeoutMs > 0 && timeoutMs <= limits.requestTimeoutMsMax))
    throw new BadRequestError(
      `a timeout of ${timeoutMs} ms; it lies between 1 and ${limits.requestTimeoutMsMax}`,
    );
}

function pathOf(key: Bytes): string {
  const bytes = bytesOf(key);
  if (bytes.length === 0) throw new BadRequestError('an empty key; a key has at least 1 byte');
  return escapeBytes(bytes);
}

function queryOf(parameters: Readonly<Record<string, string | number | Uint8Array | undefined>>): string {
  const pairs: string[] = [];
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined)
      pairs.push(`${name}=${escapeBytes(bytesOf(typeof value === 'number' ? String(value) : value))}`);
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}

const idempotency = (options: WriteOptions): Record<string, string> =>
  options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey };
