/**
 * Which of the client's nodes hold a key, from GET /v1/cluster/ring, and what GET /v1/cluster tells of the members. A map
 * that is old or wrong costs a step between nodes and nothing else: every node serves every key.
 */

import { limits } from '../base/limits.ts';
import { vnodeOf } from '../base/vnode.ts';
import { isObject, parseJson } from './encoding.ts';
import { ProtocolError } from './errors.ts';

/** The client's nodes for each vnode, the owner first. */
export class RingMap<N> {
  readonly ring: number;
  readonly #vnodes: number;
  readonly #lasts: readonly number[];
  readonly #nodes: readonly (readonly N[])[];

  constructor(ring: number, vnodes: number, lasts: readonly number[], nodes: readonly (readonly N[])[]) {
    this.ring = ring;
    this.#vnodes = vnodes;
    this.#lasts = lasts;
    this.#nodes = nodes;
  }
  /** The nodes with a replica of the key with this token, those that the client does not know left out. */
  nodesOf(tokenHi: number): readonly N[] {
    const vnode = vnodeOf(tokenHi, this.#vnodes);
    let low = 0;
    let high = this.#lasts.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#lasts[middle] as number) < vnode) low = middle + 1;
      else high = middle;
    }
    return this.#nodes[low] ?? [];
  }
}

/** `nodeOf`: the client's node with an id, undefined where it has none. Throws ProtocolError where it is no ring. */
export function parseRing<N>(body: Uint8Array, nodeOf: (id: string) => N | undefined): RingMap<N> {
  const ring = body.length > limits.clientRingBytesMax ? undefined : parseJson(body);
  if (!isObject(ring) || !Array.isArray(ring.ranges)) return fail('has no ranges');
  const { vnodes, ranges } = ring;
  const number = typeof ring.ring === 'number' ? ring.ring : fail('has no number');
  if (
    typeof vnodes !== 'number' ||
    !(vnodes >= 1 && vnodes <= limits.vnodesMax) ||
    (vnodes & (vnodes - 1)) !== 0
  )
    return fail(`has ${String(vnodes)} vnodes`);
  const lasts: number[] = [];
  const nodes: N[][] = [];
  for (const range of ranges as readonly unknown[]) {
    const before = lasts.at(-1) ?? -1;
    if (
      !isObject(range) ||
      range.first !== before + 1 ||
      typeof range.last !== 'number' ||
      range.last < range.first
    )
      return fail(`has a range that does not follow vnode ${before}`);
    if (!Array.isArray(range.nodes)) return fail(`has a range without nodes after vnode ${before}`);
    lasts.push(range.last);
    nodes.push(
      (range.nodes as readonly unknown[])
        .map((id) => (typeof id === 'string' ? nodeOf(id) : undefined))
        .filter((node) => node !== undefined),
    );
  }
  if (lasts.at(-1) !== vnodes - 1) return fail(`ends at vnode ${lasts.at(-1) ?? 'none'} of ${vnodes}`);
  return new RingMap(number, vnodes, lasts, nodes);
}

/** What one node says of the cluster. */
export interface Membership {
  /** The id of the node that answered. */
  readonly self: string;
  readonly clusterId: string;
  /** Number of the ring that it holds. */
  readonly ring: number;
  readonly members: readonly Member[];
}
export interface Member {
  readonly id: string;
  /** Where clients reach it; '' where that is unknown. */
  readonly url: string;
  /** Part of the ring, and not about to go. */
  readonly serves: boolean;
}

/** Of an answer to GET /v1/cluster. Throws ProtocolError where it is none. */
export function parseMembership(body: Uint8Array): Membership {
  const status = body.length > limits.clientRingBytesMax ? undefined : parseJson(body);
  if (!isObject(status) || typeof status.self !== 'string') return fail('has no node that answers');
  const { self, clusterId, ring, nodes } = status;
  return {
    self,
    clusterId: typeof clusterId === 'string' ? clusterId : '',
    ring: typeof ring === 'number' ? ring : 0,
    members: (Array.isArray(nodes) ? (nodes as readonly unknown[]) : []).flatMap(memberOf),
  };
}

function memberOf(node: unknown): Member[] {
  if (!isObject(node) || typeof node.nodeId !== 'string') return [];
  const { nodeId: id, member, state } = node;
  const url = typeof node.url === 'string' ? node.url : '';
  const address = typeof node.address === 'string' ? node.address : '';
  return [
    { id, url: reachable(url, address), serves: member === true && state !== 'left' && state !== 'draining' },
  ];
}

/** A node that listens on all of its addresses tells none of them: the one where other nodes reach it will do. */
function reachable(url: string, address: string): string {
  if (!URL.canParse(url) || !URL.canParse(`http://${address}`)) return '';
  const parsed = new URL(url);
  const { hostname } = new URL(`http://${address}`);
  if (!isWildcard(parsed.hostname)) return parsed.href.replace(/\/+$/, '');
  if (isWildcard(hostname)) return '';
  parsed.hostname = hostname;
  return parsed.href.replace(/\/+$/, '');
}
const isWildcard = (hostname: string): boolean => hostname === '0.0.0.0' || hostname === '[::]';

function fail(what: string): never {
  throw new ProtocolError(`the ring of the cluster ${what}`);
}
