/**
 * CBOR of messages between nodes: what of it is allowed, and how bytes are owned. Pure; any thread.
 *
 * 1. Of CBOR (RFC 8949) messages use integers up to 32 bits, byte strings, text, arrays, maps with text for keys, false, true,
 *    null and 64-bit floating-point numbers, all of definite length, at most `peerNestingMax` deep. `checkShape` refuses
 *    everything else before cbor-x sees it: that library also reads tags that define records, references and dates, which
 *    nobody sends here.
 * 2. Encoded messages are owned by the caller, in bytes of their own or of a pool (src/base/bytes.ts).
 * 3. Decoded byte strings are views of the message, which belongs to its receiver and is never written again.
 *
 * Encoding is our own: the sizes are needed before the bytes are, so that a message is allocated once and a record is copied once.
 * cbor-x writes into a buffer of its own, from which each message has to be copied again: twice the time for a record of 2 KB.
 */
import { Decoder } from 'cbor-x';
import { assert } from '../base/assert.ts';
import { pooledBytes } from '../base/bytes.ts';
import {
  ARRAY,
  BYTES,
  FALSE,
  FLOAT_64,
  headBytes,
  MAP,
  NEGATIVE,
  NULL,
  TEXT,
  TRUE,
  UNSIGNED,
  writeHead,
} from '../base/cbor-head.ts';
import { BadRequestError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';

/**
 * What decoding gives. The messages of this protocol are arrays, a third of the size and the time of maps; maps are for what
 * other parts pass through it, a few a second.
 */
export type Plain =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Plain[]
  | { readonly [name: string]: Plain };

/** A message from a peer that is not what the protocol says. The fault is named; the connection is of no use any more. */
export class MessageError extends BadRequestError {
  override readonly code = 'BAD_MESSAGE';
}

/** The parts of cbor-x that its types lack. */
interface Codec {
  decode(bytes: Uint8Array): unknown;
}
const codec = new Decoder({ useRecords: false }) as unknown as Codec;

const FLOAT64_BYTES = 9;

const isUint32 = (value: number): boolean => value >>> 0 === value;
/** Integers whose CBOR argument, -1 - value, has 32 bits. */
const isNegative32 = (value: number): boolean => value < 0 && isUint32(-1 - value);

/** The encoded size of a value. Throws TypeError where it is not plain: that is a mistake of this program. */
function encodedBytes(value: unknown): number {
  switch (typeof value) {
    case 'number':
      if (isUint32(value)) return headBytes(value);
      return isNegative32(value) ? headBytes(-1 - value) : FLOAT64_BYTES;
    case 'boolean':
      return 1;
    case 'string':
      return textBytes(value);
    case 'object': {
      if (value === null) return 1;
      if (value instanceof Uint8Array) return headBytes(value.length) + value.length;
      if (Array.isArray(value)) {
        let sum = headBytes(value.length);
        for (let i = 0; i < value.length; i++) sum += encodedBytes(value[i]);
        return sum;
      }
      if (Object.getPrototypeOf(value) !== Object.prototype) break;
      const pairs = Object.entries(value);
      let sum = headBytes(pairs.length);
      for (const [name, item] of pairs) sum += textBytes(name) + encodedBytes(item);
      return sum;
    }
  }
  throw new TypeError(`a ${typeof value} is no part of a message: ${String(value).slice(0, 100)}`);
}
function textBytes(text: string): number {
  if (text === '') return 1;
  const length = Buffer.byteLength(text);
  return headBytes(length) + length;
}

/** The message that is being encoded, and where its next item goes. */
let out = new Uint8Array(0);
let at = 0;
/** Floating-point numbers are written and read by it. */
const scratch = new DataView(new ArrayBuffer(8));
const encoder = new TextEncoder();

function putHead(major: number, argument: number): void {
  at = writeHead(out, at, major, argument);
}

/** Puts a value that encodedBytes has measured. */
function put(value: unknown): void {
  if (typeof value === 'number') {
    if (isUint32(value)) putHead(UNSIGNED, value);
    else if (isNegative32(value)) putHead(NEGATIVE, -1 - value);
    else {
      out[at++] = FLOAT_64;
      scratch.setFloat64(0, value);
      for (let i = 0; i < 8; i++) out[at++] = scratch.getUint8(i);
    }
  } else if (typeof value === 'boolean') out[at++] = value ? TRUE : FALSE;
  else if (typeof value === 'string') putText(value);
  else if (value === null) out[at++] = NULL;
  else if (value instanceof Uint8Array) {
    putHead(BYTES, value.length);
    out.set(value, at);
    at += value.length;
  } else if (Array.isArray(value)) {
    putHead(ARRAY, value.length);
    for (let i = 0; i < value.length; i++) put(value[i]);
  } else {
    const pairs = Object.entries(value as object);
    putHead(MAP, pairs.length);
    for (const [name, item] of pairs) {
      putText(name);
      put(item);
    }
  }
}
function putText(text: string): void {
  if (text === '') {
    out[at++] = TEXT;
    return;
  }
  putHead(TEXT, Buffer.byteLength(text));
  at += encoder.encodeInto(text, out.subarray(at)).written;
}

/** Encodes a message. The result is the caller's. Throws RangeError where it would be longer than any node takes. */
export function encodePlain(value: unknown): Uint8Array {
  const length = encodedBytes(value);
  if (length > limits.peerMessageBytesMax)
    throw new RangeError(`a message of ${length} bytes; the limit is ${limits.peerMessageBytesMax}`);
  const bytes = pooledBytes(length);
  out = bytes;
  at = 0;
  put(value);
  assert(at === length, 'a message was measured wrong');
  return bytes;
}

/** Decodes one message. Throws MessageError. */
export function decodePlain(bytes: Uint8Array): Plain {
  if (bytes.length > limits.peerMessageBytesMax)
    throw new MessageError(`a message of ${bytes.length} bytes; the limit is ${limits.peerMessageBytesMax}`);
  const end = checkShape(bytes, 0, 0);
  if (end !== bytes.length)
    throw new MessageError(`a message ends at byte ${end} and ${bytes.length - end} bytes follow`);
  return decodeChecked(bytes);
}
function decodeChecked(bytes: Uint8Array): Plain {
  try {
    return codec.decode(bytes) as Plain;
  } catch (cause) {
    throw new MessageError(`a message is no CBOR: ${(cause as Error).message.slice(0, 200)}`, { cause });
  }
}

/** The argument of the head read last. */
let argument = 0;

/** Reads an item's head: returns where it ends. */
function readHead(bytes: Uint8Array, at: number): number {
  if (at >= bytes.length) throw new MessageError(`a message is cut off at byte ${at}`);
  const extra = (bytes[at] as number) & 0x1f;
  if (extra < 24) {
    argument = extra;
    return at + 1;
  }
  const size = extra === 24 ? 1 : extra === 25 ? 2 : extra === 26 ? 4 : extra === 27 ? 8 : 0;
  if (size === 0) throw new MessageError(`an item of indefinite length, or reserved, at byte ${at}`);
  const end = at + 1 + size;
  if (end > bytes.length) throw new MessageError(`a message is cut off inside the head at byte ${at}`);
  argument = 0;
  for (let i = at + 1; i < end; i++) argument = argument * 256 + (bytes[i] as number);
  return end;
}

const NO_BYTES = new Uint8Array(0);
const NO_BUFFER = NO_BYTES.buffer;
/**
 * Reads the items of one array after another, without making an array of them. It is the way of all messages: arrays and maps within
 * them are left to cbor-x. Of one message at a time.
 */
export class ItemReader {
  #bytes: Uint8Array = NO_BYTES;
  #buffer: ArrayBufferLike = NO_BUFFER;
  #start = 0;
  #at = 0;

  /** Starts reading a message: returns the count of its items. Throws MessageError where it is no array. */
  startArray(bytes: Uint8Array): number {
    if (bytes.length > limits.peerMessageBytesMax)
      throw new MessageError(
        `a message of ${bytes.length} bytes; the limit is ${limits.peerMessageBytesMax}`,
      );
    const at = readHead(bytes, 0);
    if ((bytes[0] as number) >> 5 !== 4) throw new MessageError('a message is no array');
    // Each item has a byte at least.
    if (argument > bytes.length - at)
      throw new MessageError(`an array of ${argument} items at byte 0, and ${bytes.length - at} are left`);
    this.#bytes = bytes;
    this.#buffer = bytes.buffer;
    this.#start = bytes.byteOffset;
    this.#at = at;
    return argument;
  }

  /** The next item. Not beyond the count that startArray returned. */
  next(): Plain {
    const bytes = this.#bytes;
    const start = this.#at;
    const at = readHead(bytes, start);
    const initial = bytes[start] as number;
    switch (initial >> 5) {
      case 0:
        if (initial === 0x1b) break;
        this.#at = at;
        return argument;
      case 1:
        if (initial === 0x3b) break;
        this.#at = at;
        return -1 - argument;
      case 2: {
        this.#at = stringEnd(bytes, start, at);
        return new Uint8Array(this.#buffer, this.#start + at, this.#at - at);
      }
      case 3:
        this.#at = stringEnd(bytes, start, at);
        return textAt(bytes, at, this.#at);
      case 7:
        this.#at = at;
        if (initial === NULL) return null;
        if (initial === FLOAT_64) {
          for (let i = 0; i < 8; i++) scratch.setUint8(i, bytes[start + 1 + i] as number);
          return scratch.getFloat64(0);
        }
        if (initial === FALSE || initial === TRUE) return initial === TRUE;
    }
    // Arrays, maps, and what is refused.
    this.#at = checkShape(bytes, start, 1);
    return decodeChecked(bytes.subarray(start, this.#at));
  }

  /** `left` items more may follow, and nothing else. The message is let go. */
  end(left: number): void {
    const bytes = this.#bytes;
    let at = this.#at;
    for (let i = 0; i < left; i++) at = checkShape(bytes, at, 1);
    this.#bytes = NO_BYTES;
    this.#buffer = NO_BUFFER;
    if (at !== bytes.length)
      throw new MessageError(`a message ends at byte ${at} and ${bytes.length - at} bytes follow`);
  }
}

/** The end of a string of `argument` bytes from `next`, whose head is at `at`. */
function stringEnd(bytes: Uint8Array, at: number, next: number): number {
  if (argument > bytes.length - next)
    throw new MessageError(
      `a string of ${argument} bytes at byte ${at}, and ${bytes.length - next} are left`,
    );
  return next + argument;
}
function textAt(bytes: Uint8Array, at: number, end: number): string {
  return at === end ? '' : Buffer.from(bytes.buffer, bytes.byteOffset + at, end - at).toString();
}

/** Checks the item at `at` against invariant 1 and returns where it ends. */
function checkShape(bytes: Uint8Array, at: number, depth: number): number {
  let next = readHead(bytes, at);
  const initial = bytes[at] as number;
  const major = initial >> 5;
  switch (major) {
    case 0:
    case 1:
      // In 8 bytes an integer would become a BigInt; what lies above 2^32 is sent as a floating-point number.
      if ((initial & 0x1f) === 27) throw new MessageError(`an integer of 8 bytes at byte ${at}`);
      return next;
    case 2:
    case 3:
      return stringEnd(bytes, at, next);
    case 4: {
      const count = argument;
      if (depth >= limits.peerNestingMax)
        throw new MessageError(`arrays nested deeper than ${limits.peerNestingMax} at byte ${at}`);
      if (count > bytes.length - next)
        throw new MessageError(
          `an array of ${count} items at byte ${at}, and ${bytes.length - next} are left`,
        );
      for (let i = 0; i < count; i++) next = checkShape(bytes, next, depth + 1);
      return next;
    }
    case 5: {
      const count = argument;
      if (depth >= limits.peerNestingMax)
        throw new MessageError(`maps nested deeper than ${limits.peerNestingMax} at byte ${at}`);
      if (count * 2 > bytes.length - next)
        throw new MessageError(`a map of ${count} pairs at byte ${at}, and ${bytes.length - next} are left`);
      for (let i = 0; i < count; i++) {
        if (next < bytes.length && (bytes[next] as number) >> 5 !== 3)
          throw new MessageError(`a map with a key that is no text at byte ${next}`);
        next = checkShape(bytes, checkShape(bytes, next, depth + 1), depth + 1);
      }
      return next;
    }
    case 7:
      if (initial === 0xf4 || initial === 0xf5 || initial === 0xf6 || initial === 0xfb) return next;
      throw new MessageError(`a simple value of initial byte ${initial} at byte ${at}`);
    default:
      throw new MessageError(`an item of major type ${major} at byte ${at}`);
  }
}
