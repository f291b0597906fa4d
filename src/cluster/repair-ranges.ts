/**
 * Where the nodes of a vnode's hash tree lie on the ring (ReplicaTree in contract.ts): levels of 1, 16, 256 and 4096
 * nodes. A vnode's id is the top bits of a token, and a leaf the 12 bits below: both lie in the upper half, since
 * there are at most 65,536 vnodes.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';

export const TREE_FANOUT = 16;
export const TREE_LEAF_LEVEL = 3;
export const TREE_LEAVES = 4096;
const LEAF_BITS = 12;

assert(limits.vnodesMax <= 2 ** (32 - LEAF_BITS), 'repair: a leaf must be told by the upper half of a token');

/** Upper halves of the first and the last token of leaves `first` to `last` of a vnode. */
export function leafTokens(vnode: number, first: number, last: number, vnodes: number): [number, number] {
  const leafWidth = 0x1_0000_0000 / vnodes / TREE_LEAVES;
  const start = vnode * TREE_LEAVES;
  return [(start + first) * leafWidth, (start + last + 1) * leafWidth - 1];
}

/** The leaf within its vnode that a token belongs to. */
export function leafOf(tokenHi: number, vnodes: number): number {
  return Math.floor(tokenHi / (0x1_0000_0000 / vnodes / TREE_LEAVES)) % TREE_LEAVES;
}

/** Nodes of the leaf level under one node of `level`. */
export function leavesUnder(level: number): number {
  return TREE_FANOUT ** (TREE_LEAF_LEVEL - level);
}
