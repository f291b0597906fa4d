/**
 * Which node is asked: those that hold the key, the owner first, then the others; among these first whoever is up.
 * The ring map is fetched behind the calls, never before one: at the first, when it has grown old, and soon after a call
 * that failed at a node.
 */
import type { Clock } from '../base/clock.ts';
import { RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { HttpLink } from './http-link.ts';
import type { KvLink } from './kv.ts';
import { parseRing, parseSelf, type RingMap } from './ring-map.ts';

export interface ClientNode {
  readonly url: string;
  readonly kv: KvLink;
  readonly http: HttpLink;
}

export class Router {
  readonly #nodes: readonly ClientNode[];
  readonly #clock: Clock;
  readonly #byToken: boolean;
  #map: RingMap | null = null;
  #fetching: Promise<void> | null = null;
  /** When the map is fetched again. */
  #dueMs = Number.NEGATIVE_INFINITY;
  #fetchedMs = Number.NEGATIVE_INFINITY;
  /** Where calls go that the map does not place. */
  #turn = 0;

  constructor(nodes: readonly ClientNode[], clock: Clock, byToken: boolean) {
    this.#nodes = nodes;
    this.#clock = clock;
    this.#byToken = byToken && nodes.length > 1;
  }

  /** The best node that is not in `tried`; where all are, the best one of all. `key`: null for what is not of a key. */
  pick(key: Uint8Array | null, tried: readonly ClientNode[]): ClientNode {
    const count = this.#nodes.length;
    if (count === 1) return this.#nodes[0] as ClientNode;
    if (this.#byToken && this.#clock.monotonicMs() >= this.#dueMs) void this.refresh();
    const holders = key === null ? [] : (this.#map?.nodesOf(key) ?? []);
    let best = this.#nodes[this.#turn] as ClientNode;
    let bestRank = Number.POSITIVE_INFINITY;
    for (let i = 0; i < holders.length + count; i++) {
      const node = this.#nodes[holders[i] ?? (this.#turn + i - holders.length) % count] as ClientNode;
      const isUsable = key === null ? node.http.usable : node.kv.usable;
      const rank = (tried.includes(node) ? 2 : 0) + (isUsable ? 0 : 1);
      if (rank >= bestRank) continue;
      best = node;
      bestRank = rank;
      if (rank === 0) break;
    }
    return best;
  }

  /** A call failed at this node: others do not begin there, and the ring may have changed. */
  failed(node: ClientNode): void {
    const index = this.#nodes.indexOf(node);
    if (index === this.#turn) this.#turn = (index + 1) % this.#nodes.length;
    this.#dueMs = Math.min(this.#dueMs, this.#fetchedMs + limits.clientRingPauseMs);
  }

  /** Fetches the ring once more; resolves in any case. The map of before stays where none comes. */
  refresh(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = null;
    });
    return this.#fetching;
  }
  async #fetch(): Promise<void> {
    this.#fetchedMs = this.#clock.monotonicMs();
    this.#dueMs = this.#fetchedMs + limits.clientRingAgeMs;
    // Who does not answer is left out: its ids are not needed to reach the others.
    const selves = await Promise.all(
      this.#nodes.map(async (node) => await this.#ask(node, '/v1/cluster', parseSelf)),
    );
    for (const [index, node] of this.#nodes.entries()) {
      if (selves[index] === null) continue;
      const map = await this.#ask(node, '/v1/cluster/ring', (body) => parseRing(body, selves));
      if (map === null) continue;
      if (this.#map === null || map.ring >= this.#map.ring) this.#map = map;
      // Who did not answer comes into the map when it does.
      if (selves.includes(null)) this.#dueMs = this.#fetchedMs + 5 * limits.clientRingPauseMs;
      return;
    }
  }
  async #ask<T>(node: ClientNode, path: string, parse: (body: Uint8Array) => T): Promise<T | null> {
    try {
      const request = { method: 'GET', path, headers: {}, body: null } as const;
      const deadlineMs = this.#clock.monotonicMs() + limits.clientConnectMs;
      return parse((await node.http.call(request, deadlineMs, undefined)).body);
    } catch (error) {
      if (error instanceof RingKvError) return null;
      throw error;
    }
  }
}
