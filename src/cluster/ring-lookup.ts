/**
 * Who holds a vnode: preference lists of a ring map, worked out once per vnode when they are first asked for and kept
 * with the ring, so that a request allocates nothing. Lists are shared: nobody may change one.
 *
 * The list of a vnode starts with its owner. Then the owners of the next vnodes clockwise are gone through three times,
 * until there are enough: nodes of further zones, nodes of further racks, further nodes (Dynamo, section 4.3, with the
 * racks of Cassandra's NetworkTopologyStrategy). Racks of one name in two zones are two racks.
 */
import { assert, defined } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { NodeNumber } from './contract.ts';
import type { RingMap, RingMember } from './ring-map.ts';

export type NodeList = readonly NodeNumber[];

/** A vnode that a node holds in the map to come and not in the present one, and who holds it at present. */
export interface Gain {
  readonly vnode: number;
  readonly sources: NodeList;
}

/** Nodes that are a majority of `nodes`. */
export function quorumOf(nodes: number): number {
  return Math.floor(nodes / 2) + 1;
}

/**
 * The fewest of `nodes` of which every quorum has one: as many as a quorum of an odd number, one less of an even number. What
 * they all refuse no quorum takes, and what a quorum took one of them has.
 */
export function meetingQuorums(nodes: number): number {
  return nodes - quorumOf(nodes) + 1;
}

/** Lists of one assignment of owners: of the present one, or of the one to come. */
class Assignment {
  readonly #members: readonly RingMember[];
  readonly #owners: Uint16Array;
  readonly #lists: (NodeList | undefined)[];
  readonly #rackOf: Uint16Array;
  readonly #zoneOf: Uint16Array;
  readonly #owning: number;
  readonly #zonesWanted: number;
  readonly #racksWanted: number;
  readonly #wanted: number;
  /** Members taken into the list that is being made. */
  readonly #taken: number[] = [];

  constructor(members: readonly RingMember[], owners: Uint16Array, replicas: number) {
    this.#members = members;
    this.#owners = owners;
    this.#lists = new Array<NodeList | undefined>(owners.length).fill(undefined);
    this.#rackOf = new Uint16Array(members.length);
    this.#zoneOf = new Uint16Array(members.length);
    const owns = new Uint8Array(members.length);
    for (const owner of owners) owns[owner] = 1;
    const racks = new Map<string, number>();
    const zones = new Map<string, number>();
    let owning = 0;
    for (let i = 0; i < members.length; i++) {
      if (owns[i] === 0) continue;
      const { rack, zone } = defined(members[i], 'a ring member is missing');
      owning++;
      this.#rackOf[i] = idOf(racks, `${zone}\0${rack}`);
      this.#zoneOf[i] = idOf(zones, zone);
    }
    this.#owning = owning;
    this.#wanted = Math.min(replicas, owning);
    this.#racksWanted = Math.min(this.#wanted, racks.size);
    this.#zonesWanted = Math.min(this.#wanted, zones.size);
  }

  replicas(vnode: number): NodeList {
    const known = this.#lists[vnode];
    if (known !== undefined) return known;
    assert(vnode >= 0 && vnode < this.#owners.length, () => `vnode ${vnode} of ${this.#owners.length}`);
    const taken = this.#taken;
    taken.length = 0;
    taken.push(this.#owners[vnode] as number);
    this.#take(vnode, this.#zonesWanted, this.#zoneOf);
    this.#take(vnode, this.#racksWanted, this.#rackOf);
    this.#take(vnode, this.#wanted, null);
    const list = taken.map((member) => this.#numberOf(member));
    this.#lists[vnode] = list;
    return list;
  }

  /** Distinct nodes clockwise that are not in `homes`, at most `count`. */
  others(vnode: number, homes: NodeList, count: number): NodeList {
    const found: NodeNumber[] = [];
    const { length } = this.#owners;
    let left = this.#owning;
    const seen = new Uint8Array(this.#members.length);
    for (let i = 0; i < length && left > 0 && found.length < count; i++) {
      const member = this.#owners[(vnode + i) % length] as number;
      if (seen[member] === 1) continue;
      seen[member] = 1;
      left--;
      const number = this.#numberOf(member);
      if (!homes.includes(number)) found.push(number);
    }
    return found;
  }

  /** Goes clockwise until `count` are taken, each in a place (zone or rack) of its own where `placeOf` is given. */
  #take(vnode: number, count: number, placeOf: Uint16Array | null): void {
    const taken = this.#taken;
    const { length } = this.#owners;
    for (let i = 1; i < length && taken.length < count; i++) {
      const member = this.#owners[(vnode + i) % length] as number;
      let fits = true;
      for (const other of taken)
        if (other === member || (placeOf !== null && placeOf[other] === placeOf[member])) fits = false;
      if (fits) taken.push(member);
    }
  }

  #numberOf(member: number): NodeNumber {
    return defined(this.#members[member], 'an owner is no member').number;
  }
}

function idOf(ids: Map<string, number>, name: string): number {
  const known = ids.get(name);
  if (known !== undefined) return known;
  ids.set(name, ids.size);
  return ids.size - 1;
}

/** All that is kept with one ring. */
class RingTables {
  readonly present: Assignment;
  readonly coming: Assignment | null;
  readonly groups: (readonly NodeList[] | undefined)[];
  readonly standIns: (NodeList | undefined)[];
  distinct: readonly (readonly NodeList[])[] | null = null;
  constructor(ring: RingMap) {
    const { change } = ring;
    this.present = new Assignment(ring.members, ring.owners, ring.replicas);
    this.coming = change === null ? null : new Assignment(change.members, change.owners, ring.replicas);
    this.groups = new Array<readonly NodeList[] | undefined>(ring.vnodes).fill(undefined);
    this.standIns = new Array<NodeList | undefined>(ring.vnodes).fill(undefined);
  }
}

const tables = new WeakMap<RingMap, RingTables>();
function tablesOf(ring: RingMap): RingTables {
  let found = tables.get(ring);
  if (found === undefined) {
    found = new RingTables(ring);
    tables.set(ring, found);
  }
  return found;
}

/** The present replicas of a vnode, its owner first. */
export function replicasOf(ring: RingMap, vnode: number): NodeList {
  return tablesOf(ring).present.replicas(vnode);
}

/** The replicas of a vnode in the map to come; the present ones where there is no change. */
export function comingReplicasOf(ring: RingMap, vnode: number): NodeList {
  const { present, coming } = tablesOf(ring);
  return (coming ?? present).replicas(vnode);
}

/** Whom reads ask: the present replicas, or those to come when the change is `switching`. */
export function readReplicas(ring: RingMap, vnode: number): NodeList {
  return ring.change?.phase === 'switching' ? comingReplicasOf(ring, vnode) : replicasOf(ring, vnode);
}

/** Whether a node is a member when the change under way, if there is one, has ended. */
export function stays(ring: RingMap, node: NodeNumber): boolean {
  return (ring.change?.members ?? ring.members).some(({ number }) => number === node);
}

/** Members that are none any more when the change under way has ended. */
export function leavers(ring: RingMap): NodeNumber[] {
  if (ring.change === null) return [];
  return ring.members.filter(({ number }) => !stays(ring, number)).map(({ number }) => number);
}

/**
 * Whether a node may keep hints that count as copies: one that leaves only while the change is `copying`, since before the end of
 * `switching` it says that it has none any more.
 */
export function mayStandIn(ring: RingMap, node: NodeNumber): boolean {
  return stays(ring, node) || (ring.change?.phase === 'copying' && leavers(ring).includes(node));
}

/**
 * Whom writes go to, and where they need a quorum: the replicas, or, during a change, the present ones and those to come.
 * One group where both are the same nodes.
 */
export function writeGroups(ring: RingMap, vnode: number): readonly NodeList[] {
  const { present, coming, groups } = tablesOf(ring);
  const known = groups[vnode];
  if (known !== undefined) return known;
  const old = present.replicas(vnode);
  const next = coming === null ? old : coming.replicas(vnode);
  const same = next.length === old.length && next.every((node) => old.includes(node));
  const made = same ? [old] : [old, next];
  groups[vnode] = made;
  return made;
}

/**
 * Who keeps hints for a vnode, in order of preference: the next nodes clockwise that are in none of its write groups. Those that
 * leave come last, or not at all (mayStandIn).
 */
export function standIns(ring: RingMap, vnode: number): NodeList {
  const all = tablesOf(ring);
  const known = all.standIns[vnode];
  if (known !== undefined) return known;
  const homes = writeGroups(ring, vnode).flat();
  const found = all.present.others(vnode, homes, limits.standInsMax);
  const leaving = leavers(ring);
  const kept =
    leaving.length === 0
      ? found
      : [
          ...found.filter((node) => !leaving.includes(node)),
          ...found.filter((node) => leaving.includes(node) && mayStandIn(ring, node)),
        ];
  all.standIns[vnode] = kept;
  return kept;
}

/** The vnodes that `node` holds in the map to come and not in the present one; none where there is no change. */
export function gains(ring: RingMap, node: NodeNumber): Gain[] {
  const found: Gain[] = [];
  if (ring.change === null) return found;
  for (let vnode = 0; vnode < ring.vnodes; vnode++) {
    if (!comingReplicasOf(ring, vnode).includes(node)) continue;
    const sources = replicasOf(ring, vnode);
    if (!sources.includes(node)) found.push({ vnode, sources });
  }
  return found;
}

/** The nodes that gain at least one vnode by the change of a ring, ascending. */
export function gainers(ring: RingMap): NodeNumber[] {
  const found = new Set<NodeNumber>();
  if (ring.change !== null)
    for (let vnode = 0; vnode < ring.vnodes; vnode++) {
      const old = replicasOf(ring, vnode);
      for (const node of comingReplicasOf(ring, vnode)) if (!old.includes(node)) found.add(node);
    }
  return [...found].sort((a, b) => a - b);
}

/**
 * The write groups of all vnodes, each combination once: [present] or [present, to come]. What must hold for each vnode
 * is checked on these.
 */
export function distinctWriteGroups(ring: RingMap): readonly (readonly NodeList[])[] {
  const all = tablesOf(ring);
  if (all.distinct !== null) return all.distinct;
  const found = new Map<string, readonly NodeList[]>();
  for (let vnode = 0; vnode < ring.vnodes; vnode++) {
    const groups = writeGroups(ring, vnode);
    found.set(groups.map((group) => [...group].sort((a, b) => a - b).join()).join('|'), groups);
  }
  all.distinct = [...found.values()];
  return all.distinct;
}

/**
 * Whether, for each vnode, as many of its present replicas as every quorum meets and (unless `presentOnly`) a quorum of those
 * to come satisfy `confirmed`. With `confirmed` = "holds this ring durably" that is the condition of decision 9 for proposing
 * the next one.
 */
export function confirmedEverywhere(
  ring: RingMap,
  presentOnly: boolean,
  confirmed: (node: NodeNumber) => boolean,
): boolean {
  return distinctWriteGroups(ring).every((groups) =>
    (presentOnly ? groups.slice(0, 1) : groups).every((group, i) => {
      const count = group.reduce((sum, node) => sum + (confirmed(node) ? 1 : 0), 0);
      return count >= (i === 0 ? meetingQuorums(group.length) : quorumOf(group.length));
    }),
  );
}
/** All that hold a vnode, or are to. */
export function writeReplicas(ring: RingMap, vnode: number): NodeNumber[] {
  return [...new Set(writeGroups(ring, vnode).flat())];
}
