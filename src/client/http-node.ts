/** One node over HTTP/1.1: a pool of keep-alive connections, one request at a time on each. */
import { errors, Pool } from 'undici';
import { BadRequestError } from '../base/errors.ts';
import { MiB } from '../base/limits.ts';
import type { RawAnswer } from './encoding.ts';
import { ConnectionError, ProtocolError } from './errors.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
}

/** The longest answer: a scan page with values, each 4/3 of its size, or a batch of the largest values. */
const ANSWER_BYTES_MAX = 64 * MiB;
const CONNECT_TIMEOUT_MS = 3000;

/** What the system says where no connection came about, and so nothing was sent. */
const notConnected: ReadonlySet<string> = new Set([
  ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ENOENT'],
  ...['ETIMEDOUT', 'EMFILE', 'ENFILE', 'UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_CLOSED', 'UND_ERR_DESTROYED'],
]);

export class HttpNode {
  readonly url: string;
  readonly #pool: Pool;
  readonly #base: string;

  constructor(url: string, connections: number) {
    const { origin, pathname } = checkedUrl(url);
    this.url = url;
    this.#base = pathname.replace(/\/+$/, '');
    this.#pool = new Pool(origin, {
      connections,
      pipelining: 1,
      connect: { timeout: CONNECT_TIMEOUT_MS },
      // The caller's deadline ends a call; these two would only add a second one.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxResponseSize: ANSWER_BYTES_MAX,
    });
  }

  /** Throws ConnectionError, ProtocolError, and the signal's reason where that ends the call. */
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
      return new ProtocolError(`${this.url}: not HTTP: ${error.message}`, { cause: error });
    if (error instanceof errors.ResponseExceededMaxSizeError)
      return new ProtocolError(`${this.url}: an answer of more than ${ANSWER_BYTES_MAX} bytes`, {
        cause: error,
      });
    const code = codeOf(error);
    const sent = !notConnected.has(code);
    const what = sent
      ? `the connection was lost (${code}); whether the request was done is unknown`
      : `not reachable (${code})`;
    return new ConnectionError(`${this.url}: ${what}`, sent, { cause: error });
  }
}

function checkedUrl(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:'))
    throw new BadRequestError(`${JSON.stringify(url)} is not a URL such as http://127.0.0.1:8080`);
  if (parsed.search !== '' || parsed.hash !== '' || parsed.username !== '')
    throw new BadRequestError(`${JSON.stringify(url)}: a node's URL has no user, query or fragment`);
  return parsed;
}

/** Of several addresses of one name the first failure counts. */
function codeOf(error: unknown): string {
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code ?? (error instanceof Error ? error.message : String(error));
}

const firstOf = (value: string | string[] | undefined): string | undefined =>
  typeof value === 'string' ? value : value?.[0];
