/** The nodes that the transport knows, at most peersMax, and what their past says about a new hello. Owned by the transport's thread. */
import { limits } from '../base/limits.ts';
import type { NodeNumber } from '../cluster/contract.ts';
import { nodeName } from '../cluster/node-name.ts';
import type { Connection } from './connection.ts';
import { type Hello, type Refusal, RefusalCode, refusalOf } from './hello.ts';
import { KnownPeer } from './known-peer.ts';
import type { PeerCounts } from './peer-counts.ts';

/** What a scrape shows of one node. */
export interface PeerMetrics extends PeerCounts {
  readonly node: NodeNumber;
  /** Ready ones now. */
  readonly connected: number;
  readonly queuedBytes: number;
}

export class PeerTable {
  readonly #peers = new Map<NodeNumber, KnownPeer>();

  get(node: NodeNumber): KnownPeer | undefined {
    return this.#peers.get(node);
  }
  values(): Iterable<KnownPeer> {
    return this.#peers.values();
  }
  delete(node: NodeNumber): void {
    this.#peers.delete(node);
  }
  /** null where there are too many. */
  ensure(node: NodeNumber): KnownPeer | null {
    let peer = this.#peers.get(node);
    if (peer === undefined) {
      if (this.#peers.size >= limits.peersMax) return null;
      peer = new KnownPeer(node);
      this.#peers.set(node, peer);
    }
    return peer;
  }
  /** Nodes of which only a connection was known are forgotten with it. */
  dropWhereUnknown(peer: KnownPeer): void {
    if (peer.address === '' && peer.connections === 0 && this.#peers.get(peer.node) === peer)
      this.#peers.delete(peer.node);
  }
  /** The node for which a connection is being made. */
  diallingOver(connection: Connection): KnownPeer | undefined {
    for (const peer of this.#peers.values()) if (peer.dialling === connection) return peer;
    return undefined;
  }

  /** Why the node that greets over `connection` is not wanted, or null. */
  judge(own: Hello, connection: Connection, hello: Hello): Refusal | null {
    const refusal = refusalOf(own, hello);
    if (refusal !== null) return refusal;
    const name = nodeName(hello.node);
    const peer = this.#peers.get(hello.node);
    if (peer === undefined && this.#peers.size >= limits.peersMax)
      return {
        code: RefusalCode.TOO_MANY,
        message: `node ${nodeName(own.node)} knows ${this.#peers.size} nodes; the limit is ${limits.peersMax}`,
      };
    const expected = this.diallingOver(connection);
    if (expected !== undefined && expected.node !== hello.node)
      return {
        code: RefusalCode.OTHER_NODE,
        message: `node ${nodeName(expected.node)} was dialled at ${connection.remote}, and node ${name} answered`,
      };
    if (peer === undefined || peer.nodeId === '') return null;
    if (peer.nodeId !== hello.nodeId)
      return {
        code: RefusalCode.NUMBER_TAKEN,
        message: `two nodes have the number ${name}: their ids are ${peer.nodeId} and ${hello.nodeId}`,
      };
    if (hello.generation < peer.generation)
      return {
        code: RefusalCode.OLD_GENERATION,
        message: `node ${name} has generation ${hello.generation}, and was here with ${peer.generation}`,
      };
    return null;
  }

  metrics(): PeerMetrics[] {
    return Array.from(this.#peers.values(), (peer) => ({
      ...peer.counts,
      node: peer.node,
      connected: peer.connections,
      queuedBytes: peer.queued,
    }));
  }
}
