/** What the client needs of where it runs: HTTP, WebSockets and the end of a turn. platform-*.ts has one each. */
import type { RawAnswer } from './encoding.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | null;
}
export interface HttpNode {
  /** Throws ConnectionError, ProtocolError, and the signal's reason where that ends the call. */
  send(request: HttpRequest, signal: AbortSignal): Promise<RawAnswer>;
  close(): Promise<void>;
}

/** The part of the standard's WebSocket that is used here. */
export interface StandardSocket {
  binaryType: string;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  close(): void;
  addEventListener(name: 'open' | 'error', listener: () => void): void;
  addEventListener(name: 'message', listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(
    name: 'close',
    listener: (event: { readonly code: number; readonly reason: string }) => void,
  ): void;
}

/** Certificates in PEM. On Node only: a browser has its own. */
export interface TlsOptions {
  /** Authorities that are trusted in place of the system's. */
  readonly ca?: string | Uint8Array;
  /** A client certificate and its key. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  /** The name that the server's certificate must bear, where it is not the host of the URL. */
  readonly servername?: string;
}

export interface Platform {
  /** `url` has no slash at its end. */
  httpNode(url: URL, connections: number, tls: TlsOptions | undefined): HttpNode;
  socket(url: string, protocol: string, tls: TlsOptions | undefined): StandardSocket;
  /** The upper half of a key's token. */
  tokenHi(key: Uint8Array): number;
  /** Whether nodes of other origins than those that were named can be reached. */
  readonly reachesAll: boolean;
  /** Runs `what` after everything that is ready in this turn: what is asked for meanwhile shares one message. */
  soon(what: () => void): void;
}

/** A timer that does not keep the process alive. */
export function quietTimer(what: () => void, ms: number): ReturnType<typeof setTimeout> {
  const timer = setTimeout(what, ms) as ReturnType<typeof setTimeout> | number;
  if (typeof timer === 'object') timer.unref();
  return timer as ReturnType<typeof setTimeout>;
}
