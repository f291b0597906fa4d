/**
 * Messages about the ring: plain data that CBOR encodes as it is. Unreliable, unordered, perhaps twice: each receiver
 * copes with any of them at any time.
 */
import type { NodeNumber } from './contract.ts';
import type { RingMember } from './ring-map.ts';

/** Of a proposal for one ring number; ordered by (round, node). Round 0 is before every ballot. */
export interface RingBallot {
  readonly round: number;
  readonly node: NodeNumber;
}

/** What a node may ask another to do to the ring. */
export type TopologyOperation =
  | { readonly op: 'join'; readonly member: RingMember }
  | { readonly op: 'leave'; readonly node: NodeNumber }
  | { readonly op: 'replace'; readonly node: NodeNumber; readonly member: RingMember }
  | { readonly op: 'reweigh'; readonly member: RingMember }
  | { readonly op: 'drain'; readonly node: NodeNumber }
  | { readonly op: 'undo' };

/** Of nodes that leave, and of those that stay: repair-marks.ts. */
export type RepairMessage =
  /** Mark these vnodes for repair, in the place of the sender. */
  | { readonly kind: 'repair-marks'; readonly id: number; readonly vnodes: readonly number[] }
  /** The marks of the same id are kept over a crash. */
  | { readonly kind: 'repair-marks-kept'; readonly id: number };

export function isRepairMessage(message: RingMessage | RepairMessage): message is RepairMessage {
  return message.kind === 'repair-marks' || message.kind === 'repair-marks-kept';
}

export type RingMessage =
  /** Promise ring number `slot` to this ballot? */
  | { readonly kind: 'ring-prepare'; readonly slot: number; readonly ballot: RingBallot }
  /** Promised, durably. `ring` was accepted at `acceptedAt`; null with round 0 where nothing was. */
  | {
      readonly kind: 'ring-promise';
      readonly slot: number;
      readonly ballot: RingBallot;
      readonly acceptedAt: RingBallot;
      readonly ring: Uint8Array | null;
    }
  | {
      readonly kind: 'ring-accept';
      readonly slot: number;
      readonly ballot: RingBallot;
      readonly ring: Uint8Array;
    }
  /** Accepted, durably. */
  | { readonly kind: 'ring-accepted'; readonly slot: number; readonly ballot: RingBallot }
  /** Neither: `promised` is above the ballot. */
  | {
      readonly kind: 'ring-refused';
      readonly slot: number;
      readonly ballot: RingBallot;
      readonly promised: RingBallot;
    }
  /** A ring that was decided: the sender's newest. */
  | { readonly kind: 'ring-decided'; readonly ring: Uint8Array }
  /** Send a ring with a number above `have`. */
  | { readonly kind: 'ring-fetch'; readonly have: number }
  /** Do this for me; answered with the same id. */
  | { readonly kind: 'topology-request'; readonly id: number; readonly operation: TopologyOperation }
  | {
      readonly kind: 'topology-answer';
      readonly id: number;
      /** '' where the change was begun (or is in progress already). */
      readonly error: string;
      readonly warnings: readonly string[];
    };
