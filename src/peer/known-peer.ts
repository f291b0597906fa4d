/**
 * What the transport knows of one other node: its address, its connections, and when to dial again. Owned by the
 * transport's thread.
 *
 * 1. It dials while an address was given and no connection is ready or being made. So two nodes may come to have two
 *    connections, when both dial at once: either serves, in both directions, and neither is closed for the other's sake.
 * 2. Messages go over the connection that became ready last, but for those that are to go over a certain one.
 */
import { limits } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import { ANY_CONNECTION, type ConnectionId, type NodeNumber, type Timers } from '../cluster/contract.ts';
import type { Connection } from './connection.ts';
import type { Hello } from './hello.ts';
import { newPeerCounts, type PeerCounts } from './peer-counts.ts';

export class KnownPeer {
  readonly node: NodeNumber;
  readonly counts: PeerCounts = newPeerCounts();
  /** host:port; '' where nobody gave it: then the node must dial. */
  address = '';
  /** Of the last hello; '' and -1 before it. */
  nodeId = '';
  generation = -1;
  features = 0;
  /** The connection that is being made. */
  dialling: Connection | null = null;
  /** Why the last attempt failed: told once. */
  failure = '';
  /** Ready ones, the oldest first. */
  readonly #ready: Connection[] = [];
  #readyAt = 0;
  #attempts = 0;
  /** Takes back the attempt that is waited for. */
  #cancelDial: (() => void) | null = null;

  constructor(node: NodeNumber) {
    this.node = node;
  }

  /** The connection to send over, or undefined. */
  get current(): Connection | undefined {
    return this.#ready[this.#ready.length - 1];
  }
  /** That one where it is ready. */
  connection(id: ConnectionId): Connection | undefined {
    return id === ANY_CONNECTION ? this.current : this.#ready.find((one) => one.id === id);
  }
  get connections(): number {
    return this.#ready.length;
  }
  get queued(): number {
    let sum = 0;
    for (const connection of this.#ready) sum += connection.queued;
    return sum;
  }

  /** Takes a ready connection. Those to an earlier process of the node, and the oldest of too many, are cut. */
  add(connection: Connection, hello: Hello, now: number): void {
    const old = hello.generation > this.generation ? this.#ready.slice() : [];
    this.nodeId = hello.nodeId;
    this.generation = hello.generation;
    this.features = hello.features;
    this.#ready.push(connection);
    this.counts.connections++;
    this.#readyAt = now;
    this.failure = '';
    this.stopWaiting();
    for (const one of old) one.destroy('a newer process of the node took its place');
    const [oldest] = this.#ready;
    if (this.#ready.length > limits.peerConnectionsPerNodeMax)
      oldest?.destroy(`${this.#ready.length} connections with one node`);
  }

  /** True where it was a ready one. */
  remove(connection: Connection, now: number): boolean {
    if (this.dialling === connection) this.dialling = null;
    const at = this.#ready.indexOf(connection);
    if (at < 0) return false;
    this.#ready.splice(at, 1);
    // A connection that ends at once, each time, must not be made again without pause.
    if (now - this.#readyAt >= limits.peerReconnectMsMax) this.#attempts = 0;
    return true;
  }

  /** Whether there is reason to dial, and no attempt under way or waited for. */
  get wantsDial(): boolean {
    return (
      this.address !== '' && this.#ready.length === 0 && this.dialling === null && this.#cancelDial === null
    );
  }

  /** Calls `dial` after a random time (full jitter), longer with each attempt. The first follows at once. */
  dialLater(timers: Timers, random: Random, dial: () => void): void {
    const ceiling = Math.min(
      limits.peerReconnectMsMax,
      limits.peerReconnectMsMin * 2 ** Math.min(this.#attempts, 16),
    );
    const delay = this.#attempts === 0 ? 0 : random.between(1, ceiling);
    this.#attempts++;
    this.#cancelDial = timers.after(delay, () => {
      this.#cancelDial = null;
      dial();
    });
  }

  /** The node is there, or its address is another one: earlier failures say nothing any more. */
  startAfresh(): void {
    this.#attempts = 0;
    this.stopWaiting();
  }
  stopWaiting(): void {
    this.#cancelDial?.();
    this.#cancelDial = null;
  }

  /** Cuts all connections; those that are ready may send first what they accepted where `gently`. */
  close(gently: boolean, reason: string): void {
    this.stopWaiting();
    this.address = '';
    this.dialling?.destroy(reason);
    for (const one of this.#ready.slice()) gently ? one.end() : one.destroy(reason);
  }
}
