/** The operating system's sockets and timers: how the transport listens and dials over TCP and TLS. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer, Server as TlsServer } from 'node:tls';
import { parseAddress } from '../base/address.ts';
import { ListenError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Timers } from '../cluster/contract.ts';
import type { ListenerEvents, PeerListener, PeerOutside, PeerSocket } from './outside.ts';
import { type PeerTls, secureOptions } from './tls.ts';

class SystemListener implements PeerListener {
  readonly #server: Server;
  readonly #events: ListenerEvents;

  constructor(tls: PeerTls | null, events: ListenerEvents) {
    this.#events = events;
    this.#server = tls === null ? newPlainServer(events) : newTlsServer(tls, events);
  }

  listen(host: string, port: number): Promise<number> {
    const server = this.#server;
    return new Promise((resolve, reject) => {
      const onError = (cause: Error): void =>
        reject(new ListenError(`cannot listen for nodes on ${host}:${port}: ${cause.message}`, { cause }));
      server.once('error', onError);
      server.listen({ host, port }, () => {
        server.off('error', onError);
        server.on('error', (error) => this.#events.onError(error));
        const bound = server.address();
        resolve(bound === null || typeof bound === 'string' ? port : bound.port);
      });
    });
  }

  close(): Promise<void> {
    const server = this.#server;
    return new Promise((resolve) => {
      if (server.listening) server.close(() => resolve());
      else resolve();
    });
  }

  renewTls(tls: PeerTls): void {
    if (this.#server instanceof TlsServer) this.#server.setSecureContext(secureOptions(tls));
  }
}

function newPlainServer({ onSocket, onOpen }: ListenerEvents): Server {
  return createServer((socket) => {
    onSocket(socket);
    if (!socket.destroyed) onOpen(socket, socket);
  });
}

function newTlsServer(tls: PeerTls, { onSocket, onOpen, onFailure }: ListenerEvents): Server {
  const server = createTlsServer({
    ...secureOptions(tls),
    requestCert: true,
    // Refused by Connection, before anything is read: see tls.ts.
    rejectUnauthorized: false,
    handshakeTimeout: limits.peerHandshakeMs,
  });
  // The TLS socket does not tell what it runs over; ports do.
  const raws = new Map<string, Socket>();
  server.on('connection', (raw: Socket) => {
    const remote = remoteOf(raw);
    raws.set(remote, raw);
    raw.once('close', () => raws.delete(remote));
    onSocket(raw);
  });
  server.on('secureConnection', (socket) => onOpen(raws.get(remoteOf(socket)) ?? socket, socket));
  server.on('tlsClientError', (error, socket) => {
    onFailure(remoteOf(socket), reasonOf(error));
    socket.destroy();
  });
  return server;
}

function dial(address: string, tls: PeerTls | null, onOpen: () => void): Socket {
  const { host, port } = parseAddress(address);
  if (tls === null) return connect({ host, port }, onOpen);
  return connectTls(
    {
      host,
      port,
      ...secureOptions(tls),
      // See tls.ts: Connection refuses, and the name of the cluster is checked instead of the host's.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    },
    onOpen,
  );
}

/** What OpenSSL says, and what that means between nodes. */
const EXPLAINED: Readonly<Record<string, string>> = {
  'wrong version number': 'the other end does not speak TLS',
  'http request': 'the other end speaks HTTP',
  'unsupported protocol': 'the other end does not speak TLS 1.3',
  'tlsv1 alert protocol version': 'the other end does not speak TLS 1.3',
};

/** What went wrong, without the codes and file names of OpenSSL. */
export function reasonOf(error: Error): string {
  const reason = 'reason' in error && typeof error.reason === 'string' ? error.reason : error.message;
  const explained = EXPLAINED[reason];
  return explained === undefined ? reason : `${explained} (${reason})`;
}

/** host:port of the other end, for people. */
export function remoteOf(socket: PeerSocket): string {
  return socket.remoteAddress === undefined
    ? 'a socket that is closed'
    : `${socket.remoteAddress}:${socket.remotePort ?? 0}`;
}

/** Timers of this thread. */
export const systemTimers: Timers = {
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
/** Sockets and timers of this process. */
export const systemOutside: PeerOutside = {
  ...systemTimers,
  atTurnEnd: (run) => void setImmediate(run),
  newListener: (tls, events) => new SystemListener(tls, events),
  dial,
};
