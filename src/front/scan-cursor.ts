/**
 * The cursor of a scan: the place of the last record that was looked at. It names no shard, node or file, so it
 * stays valid across restarts and changes of the ring. Opaque to clients:
 *
 *   offset size field
 *        0    1 format, 1
 *        1    2 check: low 16 bits of the XXH64 of what follows
 *        3    4 tokenHi
 *        7    4 tokenLo
 *       11    k key
 *
 * in base64url without padding. Integers are big-endian.
 */
import { BadRequestError } from '../base/errors.ts';
import { hashToken, token } from '../base/token.ts';
import { short } from './outcome.ts';

const FORMAT = 1;
const HEADER_BYTES = 11;

export interface ScanPlace {
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly key: Uint8Array;
}

export function encodeCursor(place: ScanPlace): string {
  const bytes = Buffer.alloc(HEADER_BYTES + place.key.length);
  bytes[0] = FORMAT;
  bytes.writeUInt32BE(place.tokenHi, 3);
  bytes.writeUInt32BE(place.tokenLo, 7);
  bytes.set(place.key, HEADER_BYTES);
  bytes.writeUInt16BE(checkOf(bytes), 1);
  return bytes.toString('base64url');
}

/** Throws BadRequestError for what `encodeCursor` did not make. */
export function decodeCursor(text: string, keyBytesMax: number): ScanPlace {
  const bytes = Buffer.from(text, 'base64url');
  const sound =
    bytes.length >= HEADER_BYTES &&
    bytes.length <= HEADER_BYTES + keyBytesMax &&
    bytes[0] === FORMAT &&
    bytes.toString('base64url') === text &&
    bytes.readUInt16BE(1) === checkOf(bytes);
  if (!sound) throw new BadRequestError(`cursor ${short(text)} is none that a scan has given`);
  const key = new Uint8Array(bytes.subarray(HEADER_BYTES));
  return { tokenHi: bytes.readUInt32BE(3), tokenLo: bytes.readUInt32BE(7), key };
}

function checkOf(bytes: Uint8Array): number {
  hashToken(bytes.subarray(3));
  return token.lo & 0xffff;
}
