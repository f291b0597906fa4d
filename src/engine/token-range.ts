/**
 * Token ranges: how they compare and overlap, exactly, and how much of a shard's own tokens they take up.
 * Pure; any thread.
 */
import { limits } from '../base/limits.ts';
import { shardOf } from '../base/token.ts';
import type { Ownership, TokenRange } from './contract.ts';

const TWO_32 = 0x1_0000_0000;

/** Negative, 0 or positive. Exact: a table next to another must never count as overlapping it. */
export function compareTokens(aHi: number, aLo: number, bHi: number, bLo: number): number {
  return aHi - bHi || aLo - bLo;
}

export function rangesOverlap(a: TokenRange, b: TokenRange): boolean {
  return (
    compareTokens(a.firstHi, a.firstLo, b.lastHi, b.lastLo) <= 0 &&
    compareTokens(b.firstHi, b.firstLo, a.lastHi, a.lastLo) <= 0
  );
}

/** Order by first token. */
export const compareFirst = (a: TokenRange, b: TokenRange): number =>
  compareTokens(a.firstHi, a.firstLo, b.firstHi, b.firstLo);

/** Order by last token. */
export const compareLast = (a: TokenRange, b: TokenRange): number =>
  compareTokens(a.lastHi, a.lastLo, b.lastHi, b.lastLo);

/**
 * Where a token stands among the tokens that the shard owns, from 0 to 1. A shard owns every S-th vnode, so
 * the width of a range on the ring says little about how much of the shard's data lies in it. Tokens of
 * foreign vnodes stand where the next own vnode starts. Never falls as the token rises.
 */
export function ownPosition(ownership: Ownership, hi: number, lo: number): number {
  const { vnodes, shards, shard } = ownership;
  const width = TWO_32 / vnodes;
  const vnode = Math.floor(hi / width);
  const ranks = Math.ceil((vnodes - shard) / shards);
  const rank = Math.ceil((vnode - shard) / shards);
  if ((vnode - shard) % shards !== 0) return Math.min(1, Math.max(0, rank / ranks));
  return (rank + (hi - vnode * width + lo / TWO_32) / width) / ranks;
}

/** The part of the equal parts 0 to 2^bits - 1 of the shard's own tokens that a token falls into. */
export function ownPart(ownership: Ownership, bits: number, hi: number, lo: number): number {
  return Math.floor(ownPosition(ownership, hi, lo) * 2 ** bits);
}

/** Share of the shard's own tokens that lies in `range`, from 0 to 1. */
export function ownShare(ownership: Ownership, range: TokenRange): number {
  return (
    ownPosition(ownership, range.lastHi, range.lastLo) - ownPosition(ownership, range.firstHi, range.firstLo)
  );
}

/** Whether the vnode of a token belongs to the shard. */
export function owns(ownership: Ownership, hi: number): boolean {
  return shardOf(hi, ownership.vnodes, ownership.shards) === ownership.shard;
}

/** Finest cut of a shard's tokens: one part for each of the most vnodes there can be. */
export const PART_BITS_MAX = Math.log2(limits.vnodesMax);

/** Whether a token lies in `range`. */
export function covers(range: TokenRange, hi: number, lo: number): boolean {
  return (
    compareTokens(range.firstHi, range.firstLo, hi, lo) <= 0 &&
    compareTokens(hi, lo, range.lastHi, range.lastLo) <= 0
  );
}
