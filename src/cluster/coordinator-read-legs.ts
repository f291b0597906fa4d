/** Replicas as one read sees them: what each was asked, and what it answered. Owned by the thread of the coordinator. */
import type { MonotonicMs } from '../base/clock.ts';
import type { NodeNumber, ReadAnswer, Replica, ReplicaRead } from './contract.ts';
import type { CoordinatorCore } from './coordinator-core.ts';
import { compareHeads } from './coordinator-records.ts';
import { type RepairResult, ReplicaRepair } from './coordinator-repair.ts';

/** The read. */
export interface LegOwner {
  onAnswer(leg: Leg, answer: ReadAnswer): void;
  onRepaired(leg: Leg, result: RepairResult, newer: Uint8Array | null): void;
}

type LegState = 'idle' | 'asked' | 'answered' | 'repairing' | 'failed';

/** One replica in one attempt. */
export class Leg {
  state: LegState = 'idle';
  full = false;
  record: Uint8Array | null = null;
  askedMs = 0;
  /** Its place among the legs: lowest first. */
  rank = 0;
  /** What its repair brings: another record may have become the newest when it ends. */
  sent: Uint8Array | null = null;
  /** It did not answer in time: another was asked in its place. */
  slow = false;
  readonly node: NodeNumber;
  readonly attempt: number;
  readonly #owner: LegOwner;
  constructor(owner: LegOwner, node: NodeNumber, attempt: number) {
    this.#owner = owner;
    this.node = node;
    this.attempt = attempt;
  }
  ask(replica: Replica, request: ReplicaRead): void {
    replica.read(request, (answer) => this.#owner.onAnswer(this, answer));
  }
  repair(core: CoordinatorCore, from: NodeNumber, record: Uint8Array, deadlineMs: MonotonicMs): void {
    this.state = 'repairing';
    this.sent = record;
    new ReplicaRepair(core, from, this.node, record, deadlineMs, (result, newer) =>
      this.#owner.onRepaired(this, result, newer),
    ).start();
  }
}

/** It has brought the whole record, or may soon. */
export const bringsRecord = ({ full, state, slow }: Leg): boolean => full && state !== 'failed' && !slow;
export const isAnswered = ({ state }: Leg): boolean => state === 'answered';
export const isAnsweredOrRepairing = ({ state }: Leg): boolean =>
  state === 'answered' || state === 'repairing';

/** Who answered with the newest record; null where nobody holds one. */
export function newest(legs: readonly Leg[]): Leg | null {
  let best: Leg | null = null;
  for (const leg of legs)
    if (leg.state === 'answered' && leg.record !== null)
      if (best === null || compareHeads(leg.record, best.record) > 0) best = leg;
  return best;
}
export const isSame = (a: Leg, b: Leg): boolean => compareHeads(a.record, b.record) === 0;
/** It has answered, and holds the same as the other. */
export const holds = (leg: Leg, other: Leg): boolean => leg.state === 'answered' && isSame(leg, other);
