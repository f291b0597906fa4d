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
  readonly gcGraceMs: number;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  readonly insecureBind: boolean;
}
