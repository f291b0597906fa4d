/**
 * How many vnodes each member shall own: the rounded-down or the rounded-up share of its weight, never anything else.
 *
 * Who gets the rounded-up one is free as far as balance goes, so it is chosen for the fewest moves: first those who own
 * that many already, then by largest remainder (Hamilton's method), then by node number. No assignment that is balanced
 * to within one vnode can be reached with fewer changes of owners than to these targets.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { RingMember } from './ring-map.ts';

/** Weight in whole units, so that shares are exact. */
export function weightUnits(weight: number): number {
  return Math.round(weight * limits.ringWeightUnits);
}

/** Vnodes that each of `members` shall own of `vnodes`; `owned` is what they own now. Their sum is `vnodes`. */
export function targetCounts(
  members: readonly RingMember[],
  owned: readonly number[],
  vnodes: number,
): number[] {
  const units = members.map(({ weight }) => weightUnits(weight));
  const total = units.reduce((sum, one) => sum + one, 0);
  assert(total > 0, 'a ring needs a member with a weight above 0');
  const targets = units.map((one) => Math.floor((one * vnodes) / total));
  const remainders = units.map((one) => (one * vnodes) % total);
  const extra = vnodes - targets.reduce((sum, one) => sum + one, 0);
  const order = members.map((_, i) => i).filter((i) => (remainders[i] as number) > 0);
  assert(extra <= order.length, 'more vnodes are left over than members with a fraction of one');
  const kept = (i: number): number => ((owned[i] as number) > (targets[i] as number) ? 1 : 0);
  order.sort(
    (a, b) =>
      kept(b) - kept(a) ||
      (remainders[b] as number) - (remainders[a] as number) ||
      (members[a] as RingMember).number - (members[b] as RingMember).number,
  );
  for (const i of order.slice(0, extra)) targets[i] = (targets[i] as number) + 1;
  return targets;
}
