/**
 * Which of the client's nodes hold a key, from GET /v1/cluster/ring of one of them, and GET /v1/cluster of each, which
 * tells its id. A map that is old or wrong costs a step between nodes and nothing else: every node serves every key.
 */

import { limits } from '../base/limits.ts';
import { hashToken, token, vnodeOf } from '../base/token.ts';
import { isObject, parseJson } from './encoding.ts';
import { ProtocolError } from './errors.ts';

/** Indexes of the client's nodes for each vnode, the owner first. */
export class RingMap {
  readonly ring: number;
  readonly #vnodes: number;
  readonly #lasts: readonly number[];
  readonly #nodes: readonly (readonly number[])[];

  constructor(ring: number, vnodes: number, lasts: readonly number[], nodes: readonly (readonly number[])[]) {
    this.ring = ring;
    this.#vnodes = vnodes;
    this.#lasts = lasts;
    this.#nodes = nodes;
  }
  /** The nodes with a replica of `key`, those that the client does not know left out. */
  nodesOf(key: Uint8Array): readonly number[] {
    hashToken(key);
    const vnode = vnodeOf(token.hi, this.#vnodes);
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

/** `selves`: the id of each of the client's nodes, null where unknown. Throws ProtocolError where it is no ring. */
export function parseRing(body: Uint8Array, selves: readonly (string | null)[]): RingMap {
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
  const nodes: number[][] = [];
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
        .map((id) => (typeof id === 'string' ? selves.indexOf(id) : -1))
        .filter((index) => index >= 0),
    );
  }
  if (lasts.at(-1) !== vnodes - 1) return fail(`ends at vnode ${lasts.at(-1) ?? 'none'} of ${vnodes}`);
  return new RingMap(number, vnodes, lasts, nodes);
}

/** The id of the node that answered GET /v1/cluster. */
export function parseSelf(body: Uint8Array): string {
  const status = body.length > limits.clientRingBytesMax ? undefined : parseJson(body);
  return isObject(status) && typeof status.self === 'string' ? status.self : fail('has no node that answers');
}

function fail(what: string): never {
  throw new ProtocolError(`the ring of the cluster ${what}`);
}
