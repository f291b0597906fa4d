/**
 * Frames on a connection between nodes (docs/peer-protocol.md has them byte by byte). All integers are little-endian.
 *
 *   offset size field
 *        0    8 checksum: XXH3-64 of all that follows in the frame (src/base/checksum.ts)
 *        8    4 payload bytes
 *       12    1 kind
 *       13    3 reserved, 0
 *       16    n payload
 *
 * The payload of MESSAGES is one or more of: 4 bytes length, message. Messages share frames so that one checksum and one
 * write serve all that a node has to say to another in one turn of its loop.
 *
 * 1. A length is checked against its bound when its 4 bytes are there; memory is taken only for bytes that came.
 * 2. A payload is delivered only where its checksum holds.
 * 3. A delivered payload is never written again; it may be a view of a received chunk.
 */
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from '../base/checksum.ts';
import { CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { MessageError } from '../cluster/message-bytes.ts';

export const FRAME_HEADER_BYTES = 16;
export const MESSAGE_LENGTH_BYTES = 4;
const LENGTH_AT = CHECKSUM_BYTES;
const KIND_AT = 12;

export const FrameKind = { HELLO: 1, REFUSAL: 2, MESSAGES: 3, HEARTBEAT: 4 } as const;

/** Completes the frame in frame[0, end), whose payload is in place. */
export function sealFrame(frame: Buffer, end: number, kind: number): void {
  frame.writeUInt32LE(end - FRAME_HEADER_BYTES, LENGTH_AT);
  // Kind in the lowest byte, the reserved ones above it.
  frame.writeUInt32LE(kind, KIND_AT);
  writeChecksum(frame, LENGTH_AT, end, frame, 0);
}

/** A frame with a payload of its own. */
export function frameOf(kind: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + payload.length);
  frame.set(payload, FRAME_HEADER_BYTES);
  sealFrame(frame, frame.length, kind);
  return frame;
}

/** A frame with one message, for those that fit no batch. */
export function frameOfMessage(message: Uint8Array): Buffer {
  const start = FRAME_HEADER_BYTES + MESSAGE_LENGTH_BYTES;
  const frame = Buffer.allocUnsafeSlow(start + message.length);
  frame.writeUInt32LE(message.length, FRAME_HEADER_BYTES);
  frame.set(message, start);
  sealFrame(frame, frame.length, FrameKind.MESSAGES);
  return frame;
}

/** Messages that go out in one frame. Its buffer is reused: not before the socket has let go of it. */
export class Batch {
  readonly #buffer = Buffer.allocUnsafeSlow(limits.peerBatchBytes);
  #end = FRAME_HEADER_BYTES;
  #messages = 0;

  static fits(message: Uint8Array): boolean {
    return FRAME_HEADER_BYTES + MESSAGE_LENGTH_BYTES + message.length <= limits.peerBatchBytes;
  }
  /** Bytes of the frame so far; 0 while it is empty. */
  get bytes(): number {
    return this.#messages === 0 ? 0 : this.#end;
  }
  get messages(): number {
    return this.#messages;
  }
  /** False where it is full. */
  add(message: Uint8Array): boolean {
    const end = this.#end + MESSAGE_LENGTH_BYTES + message.length;
    if (end > this.#buffer.length) return false;
    this.#buffer.writeUInt32LE(message.length, this.#end);
    this.#buffer.set(message, this.#end + MESSAGE_LENGTH_BYTES);
    this.#end = end;
    this.#messages++;
    return true;
  }
  /** The whole frame: a view of the buffer, valid until `clear`. */
  seal(): Buffer {
    sealFrame(this.#buffer, this.#end, FrameKind.MESSAGES);
    return this.#buffer.subarray(0, this.#end);
  }
  clear(): void {
    this.#end = FRAME_HEADER_BYTES;
    this.#messages = 0;
  }
}

/** Calls `take` with each message of a MESSAGES payload while it returns true. Throws MessageError. */
export function eachMessage(payload: Buffer, take: (message: Uint8Array) => boolean): void {
  const { buffer, byteOffset } = payload;
  let at = 0;
  do {
    if (payload.length - at < MESSAGE_LENGTH_BYTES)
      throw new MessageError(`a frame of messages ends with ${payload.length - at} bytes, no length`);
    const length = payload.readUInt32LE(at);
    at += MESSAGE_LENGTH_BYTES;
    if (length > payload.length - at)
      throw new MessageError(`a message of ${length} bytes in a frame that has ${payload.length - at} left`);
    if (!take(new Uint8Array(buffer, byteOffset + at, length))) return;
    at += length;
  } while (at < payload.length);
}

/** Takes `payload` with its kind; false ends the reading. */
export type TakeFrame = (kind: number, payload: Buffer) => boolean;

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  /** Payload bytes that a frame may have: few before the hello. */
  payloadBytesMax: number;
  /** Bytes of a frame that is not whole yet. */
  #parts: Buffer[] = [];
  #have = 0;
  /** Bytes needed before there is something to do. */
  #need = FRAME_HEADER_BYTES;

  constructor(payloadBytesMax: number) {
    this.payloadBytesMax = payloadBytesMax;
  }

  /** Bytes held of a frame that is not whole. */
  get held(): number {
    return this.#have;
  }

  /** Takes bytes as they come; they belong to the reader from then on. Throws CorruptionError and MessageError. */
  push(chunk: Buffer, take: TakeFrame): void {
    let bytes = chunk;
    if (this.#have > 0) {
      this.#parts.push(chunk);
      this.#have += chunk.length;
      if (this.#have < this.#need) return;
      // Twice for each frame that comes in pieces at most: for its header, and for the whole.
      bytes = Buffer.concat(this.#parts, this.#have);
      this.#parts.length = 0;
      this.#have = 0;
    }
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = bytes.readUInt32LE(at + LENGTH_AT);
      const end = at + FRAME_HEADER_BYTES + length;
      if (length > this.payloadBytesMax)
        throw new MessageError(`a frame of ${length} bytes; the limit is ${this.payloadBytesMax}`);
      if (end > bytes.length) break;
      if (!checksumMatches(bytes, at + LENGTH_AT, end, bytes, at))
        throw new CorruptionError('', 0, `the checksum of a frame of ${length} bytes is wrong`);
      const kind = bytes.readUInt32LE(at + KIND_AT);
      if (!take(kind, bytes.subarray(at + FRAME_HEADER_BYTES, end))) return;
      at = end;
    }
    this.#keep(at === 0 ? bytes : bytes.subarray(at));
  }

  #keep(rest: Buffer): void {
    this.#need =
      rest.length < FRAME_HEADER_BYTES
        ? FRAME_HEADER_BYTES
        : FRAME_HEADER_BYTES + rest.readUInt32LE(LENGTH_AT);
    if (rest.length === 0) return;
    this.#parts.push(rest);
    this.#have = rest.length;
  }
}
