/**
 * What SERIAL remembers beside a record: outcomes of idempotency keys, and by which versions the record went before it
 * was proposed again. One record of KEYSPACE_OUTCOMES per user key, accepted in the same append and under the same ballot
 * as the user's record, so that it says nothing about a write that is not in the chain of accepted records.
 *
 * 1. Every accept of SERIAL brings one, also where it is empty: it replaces what a minority kept of a write that was
 *    overtaken. Whoever proposes starts from the newest that its promises show.
 * 2. Outcomes live longer than idempotency keys are promised to: who set the expiry and who reads it have clocks of
 *    their own, which may both be off.
 * 3. `former` holds for the user's record of the same version only.
 *
 * The record's key is the user's key, its version and origin the ballot; it expires when its last outcome does. Value,
 * little-endian:
 *
 *   offset size field
 *        0    1 format, 1
 *        1    1 number of former versions, f
 *        2    2 number of outcomes, n
 *        4    4 reserved, 0
 *        8    8 the highest version of an outcome that was dropped for room, 0 where none was
 *       16  16f former versions, oldest first: 8 version, 4 origin, 4 reserved, 0
 * 16 + 16f  40n outcomes, oldest first:
 *        0    8 XXH64 of the idempotency key: hi, lo
 *        8    8 fingerprint of the request: hi, lo
 *       16    8 version: of the write, or the current one that a refused condition met; 0 where the key was absent
 *       24    8 expiry, milliseconds since 1970
 *       32    1 status: OK or VERSION_MISMATCH
 *       33    7 reserved, 0
 */
import { CorruptionError } from '../base/errors.ts';
import { readInteger, writeInteger } from '../base/integers.ts';
import { limits } from '../base/limits.ts';
import {
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  KEYSPACE_OUTCOMES,
  originAt,
  valueAt,
  versionAt,
} from '../base/record.ts';
import type { Status } from '../base/status.ts';
import { hashToken, token } from '../base/token.ts';
import type { Ballot } from './contract.ts';
import { encodeRecord, viewOf } from './coordinator-records.ts';

const FORMAT = 1;
const HEADER_BYTES = 16;
const FORMER_BYTES = 16;
const OUTCOME_BYTES = 40;

export interface Outcome {
  readonly keyHi: number;
  readonly keyLo: number;
  readonly fingerprintHi: number;
  readonly fingerprintLo: number;
  readonly version: number;
  readonly expiresMs: number;
  /** OK or VERSION_MISMATCH. */
  readonly status: number;
}

/** What one record of outcomes says. An immutable value. */
export interface Outcomes {
  readonly version: number;
  readonly origin: number;
  readonly former: readonly Ballot[];
  readonly list: readonly Outcome[];
  readonly droppedVersion: number;
}

export const NO_OUTCOMES: Outcomes = { version: 0, origin: 0, former: [], list: [], droppedVersion: 0 };

/** Throws CorruptionError: the bytes passed their checksum, and yet no version of RingKV wrote them so. */
export function decodeOutcomes(record: Uint8Array): Outcomes {
  const recordView = viewOf(record);
  const version = versionAt(recordView, 0);
  const origin = originAt(recordView, 0);
  // What a replica made of one that had expired.
  if ((flagsAt(recordView, 0) & FLAG_TOMBSTONE) !== 0) return { ...NO_OUTCOMES, version, origin };
  const bytes = valueAt(recordView, record, 0);
  const view = viewOf(bytes);
  const formers = bytes.length < HEADER_BYTES ? 0 : view.getUint8(1);
  const count = bytes.length < HEADER_BYTES ? 0 : view.getUint16(2, true);
  if (
    bytes.length !== HEADER_BYTES + FORMER_BYTES * formers + OUTCOME_BYTES * count ||
    view.getUint8(0) !== FORMAT
  )
    throw new CorruptionError('a record of outcomes', 0, `${bytes.length} bytes in an unknown format`);
  const former: Ballot[] = [];
  for (let i = 0; i < formers; i++) {
    const at = HEADER_BYTES + FORMER_BYTES * i;
    former.push({ version: readInteger(view, at), origin: view.getUint32(at + 8, true) });
  }
  const list: Outcome[] = [];
  for (let i = 0; i < count; i++) {
    const at = HEADER_BYTES + FORMER_BYTES * formers + OUTCOME_BYTES * i;
    list.push({
      keyHi: view.getUint32(at, true),
      keyLo: view.getUint32(at + 4, true),
      fingerprintHi: view.getUint32(at + 8, true),
      fingerprintLo: view.getUint32(at + 12, true),
      version: readInteger(view, at + 16),
      expiresMs: readInteger(view, at + 24),
      status: view.getUint8(at + 32),
    });
  }
  return { version, origin, former, list, droppedVersion: readInteger(view, 8) };
}

/** The record of `outcomes` for one user key under `ballot`. */
export function encodeOutcomes(
  tokenHi: number,
  tokenLo: number,
  key: Uint8Array,
  ballot: Ballot,
  outcomes: Pick<Outcomes, 'former' | 'list' | 'droppedVersion'>,
  nowMs: number,
): Uint8Array {
  const { former, list, droppedVersion } = outcomes;
  const value = new Uint8Array(HEADER_BYTES + FORMER_BYTES * former.length + OUTCOME_BYTES * list.length);
  const view = viewOf(value);
  view.setUint8(0, FORMAT);
  view.setUint8(1, former.length);
  view.setUint16(2, list.length, true);
  writeInteger(view, 8, droppedVersion);
  let at = HEADER_BYTES;
  for (const { version, origin } of former) {
    writeInteger(view, at, version);
    view.setUint32(at + 8, origin, true);
    at += FORMER_BYTES;
  }
  let expiresMs = nowMs + limits.outcomesTtlMs;
  for (const one of list) {
    view.setUint32(at, one.keyHi, true);
    view.setUint32(at + 4, one.keyLo, true);
    view.setUint32(at + 8, one.fingerprintHi, true);
    view.setUint32(at + 12, one.fingerprintLo, true);
    writeInteger(view, at + 16, one.version);
    writeInteger(view, at + 24, one.expiresMs);
    view.setUint8(at + 32, one.status);
    expiresMs = Math.max(expiresMs, one.expiresMs);
    at += OUTCOME_BYTES;
  }
  const { version, origin } = ballot;
  const flags = FLAG_EXPIRING;
  return encodeRecord({
    tokenHi,
    tokenLo,
    keyspace: KEYSPACE_OUTCOMES,
    key,
    value,
    version,
    origin,
    flags,
    expiresMs,
  });
}

/** The outcome under an idempotency key at `nowMs`, or null. */
export function findOutcome(outcomes: Outcomes, idempotencyKey: Uint8Array, nowMs: number): Outcome | null {
  hashToken(idempotencyKey);
  const { hi, lo } = token;
  for (const one of outcomes.list)
    if (one.keyHi === hi && one.keyLo === lo && one.expiresMs > nowMs) return one;
  return null;
}

export interface Remembered {
  readonly idempotencyKey: Uint8Array;
  readonly fingerprintHi: number;
  readonly fingerprintLo: number;
}

/** The list with one outcome more: without expired ones, and without the oldest where there are too many. */
export function withOutcome(
  outcomes: Outcomes,
  request: Remembered,
  status: typeof Status.OK | typeof Status.VERSION_MISMATCH,
  version: number,
  nowMs: number,
): { readonly list: readonly Outcome[]; readonly droppedVersion: number; readonly evicted: number } {
  hashToken(request.idempotencyKey);
  const { fingerprintHi, fingerprintLo } = request;
  const expiresMs = nowMs + limits.outcomesTtlMs;
  const added = {
    keyHi: token.hi,
    keyLo: token.lo,
    fingerprintHi,
    fingerprintLo,
    version,
    expiresMs,
    status,
  };
  const kept = outcomes.list.filter((one) => one.expiresMs > nowMs);
  const evicted = Math.max(0, kept.length + 1 - limits.outcomesPerKeyMax);
  let { droppedVersion } = outcomes;
  for (const one of kept.splice(0, evicted)) droppedVersion = Math.max(droppedVersion, one.version);
  return { list: [...kept, added], droppedVersion, evicted };
}

/** Former versions of a record that is proposed again: those it had, and the one it gives up. */
export function withFormer(former: readonly Ballot[], given: Ballot): readonly Ballot[] {
  return [...former, given].slice(-limits.formerVersionsMax);
}
