/** What the client takes and gives. */
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';

/** Keys and values as text are their UTF-8; a lone surrogate becomes U+FFFD. */
export type Bytes = string | Uint8Array;
export type Consistency = 'ONE' | 'QUORUM' | 'ALL' | 'SERIAL';

export interface ConnectOptions {
  /** Base URLs such as http://127.0.0.1:8080; at least one. Requests go to the next one where one does not answer. */
  readonly nodes: readonly string[];
  /** Only 'http' in this version. */
  readonly transport?: 'http';
  /** Connections to each node at most: 64 where absent. One request at a time runs on each. */
  readonly connections?: number;
  /** For calls that name none: 5,000 where absent, at most limits.requestTimeoutMsMax. */
  readonly timeoutMs?: number;
  /** Repeats of a call at most, only of what is safe to repeat: 4 where absent, 0 for none. */
  readonly retries?: number;
  /** For tests. */
  readonly clock?: Clock;
  /** For tests: draws the jitter of the backoff. */
  readonly random?: Random;
}

export interface CallOptions {
  /** For the whole call, its repeats included. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}
export interface ReadOptions extends CallOptions {
  readonly consistency?: Consistency;
}
export interface WriteOptions extends ReadOptions {
  /** The write happens only where the current version equals it; 0: only where the key is absent. */
  readonly version?: number;
  /**
   * 1 to 64 characters. The server gives a repeat of the same write the first one's outcome for 10 minutes, so
   * that the client repeats it also where it cannot know whether the first try was done.
   */
  readonly idempotencyKey?: string;
}
export interface PutOptions extends WriteOptions {
  /** Seconds until the entry expires, above 0. */
  readonly ttl?: number;
}
export interface Entry {
  readonly value: Uint8Array;
  /** For a conditional write. */
  readonly version: number;
  /** Seconds until it expires; null where it does not. */
  readonly ttl: number | null;
}
export interface ScanOptions extends CallOptions {
  readonly prefix?: Bytes;
  /** Entries at most; all where absent. */
  readonly limit?: number;
  /** True: values too. False where absent: `value` is null. */
  readonly values?: boolean;
}
export interface ScanEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
  readonly version: number;
  /** Seconds until it expires; null where it does not. */
  readonly ttl: number | null;
}
