/**
 * Searching the payloads of data and index frames (table-format.ts) in place. Pure functions over bytes that
 * passed their checksum. Tokens are uniform, so a place is first guessed by interpolation, a few times, and
 * then bisected: equal or crafted tokens cost no more than a binary search.
 */
import { readInteger } from '../base/integers.ts';
import { comparePlace, tokenHiAt, tokenLoAt } from '../base/record.ts';

export const INDEX_ENTRY_BYTES = 24;
/** Keyspace and length before a key in an index payload. */
export const INDEX_KEY_HEADER_BYTES = 3;
const GUESSES = 3;
/** Below this many entries a guess saves nothing. */
const GUESS_FROM = 8;
const TWO_32 = 0x1_0000_0000;

/** Entries of a data or index payload that ends at `end`. */
export const countAt = (view: DataView, end: number): number => view.getUint32(end - 4, true);

/** Where record `index` of the data payload in [start, end) begins; -1 where that is outside. */
export function recordOffsetAt(
  view: DataView,
  start: number,
  end: number,
  count: number,
  index: number,
): number {
  const offset = start + view.getUint32(end - 4 - 4 * (count - index), true);
  return offset < end ? offset : -1;
}

/** What is wrong with the counts of a data payload: '' where offsets can be read. */
export function dataFault(view: DataView, start: number, end: number, entries: number): string {
  if (end - start < 8) return `a data payload of ${end - start} bytes`;
  const count = countAt(view, end);
  if (count !== entries || count === 0 || (count + 1) * 4 > end - start)
    return `${count} records in a payload of ${end - start} bytes, ${entries} in its header`;
  return '';
}
/** The same for an index payload. */
export function indexFault(view: DataView, start: number, end: number, entries: number): string {
  if (end - start < 4 + INDEX_ENTRY_BYTES) return `an index payload of ${end - start} bytes`;
  const count = countAt(view, end);
  if (count !== entries || count === 0 || count * INDEX_ENTRY_BYTES + 4 > end - start)
    return `${count} entries in a payload of ${end - start} bytes, ${entries} in its header`;
  return '';
}

/** Index of the first record at or after the place in the data payload [start, end); its count where none is. */
export function findRecord(
  view: DataView,
  bytes: Uint8Array,
  start: number,
  end: number,
  tokenHi: number,
  tokenLo: number,
  keyspace: number,
  key: Uint8Array,
): number {
  const count = countAt(view, end);
  const table = end - 4 - 4 * count;
  let low = 0;
  let high = count;
  const target = tokenHi * TWO_32 + tokenLo;
  for (let guess = 0; guess < GUESSES && high - low > GUESS_FROM; guess++) {
    const first = start + view.getUint32(table + 4 * low, true);
    const last = start + view.getUint32(table + 4 * (high - 1), true);
    const from = tokenHiAt(view, first) * TWO_32 + tokenLoAt(view, first);
    const to = tokenHiAt(view, last) * TWO_32 + tokenLoAt(view, last);
    const middle = guessed(from, to, target, low, high);
    if (middle < 0) break;
    const at = start + view.getUint32(table + 4 * middle, true);
    const hi = tokenHiAt(view, at);
    const lo = tokenLoAt(view, at);
    if (hi < tokenHi || (hi === tokenHi && lo < tokenLo)) low = middle + 1;
    else if (hi > tokenHi || lo > tokenLo) high = middle + 1;
    else break;
  }
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = start + view.getUint32(table + 4 * middle, true);
    if (comparePlace(view, bytes, at, tokenHi, tokenLo, keyspace, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** An index in [low, high) by the share that target has of [from, to]; -1 where they say nothing. */
function guessed(from: number, to: number, target: number, low: number, high: number): number {
  if (!(to > from)) return -1;
  const share = (target - from) / (to - from);
  if (!(share >= 0 && share <= 1)) return -1;
  return low + Math.min(high - low - 1, Math.floor(share * (high - low)));
}

/**
 * Index of the last entry of the index payload [start, end) whose frame starts at or before the place: the
 * only frame that can hold it. -1 where it lies before all.
 */
export function findEntry(
  view: DataView,
  bytes: Uint8Array,
  start: number,
  end: number,
  tokenHi: number,
  tokenLo: number,
  keyspace: number,
  key: Uint8Array,
): number {
  const count = countAt(view, end);
  let low = 0;
  let high = count;
  const target = tokenHi * TWO_32 + tokenLo;
  for (let guess = 0; guess < GUESSES && high - low > GUESS_FROM; guess++) {
    const first = start + low * INDEX_ENTRY_BYTES;
    const last = start + (high - 1) * INDEX_ENTRY_BYTES;
    const from = view.getUint32(first, true) * TWO_32 + view.getUint32(first + 4, true);
    const to = view.getUint32(last, true) * TWO_32 + view.getUint32(last + 4, true);
    const middle = guessed(from, to, target, low, high);
    if (middle < 0) break;
    const at = start + middle * INDEX_ENTRY_BYTES;
    const hi = view.getUint32(at, true);
    const lo = view.getUint32(at + 4, true);
    if (hi < tokenHi || (hi === tokenHi && lo < tokenLo)) low = middle + 1;
    else if (hi > tokenHi || lo > tokenLo) high = middle;
    else break;
  }
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = start + middle * INDEX_ENTRY_BYTES;
    if (compareEntry(view, bytes, start, end, at, tokenHi, tokenLo, keyspace, key) <= 0) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Compares the first place of an entry's frame with a place. An entry without a key is the first of its token. */
function compareEntry(
  view: DataView,
  bytes: Uint8Array,
  start: number,
  end: number,
  at: number,
  tokenHi: number,
  tokenLo: number,
  keyspace: number,
  key: Uint8Array,
): number {
  const hi = view.getUint32(at, true);
  if (hi !== tokenHi) return hi < tokenHi ? -1 : 1;
  const lo = view.getUint32(at + 4, true);
  if (lo !== tokenLo) return lo < tokenLo ? -1 : 1;
  const keyOffset = view.getUint32(at + 20, true);
  if (keyOffset === 0) return -1;
  const from = start + keyOffset;
  if (from + INDEX_KEY_HEADER_BYTES > end) return -1;
  const space = bytes[from] as number;
  if (space !== keyspace) return space < keyspace ? -1 : 1;
  const length = view.getUint16(from + 1, true);
  const keyStart = from + INDEX_KEY_HEADER_BYTES;
  const shorter = Math.min(length, key.length);
  for (let i = 0; i < shorter; i++) {
    const a = bytes[keyStart + i] as number;
    const b = key[i] as number;
    if (a !== b) return a < b ? -1 : 1;
  }
  return length - key.length;
}

/** Offset in the file of the frame that entry `index` of the payload at `start` names. */
export function entryPosition(view: DataView, start: number, index: number): number {
  const at = start + index * INDEX_ENTRY_BYTES;
  return readInteger(view, at + 8);
}
/** Its bytes. */
export function entryBytes(view: DataView, start: number, index: number): number {
  return view.getUint32(start + index * INDEX_ENTRY_BYTES + 16, true);
}
