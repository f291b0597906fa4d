/**
 * The record and its one encoding, shared by memtable arena, commit log and SSTable, so that a flush and a
 * log write copy bytes and re-encode nothing.
 *
 *   offset size field
 *        0    4 valueLength
 *        4    2 keyLength
 *        6    1 flags: 1 tombstone, 2 expiring
 *        7    1 keyspace: 0 user data, 1 idempotency outcomes of a node alone, 2 promises, 3 outcomes at SERIAL
 *        8    4 tokenHi: upper 32 bits of the XXH64 of the user key
 *       12    4 tokenLo
 *       16    4 versionLo: version modulo 2^32
 *       20    4 versionHi
 *       24    4 origin: id of the coordinator that chose the version
 *       28    4 reserved, 0
 *       32    4 expiryLo: milliseconds since 1970 modulo 2^32; 0 unless expiring
 *       36    4 expiryHi
 *       40    k key, then value, then zeros up to a multiple of 8
 *
 * All integers are little-endian. A record starts at a multiple of 8. Order everywhere:
 * (token, keyspace, key bytes), unsigned. Accessors allocate nothing: `...At` take a
 * DataView and an offset, `...In` the bytes themselves, for who has no view: to make one takes longer than to read a whole header.
 */
import { pooledBytes } from './bytes.ts';

export const RECORD_HEADER_BYTES = 40;
export const FLAG_TOMBSTONE = 1;
export const FLAG_EXPIRING = 2;
export const FLAGS_KNOWN = FLAG_TOMBSTONE | FLAG_EXPIRING;
export const KEYSPACE_USER = 0;
export const KEYSPACE_IDEMPOTENCY = 1;
/** What a replica promised for a key: the record's version and origin are the ballot, its value is empty. */
export const KEYSPACE_PROMISES = 2;
/** Outcomes of idempotency keys for a key, accepted with its record at SERIAL (src/cluster/outcomes.ts). */
export const KEYSPACE_OUTCOMES = 3;

const TWO_32 = 0x1_0000_0000;

/** A record to be written. Reused as a flyweight on hot paths. */
export interface RecordFields {
  tokenHi: number;
  tokenLo: number;
  keyspace: number;
  key: Uint8Array;
  value: Uint8Array;
  version: number;
  origin: number;
  flags: number;
  /** Milliseconds since 1970, 0 unless FLAG_EXPIRING. */
  expiresMs: number;
}

/** Bytes of an encoded record, a multiple of 8. */
export function recordBytes(keyLength: number, valueLength: number): number {
  return (RECORD_HEADER_BYTES + keyLength + valueLength + 7) & ~7;
}

/** Writes a record at `offset`, a multiple of 8, and returns its size. Throws RangeError where the bytes end before it does. */
export function writeRecord(bytes: Uint8Array, offset: number, record: RecordFields): number {
  const { key, value, version, expiresMs } = record;
  const size = recordBytes(key.length, value.length);
  putWord(bytes, offset, value.length);
  bytes[offset + 4] = key.length;
  bytes[offset + 5] = key.length >>> 8;
  bytes[offset + 6] = record.flags;
  bytes[offset + 7] = record.keyspace;
  putWord(bytes, offset + 8, record.tokenHi);
  putWord(bytes, offset + 12, record.tokenLo);
  putWord(bytes, offset + 16, version % TWO_32);
  putWord(bytes, offset + 20, Math.floor(version / TWO_32));
  putWord(bytes, offset + 24, record.origin);
  putWord(bytes, offset + 28, 0);
  putWord(bytes, offset + 32, expiresMs % TWO_32);
  putWord(bytes, offset + 36, Math.floor(expiresMs / TWO_32));
  const valueAt = offset + RECORD_HEADER_BYTES + key.length;
  bytes.set(key, offset + RECORD_HEADER_BYTES);
  bytes.set(value, valueAt);
  // The padding is part of checksummed images: it must not carry what stood here before.
  for (let at = valueAt + value.length; at < offset + size; at++) bytes[at] = 0;
  return size;
}
function putWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
  bytes[at + 2] = word >>> 16;
  bytes[at + 3] = word >>> 24;
}

export const valueLengthAt = (view: DataView, offset: number): number => view.getUint32(offset, true);
export const keyLengthAt = (view: DataView, offset: number): number => view.getUint16(offset + 4, true);
export const flagsAt = (view: DataView, offset: number): number => view.getUint8(offset + 6);
export const keyspaceAt = (view: DataView, offset: number): number => view.getUint8(offset + 7);
export const tokenHiAt = (view: DataView, offset: number): number => view.getUint32(offset + 8, true);
export const tokenLoAt = (view: DataView, offset: number): number => view.getUint32(offset + 12, true);
export const versionAt = (view: DataView, offset: number): number =>
  view.getUint32(offset + 20, true) * TWO_32 + view.getUint32(offset + 16, true);
export const originAt = (view: DataView, offset: number): number => view.getUint32(offset + 24, true);
export const expiresMsAt = (view: DataView, offset: number): number =>
  view.getUint32(offset + 36, true) * TWO_32 + view.getUint32(offset + 32, true);
export const recordBytesAt = (view: DataView, offset: number): number =>
  recordBytes(keyLengthAt(view, offset), valueLengthAt(view, offset));
export const keyStartAt = (offset: number): number => offset + RECORD_HEADER_BYTES;
export const valueStartAt = (view: DataView, offset: number): number =>
  offset + RECORD_HEADER_BYTES + keyLengthAt(view, offset);

const wordIn = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)) >>>
  0;
/** Of the record at `at`, whose header is there as a whole. */
export const valueLengthIn = (bytes: Uint8Array, at = 0): number => wordIn(bytes, at);
export const keyLengthIn = (bytes: Uint8Array, at = 0): number =>
  (bytes[at + 4] as number) | ((bytes[at + 5] as number) << 8);
export const flagsIn = (bytes: Uint8Array, at = 0): number => bytes[at + 6] as number;
export const keyspaceIn = (bytes: Uint8Array, at = 0): number => bytes[at + 7] as number;
export const tokenHiIn = (bytes: Uint8Array, at = 0): number => wordIn(bytes, at + 8);
export const tokenLoIn = (bytes: Uint8Array, at = 0): number => wordIn(bytes, at + 12);
export const versionIn = (bytes: Uint8Array, at = 0): number =>
  wordIn(bytes, at + 20) * TWO_32 + wordIn(bytes, at + 16);
export const originIn = (bytes: Uint8Array, at = 0): number => wordIn(bytes, at + 24);
export const expiresMsIn = (bytes: Uint8Array, at = 0): number =>
  wordIn(bytes, at + 36) * TWO_32 + wordIn(bytes, at + 32);
export const recordBytesIn = (bytes: Uint8Array, at = 0): number =>
  recordBytes(keyLengthIn(bytes, at), valueLengthIn(bytes, at));
export const valueStartIn = (bytes: Uint8Array, at = 0): number =>
  at + RECORD_HEADER_BYTES + keyLengthIn(bytes, at);

/** Views of key and value, not copies. */
export function keyIn(bytes: Uint8Array, at = 0): Uint8Array {
  const start = at + RECORD_HEADER_BYTES;
  return bytes.subarray(start, start + keyLengthIn(bytes, at));
}
export function valueIn(bytes: Uint8Array, at = 0): Uint8Array {
  const start = valueStartIn(bytes, at);
  return bytes.subarray(start, start + valueLengthIn(bytes, at));
}

/** A view of the key's bytes, not a copy. */
export function keyAt(view: DataView, bytes: Uint8Array, offset: number): Uint8Array {
  return bytes.subarray(
    offset + RECORD_HEADER_BYTES,
    offset + RECORD_HEADER_BYTES + keyLengthAt(view, offset),
  );
}
/** A view of the value's bytes, not a copy. */
export function valueAt(view: DataView, bytes: Uint8Array, offset: number): Uint8Array {
  const start = valueStartAt(view, offset);
  return bytes.subarray(start, start + valueLengthAt(view, offset));
}

/** A copy of a record's place in the order of records. */
export function placeAt(
  view: DataView,
  bytes: Uint8Array,
  offset: number,
): { tokenHi: number; tokenLo: number; keyspace: number; key: Uint8Array } {
  return {
    tokenHi: tokenHiAt(view, offset),
    tokenLo: tokenLoAt(view, offset),
    keyspace: keyspaceAt(view, offset),
    key: keyAt(view, bytes, offset).slice(),
  };
}

/** Bytes of a record without its value. */
export const headBytesAt = (view: DataView, offset: number): number =>
  recordBytes(keyLengthAt(view, offset), 0);

/** Copies a record without its value to `to` in `target`, which has room; the size of the copy. */
export function copyHead(
  view: DataView,
  bytes: Uint8Array,
  offset: number,
  target: Uint8Array,
  to: number,
): number {
  const length = RECORD_HEADER_BYTES + keyLengthAt(view, offset);
  const size = headBytesAt(view, offset);
  for (let i = 0; i < length; i++) target[to + i] = bytes[offset + i] as number;
  for (let i = length; i < size; i++) target[to + i] = 0;
  // valueLength.
  for (let i = 0; i < 4; i++) target[to + i] = 0;
  return size;
}

/** A copy of a record without its value. */
export function headAt(view: DataView, bytes: Uint8Array, offset: number): Uint8Array {
  const head = pooledBytes(headBytesAt(view, offset));
  copyHead(view, bytes, offset, head, 0);
  return head;
}

/** True for a tombstone and for a record whose expiry has passed: both read as absent. */
export function isDeadAt(view: DataView, offset: number, nowMs: number): boolean {
  const flags = flagsAt(view, offset);
  if ((flags & FLAG_TOMBSTONE) !== 0) return true;
  return (flags & FLAG_EXPIRING) !== 0 && expiresMsAt(view, offset) <= nowMs;
}

/** The same by bytes, of one record. */
export function isDeadIn(bytes: Uint8Array, nowMs: number): boolean {
  const flags = flagsIn(bytes);
  if ((flags & FLAG_TOMBSTONE) !== 0) return true;
  return (flags & FLAG_EXPIRING) !== 0 && expiresMsIn(bytes) <= nowMs;
}

/**
 * What is wrong with a record's header at `offset` in bytes that end at `end`, or '' where nothing is.
 * For readers of untrusted bytes: after '' every accessor above stays inside [offset, end).
 */
export function recordFault(bytes: Uint8Array, offset: number, end: number): string {
  if (offset % 8 !== 0) return `record at ${offset} is not aligned to 8`;
  if (end - offset < RECORD_HEADER_BYTES)
    return `${end - offset} bytes left, a header takes ${RECORD_HEADER_BYTES}`;
  const keyLength = keyLengthIn(bytes, offset);
  const size = RECORD_HEADER_BYTES + keyLength + valueLengthIn(bytes, offset);
  if (size > end - offset) return `a record of ${size} bytes in ${end - offset}`;
  const flags = flagsIn(bytes, offset);
  if ((flags & ~FLAGS_KNOWN) !== 0) return `unknown flags ${flags}`;
  if (keyLength === 0) return 'empty key';
  if (versionIn(bytes, offset) > Number.MAX_SAFE_INTEGER) return 'version above 2^53 - 1';
  if (wordIn(bytes, offset + 28) !== 0) return 'reserved word is not 0';
  return '';
}

/** Compares a record's place with (token, keyspace, key): negative, 0 or positive. */
export function comparePlace(
  view: DataView,
  bytes: Uint8Array,
  offset: number,
  tokenHi: number,
  tokenLo: number,
  keyspace: number,
  key: Uint8Array,
): number {
  const hi = tokenHiAt(view, offset);
  if (hi !== tokenHi) return hi < tokenHi ? -1 : 1;
  const lo = tokenLoAt(view, offset);
  if (lo !== tokenLo) return lo < tokenLo ? -1 : 1;
  const space = keyspaceAt(view, offset);
  if (space !== keyspace) return space < keyspace ? -1 : 1;
  const length = keyLengthAt(view, offset);
  const start = offset + RECORD_HEADER_BYTES;
  const shorter = Math.min(length, key.length);
  for (let i = 0; i < shorter; i++) {
    const a = bytes[start + i] as number;
    const b = key[i] as number;
    if (a !== b) return a < b ? -1 : 1;
  }
  return length - key.length;
}

/** Compares the places of two encoded records. */
export function compareRecordPlaces(
  viewA: DataView,
  bytesA: Uint8Array,
  a: number,
  viewB: DataView,
  bytesB: Uint8Array,
  b: number,
): number {
  const hi = tokenHiAt(viewA, a) - tokenHiAt(viewB, b);
  if (hi !== 0) return hi;
  const lo = tokenLoAt(viewA, a) - tokenLoAt(viewB, b);
  if (lo !== 0) return lo;
  const space = keyspaceAt(viewA, a) - keyspaceAt(viewB, b);
  if (space !== 0) return space;
  const lengthA = keyLengthAt(viewA, a);
  const lengthB = keyLengthAt(viewB, b);
  const shorter = Math.min(lengthA, lengthB);
  const startA = a + RECORD_HEADER_BYTES;
  const startB = b + RECORD_HEADER_BYTES;
  for (let i = 0; i < shorter; i++) {
    const delta = (bytesA[startA + i] as number) - (bytesB[startB + i] as number);
    if (delta !== 0) return delta;
  }
  return lengthA - lengthB;
}

/** Whether the record at the start of `a` stands below that of `b`, a promise or what else has a version, by version and origin alone. */
export const isBelow = (a: DataView, b: DataView): boolean =>
  versionAt(a, 0) < versionAt(b, 0) ||
  (versionAt(a, 0) === versionAt(b, 0) && originAt(a, 0) < originAt(b, 0));

/**
 * Which of two records of one key wins: positive where a does. Higher version, then higher origin, then a
 * tombstone, then the larger value (bytewise, longer wins on a tie), then the later expiry. A total order on
 * what a reader can see, so merging is commutative, associative and idempotent.
 */
export function compareRecordAge(
  viewA: DataView,
  bytesA: Uint8Array,
  a: number,
  viewB: DataView,
  bytesB: Uint8Array,
  b: number,
): number {
  const version = versionAt(viewA, a) - versionAt(viewB, b);
  if (version !== 0) return version;
  const origin = originAt(viewA, a) - originAt(viewB, b);
  if (origin !== 0) return origin;
  const tombstone = (flagsAt(viewA, a) & FLAG_TOMBSTONE) - (flagsAt(viewB, b) & FLAG_TOMBSTONE);
  if (tombstone !== 0) return tombstone;
  const valueA = valueAt(viewA, bytesA, a);
  const valueB = valueAt(viewB, bytesB, b);
  const value = Buffer.compare(valueA, valueB);
  if (value !== 0) return value;
  const expiry = (flagsAt(viewA, a) & FLAG_EXPIRING) === 0 ? Number.POSITIVE_INFINITY : expiresMsAt(viewA, a);
  const other = (flagsAt(viewB, b) & FLAG_EXPIRING) === 0 ? Number.POSITIVE_INFINITY : expiresMsAt(viewB, b);
  return expiry === other ? 0 : expiry > other ? 1 : -1;
}
