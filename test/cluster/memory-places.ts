import {
  comparePlace,
  compareRecordPlaces,
  expiresMsAt,
  FLAG_TOMBSTONE,
  flagsAt,
  KEYSPACE_USER,
  keyAt,
  keyspaceAt,
  originAt,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { vnodeOf } from '../../src/base/token.ts';
import type { PageAnswer, PagePlace, ReplicaPage } from '../../src/cluster/contract.ts';
import { encode, type Held } from './records.ts';

const NO_BYTES = new Uint8Array(0);

export const comparePlaces = (a: Held, b: Held): number =>
  compareRecordPlaces(a.view, a.bytes, 0, b.view, b.bytes, 0);
export const versionOf = (held: Held | null): number => (held === null ? 0 : versionAt(held.view, 0));

/** Whether (version, origin) lies below that of a promise. */
export function isBelow(version: number, origin: number, promise: Held): boolean {
  const promised = versionAt(promise.view, 0);
  return version < promised || (version === promised && origin < originAt(promise.view, 0));
}

/** Index of the first record at or behind a place. */
export function lowerBound(
  list: readonly Held[],
  hi: number,
  lo: number,
  keyspace: number,
  key: Uint8Array,
): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { view, bytes } = list[middle] as Held;
    if (comparePlace(view, bytes, 0, hi, lo, keyspace, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
/** Index of the first record of a page in a vnode's list. */
function firstAfter(list: readonly Held[], { after, firstHi, firstLo }: ReplicaPage): number {
  const start = lowerBound(list, firstHi, firstLo, 0, NO_BYTES);
  if (after === null) return start;
  const at = lowerBound(list, after.tokenHi, after.tokenLo, after.keyspace, after.key);
  const there = list[at];
  const isThere =
    there !== undefined &&
    comparePlace(there.view, there.bytes, 0, after.tokenHi, after.tokenLo, after.keyspace, after.key) === 0;
  return Math.max(start, isThere ? at + 1 : at);
}
function isAfter(view: DataView, hi: number, lo: number): boolean {
  return tokenHiAt(view, 0) > hi || (tokenHiAt(view, 0) === hi && tokenLoAt(view, 0) > lo);
}
function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  return key.length >= prefix.length && prefix.every((byte, i) => key[i] === byte);
}

function placeOf({ view, bytes }: Held): PagePlace {
  return {
    tokenHi: tokenHiAt(view, 0),
    tokenLo: tokenLoAt(view, 0),
    keyspace: keyspaceAt(view, 0),
    key: keyAt(view, bytes, 0).slice(),
  };
}
/** The record without its value. */
export function headOf(held: Held): Uint8Array {
  const { view } = held;
  return encode({
    ...placeOf(held),
    value: NO_BYTES,
    version: versionAt(view, 0),
    origin: originAt(view, 0),
    flags: flagsAt(view, 0),
    expiresMs: expiresMsAt(view, 0),
  });
}
/** A tombstone of the same version, which wins by the order of records. */
export function tombstoneOf(held: Held): Uint8Array {
  return encode({
    ...placeOf(held),
    value: NO_BYTES,
    version: versionAt(held.view, 0),
    origin: originAt(held.view, 0),
    flags: FLAG_TOMBSTONE,
    expiresMs: 0,
  });
}

/** Puts a record into a list in order, in place of what it holds of its place. */
export function putIn(list: Held[], held: Held): void {
  const { view, bytes } = held;
  const key = keyAt(view, bytes, 0);
  const at = lowerBound(list, tokenHiAt(view, 0), tokenLoAt(view, 0), keyspaceAt(view, 0), key);
  const there = list[at];
  list.splice(at, there !== undefined && comparePlaces(there, held) === 0 ? 1 : 0, held);
}
export function findIn(
  list: readonly Held[],
  tokenHi: number,
  tokenLo: number,
  keyspace: number,
  key: Uint8Array,
): Held | null {
  const there = list[lowerBound(list, tokenHi, tokenLo, keyspace, key)];
  if (there === undefined) return null;
  return comparePlace(there.view, there.bytes, 0, tokenHi, tokenLo, keyspace, key) === 0 ? there : null;
}

/** A page over the vnodes of a ring, whose lists are in order. */
export function pageOf(
  request: ReplicaPage,
  vnodes: number,
  listOf: (vnode: number) => readonly Held[],
): PageAnswer {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let last: Held | null = null;
  const lastVnode = vnodeOf(request.lastHi, vnodes);
  for (let vnode = vnodeOf(request.firstHi, vnodes); vnode <= lastVnode; vnode++) {
    const list = listOf(vnode);
    for (let at = firstAfter(list, request); at < list.length; at++) {
      const held = list[at] as Held;
      const { view } = held;
      if (isAfter(view, request.lastHi, request.lastLo)) break;
      if (request.userOnly && keyspaceAt(view, 0) !== KEYSPACE_USER) continue;
      if (!startsWith(keyAt(view, held.bytes, 0), request.prefix)) continue;
      const encoded = request.headOnly ? headOf(held) : held.bytes;
      const isFull =
        chunks.length >= request.recordsMax || (bytes + encoded.length > request.bytesMax && bytes > 0);
      if (isFull && last !== null)
        return { status: Status.OK, records: Buffer.concat(chunks), next: placeOf(last), message: '' };
      chunks.push(encoded);
      bytes += encoded.length;
      last = held;
    }
  }
  return { status: Status.OK, records: Buffer.concat(chunks), next: null, message: '' };
}
