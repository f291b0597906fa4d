/** What the parts of one shard thread share: they run on it, one at a time. */
import type { HybridClock, MonotonicMs } from '../base/clock.ts';
import type { ShardEngine } from '../engine/contract.ts';
import type { ClientLink } from './client-link.ts';
import { type HeldRequests, NIL } from './held-requests.ts';
import type { Replies } from './replies.ts';
import type { RequestView } from './shard-protocol.ts';

export interface Turn {
  /** Milliseconds since 1970: for expiry. */
  nowMs: number;
  /** For deadlines. */
  monotonicMs: MonotonicMs;
  /** There is something to commit at its end. */
  appended: boolean;
}

export interface ShardParts {
  readonly engine: ShardEngine;
  readonly held: HeldRequests;
  readonly replies: Replies;
  readonly versions: HybridClock;
  readonly origin: number;
  /** What the turn shares: for each turn, and each callback, the clock is read once. */
  readonly turn: Turn;
  /** A held request waits until its `seq` is durable, then is settled or, where `again`, executed anew. */
  waitDurable(slot: number): void;
  /** A turn follows soon: there is something to commit, flush or run. */
  schedule(): void;
}

export const TOO_MANY = 'the shard holds as many requests as its limit allows; nothing was done';

/** The slot of a request that must be kept: its own where it is held, else a new one with a copy of its record. */
export function hold(held: HeldRequests, link: ClientLink, request: RequestView, slot: number): number {
  if (slot !== NIL) return slot;
  const taken = held.take(link, request.slot, request.generation);
  held.setCopy(taken, request.copy());
  return taken;
}

/** Whether `hold` may be called. */
export const canHold = (held: HeldRequests, request: RequestView, slot: number): boolean =>
  slot !== NIL || (held.peek() !== NIL && held.mayCopy(request.length));
