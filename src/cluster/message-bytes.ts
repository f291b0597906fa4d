/**
 * CBOR of messages between nodes: what of it is allowed, and how bytes are owned. Pure; any thread.
 *
 * 1. Of CBOR (RFC 8949) messages use integers up to 32 bits, byte strings, text, arrays, maps with text for keys, false, true,
 *    null and 64-bit floating-point numbers, all of definite length, at most `peerNestingMax` deep. `checkShape` refuses
 *    everything else before cbor-x sees it: that library also reads tags that define records, references and dates, which
 *    nobody sends here.
 * 2. Encoded messages are owned by the caller: none shares memory with the encoder's scratch buffer.
 * 3. Decoded byte strings are views of the message, which belongs to its receiver and is never written again.
 */
import { Encoder } from 'cbor-x';
import { BadRequestError } from '../base/errors.ts';
import { KiB, limits } from '../base/limits.ts';

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
  encode(value: unknown, mode: number): Uint8Array;
  useBuffer(buffer: Uint8Array): void;
  decode(bytes: Uint8Array): unknown;
}
const codec = new Encoder({ useRecords: false, tagUint8Array: false }) as unknown as Codec;
/** Of cbor-x: the next message is encoded over this one. */
const RESET_BUFFER_MODE = 1024;
/** cbor-x takes a new buffer, as long as the last, where fewer than 2048 bytes are left at the start of a message. */
const SLACK_BYTES = 2 * KiB + 64;
const SCRATCH_BYTES = 64 * KiB;
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
codec.useBuffer(scratch);

/**
 * Upper bound of the encoded size, so that cbor-x never grows a buffer, which it would then keep. Throws TypeError where
 * the value is not plain: that is a mistake of this program.
 */
function sizeBound(value: unknown): number {
  switch (typeof value) {
    case 'number':
    case 'boolean':
      return 9;
    case 'string':
      return value.length * 3 + 5;
    case 'object': {
      if (value === null) return 1;
      if (value instanceof Uint8Array) return value.length + 5;
      let sum = 5;
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) sum += sizeBound(value[i]);
        return sum;
      }
      if (Object.getPrototypeOf(value) !== Object.prototype) break;
      for (const [name, item] of Object.entries(value)) sum += name.length * 3 + 5 + sizeBound(item);
      return sum;
    }
  }
  throw new TypeError(`a ${typeof value} is no part of a message: ${String(value).slice(0, 100)}`);
}

/** Encodes a message. The result is the caller's. Throws RangeError where it would be longer than any node takes. */
export function encodePlain(value: unknown): Uint8Array {
  const bound = sizeBound(value);
  if (bound + SLACK_BYTES <= SCRATCH_BYTES) return Buffer.from(codec.encode(value, RESET_BUFFER_MODE));
  if (bound > limits.peerMessageBytesMax)
    throw new RangeError(`a message of up to ${bound} bytes; the limit is ${limits.peerMessageBytesMax}`);
  codec.useBuffer(Buffer.allocUnsafeSlow(bound + SLACK_BYTES));
  try {
    return codec.encode(value, RESET_BUFFER_MODE);
  } finally {
    codec.useBuffer(scratch);
  }
}

/** Decodes one message. Throws MessageError. */
export function decodePlain(bytes: Uint8Array): Plain {
  if (bytes.length > limits.peerMessageBytesMax)
    throw new MessageError(`a message of ${bytes.length} bytes; the limit is ${limits.peerMessageBytesMax}`);
  const end = checkShape(bytes, 0, 0);
  if (end !== bytes.length)
    throw new MessageError(`a message ends at byte ${end} and ${bytes.length - end} bytes follow`);
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
      if (argument > bytes.length - next)
        throw new MessageError(
          `a string of ${argument} bytes at byte ${at}, and ${bytes.length - next} are left`,
        );
      return next + argument;
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
