/**
 * Files of hints: DATA/hints/TARGET/NUMBER.hints, TARGET the node's number in 8 hexadecimal digits, NUMBER rising. Frames one
 * after another, each synced before it was acknowledged:
 *
 *   offset size field
 *        0    4 'RKVH'
 *        4    4 length of the record
 *        8    4 length of the record that goes with it; 0 for none
 *       12    4 reserved, 0
 *       16    8 when it was added, milliseconds since 1970, float
 *       24    8 XXH3-64 of bytes 4 to 24 and of both records, seeded with the file's number
 *       32    r record, then the other (src/base/record.ts)
 *
 * All integers are little-endian. What follows the last whole frame of the newest file is a torn tail.
 */
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from '../base/checksum.ts';
import { limits } from '../base/limits.ts';

const MAGIC = 0x48564b52;
export const HINT_HEADER_BYTES = 32;
const CHECKSUM_AT = 24;
const CHECKED_FROM = 4;

export interface Hint {
  readonly record: Uint8Array;
  readonly also: Uint8Array | null;
  readonly addedMs: number;
}

export function encodeHint({ record, also, addedMs }: Hint, file: number): Uint8Array {
  const alsoLength = also?.length ?? 0;
  const bytes = new Uint8Array(HINT_HEADER_BYTES + record.length + alsoLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, record.length, true);
  view.setUint32(8, alsoLength, true);
  view.setFloat64(16, addedMs, true);
  bytes.set(record, HINT_HEADER_BYTES);
  if (also !== null) bytes.set(also, HINT_HEADER_BYTES + record.length);
  // The checksum's own place is zero while it is taken.
  writeChecksum(bytes, CHECKED_FROM, bytes.length, bytes, CHECKSUM_AT, file);
  return bytes;
}

/** The frame at `at` and its end; null where there is no whole one. */
export function decodeHint(bytes: Uint8Array, at: number, file: number): { hint: Hint; end: number } | null {
  if (bytes.length - at < HINT_HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const recordLength = view.getUint32(at + 4, true);
  const alsoLength = view.getUint32(at + 8, true);
  const end = at + HINT_HEADER_BYTES + recordLength + alsoLength;
  if (view.getUint32(at, true) !== MAGIC || end > bytes.length) return null;
  if (recordLength === 0 || recordLength + alsoLength > 2 * limits.peerRecordBytesMax) return null;
  const frame = bytes.slice(at, end);
  const stored = frame.slice(CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_BYTES);
  frame.fill(0, CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_BYTES);
  if (!checksumMatches(frame, CHECKED_FROM, frame.length, stored, 0, file)) return null;
  const alsoAt = HINT_HEADER_BYTES + recordLength;
  const hint = {
    record: frame.subarray(HINT_HEADER_BYTES, alsoAt),
    also: alsoLength === 0 ? null : frame.subarray(alsoAt),
    addedMs: view.getFloat64(at + 16, true),
  };
  return { hint, end };
}
