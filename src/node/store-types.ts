/** What the embedded store takes and gives: the types of the package's public face. */
import type { Clock } from '../base/clock.ts';
import type { RingKvError } from '../base/errors.ts';
import type { ShardClient } from '../shard/contract.ts';

/** Keys and values as text are their UTF-8; a lone surrogate becomes U+FFFD. */
export type Bytes = string | Uint8Array;

export interface Entry {
  readonly value: Uint8Array;
  /** For a conditional write. */
  readonly version: number;
  /** When the entry expires, milliseconds since 1970; 0 where it does not. */
  readonly expiresMs: number;
}
export interface WriteOptions {
  /** The write happens only where the current version equals it; 0: only where the key is absent. */
  readonly version?: number;
}
export interface PutOptions extends WriteOptions {
  /** Seconds until the entry expires, above 0. */
  readonly ttl?: number;
}
export type BatchOp =
  | { readonly op: 'put'; readonly key: Bytes; readonly value: Bytes; readonly options?: PutOptions }
  | { readonly op: 'delete'; readonly key: Bytes; readonly options?: WriteOptions }
  | { readonly op: 'get'; readonly key: Bytes };
/** `version`: of what was written or read; `value`: of a get that found something, otherwise null. */
export type BatchResult =
  | { readonly error: null; readonly version: number; readonly value: Uint8Array | null }
  | { readonly error: RingKvError };

export interface StoreOptions {
  readonly client: ShardClient;
  readonly clock: Clock;
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  /** Ends the node under the store. */
  readonly onClose: () => Promise<void>;
}

export interface ScanPage {
  /** Encoded records, copied out of shared memory. */
  readonly records: Uint8Array;
  readonly done: boolean;
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly key: Uint8Array;
}

export interface ScanOptions {
  readonly prefix?: Bytes;
  /** Entries at most; all where absent. */
  readonly limit?: number;
  /** False: values come back empty and are not read. True where absent. */
  readonly values?: boolean;
}
export interface ScanEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly version: number;
  /** When the entry expires, milliseconds since 1970; 0 where it does not. */
  readonly expiresMs: number;
}
