/**
 * What users call. Reads and writes go over the client's transport, everything else (scans, the cluster) over HTTP.
 * caller.ts says when a call is repeated, and where.
 */
import { Consistency } from '../base/consistency.ts';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterChange, ClusterStatus, KeyStatus, RingStatus } from '../cluster/administration.ts';
import type { Call, Caller } from './caller.ts';
import { bytesOf, escapeBytes, type RawAnswer } from './encoding.ts';
import { ProtocolError } from './errors.ts';
import { queryOf } from './http-link.ts';
import { type KvAnswer, KvOp, type KvOpCode, type KvRequest } from './kv.ts';
import { allOf } from './many.ts';
import type { HttpRequest } from './platform.ts';
import { parseScanPage } from './scan-page.ts';
import type {
  Bytes,
  CallOptions,
  DeleteEntry,
  DeleteManyOptions,
  Entry,
  PutEntry,
  PutManyOptions,
  PutOptions,
  ReadOptions,
  ScanEntry,
  ScanOptions,
  WriteOptions,
} from './types.ts';

export class Client {
  readonly #caller: Caller;
  #closing: Promise<void> | null = null;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** The value of a key, or null where the key is absent. */
  async get(key: Bytes, options: ReadOptions = {}): Promise<Uint8Array | null> {
    return (await this.getEntry(key, options))?.value ?? null;
  }

  /** The same with version and time to live. */
  async getEntry(key: Bytes, options: ReadOptions = {}): Promise<Entry | null> {
    const { found, value, version, ttl } = await this.#kv(KvOp.GET, key, null, options);
    return found && value !== null ? { value, version, ttl } : null;
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
    return (await this.#kv(KvOp.PUT, key, checkedBytes('value', value), options)).version;
  }

  /** `put` of a value's JSON text. */
  async putJson(key: Bytes, value: unknown, options: PutOptions = {}): Promise<number> {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) throw new BadRequestError(`a ${typeof value} has no JSON text`);
    return await this.put(key, text, options);
  }

  /** Deletes a key, there or not. Rejects as `put` does. */
  async delete(key: Bytes, options: WriteOptions = {}): Promise<void> {
    await this.#kv(KvOp.DELETE, key, null, options);
  }

  /**
   * The values of many keys, in their order, null where a key is absent. Not one read of one moment. Where some fail, rejects
   * with a PartialFailureError that has the outcome of each.
   */
  async getMany(keys: readonly Bytes[], options: ReadOptions = {}): Promise<(Uint8Array | null)[]> {
    return await allOf('getMany', keys, noBytes, options.signal, async (key) => {
      return (await this.#kv(KvOp.GET, key, null, options, true)).value;
    });
  }
  /**
   * Puts many entries, each on its own: not atomic and in no order. Resolves with their versions; where some fail, rejects with a
   * PartialFailureError that has the outcome of each. `ttl` and `version` of an entry go before those of `options`.
   */
  async putMany(entries: readonly PutEntry[], options: PutManyOptions = {}): Promise<number[]> {
    const bytes = ({ value }: Partial<PutEntry>): number => value?.length ?? 0;
    return await allOf('putMany', entries, bytes, options.signal, async ({ key, value, ...own }) => {
      return (await this.#kv(KvOp.PUT, key, checkedBytes('value', value), { ...options, ...own }, true))
        .version;
    });
  }
  /** Deletes many keys, there or not, each on its own. Where some fail, rejects as `putMany` does. */
  async deleteMany(
    entries: readonly (Bytes | DeleteEntry)[],
    options: DeleteManyOptions = {},
  ): Promise<void> {
    await allOf('deleteMany', entries, noBytes, options.signal, async (entry) => {
      const { key, ...own } =
        typeof entry === 'string' || entry instanceof Uint8Array ? { key: entry } : entry;
      await this.#kv(KvOp.DELETE, key, null, { ...options, ...own }, true);
    });
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
      const page = parseScanPage((await this.#http(request, options, true)).body, values);
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
    await this.#http({ method: 'GET', path: '/readyz', headers: {}, body: null }, options, true);
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
  /**
   * Asks for a change: join, decommission, replace, reweigh, repair, drain, undo. Resolves when it has begun. Asked of nodes that
   * were named to connect() alone: some changes are of the node that is asked.
   */
  async clusterChange(change: ClusterChange, options: CallOptions = {}): Promise<unknown> {
    const { do: name, ...fields } = change;
    const body = new TextEncoder().encode(JSON.stringify(fields));
    const headers = { 'content-type': 'application/json' };
    const path = `/v1/cluster/${name}`;
    return parsed(await this.#http({ method: 'POST', path, headers, body }, options, false, true), path);
  }

  async #json(path: string, options: CallOptions): Promise<unknown> {
    return parsed(await this.#http({ method: 'GET', path, headers: {}, body: null }, options, true), path);
  }

  /** Ends the client; calls in flight reject with a ClosedError. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#caller.close();
    return this.#closing;
  }

  async #kv(
    op: KvOpCode,
    key: Bytes,
    value: Uint8Array | null,
    options: PutOptions,
    isOneOfMany = false,
  ): Promise<KvAnswer> {
    const { consistency, version, ttl, idempotencyKey } = options;
    const bytes = checkedBytes('key', key);
    if (bytes.length === 0) throw noKey();
    if (consistency !== undefined && !Object.hasOwn(Consistency, consistency))
      throw new BadRequestError(
        `consistency ${JSON.stringify(consistency)} is none of ONE, QUORUM, ALL, SERIAL`,
      );
    const request: KvRequest = { op, key: bytes, value, consistency, version, ttl, idempotencyKey };
    const isRead = op === KvOp.GET;
    const call: Call<KvAnswer> = {
      key: bytes,
      repeatable: isRead || idempotencyKey !== undefined,
      hedged: isRead,
      run: (node, deadlineMs, signal) => node.kv.send(request, deadlineMs, signal, isOneOfMany),
    };
    return await this.#caller.run(call, options);
  }

  async #http(
    request: HttpRequest,
    options: CallOptions,
    repeatable: boolean,
    isForNamed = false,
  ): Promise<RawAnswer> {
    const run: Call<RawAnswer>['run'] = (node, deadlineMs, signal) =>
      node.http.call(request, deadlineMs, signal);
    return await this.#caller.run({ key: null, repeatable, hedged: false, isForNamed, run }, options);
  }
}

function parsed(answer: RawAnswer, path: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(answer.body)) as unknown;
  } catch (cause) {
    throw new ProtocolError(`${path}: the answer is not JSON`, { cause });
  }
}

/** What has no types may give anything: nothing is put for it. */
function checkedBytes(what: string, bytes: Bytes): Uint8Array {
  if (typeof bytes === 'string' || (bytes as unknown) instanceof Uint8Array) return bytesOf(bytes);
  throw new BadRequestError(`a ${what} that is neither text nor Uint8Array but ${typeof bytes}`);
}
const noBytes = (): number => 0;
const noKey = (): BadRequestError => new BadRequestError('an empty key; a key has at least 1 byte');
function pathOf(key: Bytes): string {
  const bytes = checkedBytes('key', key);
  if (bytes.length === 0) throw noKey();
  return escapeBytes(bytes);
}
