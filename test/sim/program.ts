/** What runs on a simulated machine, and what it is given: the cluster's node, or a toy in its place. */
import type { Clock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import type {
  ClientRead,
  ClientReadAnswer,
  ClientScan,
  ClientScanAnswer,
  ClientWrite,
  ClientWriteAnswer,
  Network,
  NodeNumber,
} from '../../src/cluster/contract.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import type { FileSystem } from '../../src/vfs/file-system.ts';
import type { Defect } from './defects.ts';
import type { ProcessLife } from './process-life.ts';

/** How a program begins: what an operator would tell it. */
export interface Role {
  /** Addresses of nodes that are there already; none: this one makes the cluster. */
  readonly seeds: readonly string[];
  /** Members of the first ring, where a program is told. */
  readonly founders: readonly { readonly number: NodeNumber; readonly address: string }[];
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
  readonly role: Role;
  readonly tuning: Tuning;
  readonly defect: Defect | null;
  attach(onMessage: (from: NodeNumber, message: Uint8Array) => void): Network;
  log(level: 'info' | 'warn' | 'error', message: string): void;
}

/** What is the same on all machines of a simulation. */
export interface Tuning {
  readonly vnodes: number;
  readonly replicas: number;
  readonly gcGraceMs: number;
  readonly repair: boolean;
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
  write(request: ClientWrite, done: (answer: ClientWriteAnswer) => void): void;
  read(request: ClientRead, done: (answer: ClientReadAnswer) => void): void;
  scan(request: ClientScan, done: (answer: ClientScanAnswer) => void): void;
  /** Everything on this node in order of (token, keyspace, key), dead records included. */
  dump(done: (records: readonly HeldRecord[]) => void): void;
  /** Ends in an orderly way. */
  stop(): Promise<void>;
}

export type StartProgram = (host: ProgramHost) => Promise<Program>;
