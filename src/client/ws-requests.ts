/**
 * Writes a message of requests of ringkv.v1 (docs/websocket.md): one CBOR map of columns. A column that no request
 * needs is left out; one in which all agree is one element.
 */
import { ARRAY, BYTES, FLOAT_64, MAP, NULL, TEXT, UNSIGNED, writeHead } from '../base/cbor-head.ts';
import { Consistency } from '../base/consistency.ts';
import { limits } from '../base/limits.ts';
import { bytesOf } from './encoding.ts';
import { bytesOfRequest, KvOp, type KvRequest } from './kv.ts';

export interface Numbered {
  readonly id: number;
  readonly request: KvRequest;
}

/** Bytes of one request besides its key, its value and its idempotency key: eight numbers and three lengths at 9 each. */
export const REQUEST_OVERHEAD_BYTES = 99;
/** The map, and the names and lengths of all columns. */
const MESSAGE_OVERHEAD_BYTES = 256;

/** `leftMs`: milliseconds that each request has left, at its own index. */
export function encodeRequests(
  batch: readonly Numbered[],
  leftMs: readonly number[],
): Uint8Array<ArrayBuffer> {
  let size = MESSAGE_OVERHEAD_BYTES;
  for (const { request } of batch) size += REQUEST_OVERHEAD_BYTES + bytesOfRequest(request);
  return new RequestWriter(size).message(batch, leftMs);
}

class RequestWriter {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #at = 0;

  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
    this.#view = new DataView(this.#bytes.buffer);
  }

  message(batch: readonly Numbered[], leftMs: readonly number[]): Uint8Array<ArrayBuffer> {
    const some = (has: (request: KvRequest) => boolean): boolean => batch.some(({ request }) => has(request));
    const puts = some(({ op }) => op === KvOp.PUT);
    const versions = some(({ version }) => version !== undefined);
    const ttls = some(({ ttl }) => ttl !== undefined);
    const consistency = some((request) => request.consistency !== undefined);
    const keys = some(({ idempotencyKey }) => idempotencyKey !== undefined);
    // ids, ops, keys and timeouts are always there.
    this.#head(MAP, 4 + [puts, versions, ttls, consistency, keys].filter(Boolean).length);
    this.#name('ids');
    this.#head(ARRAY, batch.length);
    for (const { id } of batch) this.#head(UNSIGNED, id);
    this.#numbers(
      'ops',
      batch.map(({ request }) => request.op),
    );
    this.#name('keys');
    this.#head(ARRAY, batch.length);
    for (const { request } of batch) this.#string(BYTES, request.key);
    if (puts) this.#strings('values', batch, ({ value }) => value);
    if (versions) this.#optional('versions', batch, ({ version }) => version);
    if (ttls) this.#optional('ttls', batch, ({ ttl }) => ttl);
    if (consistency)
      this.#numbers(
        'consistency',
        batch.map(({ request }) => Consistency[request.consistency ?? 'QUORUM']),
      );
    this.#numbers('timeouts', together(leftMs));
    if (keys)
      this.#strings(
        'idempotencyKeys',
        batch,
        ({ idempotencyKey }) => (idempotencyKey === undefined ? null : bytesOf(idempotencyKey)),
        TEXT,
      );
    return this.#bytes.subarray(0, this.#at);
  }

  #strings(
    name: string,
    batch: readonly Numbered[],
    of: (request: KvRequest) => Uint8Array | null,
    kind = BYTES,
  ): void {
    this.#name(name);
    this.#head(ARRAY, batch.length);
    for (const { request } of batch) {
      const bytes = of(request);
      if (bytes === null) this.#bytes[this.#at++] = NULL;
      else this.#string(kind, bytes);
    }
  }
  #optional(name: string, batch: readonly Numbered[], of: (request: KvRequest) => number | undefined): void {
    this.#name(name);
    this.#head(ARRAY, batch.length);
    for (const { request } of batch) this.#number(of(request));
  }
  /** One element where all are the same. */
  #numbers(name: string, all: readonly number[]): void {
    this.#name(name);
    const [first] = all;
    if (all.every((one) => one === first)) {
      this.#number(first);
      return;
    }
    this.#head(ARRAY, all.length);
    for (const one of all) this.#number(one);
  }

  #number(value: number | undefined): void {
    if (value === undefined) this.#bytes[this.#at++] = NULL;
    else if (Number.isSafeInteger(value) && value >= 0) this.#head(UNSIGNED, value);
    else {
      // Whatever it is, the server says what is wrong with it.
      this.#bytes[this.#at++] = FLOAT_64;
      this.#view.setFloat64(this.#at, value);
      this.#at += 8;
    }
  }
  #name(name: string): void {
    this.#head(TEXT, name.length);
    for (let i = 0; i < name.length; i++) this.#bytes[this.#at++] = name.charCodeAt(i);
  }
  #string(kind: number, bytes: Uint8Array): void {
    this.#head(kind, bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }
  #head(kind: number, argument: number): void {
    this.#at = writeHead(this.#bytes, this.#at, kind, argument);
  }
}

/** Deadlines a few milliseconds apart become one: a column of one element. */
function together(leftMs: readonly number[]): readonly number[] {
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (const left of leftMs) {
    least = Math.min(least, left);
    most = Math.max(most, left);
  }
  return most - least <= limits.clientDeadlineSlackMs ? leftMs.map(() => most) : leftMs;
}
