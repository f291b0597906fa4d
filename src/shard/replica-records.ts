/** Encoded records as the rule of a replica handles them (replica-store.ts). Pure; any thread. */
import { copyRange, pooledBytes } from '../base/bytes.ts';
import {
  expiresMsIn,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsIn,
  headAt,
  KEYSPACE_IDEMPOTENCY,
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  keyIn,
  keyspaceIn,
  originAt,
  originIn,
  type RecordFields,
  recordBytes,
  recordBytesAt,
  recordBytesIn,
  recordFault,
  tokenHiIn,
  tokenLoIn,
  valueIn,
  valueLengthAt,
  versionAt,
  versionIn,
  writeRecord,
} from '../base/record.ts';
import { PeerStatus } from '../base/status.ts';
import { hashToken, token } from '../base/token.ts';
import type { Ballot, PrepareAnswer, ReplicaPrepare, WriteAnswer } from '../cluster/contract.ts';

const EMPTY = new Uint8Array(0);

/** What a replica holds of a key and keyspace: a copy, and the engine's seq that must be durable before it counts. */
export interface Held {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly seq: number;
}

export const newFields = (): RecordFields => ({
  tokenHi: 0,
  tokenLo: 0,
  keyspace: 0,
  key: EMPTY,
  value: EMPTY,
  version: 0,
  origin: 0,
  flags: 0,
  expiresMs: 0,
});

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
export const versionOf = (held: Held | null): number => (held === null ? 0 : versionAt(held.view, 0));
export const isBelowBallot = ({ view }: Held, { version, origin }: Ballot): boolean =>
  versionAt(view, 0) < version || (versionAt(view, 0) === version && originAt(view, 0) < origin);
export const isBallot = ({ view }: Held, { version, origin }: Ballot): boolean =>
  versionAt(view, 0) === version && originAt(view, 0) === origin;

/** Whether a fresh record is above a promise, or of the very ballot that was promised. */
export const mayPass = (view: DataView, promise: Held | null): boolean =>
  promise === null ||
  versionAt(view, 0) > versionAt(promise.view, 0) ||
  (versionAt(view, 0) === versionAt(promise.view, 0) && originAt(view, 0) === originAt(promise.view, 0));

export const writeAnswer = (status: number, message: string): WriteAnswer => ({
  status,
  beat: 0,
  barred: false,
  newer: null,
  message,
});
/** A copy that cannot be taken for what it is below, a promise, or ahead of: the key must be settled by SERIAL. */
export const barredBy = (what: DataView): WriteAnswer => ({
  ...writeAnswer(PeerStatus.STALE_VERSION, ''),
  beat: versionAt(what, 0),
  barred: true,
});
export const prepareAnswer = (status: number, message: string): PrepareAnswer => ({
  status,
  beat: 0,
  record: null,
  outcomes: null,
  message,
});

export function load(fields: RecordFields, record: Uint8Array): void {
  fields.tokenHi = tokenHiIn(record);
  fields.tokenLo = tokenLoIn(record);
  fields.keyspace = keyspaceIn(record);
  fields.key = keyIn(record);
  fields.value = valueIn(record);
  fields.version = versionIn(record);
  fields.origin = originIn(record);
  fields.flags = flagsIn(record);
  fields.expiresMs = expiresMsIn(record);
}

/** The record by which a promise is kept. */
export function loadPromise(fields: RecordFields, prepare: ReplicaPrepare, expiresMs: number): void {
  const { tokenHi, tokenLo, key, ballot } = prepare;
  fields.tokenHi = tokenHi;
  fields.tokenLo = tokenLo;
  fields.keyspace = KEYSPACE_PROMISES;
  fields.key = key;
  fields.value = EMPTY;
  fields.version = ballot.version;
  fields.origin = ballot.origin;
  fields.flags = FLAG_EXPIRING;
  fields.expiresMs = expiresMs;
}

/** What is wrong with records of other nodes, '' where nothing is. */
export function faultOf(record: Uint8Array, also: Uint8Array | null): string {
  const fault = faultOfOne(record);
  return fault === '' && also !== null ? faultOfOne(also) : fault;
}
function faultOfOne(record: Uint8Array): string {
  const fault = recordFault(record, 0, record.length);
  if (fault !== '') return `a record of another node: ${fault}`;
  if (recordBytesIn(record) !== record.length)
    return `a record of ${record.length} bytes with more behind it`;
  const keyspace = keyspaceIn(record);
  // An outcome of a node that was alone has two keys in its own, and the token of the first.
  if (keyspace === KEYSPACE_IDEMPOTENCY) return '';
  hashToken(keyIn(record));
  if (token.hi !== tokenHiIn(record) || token.lo !== tokenLoIn(record))
    return 'a record whose token is not the one of its key';
  return keyspace > KEYSPACE_OUTCOMES ? `a record of the unknown keyspace ${keyspace}` : '';
}

export const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The tombstone of the same version as a record: it wins over it. */
export function buried(record: Uint8Array): Uint8Array {
  const fields = newFields();
  load(fields, record);
  fields.value = EMPTY;
  fields.flags = FLAG_TOMBSTONE;
  fields.expiresMs = 0;
  return encoded(fields);
}

export function encoded(fields: RecordFields): Uint8Array {
  const bytes = pooledBytes(recordBytes(fields.key.length, fields.value.length));
  writeRecord(bytes, 0, fields);
  return bytes;
}

/** A record, or its head: the same with an empty value. */
export function shown({ bytes, view }: Held, headOnly: boolean): Uint8Array {
  if (!headOnly || valueLengthAt(view, 0) === 0) return bytes;
  return copyOf(view, bytes, true);
}

/** A copy, for a request, of the record at the start of `bytes`, or of its head. */
export function copyOf(view: DataView, bytes: Uint8Array, headOnly: boolean): Uint8Array {
  return headOnly ? headAt(view, bytes, 0) : copyRange(bytes, 0, recordBytesAt(view, 0));
}
