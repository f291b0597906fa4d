/** Home replicas as one write sees them, and what counts for it. Owned by the thread of the coordinator. */
import type { NodeNumber, Replica, ReplicaWrite, WriteAnswer } from './contract.ts';
import { blockingOf } from './coordinator-groups.ts';

type LegState = 'pending' | 'ok' | 'stale' | 'ring' | 'refused' | 'failed' | 'down';
type HintState = 'none' | 'pending' | 'counts' | 'kept' | 'lost';

/** The write. */
export interface LegOwner {
  onAnswer(leg: Leg, answer: WriteAnswer): void;
  onHint(leg: Leg): void;
}

/** One home replica in one attempt. */
export class Leg {
  state: LegState = 'pending';
  hint: HintState = 'none';
  timedOut = false;
  /** It said so: asking it again helps nobody. */
  cannot = false;
  /** A later promise kept it from the write, not a record: it may be left behind. */
  barred = false;
  /** It holds a newer record, which may be from before the write or from after it, and has shown the version to nobody, nor will. */
  passed = false;
  /** Any node was asked to keep the hint: there is nobody else. */
  gaveUp = false;
  readonly node: NodeNumber;
  readonly attempt: number;
  readonly #owner: LegOwner;
  constructor(owner: LegOwner, node: NodeNumber, attempt: number) {
    this.#owner = owner;
    this.node = node;
    this.attempt = attempt;
  }
  send(replica: Replica, request: ReplicaWrite): void {
    replica.write(request, (answer) => this.#owner.onAnswer(this, answer));
  }
  onHint(kept: boolean, counts: boolean): void {
    this.hint = kept ? (counts ? 'counts' : 'kept') : 'lost';
    this.#owner.onHint(this);
  }
}

/** Whether the replica may have taken the record: it did not say that it did not. */
export const mayHold = ({ state }: Leg): boolean =>
  state === 'ok' || state === 'failed' || state === 'pending';

/** It needs a hint, where nothing comes of it any more; `silent`: also one whose answer is late. */
export const isLost = ({ state }: Leg, silent: boolean): boolean =>
  state === 'down' || state === 'failed' || state === 'refused' || (state === 'pending' && silent);

/** How many were asked, and answered in time. */
export function countAnswers(legs: readonly Leg[]): { up: number; answered: number } {
  const asked = legs.filter(({ state }) => state !== 'down');
  const answered = asked.filter(({ state, timedOut }) => state !== 'pending' && !timedOut);
  return { up: asked.length, answered: answered.length };
}

/** How many of a group count for a version, and how many still may. */
export interface Copies {
  /** Home replicas that hold it, or something that is known to have come after the write began. */
  held: number;
  soon: number;
  late: number;
  standIns: number;
}

/**
 * Of one group. `silent`: who has not answered yet counts as late. `isProven`: whatever is newer than the version came after the
 * write began.
 */
export function countCopies(
  group: readonly NodeNumber[],
  legs: readonly Leg[],
  silent: boolean,
  isProven: boolean,
): Copies {
  const count = { held: 0, soon: 0, late: 0, standIns: 0 };
  let passed = 0;
  for (const leg of legs) {
    const { node, state, hint } = leg;
    if (!group.includes(node)) continue;
    if (state === 'ok') count.held++;
    else if (leg.passed) passed++;
    else if (hint === 'counts') count.standIns++;
    else if (state === 'pending' && !silent) count.soon++;
    else if (state === 'pending' || hint === 'pending') count.late++;
  }
  // What so many did not hold yet was not acknowledged before.
  const blocking = blockingOf(group.length);
  if (isProven || count.held >= blocking) count.held += passed;
  else if (count.held + count.soon >= blocking) count.soon += passed;
  else if (count.held + count.soon + count.late >= blocking) count.late += passed;
  return count;
}
