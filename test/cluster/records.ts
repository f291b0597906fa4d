import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  KEYSPACE_USER,
  keyAt,
  type RecordFields,
  recordBytes,
  writeRecord,
} from '../../src/base/record.ts';
import { hashToken, token } from '../../src/base/token.ts';

/** An encoded record that is never changed, with its view. */
export interface Held {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
export const heldOf = (bytes: Uint8Array): Held => ({ bytes, view: viewOf(bytes) });

export function encode(fields: RecordFields): Uint8Array {
  const bytes = new Uint8Array(recordBytes(fields.key.length, fields.value.length));
  writeRecord(bytes, 0, fields);
  return bytes;
}

export interface Written {
  readonly key: Uint8Array | string;
  readonly version: number;
  readonly origin?: number;
  readonly value?: Uint8Array | string;
  readonly tombstone?: boolean;
  readonly expiresMs?: number;
  readonly keyspace?: number;
}
const text = (of: Uint8Array | string): Uint8Array => (typeof of === 'string' ? Buffer.from(of) : of);

/** An encoded record of a key, with the token that it has. */
export function recordOf(written: Written): Uint8Array {
  const key = text(written.key);
  hashToken(key);
  const expiresMs = written.expiresMs ?? 0;
  return encode({
    tokenHi: token.hi,
    tokenLo: token.lo,
    keyspace: written.keyspace ?? KEYSPACE_USER,
    key,
    value: text(written.value ?? ''),
    version: written.version,
    origin: written.origin ?? 1,
    flags: (written.tombstone === true ? FLAG_TOMBSTONE : 0) | (expiresMs === 0 ? 0 : FLAG_EXPIRING),
    expiresMs,
  });
}

export const keyTextOf = (record: Uint8Array): string =>
  Buffer.from(keyAt(viewOf(record), record, 0)).toString('latin1');
