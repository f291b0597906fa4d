/** What runs on a simulated machine, and what it is given. */

import type { Clock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import type { DrainLeft } from '../../src/cluster/coming-to-rest.ts';
import type {
  ClientRead,
  ClientReadAnswer,
  ClientScan,
  ClientScanAnswer,
  ClientWrite,
  ClientWriteAnswer,
  NodeNumber,
} from '../../src/cluster/contract.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import type { TopologyOperation } from '../../src/cluster/ring-messages.ts';
import type { Standing } from '../../src/cluster/topology.ts';
import type { FileSystem } from '../../src/vfs/file-system.ts';
import type { Defect } from './defects.ts';
import type { ProcessLife } from './process-life.ts';
import type { NetworkListener, ProcessNetwork } from './site-network.ts';

/** How a program begins: what an operator would tell it. */
export interface Role {
  /** Addresses of nodes that are there already; none: this one makes the cluster. */
  readonly seeds: readonly string[];
  /** Takes the place of this one, whose disk is lost; 0 of none. */
  readonly replaces: NodeNumber;
}

/** All that a process finds on its machine. */
export interface ProgramHost {
  readonly name: string;
  readonly self: NodeNumber;
  readonly nodeId: string;
  readonly address: string;
  readonly rack: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly life: ProcessLife;
  readonly fs: FileSystem;
  /** How long its shards take to recover, beyond what the disk takes: they have longer logs than a simulation writes. */
  readonly recoveryMs: number;
  readonly role: Role;
  readonly tuning: Tuning;
  readonly defect: Defect | null;
  /** `generation` of this start; `clusterId` '' where it knows none. */
  attach(hears: NetworkListener, generation: number, clusterId: string): ProcessNetwork;
  log(level: 'info' | 'warn' | 'error', message: string): void;
  /** Ends the simulation: what must never happen has happened. */
  fail(error: unknown): void;
}

/** What is the same on all machines of a simulation. */
export interface Tuning {
  readonly vnodes: number;
  readonly replicas: number;
  readonly gcGraceMs: number;
  readonly repairIntervalMs: number;
}

/** What a replica holds of one key, as it holds it. */
export interface HeldRecord {
  readonly keyspace: number;
  readonly key: string;
  readonly record: Uint8Array;
}

export interface Program {
  /** The ring that it goes by; null where it has none yet. */
  readonly ring: RingMap | null;
  readonly standing: Standing;
  /** Knows a ring and answers clients. */
  readonly isOpen: boolean;
  /** Why it is not ready, for probes; '' where it is. */
  readonly notReady: string;
  /** Bytes of hints that it keeps, and vnodes that wait for repair. */
  readonly hintBytes: number;
  readonly repairsWaiting: number;
  /** Deleted records that came back and were refused. */
  readonly resurrections: number;
  write(request: ClientWrite, done: (answer: ClientWriteAnswer) => void): void;
  read(request: ClientRead, done: (answer: ClientReadAnswer) => void): void;
  scan(request: ClientScan, done: (answer: ClientScanAnswer) => void): void;
  /** It has a connection with that node, and takes it for up. */
  reaches(node: NodeNumber): boolean;
  /** Asks the replica of another node for what it does not hold; false where it cannot ask yet. */
  ask(node: NodeNumber, timeoutMs: number, done: (status: number) => void): boolean;
  /** Begins a change of the ring; rejects where that makes no sense or cannot be agreed on. */
  change(operation: TopologyOperation): Promise<unknown>;
  /** It takes no more requests of clients; resolves with what is left after `waitMs` at the latest. */
  drain(waitMs: number): Promise<DrainLeft>;
  /** A node that is alone joins the cluster of these; rejects with what speaks against it. */
  join(seeds: readonly string[]): Promise<void>;
  /** Repairs all that it holds. */
  repair(): void;
  /** Makes one table of all tables. */
  compact(): Promise<void>;
  /** Everything on this node in order of (token, keyspace, key), dead records included. */
  dump(): readonly HeldRecord[];
  /** Ends in an orderly way. */
  stop(): Promise<void>;
}

export type StartProgram = (host: ProgramHost) => Program;
