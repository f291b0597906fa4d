/** Checks what an operator or a new node asks for, and makes the ring that begins (or undoes) the change. Pure. */
import { BadRequestError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { NodeNumber } from './contract.ts';
import { nodeName } from './node-name.ts';
import { beginJoin, beginLeave, beginReplace, beginReweigh, undone } from './ring-change.ts';
import { checkMember } from './ring-codec.ts';
import { confirmedEverywhere, gainers } from './ring-lookup.ts';
import type { RingMap, RingMember } from './ring-map.ts';
import type { TopologyOperation } from './ring-messages.ts';

export interface PlannedChange {
  readonly ring: RingMap;
  /** What the operator should know and does not stop the change. */
  readonly warnings: readonly string[];
}

/** What gossip knows of members. */
export interface MembersNow {
  isUp(node: NodeNumber): boolean;
  /** The address that a member told last; undefined where it is not heard of. That in the ring is of the day on which it joined. */
  addressOf(node: NodeNumber): string | undefined;
}

/**
 * Throws BadRequestError, which says why, where the operation cannot be begun on `ring`, and UnavailableError where it can but
 * would wait for a node that is down.
 */
export function planChange(
  ring: RingMap,
  operation: TopologyOperation,
  { isUp, addressOf }: MembersNow,
): PlannedChange {
  if (operation.op === 'undo') return { ring: undone(ring), warnings: [] };
  if (ring.change !== null) {
    const { kind, node, phase } = ring.change;
    throw new BadRequestError(
      `a change is in progress: ${kind} of node ${nodeName(node)} is ${phase} (ring ${ring.number})`,
    );
  }
  switch (operation.op) {
    case 'join':
      checkNew(ring, operation.member, 0, addressOf);
      if (ring.members.length >= limits.ringMembersMax)
        throw new BadRequestError(`${ring.members.length} members; the limit is ${limits.ringMembersMax}`);
      return planned(ring, beginJoin(ring, operation.member), isUp);
    case 'leave':
      memberOf(ring, operation.node);
      if (ring.members.length === 1)
        throw new BadRequestError(
          `node ${nodeName(operation.node)} is the last member: nothing would be left`,
        );
      return planned(ring, beginLeave(ring, operation.node), isUp);
    case 'replace':
      memberOf(ring, operation.node);
      checkNew(ring, operation.member, operation.node, addressOf);
      if (isUp(operation.node))
        throw new BadRequestError(
          `node ${nodeName(operation.node)} is up: join the new node, then decommission it`,
        );
      return planned(ring, beginReplace(ring, operation.node, operation.member), isUp);
    case 'drain':
      return planned(ring, beginReweigh(ring, { ...memberOf(ring, operation.node), weight: 0 }), isUp);
    case 'reweigh':
      checkMember(operation.member);
      return planned(ring, reweighed(ring, operation.member), isUp);
  }
}

function reweighed(ring: RingMap, member: RingMember): RingMap {
  const present = memberOf(ring, member.number);
  if (present.nodeId !== member.nodeId)
    throw new BadRequestError(`node ${nodeName(member.number)} is ${present.nodeId}, not ${member.nodeId}`);
  const names: readonly (keyof RingMember)[] = ['address', 'url', 'rack', 'zone', 'weight'];
  if (names.every((name) => present[name] === member[name]))
    throw new BadRequestError(`node ${nodeName(member.number)} has this weight, rack and zone already`);
  return beginReweigh(ring, member);
}

function memberOf(ring: RingMap, node: NodeNumber): RingMember {
  const found = ring.members.find(({ number }) => number === node);
  if (found === undefined)
    throw new BadRequestError(`node ${nodeName(node)} is no member of ring ${ring.number}`);
  return found;
}

/** A node that comes in, in the place of `replaced` where that is not 0. */
function checkNew(
  ring: RingMap,
  member: RingMember,
  replaced: NodeNumber,
  addressOf: MembersNow['addressOf'],
): void {
  checkMember(member);
  for (const { number, nodeId, address: joinedAt } of ring.members) {
    const address = addressOf(number) || joinedAt;
    if (nodeId === member.nodeId)
      throw new BadRequestError(
        `node ${nodeName(number)} (${nodeId}) is a member of ring ${ring.number} already`,
      );
    if (number === member.number)
      throw new BadRequestError(
        `node ${nodeName(number)} is ${nodeId}; a node ${member.nodeId} of the same number needs another id`,
      );
    if (address === member.address && number !== replaced)
      throw new BadRequestError(`address ${address} is that of node ${nodeName(number)}`);
  }
}

function planned(before: RingMap, ring: RingMap, isUp: (node: NodeNumber) => boolean): PlannedChange {
  // Whoever asks to come in is up, but perhaps not heard of by gossip yet.
  const isMember = (node: NodeNumber): boolean => before.members.some(({ number }) => number === node);
  const down = gainers(ring).find((node) => isMember(node) && !isUp(node));
  if (down !== undefined)
    throw new UnavailableError(
      `node ${nodeName(down)} would gain vnodes and is down: the change would wait for it; start it or replace it first`,
    );
  if (!confirmedEverywhere(ring, false, (node) => !isMember(node) || isUp(node)))
    throw new UnavailableError(
      'too few replicas of some vnode are up: the change would wait for them; start or replace those that are down first',
    );
  const warnings: string[] = [];
  const owning = ring.change?.members.filter(({ weight }) => weight > 0) ?? [];
  if (owning.length > ring.vnodes)
    throw new BadRequestError(
      `${owning.length} members would share ${ring.vnodes} vnodes: some would own none, and keys have fewer replicas; the limit is a member a vnode`,
    );
  if (owning.length < before.replicas)
    warnings.push(
      `${owning.length} of ${before.replicas} replicas: the cluster will have too few members with a weight`,
    );
  const racks = (members: readonly RingMember[]): number =>
    new Set(members.filter(({ weight }) => weight > 0).map(({ rack, zone }) => `${zone}\0${rack}`)).size;
  const wanted = Math.min(before.replicas, owning.length);
  if (racks(owning) < Math.min(wanted, racks(before.members)))
    warnings.push(`${racks(owning)} racks for ${wanted} replicas: some will share a rack`);
  return { ring, warnings };
}
