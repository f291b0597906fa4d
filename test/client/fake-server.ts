/**
 * A server of one Map behind the HTTP contract, on a free port of the loopback. Written from api.md, not from the
 * client: what it gets is checked here. `next` decides what comes in place of the proper answer.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Item as CborItem, decode, encode } from '../front/ws-client.ts';

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}
export type Trick =
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly body: string;
      readonly headers?: Record<string, string>;
    }
  /** Closes the connection, after the write was done or before. */
  | { readonly kind: 'cut'; readonly done: boolean }
  | { readonly kind: 'hang' };

interface Item {
  readonly value: Buffer;
  readonly version: number;
  readonly ttl: string | null;
}

export interface BatchOp {
  readonly op: 'put' | 'get' | 'delete';
  readonly key: Uint8Array;
  readonly value?: Uint8Array;
  readonly consistency?: string;
  readonly version?: number;
  readonly ttl?: number;
}

export class FakeServer {
  readonly items = new Map<string, Item>();
  readonly seen: Seen[] = [];
  /** Taken one for each request, first in first out. */
  readonly tricks: Trick[] = [];
  /** Called before a write is acknowledged. */
  onWrite: () => Promise<void> = () => Promise.resolve();
  pageSize = 3;
  version = 100;
  /** Requests whose client went before they were answered. */
  gone = 0;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }
  static async start(): Promise<FakeServer> {
    const server = createServer({ keepAliveTimeout: 60_000 });
    const fake = new FakeServer(server);
    server.on('request', (request, response) => {
      fake.#handle(request, response).catch((error: Error) => response.destroy(error));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return fake;
  }
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const [path = '', query = ''] = (request.url ?? '').split('?');
    const seen = {
      method: request.method ?? '',
      path,
      query: new URLSearchParams(query),
      headers: request.headers,
      body,
    };
    this.seen.push(seen);
    const trick = this.tricks.shift();
    response.once('close', () => {
      if (!response.writableFinished) this.gone++;
    });
    if (trick?.kind === 'hang') return;
    if (trick?.kind === 'answer') {
      response.writeHead(trick.status, trick.headers).end(Buffer.from(trick.body, 'latin1'));
      return;
    }
    if (trick?.kind === 'cut') {
      if (trick.done) await this.#answer(seen, query, body, null);
      response.destroy();
      return;
    }
    await this.#answer(seen, query, body, response);
  }

  async #answer(seen: Seen, query: string, body: Buffer, response: ServerResponse | null): Promise<void> {
    if (seen.path === '/readyz') response?.writeHead(200).end('{}');
    else if (seen.path === '/v1/scan') this.#scan(seen, query, response);
    else if (seen.path === '/v1/batch') await this.#batch(seen, body, response);
    else if (seen.path.startsWith('/v1/kv/')) await this.#kv(seen, body, response);
    else fail(response, 404, 'NOT_FOUND', 'no such path');
  }

  async #kv(
    { headers, method, path, query }: Seen,
    body: Buffer,
    response: ServerResponse | null,
  ): Promise<void> {
    const key = unescapeBytes(path.slice('/v1/kv/'.length)).toString('latin1');
    const item = this.items.get(key);
    if (method === 'GET') {
      if (item === undefined) return fail(response, 404, 'NOT_FOUND', 'no live record');
      if (headers.accept !== 'application/octet-stream') return fail(response, 400, 'BAD_REQUEST', 'accept');
      const ttl = item.ttl === null ? {} : { 'x-ringkv-ttl': item.ttl };
      response?.writeHead(200, { etag: `"${item.version}"`, ...ttl }).end(item.value);
      return;
    }
    const wanted = query.get('version');
    if (wanted !== null && Number(wanted) !== (item?.version ?? 0))
      return fail(response, 409, 'VERSION_MISMATCH', `not version ${wanted}`, item?.version ?? 0);
    await this.onWrite();
    this.version += 1;
    if (method === 'DELETE') {
      this.items.delete(key);
      response?.writeHead(204).end();
      return;
    }
    if (method !== 'PUT' || headers['content-type'] !== 'application/octet-stream')
      return fail(response, 415, 'UNSUPPORTED_MEDIA_TYPE', String(headers['content-type']));
    this.items.set(key, { value: body, version: this.version, ttl: query.get('ttl') });
    response?.writeHead(204, { etag: `"${this.version}"` }).end();
  }

  /** Ops of each batch, in the order in which they came. */
  readonly batches: BatchOp[][] = [];
  /** What an op ends with instead of what it should: status, code and message by key; each once. */
  readonly opTricks = new Map<string, readonly [status: number, code: string]>();

  async #batch({ headers }: Seen, body: Buffer, response: ServerResponse | null): Promise<void> {
    if (headers['content-type'] !== 'application/cbor' || headers.accept !== 'application/cbor')
      return fail(response, 415, 'UNSUPPORTED_MEDIA_TYPE', String(headers['content-type']));
    if (headers['idempotency-key'] !== undefined) return fail(response, 400, 'BAD_REQUEST', 'idempotency');
    const { ops } = decode(body) as unknown as { readonly ops: BatchOp[] };
    this.batches.push(ops);
    await this.onWrite();
    const results = ops.map((op): CborItem => this.#op(op));
    response
      ?.writeHead(200, { 'content-type': 'application/cbor' })
      .end(encode({ results } as unknown as CborItem));
  }
  #op({ op, key, value, version, ttl }: BatchOp): CborItem {
    const name = Buffer.from(key).toString('latin1');
    const item = this.items.get(name);
    const failed = (status: number, code: string, current?: number): CborItem => {
      const error = { code, message: code, ...(current === undefined ? {} : { version: current }) };
      return { status, error, ...(current === undefined ? {} : { version: current }) } as unknown as CborItem;
    };
    const trick = this.opTricks.get(name);
    this.opTricks.delete(name);
    if (trick !== undefined) return failed(...trick);
    if (op === 'get') {
      if (item === undefined) return failed(404, 'NOT_FOUND');
      const left = item.ttl === null ? {} : { ttl: Number(item.ttl) };
      return { status: 200, value: item.value, version: item.version, ...left } as unknown as CborItem;
    }
    if (version !== undefined && version !== (item?.version ?? 0))
      return failed(409, 'VERSION_MISMATCH', item?.version ?? 0);
    this.version += 1;
    const expiry = ttl === undefined ? null : String(ttl);
    if (op === 'put')
      this.items.set(name, { value: Buffer.from(value ?? []), version: this.version, ttl: expiry });
    else this.items.delete(name);
    return { status: 204, version: this.version } as unknown as CborItem;
  }

  #scan({ query }: Seen, text: string, response: ServerResponse | null): void {
    const prefix = /(?:^|&)prefix=([^&]*)/.exec(text)?.[1] ?? '';
    const start = unescapeBytes(prefix).toString('latin1');
    const keys = [...this.items.keys()].filter((key) => key.startsWith(start)).sort();
    const from = Number(query.get('cursor') ?? 0);
    const to = from + Math.min(this.pageSize, Number(query.get('limit') ?? 100));
    const entries = keys.slice(from, to).map((key) => {
      const item = this.items.get(key) as Item;
      const bytes = Buffer.from(key, 'latin1');
      const name = bytes.equals(Buffer.from(bytes.toString()))
        ? { key: bytes.toString() }
        : { keyBase64: bytes.toString('base64') };
      const value = query.get('values') === 'true' ? { value: item.value.toString('base64') } : {};
      return {
        ...name,
        ...value,
        version: item.version,
        ...(item.ttl === null ? {} : { ttl: Number(item.ttl) }),
      };
    });
    const more = to < keys.length ? { cursor: String(to) } : {};
    response
      ?.writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ entries, ...more }));
  }
}

function fail(
  response: ServerResponse | null,
  status: number,
  code: string,
  message: string,
  version?: number,
): void {
  response?.writeHead(status, { 'content-type': 'application/json' }).end(errorBody(code, message, version));
}
export const errorBody = (code: string, message = code, version?: number): string =>
  JSON.stringify({ error: { code, message, ...(version === undefined ? {} : { version }) } });
/** An answer with an error of the contract. */
export const refusal = (status: number, code: string, headers: Record<string, string> = {}): Trick => ({
  kind: 'answer',
  status,
  body: errorBody(code),
  headers,
});

function unescapeBytes(text: string): Buffer {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '%') {
      bytes.push(Number.parseInt(text.slice(at + 1, at + 3), 16));
      at += 2;
    } else bytes.push(text.charCodeAt(at));
  }
  return Buffer.from(bytes);
}
