/** One read or write as both transports take it, and what comes back. Errors come as rejections. */
import type { MonotonicMs } from '../base/clock.ts';
import type { Consistency } from './types.ts';

/** PING is for the connection itself: it goes over WebSocket alone. */
export const KvOp = { PUT: 1, GET: 2, DELETE: 3, PING: 4 } as const;
export type KvOpCode = (typeof KvOp)[keyof typeof KvOp];

export interface KvRequest {
  readonly op: KvOpCode;
  readonly key: Uint8Array;
  /** Of a put. */
  readonly value: Uint8Array | null;
  readonly consistency: Consistency | undefined;
  readonly version: number | undefined;
  readonly ttl: number | undefined;
  readonly idempotencyKey: string | undefined;
}

/** Bytes of what a request carries. */
export const bytesOfRequest = (request: KvRequest): number =>
  request.key.length +
  (request.value?.length ?? 0) +
  // Three bytes of UTF-8 for each UTF-16 unit at most.
  (request.idempotencyKey === undefined ? 0 : 3 * request.idempotencyKey.length);

export interface KvAnswer {
  /** False: a get of an absent key. */
  readonly found: boolean;
  /** Of the record read or written; 0 where the key is absent, and for deletes over HTTP, which tell none. */
  readonly version: number;
  readonly ttl: number | null;
  /** Of a get that found its key. */
  readonly value: Uint8Array | null;
}

/** Reads and writes of one node. */
export interface KvLink {
  /** Whether a call may well succeed now: false while the node is being reconnected to. */
  readonly usable: boolean;
  /**
   * Resolves or rejects by `deadlineMs` and a grace; rejects with the signal's reason. `isOneOfMany`: others
   * are sent in the same turn, with which it may share a message.
   */
  send(
    request: KvRequest,
    deadlineMs: MonotonicMs,
    signal: AbortSignal | undefined,
    isOneOfMany: boolean,
  ): Promise<KvAnswer>;
  close(): Promise<void>;
}
