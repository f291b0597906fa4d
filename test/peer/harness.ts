/** Transports on loopback, and raw sockets beside them; all are closed at the end of a test. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { expect } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { systemClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { FrameKind, FrameReader, frameOf } from '../../src/peer/frame.ts';
import { decodeRefusal, encodeHello, type Hello, type Refusal } from '../../src/peer/hello.ts';
import type { PeerTls } from '../../src/peer/tls.ts';
import { Transport } from '../../src/peer/transport.ts';

export const CLUSTER_ID = 'c'.repeat(32);
export const idOf = (node: number): string => node.toString(16).padStart(8, '0') + '0'.repeat(24);

const closers: (() => Promise<void> | void)[] = [];
export async function closeAll(): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close();
}
export function onClose(close: () => Promise<void> | void): void {
  closers.push(close);
}

export interface TestPeerOptions {
  readonly clusterName?: string;
  readonly clusterId?: string;
  readonly nodeId?: string;
  readonly generation?: number;
  readonly versions?: { readonly min: number; readonly max: number };
  readonly features?: number;
  readonly tls?: PeerTls;
  readonly clock?: Clock;
  readonly onMessage?: (from: number, message: Uint8Array, over: number) => void;
}

export class TestPeer {
  readonly node: number;
  readonly transport: Transport;
  readonly log: string[] = [];
  readonly events: string[] = [];
  readonly received: string[] = [];
  port = 0;
  constructor(node: number, options: TestPeerOptions = {}) {
    this.node = node;
    this.transport = new Transport({
      clusterName: options.clusterName ?? 'test',
      clusterId: options.clusterId ?? CLUSTER_ID,
      node,
      nodeId: options.nodeId ?? idOf(node),
      generation: options.generation ?? 1,
      tls: options.tls ?? null,
      clock: options.clock ?? systemClock,
      random: new Random(node),
      log: (level, message) => this.log.push(`${level}: ${message}`),
      onMessage:
        options.onMessage ??
        ((from, message) => this.received.push(`${from}: ${Buffer.from(message).toString()}`)),
      onConnected: (peer) => this.events.push(`+${peer}`),
      onDisconnected: (peer, left) => this.events.push(`-${peer} ${left}`),
      ...(options.versions === undefined ? {} : { versions: options.versions }),
      ...(options.features === undefined ? {} : { features: options.features }),
    });
    closers.push(() => this.transport.close());
  }
  async listen(port = 0): Promise<this> {
    this.port = await this.transport.listen('127.0.0.1', port);
    return this;
  }
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }
  say(to: number, text: string): boolean {
    return this.transport.send(to, Buffer.from(text));
  }
  /** Waits for a line of the log. */
  logged(pattern: RegExp): Promise<void> {
    return until(
      () => this.log.some((line) => pattern.test(line)),
      () => `no line ${pattern} in ${JSON.stringify(this.log)}`,
    );
  }
}

/** Ends what hangs: machines of CI are busy. */
const WAIT_MS_MAX = 100_000;
export async function until(holds: () => boolean, what: () => string = () => String(holds)): Promise<void> {
  const end = performance.now() + WAIT_MS_MAX;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`waited ${WAIT_MS_MAX} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Two transports that know and have each other. */
export async function connected(one: TestPeer, two: TestPeer): Promise<void> {
  one.transport.setAddress(two.node, two.address);
  await until(() => one.transport.isConnected(two.node) && two.transport.isConnected(one.node));
}

/** A socket that speaks, or does not, whatever a test wants. */
export class RawPeer {
  readonly socket: Socket;
  readonly frames: { readonly kind: number; readonly payload: Buffer }[] = [];
  closed = false;
  constructor(socket: Socket) {
    this.socket = socket;
    const reader = new FrameReader(64 * 1024 * 1024);
    socket.on('data', (chunk) => {
      reader.push(chunk, (kind, payload) => {
        this.frames.push({ kind, payload: Buffer.from(payload) });
        return true;
      });
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.closed = true;
    });
    closers.push(() => {
      socket.destroy();
    });
  }
  /** Greets, and agrees with whatever comes back. */
  greet(hello: Partial<Hello> = {}): void {
    this.socket.write(frameOf(FrameKind.HELLO, encodeHello({ ...defaultHello, ...hello })));
    this.socket.write(frameOf(FrameKind.HEARTBEAT, new Uint8Array(0)));
  }
  has(kind: number): boolean {
    return this.frames.some((frame) => frame.kind === kind);
  }
  async refusal(): Promise<Refusal> {
    await until(
      () => this.has(FrameKind.REFUSAL),
      () => 'a refusal',
    );
    const frame = this.frames.find(({ kind }) => kind === FrameKind.REFUSAL);
    expect(frame).toBeDefined();
    return decodeRefusal(frame?.payload ?? Buffer.alloc(0));
  }
}
export const defaultHello: Hello = {
  versionMin: 1,
  versionMax: 1,
  features: 0,
  clusterName: 'test',
  clusterId: CLUSTER_ID,
  node: 77,
  nodeId: idOf(77),
  generation: 1,
};

export async function rawTo(peer: TestPeer): Promise<RawPeer> {
  const socket = connect({ host: '127.0.0.1', port: peer.port });
  const raw = new RawPeer(socket);
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()));
  return raw;
}

/** The same over TLS, without a hello. `socket` of the result is open, or failed. */
export async function rawTlsTo(peer: TestPeer, options: ConnectionOptions): Promise<RawPeer> {
  const socket = connectTls({
    host: '127.0.0.1',
    port: peer.port,
    checkServerIdentity: () => undefined,
    ...options,
  });
  const raw = new RawPeer(socket);
  await new Promise<void>((resolve) => {
    socket.once('secureConnect', resolve);
    socket.once('close', () => resolve());
  });
  return raw;
}

/** A listener that hands each accepted socket to the test. */
export async function rawListener(onSocket: (socket: Socket) => void): Promise<Server> {
  const sockets = new Set<Socket>();
  let closing = false;
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    sockets.add(socket);
    if (closing) socket.destroy();
    else onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  closers.push(() => {
    closing = true;
    for (const socket of sockets) socket.destroy();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return server;
}
export function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
