/** What a simulated machine needs of the network between machines: messages alone (sim-network.ts), or connections (connection-network.ts). */

import type { Clock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import type { ConnectionId, Network, NodeNumber } from '../../src/cluster/contract.ts';
import type { ProcessLife } from './process-life.ts';

/** What a process hears from the network. */
export interface NetworkListener {
  onMessage(from: NodeNumber, message: Uint8Array, over: ConnectionId): void;
  /** There is a connection with that node, and there was none. Networks of messages do not tell. */
  onConnected(node: NodeNumber): void;
  /** Connections with that node were lost, and with them what was under way. `left`: those that remain; `lost`: which it was. */
  onDisconnected(node: NodeNumber, left: number, lost: ConnectionId): void;
}

/** A process that listens. */
export interface Attached {
  readonly self: NodeNumber;
  readonly nodeId: string;
  readonly generation: number;
  /** '' where it knows none. */
  readonly clusterId: string;
  /** Its machine's: what links are named by. */
  readonly machine: string;
  readonly address: string;
  readonly life: ProcessLife;
  readonly clock: Clock;
  readonly random: Random;
  readonly hears: NetworkListener;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

/** The network as one process sees it. */
export interface ProcessNetwork extends Network {
  /** Others can reach it from now on. */
  listen(): void;
  setClusterId(clusterId: string): void;
  isConnected(node: NodeNumber): boolean;
  /** Sends what was accepted, then closes all. */
  close(): Promise<void>;
}

export interface SiteNetwork {
  /** Messages that were sent. */
  readonly sent: number;
  /** Opens the listener of a process, in place of an earlier one's. */
  attach(process: Attached): ProcessNetwork;
  /** The process on that machine has ended, and its connections with it; by a power cut nobody is told. */
  ended(machine: string, address: string, byPowerCut: boolean): void;
  /** One direction, between machines. */
  cut(from: string, to: string): void;
  mend(from: string, to: string): void;
  impair(from: string, to: string, slowness: number, lossChance: number): void;
  /** All links as good as can be. */
  mendAll(): void;
}
