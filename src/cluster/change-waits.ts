/** What a change of the ring waits for, as sentences for an operator: which nodes, and for the sake of which vnode. Pure. */
import { limits } from '../base/limits.ts';
import type { NodeNumber } from './contract.ts';
import {
  confirmedEverywhere,
  gainers,
  gains,
  leavers,
  meetingQuorums,
  type NodeList,
  quorumOf,
  writeGroups,
} from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';
import { TopologyFact } from './topology-facts.ts';
import { blockOfText } from './topology-leaving.ts';

export interface WaitsView {
  readonly ring: RingMap;
  isUp(node: NodeNumber): boolean;
  /** A fact that a node tells of itself. */
  fact(node: NodeNumber, name: string): string | number | undefined;
  idOf(node: NodeNumber): string;
}

/** Nodes that one sentence names; of more it says how many. */
const NAMED_MAX = 8;

/** Nothing where there is no change, or nothing that one could see keeps it from its next step. */
export function changeWaits(view: WaitsView): string[] {
  const { ring } = view;
  if (ring.change === null) return [];
  const waits = [...votes(view), ...unconfirmed(view)];
  if (ring.change.phase === 'copying') for (const node of gainers(ring)) waits.push(...gainer(view, node));
  for (const node of leavers(ring)) waits.push(...leaver(view, node));
  return waits;
}

function votes({ ring, isUp }: WaitsView): string[] {
  const { length } = ring.members;
  const up = ring.members.filter(({ number }) => isUp(number)).length;
  const needed = quorumOf(length);
  return up >= needed
    ? []
    : [`its next step needs the votes of ${needed} of ${length} members, and ${up} are up`];
}

function unconfirmed(view: WaitsView): string[] {
  const { ring } = view;
  if (confirmedEverywhere(ring, false, (node) => holds(view, node))) return [];
  const all = [...ring.members, ...(ring.change?.members ?? [])].map(({ number }) => number);
  const missing = [...new Set(all)].filter((node) => !holds(view, node));
  return [`more nodes have to hold ring ${ring.number}; missing: ${named(view, missing)}`];
}
const holds = ({ ring, fact }: WaitsView, node: NodeNumber): boolean =>
  Number(fact(node, TopologyFact.RING) ?? 0) >= ring.number;

function gainer(view: WaitsView, node: NodeNumber): string[] {
  const { ring, isUp, fact, idOf } = view;
  if (fact(node, TopologyFact.PULLED) === ring.number) return [];
  if (!isUp(node)) return [`node ${idOf(node)}, which takes over vnodes, is down`];
  const blocked = gains(ring, node).find(
    ({ sources }) => sources.filter(isUp).length < meetingQuorums(sources.length),
  );
  if (blocked === undefined) return [];
  const down = named(
    view,
    blocked.sources.filter((source) => !isUp(source)),
  );
  return [
    `node ${idOf(node)} cannot take over vnode ${blocked.vnode}: too few of its replicas are up: ${down}`,
  ];
}

function leaver(view: WaitsView, node: NodeNumber): string[] {
  const { ring, isUp, fact, idOf } = view;
  if (fact(node, TopologyFact.HANDED_ON) === ring.number) return [];
  if (!isUp(node))
    return ring.change?.phase === 'switching'
      ? [
          `node ${idOf(node)} leaves and is down: it is waited for until it has been down for ${limits.leaverDownMsMax} ms`,
        ]
      : [];
  const block = blockOfText(fact(node, TopologyFact.LEAVE_BLOCK));
  if (block === null) return [];
  const down = named(view, block.down);
  return [
    `node ${idOf(node)} has hints of vnode ${block.vnode} that no other node takes, and too few replicas of it are up: ${down}`,
  ];
}

/** What keeps these vnodes from being repaired with all of their replicas: at most one sentence. */
export function repairWaits(view: WaitsView, vnodes: Iterable<number>): string[] {
  const down = new Set<NodeNumber>();
  let count = 0;
  for (const vnode of vnodes) {
    if (vnode >= view.ring.vnodes) continue;
    const missing = writeGroups(view.ring, vnode)
      .flat()
      .filter((node) => !view.isUp(node));
    if (missing.length > 0) count++;
    for (const node of missing) down.add(node);
  }
  return count === 0 ? [] : [`${count} vnodes wait for replicas that are down: ${named(view, [...down])}`];
}

function named({ isUp, idOf }: WaitsView, nodes: NodeList): string {
  const names = nodes.slice(0, NAMED_MAX).map((node) => (isUp(node) ? idOf(node) : `${idOf(node)} (down)`));
  const more = nodes.length - names.length;
  return names.join(', ') + (more > 0 ? ` and ${more} more` : '');
}
