/** Encoded records as a coordinator handles them: one record in bytes of its own. */
import { pooledBytes } from '../base/bytes.ts';
import {
  compareRecordAge,
  expiresMsIn,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsIn,
  isDeadIn,
  keyIn,
  originIn,
  type RecordFields,
  recordBytes,
  recordFault,
  tokenHiIn,
  tokenLoIn,
  valueIn,
  versionIn,
  writeRecord,
} from '../base/record.ts';

export const NO_BYTES = new Uint8Array(0);

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function encodeRecord(fields: RecordFields): Uint8Array {
  const bytes = pooledBytes(recordBytes(fields.key.length, fields.value.length));
  writeRecord(bytes, 0, fields);
  return bytes;
}

export interface WrittenFields {
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly key: Uint8Array;
  /** null deletes. */
  readonly value: Uint8Array | null;
  readonly expiresMs: number;
}

/** The user record of a client's write. */
export function encodeWrite(write: WrittenFields, version: number, origin: number): Uint8Array {
  const { tokenHi, tokenLo, key, value, expiresMs } = write;
  const expiring = value !== null && expiresMs > 0;
  return encodeRecord({
    tokenHi,
    tokenLo,
    keyspace: 0,
    key,
    value: value ?? NO_BYTES,
    version,
    origin,
    flags: value === null ? FLAG_TOMBSTONE : expiring ? FLAG_EXPIRING : 0,
    expiresMs: expiring ? expiresMs : 0,
  });
}

/** The same record under another version and origin. */
export function withVersion(record: Uint8Array, version: number, origin: number): Uint8Array {
  return encodeRecord({
    tokenHi: tokenHiIn(record),
    tokenLo: tokenLoIn(record),
    keyspace: 0,
    key: keyIn(record),
    value: valueIn(record),
    version,
    origin,
    flags: flagsIn(record),
    expiresMs: expiresMsIn(record),
  });
}

export const versionOf = versionIn;
export const originOf = originIn;
export const isTombstone = (record: Uint8Array): boolean => (flagsIn(record) & FLAG_TOMBSTONE) !== 0;
export const isDead = isDeadIn;

/** What is wrong with one encoded record from elsewhere, '' where nothing is. */
export function faultOfRecord(record: Uint8Array): string {
  return recordFault(record, 0, record.length);
}

/** Positive where `a` is newer; nothing is older than everything. For whole records. */
export function compareAge(a: Uint8Array | null, b: Uint8Array | null): number {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  return compareRecordAge(viewOf(a), a, 0, viewOf(b), b, 0);
}

/**
 * The same for heads, whose values are gone. A coordinator gives a version to one record, so records of one version and
 * origin differ only where a replica made a tombstone of one that it knows to be deleted.
 */
export function compareHeads(a: Uint8Array | null, b: Uint8Array | null): number {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  const version = versionIn(a) - versionIn(b);
  if (version !== 0) return version;
  const origin = originIn(a) - originIn(b);
  if (origin !== 0) return origin;
  return (flagsIn(a) & FLAG_TOMBSTONE) - (flagsIn(b) & FLAG_TOMBSTONE);
}
