/**
 * The network between nodes on TCP or mutual TLS: Network of src/cluster/contract.ts for real. Owned by the peer worker's thread.
 *
 * 1. A message is accepted only where a connection is ready; from then on it is sent, in order with the others on that
 *    connection, or the connection ends and `onDisconnected` tells so.
 * 2. Messages of one turn of the loop go out together, in one write a connection.
 * 3. Nobody gets past the hello who is of another cluster, speaks another version, is this node itself, bears the number of
 *    another node or is an earlier process of one that was here.
 */
import { parseAddress } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { ANY_CONNECTION, type ConnectionId, type Network, type NodeNumber } from '../cluster/contract.ts';
import { FEATURES } from '../cluster/features.ts';
import { nodeName } from '../cluster/node-name.ts';
import { BatchPool } from './batch-pool.ts';
import { Connection, type ConnectionOwner } from './connection.ts';
import { type Hello, PROTOCOL_MAX, PROTOCOL_MIN, RefusalCode } from './hello.ts';
import type { KnownPeer } from './known-peer.ts';
import { limitedLog } from './limited-log.ts';
import type { PeerListener, PeerOutside, PeerSocket } from './outside.ts';
import { newPeerCounts, type PeerCounts } from './peer-counts.ts';
import { type PeerMetrics, PeerTable } from './peer-table.ts';
import { keepForSeed, letGo, type Seed, Seeds, takeWaiting } from './seeds.ts';
import { remoteOf, systemOutside } from './sockets.ts';
import type { PeerTls } from './tls.ts';

export interface TransportOptions {
  readonly clusterName: string;
  /** '' while it is not known. */
  readonly clusterId: string;
  readonly node: NodeNumber;
  readonly nodeId: string;
  readonly generation: number;
  /** null: plain TCP. */
  readonly tls: PeerTls | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void;
  /** Takes a message, whose bytes are given away. MessageError closes the connection; any other error ends the thread. */
  readonly onMessage: (from: NodeNumber, message: Uint8Array, over: ConnectionId) => void;
  readonly onConnected: (node: NodeNumber) => void;
  /** A connection was lost: what went over it may have arrived or not. `left`: connections to that node that remain. */
  readonly onDisconnected: (node: NodeNumber, left: number, lost: ConnectionId) => void;
  /** By default 1 to 1: for tests. */
  readonly versions?: { readonly min: number; readonly max: number };
  /** By default those of this build: for tests. */
  readonly features?: number;
  /** By default of this process: for simulations. */
  readonly outside?: PeerOutside;
}

export class Transport implements Network {
  readonly #options: TransportOptions;
  readonly #outside: PeerOutside;
  readonly #log: TransportOptions['log'];
  readonly #pool = new BatchPool();
  readonly #peers = new PeerTable();
  readonly #seeds = new Seeds();
  #lastId: ConnectionId = ANY_CONNECTION;
  /** All that are not closed. */
  readonly #connections = new Set<Connection>();
  /** All sockets that were accepted; those of them on which TLS is not up yet. */
  readonly #accepted = new Set<PeerSocket>();
  readonly #opening = new Set<PeerSocket>();
  /** Accepted connections whose hello has not come. */
  readonly #greeting = new Set<Connection>();
  #listener: PeerListener | null = null;
  #tls: PeerTls | null;
  #clusterId: string;
  /** Connections with a batch to be sent at the end of this turn. */
  #dirty: Connection[] = [];
  #willFlush = false;
  #cancelTick: () => void = () => undefined;
  #tickedAt: number;
  #closing = false;
  readonly #owner: ConnectionOwner;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#outside = options.outside ?? systemOutside;
    this.#tls = options.tls;
    this.#clusterId = options.clusterId;
    const nowMs = (): number => options.clock.monotonicMs();
    this.#log = limitedLog(options.log, nowMs);
    this.#tickedAt = nowMs();
    this.#owner = {
      nowMs,
      hello: () => this.#hello(),
      judge: (connection, hello) => this.#peers.judge(this.#hello(), connection, hello),
      ready: (connection, hello) => this.#ready(connection, hello),
      message: (connection, message) => this.#message(connection, message),
      closed: (connection, reason) => this.#closed(connection, reason),
      flushLater: (connection) => this.#flushLater(connection),
    };
    this.#tickLater();
  }

  /** Accepts other nodes. Gives the port. Throws ListenError. */
  async listen(host: string, port: number): Promise<number> {
    this.#listener = this.#outside.newListener(this.#tls, {
      onSocket: (socket) => this.#accept(socket),
      onOpen: (raw, socket) => this.#open(raw, socket),
      onFailure: (remote, reason) =>
        this.#log('warn', `a connection from ${remote} failed in TLS: ${reason}`),
      onError: (error) => this.#log('error', `listening for nodes: ${error.message}`),
    });
    return await this.#listener.listen(host, port);
  }

  /**
   * The cluster's id became known: the first ring was made, or learned. Whoever greeted under another, or under none, has to greet again:
   * two that knew none may have become members of two clusters.
   */
  setClusterId(clusterId: string): void {
    if (clusterId === this.#clusterId) return;
    this.#clusterId = clusterId;
    for (const connection of this.#connections)
      if (connection.hello !== null && connection.hello.clusterId !== clusterId) connection.destroy('');
  }

  /** New certificates: for connections from now on. */
  renewTls(tls: PeerTls): void {
    this.#tls = tls;
    this.#listener?.renewTls(tls);
  }

  // --------------------------------------------------------------------------------------------- Network

  send(to: NodeNumber, message: Uint8Array, over: ConnectionId = ANY_CONNECTION): boolean {
    const peer = this.#peers.get(to);
    if (peer === undefined) return false;
    if (peer.connection(over)?.send(message)) return true;
    peer.counts.refused++;
    return false;
  }

  /**
   * Throws ConfigurationError where `address` is none. An address at which this node itself answered is refused for limits.seedIntervalMs:
   * a name of several nodes, or an address that is given to another, may lead to somebody else by then.
   */
  sendTo(address: string, message: Uint8Array, anew = false): boolean {
    parseAddress(address);
    const seed = this.#closing ? null : this.#seeds.at(address);
    if (seed === null) return false;
    if (anew && seed.connection?.state === 'ready') letGo(seed);
    if (seed.connection?.state === 'ready') return seed.connection.send(message);
    if (seed.connection === null) {
      const now = this.#owner.nowMs();
      if (now < seed.notBefore) return false;
      seed.notBefore = now + limits.peerReconnectMsMin;
      seed.connection = this.#dial(address);
    }
    return keepForSeed(seed, message);
  }

  /** Throws ConfigurationError where it is none, or too many nodes are known. */
  setAddress(node: NodeNumber, address: string): void {
    parseAddress(address);
    if (node === this.#options.node || this.#closing) return;
    const peer = this.#peers.ensure(node);
    if (peer === null) {
      this.#log('error', `the address of node ${nodeName(node)} is the ${limits.peersMax + 1}th: not kept`);
      return;
    }
    if (peer.address === address) return;
    peer.address = address;
    peer.startAfresh();
    peer.dialling?.destroy('the node has another address');
    this.#dialWhereWanted(peer);
  }

  features(node: NodeNumber): number {
    return this.#peers.get(node)?.features ?? 0;
  }

  forget(node: NodeNumber): void {
    const peer = this.#peers.get(node);
    if (peer === undefined) return;
    this.#peers.delete(node);
    peer.close(false, 'the node was removed');
  }

  // --------------------------------------------------------------------------------------------- state

  isConnected(node: NodeNumber): boolean {
    return this.#peers.get(node)?.current !== undefined;
  }

  /** Of each address that `sendTo` was given, what has come of it: for people. */
  seedStandings(): ReadonlyMap<string, string> {
    return new Map(this.#seeds.standings());
  }

  metrics(): PeerMetrics[] {
    return this.#peers.metrics();
  }

  /** Sends what was accepted, then closes all. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#cancelTick();
    this.#flush();
    for (const peer of this.#peers.values()) peer.close(true, '');
    for (const connection of this.#connections) {
      if (connection.state === 'greeting') connection.destroy('');
      else connection.end();
    }
    const ended = this.#listener?.close();
    const cancelCut = this.#outside.after(limits.peerLingerMs, () => {
      for (const connection of this.#connections) connection.destroy('');
      for (const socket of this.#accepted) socket.destroy();
    });
    for (const socket of this.#opening) socket.destroy();
    await ended;
    while (this.#connections.size > 0)
      await new Promise<void>((resolve) => {
        this.#whenClosed = resolve;
      });
    cancelCut();
  }
  #whenClosed: (() => void) | null = null;

  // --------------------------------------------------------------------------------------- connections

  #accept(socket: PeerSocket): void {
    const greeting = this.#opening.size + this.#greeting.size;
    const tooMany = this.#accepted.size >= limits.peerConnectionsMax || greeting >= limits.peerHandshakesMax;
    // Without a listener an error of a socket that nobody looks after any more would end the process.
    socket.on('error', () => socket.destroy());
    if (this.#closing || tooMany) {
      if (tooMany)
        this.#log(
          'warn',
          `a connection from ${remoteOf(socket)} was closed: there are ${this.#accepted.size}, ${greeting} without a hello; the limits are ${limits.peerConnectionsMax} and ${limits.peerHandshakesMax}`,
        );
      socket.destroy();
      return;
    }
    this.#accepted.add(socket);
    this.#opening.add(socket);
    socket.on('close', () => {
      this.#accepted.delete(socket);
      this.#opening.delete(socket);
    });
  }

  #open(raw: PeerSocket, socket: PeerSocket): void {
    this.#opening.delete(raw);
    const connection = this.#connection(socket, false, remoteOf(socket));
    this.#greeting.add(connection);
    connection.connected();
  }

  #dial(address: string): Connection {
    let connection: Connection | null = null;
    const socket = this.#outside.dial(address, this.#tls, () => connection?.connected());
    connection = this.#connection(socket, true, address);
    return connection;
  }
  #connection(socket: PeerSocket, dialled: boolean, remote: string): Connection {
    const connection = new Connection(++this.#lastId, socket, dialled, remote, this.#owner, this.#pool);
    this.#connections.add(connection);
    return connection;
  }

  #dialWhereWanted(peer: KnownPeer): void {
    if (this.#closing || !peer.wantsDial) return;
    peer.dialLater(this.#outside, this.#options.random, () => {
      if (peer.wantsDial && !this.#closing) peer.dialling = this.#dial(peer.address);
    });
  }

  #hello(): Hello {
    const { clusterName, node, nodeId, generation, versions } = this.#options;
    return {
      versionMin: versions?.min ?? PROTOCOL_MIN,
      versionMax: versions?.max ?? PROTOCOL_MAX,
      features: this.#options.features ?? FEATURES,
      clusterName,
      clusterId: this.#clusterId,
      node,
      nodeId,
      generation,
    };
  }

  #ready(connection: Connection, hello: Hello): PeerCounts {
    const peer = this.#peers.ensure(hello.node);
    // The judge saw to it, in this turn.
    if (peer === null) return newPeerCounts();
    const first = peer.current === undefined;
    this.#greeting.delete(connection);
    if (peer.dialling === connection) peer.dialling = null;
    peer.add(connection, hello, this.#owner.nowMs());
    this.#log(
      'info',
      `connected with node ${nodeName(hello.node)} ${connection.dialled ? 'at' : 'from'} ${connection.remote}`,
    );
    const seed = this.#seeds.of(connection);
    if (seed !== undefined) this.#sendWaiting(seed, connection);
    if (first) this.#options.onConnected(hello.node);
    return peer.counts;
  }

  #sendWaiting(seed: Seed, connection: Connection): void {
    seed.failure = '';
    seed.isSelf = false;
    for (const message of takeWaiting(seed)) connection.send(message);
  }

  #message({ hello, id }: Connection, message: Uint8Array): void {
    if (hello !== null) this.#options.onMessage(hello.node, message, id);
  }

  #closed(connection: Connection, reason: string): void {
    this.#connections.delete(connection);
    this.#greeting.delete(connection);
    const now = this.#owner.nowMs();
    const seed = this.#seeds.of(connection);
    if (seed !== undefined) {
      seed.connection = null;
      takeWaiting(seed);
    }
    const { hello } = connection;
    if (hello !== null) this.#lost(connection, hello.node, reason, now);
    else this.#notMade(connection, seed, reason, now);
    if (this.#connections.size === 0) this.#whenClosed?.();
  }

  #lost(connection: Connection, node: NodeNumber, reason: string, now: number): void {
    if (reason !== '')
      this.#log('warn', `lost a connection with node ${nodeName(node)} (${connection.remote}): ${reason}`);
    const peer = this.#peers.get(node);
    peer?.remove(connection, now);
    this.#options.onDisconnected(node, peer?.connections ?? 0, connection.id);
    if (peer === undefined) return;
    this.#peers.dropWhereUnknown(peer);
    this.#dialWhereWanted(peer);
  }

  #notMade(connection: Connection, seed: Seed | undefined, reason: string, now: number): void {
    const peer = this.#peers.diallingOver(connection);
    const isSelf = connection.refusal === RefusalCode.SELF;
    if (seed !== undefined) {
      seed.isSelf = isSelf;
      if (isSelf) seed.notBefore = now + limits.seedIntervalMs;
    }
    // A node that is looked for at what has become this one's own address is looked for on.
    if (isSelf && peer === undefined) return;
    const failed = peer ?? seed;
    if (failed === undefined) {
      if (reason !== '') this.#log('warn', `a connection from ${connection.remote} was not made: ${reason}`);
      return;
    }
    // The same failure is told once, not with each attempt.
    if (reason !== '' && reason !== failed.failure) {
      const who = peer === undefined ? 'a seed' : `node ${nodeName(peer.node)}`;
      this.#log('warn', `cannot connect with ${who} at ${connection.remote}: ${reason}`);
    }
    failed.failure = reason;
    if (peer === undefined) return;
    peer.counts.failures++;
    peer.remove(connection, now);
    this.#dialWhereWanted(peer);
  }

  // --------------------------------------------------------------------------------------- turns and time

  #flushLater(connection: Connection): void {
    this.#dirty.push(connection);
    if (this.#willFlush) return;
    this.#willFlush = true;
    this.#outside.atTurnEnd(this.#flush);
  }
  readonly #flush = (): void => {
    this.#willFlush = false;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const connection of dirty) connection.flush();
  };

  #tickLater(): void {
    this.#cancelTick = this.#outside.after(limits.peerHeartbeatMs, () => {
      this.#tickLater();
      this.#tick();
    });
  }
  #tick(): void {
    const now = this.#owner.nowMs();
    const heldUp = now - this.#tickedAt > 2 * limits.peerHeartbeatMs;
    this.#tickedAt = now;
    for (const connection of this.#connections) {
      if (heldUp) connection.forgive();
      connection.tick(now);
    }
  }
}
