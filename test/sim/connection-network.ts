/**
 * The network between simulated machines as the product has it: the transport of src/peer over simulated connections of TCP, bytes framed
 * and summed by its own code. Each message carries who sent it to whom, and as what, so that it can be judged:
 *
 * - none comes to another node than it was sent to, from another than it claims, twice, or from another cluster;
 * - one that was accepted arrives, or its sender hears that a connection with that node was lost;
 * - what waits for a node, and how many connections there are with it, keeps within the limits of their names.
 */

import { parseAddress } from '../../src/base/address.ts';
import { limits } from '../../src/base/limits.ts';
import type { Random } from '../../src/base/random.ts';
import { ANY_CONNECTION, type ConnectionId, type NodeNumber } from '../../src/cluster/contract.ts';
import { nodeName } from '../../src/cluster/node-name.ts';
import { Transport } from '../../src/peer/transport.ts';
import type { Violation } from './check-quorum.ts';
import { type ConnectionDefect, isRefusalOfStart } from './connection-defects.ts';
import type { Scheduler } from './scheduler.ts';
import { CALM, type NetworkProfile } from './sim-network.ts';
import type { Attached, ProcessNetwork, SiteNetwork } from './site-network.ts';
import { TcpNetwork } from './tcp-network.ts';

export const CLUSTER_NAME = 'sim';
/** Cluster (and whether its sender knew its id), sender, message, receiver (0: whoever listens there), each 4 bytes. */
const TAG_BYTES = 16;
const KNOWN = 0x8000_0000;
const HOME = 0;
const LOOK_US = 250_000;
/** Of the defect that drops long messages. */
const DROPPED_BYTES_MIN = 1500;

/** A process with its transport. */
export interface Party extends Attached {
  readonly cluster: number;
  readonly transport: Transport;
  /** Messages that were accepted, by id: to whom and when. */
  readonly underWay: Map<number, { readonly to: NodeNumber; readonly atUs: number }>;
  clusterId: string;
}

export class ConnectionNetwork implements SiteNetwork {
  readonly tcp: TcpNetwork;
  readonly violations: Violation[] = [];
  readonly #scheduler: Scheduler;
  readonly #defect: ConnectionDefect | null;
  readonly #parties = new Set<Party>();
  readonly #delivered = new Set<number>();
  #sent = 0;
  /** Most connections that one node had with another; bytes that waited. */
  readonly most = { connections: 0, queuedBytes: 0 };

  constructor(
    scheduler: Scheduler,
    random: Random,
    profile: NetworkProfile = CALM,
    defect: ConnectionDefect | null = null,
  ) {
    this.#scheduler = scheduler;
    this.#defect = defect;
    this.tcp = new TcpNetwork(scheduler, random, profile);
    this.#look();
  }

  get sent(): number {
    return this.#sent;
  }
  /** Those that run. */
  get parties(): Party[] {
    return [...this.#parties].filter(({ life }) => life.isAlive);
  }

  attach(process: Attached): ProcessNetwork {
    const party = this.join(process, CLUSTER_NAME, HOME);
    const { host, port } = parseAddress(process.address);
    const { transport } = party;
    const defect = this.#defect;
    const addressed = new Set<NodeNumber>();
    return {
      send: (to, message, over) => {
        const { clock } = party;
        if (defect === 'silent-while-starting' && isRefusalOfStart(message, clock.monotonicMs())) return true;
        const isLost = defect === 'long-message-dropped' && message.length > DROPPED_BYTES_MIN;
        return isLost ? this.#pretend(party, to) : this.send(party, to, message, over);
      },
      sendTo: (address, message, anew) =>
        transport.sendTo(address, this.#tagged(party, this.#nextId(), 0, message), anew),
      setAddress: (node, address) => {
        if (defect === 'first-address-only' && addressed.has(node)) return;
        addressed.add(node);
        transport.setAddress(node, address);
      },
      forget: (node) => transport.forget(node),
      // Before anything else happens to it.
      listen: () => void transport.listen(host, port),
      isConnected: (node) => transport.isConnected(node),
      features: (node) => transport.features(node),
      setClusterId: (clusterId) => {
        party.clusterId = clusterId;
        transport.setClusterId(clusterId);
      },
      close: () => transport.close(),
    };
  }

  /** Starts the transport of a process; `cluster` 0 is that of the machines, others are strangers. */
  join(process: Attached, clusterName: string, cluster: number): Party {
    const { self, nodeId, generation, clusterId, machine, address, life, clock, random, hears, log } =
      process;
    const host = this.tcp.host(machine);
    host.isOn = true;
    this.tcp.assign(parseAddress(address).host, host);
    const transport: Transport = new Transport({
      clusterName,
      clusterId,
      node: self,
      nodeId,
      generation,
      tls: null,
      clock,
      random,
      log,
      outside: this.tcp.outside(host, life),
      onMessage: (from, bytes, over) => {
        const message = this.#judge(party, from, bytes);
        if (message !== null) hears.onMessage(from, message, over);
      },
      onConnected: (node) => hears.onConnected(node),
      onDisconnected: (node, left, lost) => {
        for (const [id, { to }] of party.underWay) if (to === node) party.underWay.delete(id);
        if (this.#defect !== 'calls-of-last-connection' || left === 0) hears.onDisconnected(node, left, lost);
      },
    });
    const party: Party = { ...process, cluster, transport, underWay: new Map() };
    this.#parties.add(party);
    return party;
  }

  send(party: Party, to: NodeNumber, message: Uint8Array, over: ConnectionId = ANY_CONNECTION): boolean {
    if (!party.life.isAlive) return false;
    const id = this.#nextId();
    if (!party.transport.send(to, this.#tagged(party, id, to, message), over)) return false;
    party.underWay.set(id, { to, atUs: this.#scheduler.nowUs });
    return true;
  }

  ended(machine: string, _address: string, byPowerCut: boolean): void {
    const host = this.tcp.host(machine);
    for (const party of this.#parties)
      if (party.machine === machine && !party.life.isAlive) {
        this.#parties.delete(party);
        host.processEnded(party.life);
      }
    if (byPowerCut) host.powerOff();
  }
  cut(from: string, to: string): void {
    this.tcp.links.cut(from, to);
  }
  mend(from: string, to: string): void {
    this.tcp.links.mend(from, to);
  }
  impair(from: string, to: string, slowness: number, lossChance: number): void {
    this.tcp.links.impair(from, to, slowness, lossChance);
  }
  mendAll(): void {
    this.tcp.links.mendAll(CALM);
  }

  /** All is well by now: what was accepted so long ago must have come, or be known as lost. */
  checkUnderWay(agoUs: number): void {
    const beforeUs = this.#scheduler.nowUs - agoUs;
    for (const { self, underWay } of this.parties)
      for (const { to, atUs } of underWay.values())
        if (atUs < beforeUs)
          this.breach(
            'an accepted message arrives, or its sender hears that the connection was lost',
            `from ${nodeName(self)} to ${nodeName(to)}, accepted at ${atUs} us`,
          );
  }

  breach(promise: string, what: string): void {
    this.violations.push({ promise: `k: ${promise}`, key: '', what });
  }

  /** By a defect: accepted and never sent. */
  #pretend({ underWay }: Party, to: NodeNumber): boolean {
    underWay.set(this.#nextId(), { to, atUs: this.#scheduler.nowUs });
    return true;
  }
  #nextId(): number {
    return ++this.#sent;
  }
  #tagged({ cluster, clusterId, self }: Party, id: number, to: NodeNumber, message: Uint8Array): Buffer {
    const tagged = Buffer.allocUnsafe(TAG_BYTES + message.length);
    tagged.writeUInt32LE(cluster + (clusterId === '' ? 0 : KNOWN), 0);
    tagged.writeUInt32LE(self, 4);
    tagged.writeUInt32LE(id, 8);
    tagged.writeUInt32LE(to, 12);
    tagged.set(message, TAG_BYTES);
    return tagged;
  }

  /** The message without its tag; null where nobody should have got it. */
  #judge(party: Party, from: NodeNumber, bytes: Uint8Array): Uint8Array | null {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const told = view.getUint32(0, true);
    const isKnown = told >= KNOWN;
    const cluster = isKnown ? told - KNOWN : told;
    const sender = view.getUint32(4, true);
    const id = view.getUint32(8, true);
    const to = view.getUint32(12, true);
    const what = `message ${id} of ${nodeName(sender)} to ${nodeName(to)} came to ${nodeName(party.self)} from ${nodeName(from)}`;
    // It has come, whoever it is from.
    for (const { self, underWay } of this.#parties) if (self === sender) underWay.delete(id);
    if (cluster !== party.cluster) {
      // Two of clusters with one name can tell where both have found theirs.
      if (party.clusterId !== '' && isKnown)
        this.breach('nothing of another cluster gets past the hello', what);
      return null;
    }
    if (sender !== from || (to !== 0 && to !== party.self))
      this.breach('a message comes to whom it was sent, as from who sent it', what);
    if (this.#delivered.has(id)) this.breach('a message comes once', what);
    this.#delivered.add(id);
    return bytes.subarray(TAG_BYTES);
  }

  #look(): void {
    for (const { self, transport } of this.parties)
      for (const { node, connected, queuedBytes } of transport.metrics()) {
        this.most.connections = Math.max(this.most.connections, connected);
        this.most.queuedBytes = Math.max(this.most.queuedBytes, queuedBytes);
        const what = `${nodeName(self)} has ${connected} connections with ${nodeName(node)}, and ${queuedBytes} bytes for it`;
        if (connected > limits.peerConnectionsPerNodeMax)
          this.breach(`at most ${limits.peerConnectionsPerNodeMax} connections with one node`, what);
        if (queuedBytes > connected * (limits.peerQueueBytesMax + limits.peerHelloBytesMax))
          this.breach(`at most ${limits.peerQueueBytesMax} bytes wait for each connection`, what);
      }
    this.#scheduler.after(LOOK_US, () => this.#look());
  }
}
