/** What the transport needs of the outside: sockets, and the time to come. The operating system's is in sockets.ts; a simulation gives its own. */
import type { Duplex } from 'node:stream';
import type { Timers } from '../cluster/contract.ts';
import type { PeerTls } from './tls.ts';

/** A stream of bytes to another node: a socket of TCP, or TLS over one. */
export interface PeerSocket extends Duplex {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  setNoDelay(noDelay?: boolean): this;
}

export interface ListenerEvents {
  /** Accepted, and not to be used yet. */
  onSocket(socket: PeerSocket): void;
  /** May be used now. `raw`: what was accepted; `socket`: the same, or TLS over it. */
  onOpen(raw: PeerSocket, socket: PeerSocket): void;
  /** TLS was not agreed on. */
  onFailure(remote: string, reason: string): void;
  /** Of the listener itself, after it had begun to listen. */
  onError(error: Error): void;
}

export interface PeerListener {
  /** Gives the port that was given, or chosen for 0. Throws ListenError. */
  listen(host: string, port: number): Promise<number>;
  /** Accepts no more; resolves when all that it accepted is closed. */
  close(): Promise<void>;
  /** For connections from now on. Nothing where it was made without TLS. */
  renewTls(tls: PeerTls): void;
}

export interface PeerOutside extends Timers {
  /** Calls `run` once, at the end of this turn of the loop. */
  atTurnEnd(run: () => void): void;
  /** `tls` null: plain TCP. */
  newListener(tls: PeerTls | null, events: ListenerEvents): PeerListener;
  /** `onOpen` is called when the socket may be used; failures come as its events. */
  dial(address: string, tls: PeerTls | null, onOpen: () => void): PeerSocket;
}
