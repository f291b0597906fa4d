/** Between the main thread and a front-end thread: what starts one, and the messages of its port. */
import type { MessagePort } from 'node:worker_threads';
import type { DoorbellMemory } from '../ipc/doorbell.ts';
import type { ShardClientEnds } from '../shard/shard-ends.ts';
import type { ConnectionLimits } from './connection-limits.ts';
import type { PlainError } from './job-port.ts';

export interface FrontThreadData {
  readonly port: MessagePort;
  readonly host: string;
  readonly sharedPort: boolean;
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  readonly nodeId: string;
  /** Which front end it is, from 0. */
  readonly index: number;
  readonly shards: number;
  readonly vnodes: number;
  /** The thread's own, which every shard rings. */
  readonly doorbell: DoorbellMemory;
  /** The thread's own, which the coordinator rings. */
  readonly coordinatorDoorbell: DoorbellMemory;
}

/** Beside ClientCommand (client-thread.ts). */
export type FrontCommand =
  /** The way to the coordinator. */
  | { readonly kind: 'coordinator'; readonly ends: ShardClientEnds }
  /** The node is part of a cluster: requests go to the coordinator. */
  | { readonly kind: 'coordinate' }
  /** Requests for data are refused, and the node is not ready, for this reason until `release`; answered by `held` when none is under way any more. */
  | { readonly kind: 'hold'; readonly reason: string }
  | { readonly kind: 'release' }
  /** For /readyz; '' while the node serves. */
  | { readonly kind: 'not-ready'; readonly reason: string }
  /** Once, when every shard is attached. */
  | { readonly kind: 'listen'; readonly port: number; readonly connections: ConnectionLimits }
  | { readonly kind: 'close'; readonly graceMs: number };

/** Beside ClientEvent. */
export type FrontEvent =
  | { readonly kind: 'listening'; readonly port: number }
  /** No request is at the shards any more. */
  | { readonly kind: 'coordinating' }
  | { readonly kind: 'held' }
  | { readonly kind: 'failed'; readonly error: PlainError };
