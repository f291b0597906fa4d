/** Heads of CBOR items (RFC 8949, section 3), in their shortest form, for what writes messages in place. */

/** Major types, in the upper three bits of an initial byte. */
export const UNSIGNED = 0x00;
export const NEGATIVE = 0x20;
export const BYTES = 0x40;
export const TEXT = 0x60;
export const ARRAY = 0x80;
export const MAP = 0xa0;
/** Initial bytes that are whole items, and that of a 64-bit floating-point number. */
export const FALSE = 0xf4;
export const TRUE = 0xf5;
export const NULL = 0xf6;
export const FLOAT_64 = 0xfb;

const TWO_32 = 2 ** 32;

/** Bytes of the head that writeHead writes. */
export function headBytes(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 256) return 2;
  if (argument < 65_536) return 3;
  return argument < TWO_32 ? 5 : 9;
}

/** Writes the head of an item, `argument` being a safe integer from 0; returns where it ends, at most 9 bytes on. */
export function writeHead(bytes: Uint8Array, at: number, major: number, argument: number): number {
  if (argument < 24) {
    bytes[at] = major | argument;
    return at + 1;
  }
  if (argument < 256) {
    bytes[at] = major | 24;
    bytes[at + 1] = argument;
    return at + 2;
  }
  if (argument < 65_536) {
    bytes[at] = major | 25;
    bytes[at + 1] = argument >> 8;
    bytes[at + 2] = argument;
    return at + 3;
  }
  if (argument < TWO_32) {
    bytes[at] = major | 26;
    return write32(bytes, at + 1, argument);
  }
  bytes[at] = major | 27;
  return write32(bytes, write32(bytes, at + 1, Math.floor(argument / TWO_32)), argument % TWO_32);
}
function write32(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
  return at + 4;
}
