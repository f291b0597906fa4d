/**
 * Files of hints: DATA/hints/TARGET/NUMBER.hints, TARGET the node's number in 8 hexadecimal digits, NUMBER in decimal ones, at
 * least 10, rising. Frames one after another, each synced before it was acknowledged:
 *
 *   offset size field
 *        0    4 'RKVH'
 *        4    4 length of the record
 *        8    4 length of the record that goes with it; 0 for none
 *       12    4 format version, 1
 *       16    8 when it was added, milliseconds since 1970, float
 *       24    8 XXH3-64 of bytes 4 to 24, of 8 zeros and of both records, seeded with the file's number modulo 2^32
 *       32    r record, then the other (src/base/record.ts)
 *
 * All integers are little-endian. What is no whole frame is skipped, up to the next one: at the end of a file it may be a write
 * that was torn before it was acknowledged; nothing tells that from damage, so it counts as damage everywhere.
 */
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from '../base/checksum.ts';
import { FormatVersionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { recordBytesIn, recordFault } from '../base/record.ts';

const MAGIC = 0x48564b52;
const MAGIC_BYTES = Buffer.from('RKVH', 'latin1');
export const HINT_FORMAT = 1;
export const HINT_HEADER_BYTES = 32;
const VERSION_AT = 12;
const ADDED_AT = 16;
const CHECKSUM_AT = 24;
const CHECKED_FROM = 4;

export interface Hint {
  readonly record: Uint8Array;
  readonly also: Uint8Array | null;
  readonly addedMs: number;
}

/** A frame and where it ends. */
interface Frame {
  readonly hint: Hint;
  readonly end: number;
}

export interface HintScan {
  readonly hints: readonly Hint[];
  /** Bytes that belong to no whole frame, and where the first of them is. */
  readonly bytesDamaged: number;
  readonly damagedAt: number;
}

export const hintBytes = (record: Uint8Array, also: Uint8Array | null): number =>
  HINT_HEADER_BYTES + record.length + (also?.length ?? 0);

/** What is wrong with a hint, '' where nothing is. */
export function hintFault(record: Uint8Array, also: Uint8Array | null): string {
  const { peerRecordBytesMax } = limits;
  for (const one of also === null ? [record] : [record, also]) {
    if (one.length > peerRecordBytesMax)
      return `a hint with a record of ${one.length} bytes; the limit is ${peerRecordBytesMax}`;
    const fault = recordFault(one, 0, one.length);
    if (fault !== '') return `a hint with a bad record: ${fault}`;
    if (recordBytesIn(one) !== one.length) return `a hint of ${one.length} bytes with more behind its record`;
  }
  return '';
}

export function encodeHint({ record, also, addedMs }: Hint, file: number): Uint8Array {
  const bytes = new Uint8Array(hintBytes(record, also));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, record.length, true);
  view.setUint32(8, also?.length ?? 0, true);
  view.setUint32(VERSION_AT, HINT_FORMAT, true);
  view.setFloat64(ADDED_AT, addedMs, true);
  bytes.set(record, HINT_HEADER_BYTES);
  if (also !== null) bytes.set(also, HINT_HEADER_BYTES + record.length);
  // The checksum's own place is zero while it is taken.
  writeChecksum(bytes, CHECKED_FROM, bytes.length, bytes, CHECKSUM_AT, file);
  return bytes;
}

/** When the first hint of a file was added, by a header whose checksum was not looked at; null where there is none. */
export function firstAddedMs(header: Uint8Array): number | null {
  if (header.length < HINT_HEADER_BYTES) return null;
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  const addedMs = view.getFloat64(ADDED_AT, true);
  return view.getUint32(0, true) === MAGIC && Number.isFinite(addedMs) ? addedMs : null;
}

/**
 * All whole frames of a file, and how much of it is none. Throws FormatVersionError where a whole frame is of a version that
 * this program does not know.
 */
export function scanHints(bytes: Uint8Array, file: number): HintScan {
  const hints: Hint[] = [];
  let bytesDamaged = 0;
  let damagedAt = -1;
  let attempts = limits.hintResyncsMax;
  for (let at = 0; at < bytes.length; ) {
    let start = at;
    let frame = frameAt(bytes, at, file);
    // A damaged length says nothing about where the next frame is: it is looked for.
    while (frame === null && attempts-- > 0) {
      start = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(MAGIC_BYTES, start + 1);
      if (start < 0) break;
      frame = frameAt(bytes, start, file);
    }
    if (frame === null) start = bytes.length;
    else hints.push(frame.hint);
    if (start > at && damagedAt < 0) damagedAt = at;
    bytesDamaged += start - at;
    at = frame?.end ?? bytes.length;
  }
  return { hints, bytesDamaged, damagedAt };
}

function frameAt(bytes: Uint8Array, at: number, file: number): Frame | null {
  if (bytes.length - at < HINT_HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const recordLength = view.getUint32(at + 4, true);
  const alsoLength = view.getUint32(at + 8, true);
  const end = at + HINT_HEADER_BYTES + recordLength + alsoLength;
  if (view.getUint32(at, true) !== MAGIC || end > bytes.length) return null;
  const frame = bytes.slice(at, end);
  const stored = frame.slice(CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_BYTES);
  frame.fill(0, CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_BYTES);
  if (!checksumMatches(frame, CHECKED_FROM, frame.length, stored, 0, file)) return null;
  const version = view.getUint32(at + VERSION_AT, true);
  if (version !== HINT_FORMAT)
    throw new FormatVersionError(
      `a hint at byte ${at} has format version ${version}; this RingKV reads version ${HINT_FORMAT}`,
    );
  const alsoAt = HINT_HEADER_BYTES + recordLength;
  const record = frame.subarray(HINT_HEADER_BYTES, alsoAt);
  const also = alsoLength === 0 ? null : frame.subarray(alsoAt);
  const addedMs = view.getFloat64(at + ADDED_AT, true);
  return hintFault(record, also) === '' ? { hint: { record, also, addedMs }, end } : null;
}
