/**
 * The leaves of a hash tree: for each the sum of the hashes of its records modulo 2^64, so that the order in which they are
 * added is all one and sums of parts can be added up. As two 32-bit halves a leaf: a BigInt per record would be an allocation.
 */
import { limits } from '../base/limits.ts';
import {
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  isDeadAt,
  KEYSPACE_USER,
  keyLengthAt,
  keyStartAt,
  keyspaceAt,
  originAt,
  tokenHiAt,
  versionAt,
} from '../base/record.ts';
import { hashToken, token } from '../base/token.ts';
import type { TreeSpec } from './tree-contract.ts';

const TWO_32 = 0x1_0000_0000;
const VERSION_ORIGIN_FLAGS_BYTES = 13;
const scratch = new Uint8Array(1 + limits.keyBytesCeiling + VERSION_ORIGIN_FLAGS_BYTES);
const scratchView = new DataView(scratch.buffer);

/**
 * XXH64 over (keyspace, key, version, origin, flags) of a record, into `token`. What has expired counts as the tombstone that
 * compaction makes of it sooner or later.
 */
function hashRecord(view: DataView, bytes: Uint8Array, offset: number, isDead: boolean): void {
  const length = keyLengthAt(view, offset);
  const start = keyStartAt(offset);
  scratch[0] = keyspaceAt(view, offset);
  scratch.set(bytes.subarray(start, start + length), 1);
  const at = 1 + length;
  scratchView.setFloat64(at, versionAt(view, offset), true);
  scratchView.setUint32(at + 8, originAt(view, offset), true);
  scratch[at + 12] = isDead ? FLAG_TOMBSTONE : flagsAt(view, offset);
  hashToken(scratch.subarray(0, at + VERSION_ORIGIN_FLAGS_BYTES));
}

/** When a record died or will: its expiry, or a tombstone's version, in ms since 1970; Infinity for one that lives on. */
function deathMsOf(view: DataView, offset: number): number {
  const flags = flagsAt(view, offset);
  if ((flags & FLAG_TOMBSTONE) !== 0) return versionAt(view, offset) / 1000;
  return (flags & FLAG_EXPIRING) !== 0 ? expiresMsAt(view, offset) : Number.POSITIVE_INFINITY;
}

export class LeafSums {
  readonly sums: Uint32Array;
  records = 0;
  readonly #tree: TreeSpec;
  readonly #leafWidth: number;

  constructor(tree: TreeSpec) {
    this.#tree = tree;
    this.#leafWidth = (tree.lastHi + 1 - tree.firstHi) / tree.leaves;
    this.sums = new Uint32Array(2 * tree.leaves);
  }

  /** Adds a record of the tree's tokens, unless it died too long ago. */
  add(view: DataView, bytes: Uint8Array, offset: number): void {
    const { firstHi, nowMs, ignoreDeadBeforeMs } = this.#tree;
    if (deathMsOf(view, offset) < ignoreDeadBeforeMs) return;
    const isDead = isDeadAt(view, offset, nowMs);
    // Compaction drops these at once, on each replica in its own time.
    if (isDead && keyspaceAt(view, offset) !== KEYSPACE_USER) return;
    hashRecord(view, bytes, offset, isDead);
    addHash(this.sums, Math.floor((tokenHiAt(view, offset) - firstHi) / this.#leafWidth), token.lo, token.hi);
    this.records++;
  }
}

/** The elements of an Uint32Array wrap at 2^32 by themselves. */
function addHash(sums: Uint32Array, leaf: number, lo: number, hi: number): void {
  const at = 2 * leaf;
  const sum = (sums[at] as number) + lo;
  sums[at] = sum;
  sums[at + 1] = (sums[at + 1] as number) + hi + (sum >= TWO_32 ? 1 : 0);
}

/** Adds the sums of another part of the same tree. */
export function addSums(to: Uint32Array, more: Uint32Array): void {
  for (let leaf = 0; 2 * leaf < to.length; leaf++)
    addHash(to, leaf, more[2 * leaf] as number, more[2 * leaf + 1] as number);
}

/** Writes the sum of leaves `first` to `end` (exclusive) at `at`, 8 bytes, little-endian. */
export function writeSum(sums: Uint32Array, first: number, end: number, target: DataView, at: number): void {
  // Of thousands of halves: far below 2^53.
  let lo = 0;
  let hi = 0;
  for (let leaf = first; leaf < end; leaf++) {
    lo += sums[2 * leaf] as number;
    hi += sums[2 * leaf + 1] as number;
  }
  target.setUint32(at, lo % TWO_32, true);
  target.setUint32(at + 4, (hi + Math.floor(lo / TWO_32)) % TWO_32, true);
}
