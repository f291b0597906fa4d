/** Between the main thread and a front-end thread: what starts one, and the messages of its port. */
import type { MessagePort } from 'node:worker_threads';
import type { DoorbellMemory } from '../ipc/doorbell.ts';
import type { ShardClientEnds } from '../shard/shard-ends.ts';
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
}

export type FrontCommand =
  /** A shard serves: its channels and memtables. */
  | { readonly kind: 'attach'; readonly ends: ShardClientEnds }
  /** A shard's thread has ended: requests to it get SHARD_DOWN. */
  | { readonly kind: 'detach'; readonly shard: number }
  /** For /readyz; '' while the node serves. */
  | { readonly kind: 'not-ready'; readonly reason: string }
  /** Once, when every shard is attached. */
  | { readonly kind: 'listen'; readonly port: number }
  | { readonly kind: 'close'; readonly graceMs: number };

export type FrontEvent =
  | { readonly kind: 'attached'; readonly shard: number }
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'failed'; readonly error: PlainError }
  /** Nothing of uWebSockets.js is open any more: the thread may end. */
  | { readonly kind: 'closed' };
