/** TCP and TLS: how the transport listens and dials. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { parseAddress } from '../base/address.ts';
import { ListenError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { type PeerTls, secureOptions } from './tls.ts';

/**
 * A server for connections of nodes. `onSocket` gets each as it comes, `onOpen` the same one again when it may be used, and
 * the socket to use: itself, or TLS over it.
 */
export function createPeerServer(
  tls: PeerTls | null,
  onSocket: (socket: Socket) => void,
  onOpen: (raw: Socket, socket: Socket) => void,
  onFailure: (remote: string, reason: string) => void,
): Server {
  if (tls === null)
    return createServer((socket) => {
      onSocket(socket);
      if (!socket.destroyed) onOpen(socket, socket);
    });
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

/** Dials. `onOpen` is called when the socket may be used; failures come as its events. */
export function dialPeer(address: string, tls: PeerTls | null, onOpen: () => void): Socket {
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
export function remoteOf(socket: Socket): string {
  return socket.remoteAddress === undefined
    ? 'a socket that is closed'
    : `${socket.remoteAddress}:${socket.remotePort ?? 0}`;
}

/** Listens; the port that was given, or chosen for 0. Throws ListenError. */
export function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error): void =>
      reject(new ListenError(`cannot listen for nodes on ${host}:${port}: ${cause.message}`, { cause }));
    server.once('error', onError);
    server.listen({ host, port }, () => {
      server.off('error', onError);
      const bound = server.address();
      resolve(bound === null || typeof bound === 'string' ? port : bound.port);
    });
  });
}
