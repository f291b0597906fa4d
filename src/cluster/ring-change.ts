/**
 * From one ring map to the next: the first ring, the four changes, their phases, and undo. Pure functions of their
 * arguments: two nodes that start from the same ring make the same next one.
 *
 * 1. A move is a vnode whose owner changes. A change makes the fewest that reach a balanced map (ring-balance.ts). Copies
 *    that move follow from that: up to `replicas` for each move, fewer where neighbours held the vnode already.
 * 2. `replace` puts one member in the place of another, vnode by vnode; where weights differ it then balances.
 */
import { defined } from '../base/assert.ts';
import { BadRequestError } from '../base/errors.ts';
import type { NodeNumber } from './contract.ts';
import { nodeName } from './node-name.ts';
import { targetCounts, weightUnits } from './ring-balance.ts';
import type { RingChange, RingMap, RingMember } from './ring-map.ts';
import { NOBODY, Placement } from './ring-placement.ts';

export interface RingShape {
  readonly clusterName: string;
  readonly clusterId: string;
  readonly vnodes: number;
  readonly replicas: number;
}

/** Members and their vnodes, before or after a change. */
interface Layout {
  readonly members: readonly RingMember[];
  readonly owners: Uint16Array;
}

/** Ring 1. More than one member is for tests and figures: they are joined one after another. */
export function firstRing(shape: RingShape, members: readonly RingMember[]): RingMap {
  defined(members[0], 'a ring needs a member');
  const owners = new Uint16Array(shape.vnodes);
  const placement = new Placement(members, owners, shape.replicas);
  for (let count = 2; count <= members.length; count++)
    balance(placement, members.slice(0, count), owners, count - 1);
  return { number: 1, ...shape, members, owners, change: null };
}

/** The ring after `ring`, with the change begun: `copying`. */
export function beginJoin(ring: RingMap, member: RingMember): RingMap {
  const layout = settle([...ring.members, member], ring.owners.slice(), ring, ring.number);
  return begin(ring, 'join', member.number, 0, layout);
}

export function beginLeave(ring: RingMap, node: NodeNumber): RingMap {
  const gone = indexOf(ring, node);
  const members = ring.members.filter((_, i) => i !== gone);
  checkWeights(members, node);
  const owners = ring.owners.map((owner) => (owner === gone ? NOBODY : owner > gone ? owner - 1 : owner));
  return begin(ring, 'leave', node, 0, settle(members, owners, ring, ring.number));
}

export function beginReplace(ring: RingMap, node: NodeNumber, by: RingMember): RingMap {
  const place = indexOf(ring, node);
  const members = ring.members.map((member, i) => (i === place ? by : member));
  checkWeights(members, node);
  return begin(ring, 'replace', node, by.number, settle(members, ring.owners.slice(), ring, ring.number));
}

/** A member with another weight, rack, zone, address or url. */
export function beginReweigh(ring: RingMap, changed: RingMember): RingMap {
  const place = indexOf(ring, changed.number);
  const members = ring.members.map((member, i) => (i === place ? changed : member));
  checkWeights(members, changed.number);
  const layout = settle(members, ring.owners.slice(), ring, ring.number);
  return begin(ring, 'reweigh', changed.number, 0, layout);
}

/** The ring after one with a change: `switching` after `copying`, then the new owners alone. */
export function nextPhase(ring: RingMap): RingMap {
  const change = changeOf(ring);
  const number = ring.number + 1;
  if (change.phase === 'copying') return { ...ring, number, change: { ...change, phase: 'switching' } };
  return { ...ring, number, members: change.members, owners: change.owners, change: null };
}

/** The ring after one that is `copying`, with the owners that it had before. */
export function undone(ring: RingMap): RingMap {
  const { phase } = changeOf(ring);
  if (phase !== 'copying')
    throw new BadRequestError(`ring ${ring.number} is ${phase}: reads ask the new owners, it ends by itself`);
  return { ...ring, number: ring.number + 1, change: null };
}

/** Vnodes whose owner differs between the present map and the one to come. */
export function ownerMoves(ring: RingMap): number {
  const { change } = ring;
  if (change === null) return 0;
  let moves = 0;
  for (let vnode = 0; vnode < ring.vnodes; vnode++) {
    const from = ring.members[ring.owners[vnode] as number];
    const to = change.members[change.owners[vnode] as number];
    if (from?.number !== to?.number) moves++;
  }
  return moves;
}

function begin(
  ring: RingMap,
  kind: RingChange['kind'],
  node: NodeNumber,
  by: NodeNumber,
  layout: Layout,
): RingMap {
  if (ring.change !== null)
    throw new BadRequestError(`ring ${ring.number} has a change in progress: ${ring.change.kind}`);
  return { ...ring, number: ring.number + 1, change: { kind, node, by, phase: 'copying', ...layout } };
}

/** Balances `owners` (in place) over `members`. */
function settle(
  members: readonly RingMember[],
  owners: Uint16Array,
  { replicas }: RingShape,
  step: number,
): Layout {
  balance(new Placement(members, owners, replicas), members, owners, step);
  return { members, owners };
}

function balance(
  placement: Placement,
  members: readonly RingMember[],
  owners: Uint16Array,
  step: number,
): void {
  const owned = members.map(() => 0);
  for (const owner of owners) if (owner !== NOBODY) owned[owner] = (owned[owner] as number) + 1;
  const seed = members.reduce((hash, { number }) => Math.imul(hash ^ number, 0x01000193), step);
  placement.move(targetCounts(members, owned, owners.length), seed);
}

function checkWeights(members: readonly RingMember[], node: NodeNumber): void {
  if (!members.some(({ weight }) => weightUnits(weight) > 0))
    throw new BadRequestError(`node ${nodeName(node)} is the last with vnodes: there would be no owner left`);
}
function indexOf(ring: RingMap, node: NodeNumber): number {
  const found = ring.members.findIndex(({ number }) => number === node);
  if (found < 0) throw new BadRequestError(`node ${nodeName(node)} is no member of ring ${ring.number}`);
  return found;
}
function changeOf(ring: RingMap): RingChange {
  if (ring.change === null) throw new BadRequestError(`ring ${ring.number} has no change in progress`);
  return ring.change;
}
