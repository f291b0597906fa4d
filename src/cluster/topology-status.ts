/** What `ringkv status` and GET /v1/cluster show of the ring and of a change in progress. */
import type { NodeNumber } from './contract.ts';
import type { RingChange, RingPhase } from './ring-map.ts';

/** A node that gains vnodes by the change, as it tells by gossip. */
export interface GainerStatus {
  readonly node: NodeNumber;
  readonly gained: number;
  readonly done: number;
  readonly bytes: number;
  /** It has all of it, durably. */
  readonly finished: boolean;
}

export interface TopologyStatus {
  /** 0 where this node has none yet. */
  readonly ring: number;
  readonly standing: 'waiting' | 'joining' | 'member' | 'removed';
  /** Why this node's last request to be joined was refused; '' where it was not. */
  readonly refusal: string;
  readonly change: {
    readonly kind: RingChange['kind'];
    readonly node: NodeNumber;
    readonly by: NodeNumber;
    readonly phase: RingPhase;
    /** Vnodes whose owner changes. */
    readonly ownerMoves: number;
    /** Whether a quorum of all replicas, present and to come, holds this ring. */
    readonly confirmed: boolean;
    readonly gainers: readonly GainerStatus[];
  } | null;
}
