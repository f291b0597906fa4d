/** The effective configuration of a node; `config.ts` makes it from file, environment and flags. */
import type { Compression, Durability } from '../engine/contract.ts';

export interface NodeConfig {
  readonly host: string;
  readonly port: number;
  readonly data: string;
  /** In memory, nothing on disk: for tests and embedded use. */
  readonly inMemory: boolean;
  readonly shards: number;
  readonly frontends: number;
  readonly durability: Durability;
  readonly syncIntervalMs: number;
  readonly memtableBytes: number;
  /** For the whole node; each shard gets its part. */
  readonly blockCacheBytes: number;
  readonly compression: Compression;
  readonly compactionDial: number;
  /** For the whole node; 0 is unlimited. */
  readonly compactionBytesPerSecond: number;
  readonly blockBytes: number;
  readonly maxValueBytes: number;
  readonly maxKeyBytes: number;
  readonly vnodes: number;
  readonly clusterName: string;
  /** 32 hexadecimal digits; '' where the data directory decides. */
  readonly nodeId: string;
  /** '': that of `host`. */
  readonly peerHost: string;
  readonly peerPort: number;
  /** host:port of peer listeners, separated by commas; '' for none. */
  readonly seeds: string;
  /** Id, or its first 8 digits, of a node whose place this one takes; '' for a place of its own. */
  readonly replace: string;
  readonly replicas: number;
  /** RACK or ZONE/RACK. */
  readonly rack: string;
  /** 0: never. */
  readonly repairIntervalMs: number;
  /** Paths of PEM files; all three or none. */
  readonly peerTlsCert: string;
  readonly peerTlsKey: string;
  readonly peerTlsCa: string;
  readonly gcGraceMs: number;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  readonly insecureBind: boolean;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
/** Where a node says what happens: pino behind it in `serve`, nothing in an embedded store unless asked for. */
export type Log = (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;

/** A node that serves. Made by `startNode` (node.ts). */
export interface RunningNode {
  /** http://HOST:PORT */
  readonly url: string;
  readonly config: NodeConfig;
  readonly nodeId: string;
  /** Resolves where the node cannot go on (a shard that dies again and again); never otherwise. */
  readonly failed: Promise<Error>;
  /** Looks at once whether its certificate for other nodes was renewed, which it does from time to time in any case. */
  renewCertificates(): void;
  /** Stops accepting, answers what is in flight, syncs, closes. Idempotent. */
  close(): Promise<void>;
}
