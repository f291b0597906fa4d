/**
 * The client on Node: HTTP/1.1 over a pool of keep-alive connections, one request at a time on each, and undici's
 * WebSocket.
 */
import { Agent, errors, Pool, WebSocket } from 'undici';
import { limits, MiB } from '../base/limits.ts';
import { hashToken, token } from '../base/token.ts';
import type { RawAnswer } from './encoding.ts';
import { ConnectionError, ProtocolError } from './errors.ts';
import type { HttpNode, HttpRequest, Platform, StandardSocket, TlsOptions } from './platform.ts';

/** The longest answer: a scan page with values, each 4/3 of its size, or a batch of the largest values. */
const ANSWER_BYTES_MAX = 64 * MiB;

/** What the system says where no connection came about, and so nothing was sent. */
const notConnected: ReadonlySet<string> = new Set([
  ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ENOENT'],
  ...['ETIMEDOUT', 'EMFILE', 'ENFILE', 'UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_CLOSED', 'UND_ERR_DESTROYED'],
]);

class NodeHttp implements HttpNode {
  readonly #url: string;
  readonly #pool: Pool;
  readonly #base: string;

  constructor(url: URL, connections: number, tls: TlsOptions | undefined) {
    this.#url = url.href.replace(/\/+$/, '');
    this.#base = url.pathname.replace(/\/+$/, '');
    this.#pool = new Pool(url.origin, {
      connections,
      pipelining: 1,
      connect: { timeout: limits.clientConnectMs, ...tlsOf(tls) },
      // The caller's deadline ends a call; these two would only add a second one.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxResponseSize: ANSWER_BYTES_MAX,
    });
  }

  async send(request: HttpRequest, signal: AbortSignal): Promise<RawAnswer> {
    try {
      const { statusCode, headers, body } = await this.#pool.request({
        method: request.method,
        path: `${this.#base}${request.path}`,
        headers: request.headers,
        body: request.body,
        signal,
      });
      const bytes = new Uint8Array(await body.arrayBuffer());
      return { status: statusCode, header: (name) => firstOf(headers[name]), body: bytes };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw this.#described(error);
    }
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  #described(error: unknown): Error {
    if (error instanceof errors.HTTPParserError)
      return new ProtocolError(`${this.#url}: not HTTP: ${error.message}`, { cause: error });
    if (error instanceof errors.ResponseExceededMaxSizeError)
      return new ProtocolError(`${this.#url}: an answer of more than ${ANSWER_BYTES_MAX} bytes`, {
        cause: error,
      });
    const code = codeOf(error);
    const sent = !notConnected.has(code);
    const what = sent
      ? `the connection was lost (${code}); whether the request was done is unknown`
      : `not reachable (${code})`;
    return new ConnectionError(`${this.#url}: ${what}`, sent, { cause: error });
  }
}

/** Of several addresses of one name the first failure counts. */
function codeOf(error: unknown): string {
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code ?? (error instanceof Error ? error.message : String(error));
}

const firstOf = (value: string | string[] | undefined): string | undefined =>
  typeof value === 'string' ? value : value?.[0];

/** Buffers as undici's types want them. */
function tlsOf(tls: TlsOptions | undefined): Record<string, Buffer | string> {
  const given = Object.entries(tls ?? {}) as [string, string | Uint8Array | undefined][];
  return Object.fromEntries(
    given.flatMap(([name, value]) =>
      value === undefined ? [] : [[name, typeof value === 'string' ? value : Buffer.from(value)]],
    ),
  );
}

export const nodePlatform: Platform = {
  httpNode: (url, connections, tls) => new NodeHttp(url, connections, tls),
  socket: (url, protocol, tls) => {
    const dispatcher = new Agent({ connect: { timeout: limits.clientConnectMs, ...tlsOf(tls) } });
    return new WebSocket(url, { protocols: [protocol], dispatcher }) as unknown as StandardSocket;
  },
  tokenHi: (key) => {
    hashToken(key);
    return token.hi;
  },
  reachesAll: true,
  soon: (what) => {
    setImmediate(what);
  },
};
