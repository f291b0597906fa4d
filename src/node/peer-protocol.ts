/** Between the main thread and the peer worker: what starts it, and the messages of its port. */
import type { MessagePort } from 'node:worker_threads';
import type { DoorbellMemory } from '../ipc/doorbell.ts';
import type { ShardServerEnds } from '../shard/shard-ends.ts';
import type { NodeConfig } from './contract.ts';
import type { PlainError } from './job-port.ts';

export interface PeerThreadData {
  readonly port: MessagePort;
  readonly config: NodeConfig;
  /** 32 hexadecimal digits; the first 8 are the node's number. */
  readonly nodeId: string;
  /** Where its documents and hints lie; null for a node in memory. */
  readonly directory: string | null;
  /** The thread's own: rung by every shard, and by every front end. */
  readonly doorbell: DoorbellMemory;
  readonly frontDoorbell: DoorbellMemory;
}

/** Beside ClientCommand (client-thread.ts). In this order: listen, open, front (each), url. */
export type PeerCommand =
  /** Takes the port for other nodes; they are answered after `open`. */
  | { readonly kind: 'listen' }
  /** Every shard is attached. */
  | { readonly kind: 'open' }
  /** Requests of a front end, which find the coordinator. */
  | { readonly kind: 'front'; readonly ends: ShardServerEnds }
  /** All front ends ask the coordinator now, and none has a request at a shard. */
  | { readonly kind: 'coordinating' }
  /** No front end has a request for data under way, and none takes any. */
  | { readonly kind: 'held' }
  /** Its files of TLS may have changed: it looks now. */
  | { readonly kind: 'renew-tls' }
  /** Where clients reach this node. */
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'close' };

/** Beside ClientEvent. */
export type PeerEvent =
  /** `waits`: it has seeds, and no ring before it has found their cluster. */
  | { readonly kind: 'listening'; readonly port: number; readonly waits: boolean }
  /** It knows its ring: requests can be coordinated. */
  | { readonly kind: 'opened' }
  /** The port cannot be taken, a document cannot be read, or the cluster refuses this node. The thread ends. */
  | { readonly kind: 'failed'; readonly error: PlainError }
  /** The node is, or is about to become, one of several: front ends must ask the coordinator; answered by `coordinating`. */
  | { readonly kind: 'coordinate' }
  /** Front ends must take no request for data until `release`, and say why; answered by `held`. */
  | { readonly kind: 'hold'; readonly reason: string }
  | { readonly kind: 'release' }
  /** Why the node does not serve, for /readyz; '' where it does. */
  | { readonly kind: 'not-ready'; readonly reason: string }
  | { readonly kind: 'event'; readonly level: 'info' | 'warn' | 'error'; readonly message: string };
