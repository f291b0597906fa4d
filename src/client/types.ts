/** What the client takes and gives. */
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { TlsOptions } from './platform.ts';

export type { TlsOptions } from './platform.ts';

/** Keys and values as text are their UTF-8; a lone surrogate becomes U+FFFD. */
export type Bytes = string | Uint8Array;
export type Consistency = 'ONE' | 'QUORUM' | 'ALL' | 'SERIAL';

export interface ConnectOptions {
  /** Base URLs such as http://127.0.0.1:8080; at least one. Requests go to the next node where one does not answer. */
  readonly nodes: readonly string[];
  /**
   * Of reads and writes: 'http' where absent, or 'ws', one WebSocket to each node, on which what is asked for in one turn of the
   * event loop shares a message. Scans and questions about the cluster go over HTTP in any case.
   */
  readonly transport?: 'ws' | 'http';
  /** For https: URLs. Not in browsers. */
  readonly tls?: TlsOptions;
  /**
   * 'token' where absent: reads and writes go to a node that holds the key, as the cluster's ring map says. 'any': to the
   * first node that answers. With one node both are the same.
   */
  readonly routing?: 'token' | 'any';
  /**
   * Whether the cluster's other nodes are asked too, where they say that clients reach them: true where absent, but false in
   * browsers, which reach no other origin. Nodes that join later are learnt, those that left are dropped.
   */
  readonly discover?: boolean;
  /** Reads that take long are asked of a second node too; never where absent, and never with one node. */
  readonly hedge?: HedgeOptions;
  /** HTTP connections to each node at most: 64 where absent. One request at a time runs on each. */
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

export interface HedgeOptions {
  /** Milliseconds after which a second node is asked; where absent, or 'p95', what 95 % of recent reads took at most. */
  readonly afterMs?: number | 'p95';
  /** Second requests, as a share of all reads, at most: 0.05 where absent, at most 0.5. */
  readonly share?: number;
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
/** One of a deleteMany, where it has options of its own. */
export interface DeleteEntry {
  readonly key: Bytes;
  readonly version?: number;
  readonly idempotencyKey?: string;
}
/** What may be the same for many entries. */
export type DeleteManyOptions = Omit<WriteOptions, 'idempotencyKey'>;
/** What may be the same for many entries. */
export type PutManyOptions = Omit<PutOptions, 'idempotencyKey'>;
/** One of a putMany. An entry with an idempotency key is a request of its own over HTTP. */
export interface PutEntry {
  readonly key: Bytes;
  readonly value: Bytes;
  readonly ttl?: number;
  readonly version?: number;
  readonly idempotencyKey?: string;
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
