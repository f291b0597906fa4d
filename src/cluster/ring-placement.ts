/**
 * Which vnodes change their owner when members get more or fewer. Only what must move moves: members above their target
 * give, members below it take. Which ones is chosen so that neighbours on the ring are different nodes, of different
 * racks and zones as far as there are enough (then replicas are the next neighbours, and every member holds replicas in
 * proportion to what it owns), and so that a member's neighbours vary (then the load of a dead node spreads over many).
 *
 * Each taker in turn looks at a number of random candidates and takes the best; afterwards moved vnodes are exchanged
 * where that makes places better. Deterministic: chance comes from a seed that the caller derives from the ring.
 */
import { defined } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { Random } from '../base/random.ts';
import type { RingMember } from './ring-map.ts';

const SAME_NODE = 1024;
const SAME_RACK = 128;
const SAME_ZONE = 32;
/** A pair of neighbours that is there already costs 1 each time. */
const PAIRS_MAX = 31;
/** An owner that leaves, or nobody. */
export const NOBODY = 0xffff;

export class Placement {
  readonly #owners: Uint16Array;
  readonly #replicas: number;
  readonly #count: number;
  readonly #racks: Uint16Array;
  readonly #zones: Uint16Array;
  /** How often two members are neighbours within reach. */
  readonly #pairs: Uint32Array;
  /** Neighbours in both directions that count: all that share a list of replicas. 0 before the first move. */
  #reach = 0;
  #manyRacks = false;
  #manyZones = false;
  #random = new Random(0);

  /** `owners` is changed in place: indexes into `members`, or NOBODY. */
  constructor(members: readonly RingMember[], owners: Uint16Array, replicas: number) {
    this.#owners = owners;
    this.#replicas = replicas;
    this.#count = members.length;
    const racks = new Map<string, number>();
    const zones = new Map<string, number>();
    this.#racks = Uint16Array.from(members, ({ rack, zone }) => number(racks, `${zone}\0${rack}`));
    this.#zones = Uint16Array.from(members, ({ zone }) => number(zones, zone));
    this.#pairs = new Uint32Array(members.length * members.length);
  }

  /**
   * Moves vnodes until each of the first members, as many as there are targets, owns its target. They own all that is owned.
   * What is counted of neighbours serves the next move, of more members.
   */
  move(targets: readonly number[], seed: number): void {
    this.#random = new Random(seed);
    this.#admit(targets.length);
    const balance = targets.slice();
    for (const owner of this.#owners) if (owner !== NOBODY) balance[owner] = (balance[owner] as number) - 1;
    const pool = this.#pool(balance);
    const moved = this.#give(pool, balance);
    this.#improve(moved);
  }

  #admit(members: number): void {
    // Numbered in the order in which they come: more than one is where there is a second.
    const isSecond = (id: number): boolean => id > 0;
    this.#manyRacks = this.#racks.subarray(0, members).some(isSecond);
    this.#manyZones = this.#zones.subarray(0, members).some(isSecond);
    const reach = Math.max(1, Math.min(this.#replicas, members) - 1);
    if (reach === this.#reach) return;
    this.#reach = reach;
    this.#pairs.fill(0);
    for (let vnode = 0; vnode < this.#owners.length; vnode++) this.#countPairs(vnode, 1, false);
  }

  /** What members above their target may give, and what nobody owns, in random order. */
  #pool(balance: readonly number[]): number[] {
    const pool: number[] = [];
    for (let vnode = 0; vnode < this.#owners.length; vnode++) {
      const owner = this.#owners[vnode] as number;
      if (owner === NOBODY || (balance[owner] as number) < 0) pool.push(vnode);
    }
    for (let i = pool.length - 1; i > 0; i--) swap(pool, i, this.#random.below(i + 1));
    return pool;
  }

  #give(pool: number[], balance: number[]): Move[] {
    const moved: Move[] = [];
    const takers = balance.map((_, i) => i).filter((i) => (balance[i] as number) > 0);
    while (takers.length > 0) {
      for (const taker of takers) {
        const vnode = this.#best(taker, pool, balance);
        const from = this.#owners[vnode] as number;
        if (from !== NOBODY) balance[from] = (balance[from] as number) + 1;
        balance[taker] = (balance[taker] as number) - 1;
        this.#set(vnode, taker);
        moved.push({ vnode, from });
      }
      for (let i = takers.length - 1; i >= 0; i--)
        if (balance[takers[i] as number] === 0) takers.splice(i, 1);
    }
    return moved;
  }

  /** The best of some candidates of the pool for a member; it is taken out of the pool. */
  #best(taker: number, pool: number[], balance: readonly number[]): number {
    let best = -1;
    let bestCost = Number.POSITIVE_INFINITY;
    for (let tries = 0; tries < limits.ringPlacementTries && pool.length > tries; ) {
      // Candidates looked at are kept at the end of the pool, so that none is looked at twice.
      const end = pool.length - 1 - tries;
      swap(pool, this.#random.below(end + 1), end);
      const vnode = pool[end] as number;
      const owner = this.#owners[vnode] as number;
      if (owner !== NOBODY && (balance[owner] as number) >= 0) {
        // Its owner has given enough.
        pool[end] = pool[pool.length - 1] as number;
        if (best === pool.length - 1) best = end;
        pool.pop();
        continue;
      }
      const cost = this.#cost(vnode, taker);
      if (cost < bestCost) {
        best = end;
        bestCost = cost;
      }
      tries++;
    }
    const vnode = defined(pool[best], 'members below their target, and none above');
    swap(pool, best, pool.length - 1);
    pool.pop();
    return vnode;
  }

  /** Exchanges takers of moved vnodes where both places together get better. No vnode goes back to who gave it. */
  #improve(moved: readonly Move[]): void {
    if (moved.length < 2) return;
    for (const one of moved) {
      const owner = this.#owners[one.vnode] as number;
      if (this.#cost(one.vnode, owner) < SAME_ZONE) continue;
      for (let tries = 0; tries < limits.ringPlacementTries; tries++) {
        const other = this.#random.pick(moved);
        const second = this.#owners[other.vnode] as number;
        if (second === owner || other.from === owner || one.from === second) continue;
        const before = this.#cost(one.vnode, owner) + this.#cost(other.vnode, second);
        this.#set(one.vnode, second);
        this.#set(other.vnode, owner);
        if (this.#cost(one.vnode, second) + this.#cost(other.vnode, owner) < before) break;
        this.#set(one.vnode, owner);
        this.#set(other.vnode, second);
      }
    }
  }

  /** How bad it is that `member` owns `vnode`. */
  #cost(vnode: number, member: number): number {
    const { length } = this.#owners;
    let cost = 0;
    for (let step = 1; step <= this.#reach && step < length; step++) {
      cost += this.#pairCost(member, this.#owners[(vnode + step) % length] as number);
      cost += this.#pairCost(member, this.#owners[(vnode - step + length) % length] as number);
    }
    return cost;
  }

  #pairCost(member: number, neighbour: number): number {
    if (neighbour === NOBODY) return 0;
    if (neighbour === member) return SAME_NODE;
    let cost = Math.min(PAIRS_MAX, this.#pairs[member * this.#count + neighbour] as number);
    if (this.#manyRacks && this.#racks[member] === this.#racks[neighbour]) cost += SAME_RACK;
    if (this.#manyZones && this.#zones[member] === this.#zones[neighbour]) cost += SAME_ZONE;
    return cost;
  }

  #set(vnode: number, owner: number): void {
    this.#countPairs(vnode, -1, true);
    this.#owners[vnode] = owner;
    this.#countPairs(vnode, 1, true);
  }

  #countPairs(vnode: number, sign: number, bothSides: boolean): void {
    const { length } = this.#owners;
    const owner = this.#owners[vnode] as number;
    if (owner === NOBODY) return;
    for (let step = 1; step <= this.#reach && step < length; step++) {
      this.#countPair(owner, this.#owners[(vnode + step) % length] as number, sign);
      if (bothSides) this.#countPair(owner, this.#owners[(vnode - step + length) % length] as number, sign);
    }
  }

  #countPair(a: number, b: number, sign: number): void {
    if (b === NOBODY || a === b) return;
    const forth = a * this.#count + b;
    const back = b * this.#count + a;
    this.#pairs[forth] = (this.#pairs[forth] as number) + sign;
    this.#pairs[back] = (this.#pairs[back] as number) + sign;
  }
}

interface Move {
  readonly vnode: number;
  readonly from: number;
}

function number(ids: Map<string, number>, name: string): number {
  const known = ids.get(name) ?? ids.size;
  ids.set(name, known);
  return known;
}
function swap(items: number[], a: number, b: number): void {
  const item = items[a] as number;
  items[a] = items[b] as number;
  items[b] = item;
}
