/**
 * Where a command reads and writes: a server, or a data directory opened in this process. `open-target.ts`
 * chooses. Errors are those of src/base/errors.ts and src/client/errors.ts.
 */
import type { Consistency } from '../client/index.ts';

export interface TargetEntry {
  readonly key: Uint8Array;
  /** Empty where a scan was not asked for values. */
  readonly value: Uint8Array;
  readonly version: number;
  /** Seconds left, rounded up; null where it does not expire. */
  readonly ttl: number | null;
}
export interface ReadOptions {
  readonly consistency?: Consistency | undefined;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}
export interface WriteOptions extends ReadOptions {
  /** Seconds; only for `put`. */
  readonly ttl?: number | undefined;
  readonly version?: number | undefined;
}
export interface TargetScanOptions {
  readonly prefix: Uint8Array;
  /** Infinity for all. */
  readonly limit: number;
  readonly values: boolean;
  /** One state from begin to end, where the target can give that: an embedded one can. */
  readonly snapshot: boolean;
  readonly timeoutMs?: number | undefined;
  readonly signal: AbortSignal;
}

export interface Target {
  /** For messages: `server http://127.0.0.1:8080`, `data directory ./data`. */
  readonly name: string;
  get(key: Uint8Array, options: ReadOptions): Promise<TargetEntry | null>;
  put(key: Uint8Array, value: Uint8Array, options: WriteOptions): Promise<number>;
  delete(key: Uint8Array, options: WriteOptions): Promise<void>;
  scan(options: TargetScanOptions): AsyncIterable<TargetEntry>;
  close(): Promise<void>;
}
