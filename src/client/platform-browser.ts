/** The client in a browser: fetch and the page's WebSocket. Certificates are the browser's business. */
import { BadRequestError } from '../base/errors.ts';
import { xxh64 } from '../base/xxh64.ts';
import type { RawAnswer } from './encoding.ts';
import { ConnectionError } from './errors.ts';
import type { HttpNode, HttpRequest, Platform, StandardSocket, TlsOptions } from './platform.ts';

class BrowserHttp implements HttpNode {
  readonly #url: string;
  /** Ends what is in flight at close(). */
  readonly #end = new AbortController();
  constructor(url: URL) {
    this.#url = url.href.replace(/\/+$/, '');
  }

  async send(request: HttpRequest, signal: AbortSignal): Promise<RawAnswer> {
    try {
      const { method, headers, body: sent } = request;
      const options = { method, headers, cache: 'no-store', redirect: 'error' } as const;
      const answer = await fetch(`${this.#url}${request.path}`, {
        ...options,
        body: sent as Uint8Array<ArrayBuffer> | null,
        signal: AbortSignal.any([signal, this.#end.signal]),
      });
      const body = new Uint8Array(await answer.arrayBuffer());
      return { status: answer.status, header: (name) => answer.headers.get(name) ?? undefined, body };
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      // A page is not told why: the request may have been sent.
      const what = `no answer (${(error as Error).message}); whether the request was done is unknown`;
      throw new ConnectionError(`${this.#url}: ${what}`, true, { cause: error });
    }
  }
  close(): Promise<void> {
    this.#end.abort();
    return Promise.resolve();
  }
}

function refuseTls(tls: TlsOptions | undefined): void {
  if (tls !== undefined)
    throw new BadRequestError('tls: a page cannot choose certificates; the browser does');
}

interface Page {
  readonly WebSocket: new (url: string, protocol: string) => StandardSocket;
}

interface Port {
  onmessage: () => void;
  postMessage(message: number): void;
}
let port: Port | null = null;
const waiting: (() => void)[] = [];
/** A message to oneself: timers of nested calls wait for 4 ms in browsers. */
function afterTurn(what: () => void): void {
  if (port === null) {
    const channel = new MessageChannel();
    (channel.port1 as unknown as Port).onmessage = () => {
      for (const one of waiting.splice(0)) one();
    };
    port = channel.port2 as unknown as Port;
  }
  waiting.push(what);
  if (waiting.length === 1) port.postMessage(0);
}

export const browserPlatform: Platform = {
  httpNode: (url, _connections, tls) => {
    refuseTls(tls);
    return new BrowserHttp(url);
  },
  socket: (url, protocol, tls) => {
    refuseTls(tls);
    return new (globalThis as unknown as Page).WebSocket(url, protocol);
  },
  tokenHi: (key) => Number(xxh64(key) >> 32n),
  // Every node but that of the page is another origin, which refuses the page.
  reachesAll: false,
  soon: afterTurn,
};
