/**
 * The document `joining`: that this node leaves the cluster of one that it founded, for the cluster of these seeds. Pure.
 *
 * 1. Once it is durable the node is one that joins, and takes no request of clients before it knows the other ring. A crash at any
 *    moment leaves a node that is alone (before), or one that joins when it is started again (after).
 * 2. What the cluster of one had left behind is removed after that, its ring last: while that ring is there, the removal is not done.
 * 3. It goes at the first start at which the node is a member of the other cluster: members need no seeds.
 *
 * JSON: {"leaves": id of the cluster of one, '' where there was none, "seeds": [host:port, ...]}.
 */
import { CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Documents, RemovableDocuments } from './contract.ts';
import { decodeRing } from './ring-codec.ts';

export const JOINING = 'joining';

export interface JoinIntent {
  readonly leaves: string;
  readonly seeds: readonly string[];
}

const RING = 'ring';
const MEMBER = 'ring-member';
/** Of the cluster that is left, in this order: a member without a ring is taken for damage. Generation and versions go on. */
const LEFT = ['ring-acceptor', 'ring-pulls', 'horizons', 'repairs', 'addresses', MEMBER, RING];

export function encodeJoin({ leaves, seeds }: JoinIntent): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ leaves, seeds }));
}

/**
 * The seeds by which a node that was told to join looks for its cluster; null where it was not told, or is a member by now. Removes what
 * is left of the cluster of one. At the start, before anything else reads documents. Throws CorruptionError and IoError.
 */
export function resumeJoin(documents: RemovableDocuments): readonly string[] | null {
  const bytes = documents.load(JOINING);
  if (bytes === null) return null;
  const { leaves, seeds } = decodeJoin(bytes);
  const member = documents.load(MEMBER);
  if (member !== null && textOf(member) !== leaves) {
    documents.remove(JOINING);
    return null;
  }
  const ring = documents.load(RING);
  if (ring !== null && decodeRing(ring).clusterId === leaves) for (const name of LEFT) documents.remove(name);
  return seeds;
}

/**
 * The cluster that this node has left: '' where none. Others may know its ring still, and give it back; but at the next start it
 * would be forgotten again, with what had been acknowledged under it.
 */
export function leftCluster(documents: Documents): string {
  const bytes = documents.load(JOINING);
  return bytes === null ? '' : decodeJoin(bytes).leaves;
}

function decodeJoin(bytes: Uint8Array): JoinIntent {
  const damaged = (): CorruptionError =>
    new CorruptionError(`document ${JOINING}`, 0, 'no seeds of a cluster');
  let content: unknown;
  try {
    content = JSON.parse(textOf(bytes));
  } catch {
    throw damaged();
  }
  const { leaves, seeds } = (content ?? {}) as Partial<Record<keyof JoinIntent, unknown>>;
  const isIntent =
    typeof leaves === 'string' &&
    Array.isArray(seeds) &&
    seeds.length > 0 &&
    seeds.length <= limits.seedsMax &&
    seeds.every((seed) => typeof seed === 'string');
  if (!isIntent) throw damaged();
  return { leaves, seeds };
}

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
