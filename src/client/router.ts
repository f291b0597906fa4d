/**
 * Which node is asked: those that hold the key, the owner first, then the others; among these first whoever is up.
 * Members of the cluster and its ring map are fetched behind the calls, never before one: at the first, when they have
 * grown old, and soon after a call that failed at a node.
 */
import { type Clock, deadlineIn } from '../base/clock.ts';
import { RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClientNode, NodePool } from './node-pool.ts';
import { type Member, type Membership, parseMembership, parseRing, type RingMap } from './ring-map.ts';

export interface RouterOptions {
  readonly clock: Clock;
  /** Calls go to nodes that hold their key. */
  readonly byToken: boolean;
  /** Members of the cluster that were not named are asked too. */
  readonly discovers: boolean;
  readonly tokenHi: (key: Uint8Array) => number;
}

const MEMBERSHIP = '/v1/cluster';
const RING = '/v1/cluster/ring';

export class Router {
  readonly #pool: NodePool;
  readonly #options: RouterOptions;
  #map: RingMap<ClientNode> | null = null;
  #fetching: Promise<void> | null = null;
  /** When the members and the map are fetched again. */
  #dueMs = Number.NEGATIVE_INFINITY;
  #fetchedMs = Number.NEGATIVE_INFINITY;
  /** The newest ring that a node has told of: an older view of the members drops nobody. */
  #ringSeen = 0;
  #clusterId = '';
  /** Where calls go that the map does not place: an index of the pool's list, modulo its length. */
  #turn = 0;

  constructor(pool: NodePool, options: RouterOptions) {
    this.#pool = pool;
    this.#options = options;
  }

  /**
   * The best node that is not in `tried`; where all are, the best one of all. `key`: null for what is not of a key; `isNamed`: only
   * nodes that were named to connect().
   */
  pick(key: Uint8Array | null, tried: readonly ClientNode[], isNamed = false): ClientNode {
    const { clock, discovers, byToken, tokenHi } = this.#options;
    const { list: all } = this.#pool;
    if ((discovers || (byToken && all.length > 1)) && clock.monotonicMs() >= this.#dueMs) void this.refresh();
    const list = isNamed ? all.filter((node) => node.isNamed) : all;
    const count = list.length;
    if (count === 1) return list[0] as ClientNode;
    const holders = key === null || this.#map === null ? [] : this.#map.nodesOf(tokenHi(key));
    let best = list[this.#turn % count] as ClientNode;
    let bestRank = Number.POSITIVE_INFINITY;
    for (let i = 0; i < holders.length + count; i++) {
      const node = holders[i] ?? (list[(this.#turn + i - holders.length) % count] as ClientNode);
      const isUsable = key === null ? node.http.usable : node.kv.usable;
      const rank = (tried.includes(node) ? 4 : 0) + (node.serves ? 0 : 2) + (isUsable ? 0 : 1);
      if (rank >= bestRank) continue;
      best = node;
      bestRank = rank;
      if (rank === 0) break;
    }
    return best;
  }

  /** A call failed at this node: others do not begin there, and the ring may have changed. */
  failed(node: ClientNode): void {
    const { list } = this.#pool;
    const index = list.indexOf(node);
    if (index === this.#turn % list.length) this.#turn = (index + 1) % list.length;
    // It may be another node that listens there when it answers again.
    node.id = null;
    this.#dueMs = Math.min(this.#dueMs, this.#fetchedMs + limits.clientRingPauseMs);
  }

  /** Fetches members and ring once more; resolves in any case. What is known stays where nothing comes. */
  refresh(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = null;
    });
    return this.#fetching;
  }

  async #fetch(): Promise<void> {
    const { clock, byToken, discovers } = this.#options;
    this.#fetchedMs = clock.monotonicMs();
    this.#dueMs = this.#fetchedMs + limits.clientRingAgeMs;
    const before = this.#map;
    const told = await this.#membership();
    const hasDropped = told !== null && this.#judge(told);
    if (told !== null && discovers) await this.#learn(told);
    if (byToken && this.#pool.list.length > 1) await this.#fetchRing();
    // A map of before must not name nodes that are closed soon.
    if (hasDropped && this.#map === before) this.#map = null;
    // Who did not answer comes into the map when it does.
    if (told === null || this.#pool.list.some(({ id }) => id === null))
      this.#dueMs = Math.min(this.#dueMs, this.#fetchedMs + 5 * limits.clientRingPauseMs);
  }

  /** The newest view of those who are asked: all whose id is not known, and the first other that answers. */
  async #membership(): Promise<Membership | null> {
    const strangers = this.#pool.list.filter(({ id }) => id === null);
    const views: Membership[] = [];
    const ask = async (node: ClientNode): Promise<boolean> => {
      const view = await this.#ask(node, MEMBERSHIP, parseMembership);
      if (view === null) return false;
      node.id = view.self;
      // Of a node that nobody named: something else may listen there by now.
      const isOurs = node.isNamed || view.clusterId === this.#clusterId;
      if (isOurs) views.push(view);
      return isOurs;
    };
    await inTurns(strangers, async (node) => {
      await ask(node);
    });
    for (const node of this.#inOrder()) if (!strangers.includes(node) && (await ask(node))) break;
    const newest = views.sort((a, b) => b.ring - a.ring)[0] ?? null;
    if (newest === null || newest.ring < this.#ringSeen) return null;
    this.#ringSeen = newest.ring;
    this.#clusterId = newest.clusterId;
    return newest;
  }

  /** Marks those that are members no more, and drops those of them that nobody named; whether it dropped any. */
  #judge({ members }: Membership): boolean {
    if (members.length === 0) return false;
    let hasDropped = false;
    for (const node of this.#pool.list) {
      if (node.id === null && node.isNamed) continue;
      const member = members.find(({ id, url }) => (node.id === null ? url === node.url : id === node.id));
      const isGone = member === undefined || !member.serves;
      if (node.isNamed) node.serves = !isGone;
      // A node that moved is learnt anew where it is now.
      else if (isGone || member.url !== node.url || this.#isTwice(node)) {
        this.#pool.drop(node);
        hasDropped = true;
      }
    }
    return hasDropped;
  }
  /** One that was learnt while the named one of the same id did not answer. */
  #isTwice(node: ClientNode): boolean {
    return this.#pool.list.some(({ id, isNamed }) => isNamed && id !== null && id === node.id);
  }

  /** Takes members in that are not known yet, each when it has said itself that it is this member of this cluster. */
  async #learn({ clusterId, members }: Membership): Promise<void> {
    const { list } = this.#pool;
    const schemes = new Set(list.filter(({ isNamed }) => isNamed).map(({ url }) => schemeOf(url)));
    const room = limits.clientNodesMax - list.length;
    const unknown = members.filter(
      ({ id, url, serves }) =>
        serves && schemes.has(schemeOf(url)) && !list.some((node) => node.id === id || node.url === url),
    );
    await inTurns(unknown.slice(0, Math.max(0, room)), async (member) => await this.#take(member, clusterId));
  }
  async #take({ id, url }: Member, clusterId: string): Promise<void> {
    const node = this.#candidate(url);
    if (node === null) return;
    const view = await this.#ask(node, MEMBERSHIP, parseMembership);
    if (view !== null && view.self === id && view.clusterId === clusterId) {
      node.id = id;
      await this.#pool.add(node);
    } else await node.close();
  }

  /** null where the URL is none that can be asked. */
  #candidate(url: string): ClientNode | null {
    try {
      return this.#pool.candidate(url);
    } catch (error) {
      if (error instanceof RingKvError) return null;
      throw error;
    }
  }

  async #fetchRing(): Promise<void> {
    const byId = new Map(this.#pool.list.map((node) => [node.id, node]));
    for (const node of this.#inOrder()) {
      if (node.id === null || !node.serves) continue;
      const map = await this.#ask(node, RING, (body) => parseRing(body, (id) => byId.get(id)));
      if (map === null) continue;
      if (this.#map === null || map.ring >= this.#map.ring) this.#map = map;
      return;
    }
  }
  /** From the one that calls go to; members first. */
  #inOrder(): readonly ClientNode[] {
    const { list } = this.#pool;
    const at = this.#turn % list.length;
    const all = [...list.slice(at), ...list.slice(0, at)];
    return [...all.filter(({ serves }) => serves), ...all.filter(({ serves }) => !serves)];
  }

  async #ask<T>(node: ClientNode, path: string, parse: (body: Uint8Array) => T): Promise<T | null> {
    try {
      const request = { method: 'GET', path, headers: {}, body: null } as const;
      const deadlineMs = deadlineIn(this.#options.clock, limits.clientConnectMs);
      return parse((await node.http.call(request, deadlineMs, undefined)).body);
    } catch (error) {
      if (error instanceof RingKvError) return null;
      throw error;
    }
  }
}

const schemeOf = (url: string): string => url.slice(0, url.indexOf(':'));

/** Some at a time. */
async function inTurns<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const line = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await run(item);
  };
  await Promise.all(Array.from({ length: Math.min(items.length, limits.clientProbesMax) }, line));
}
