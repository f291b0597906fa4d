/** WebSocket frames (RFC 6455) of a client, by hand: no dependency, and no copy of what is sent. */
import { loadLimits } from '../limits.ts';

export const Opcode = { BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

const FIN = 0x80;
const MASKED = 0x80;
const OPCODE_BITS = 0x0f;
const LENGTH_BITS = 0x7f;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const MASK_BYTES = 4;
/** Room in front of a payload for the longest head: 2 bytes, 8 of length, 4 of mask. */
export const FRAME_HEAD_BYTES_MAX = 14;

/**
 * Writes a frame's head just before `payload`, and returns where it begins. The mask is four zeros, which RFC 6455 allows and which
 * leaves the payload as it is: a mask is there against caches between a browser's script and its server.
 */
export function writeFrameHead(bytes: Buffer, payload: number, length: number, opcode: number): number {
  const extended = length < LENGTH_16 ? 0 : length <= 0xffff ? 2 : 8;
  const start = payload - MASK_BYTES - extended - 2;
  bytes[start] = FIN | opcode;
  bytes[start + 1] = MASKED | (extended === 0 ? length : extended === 2 ? LENGTH_16 : LENGTH_64);
  if (extended === 2) bytes.writeUInt16BE(length, start + 2);
  else if (extended === 8) bytes.writeBigUInt64BE(BigInt(length), start + 2);
  bytes.writeUInt32LE(0, payload - MASK_BYTES);
  return start;
}

/** A control frame, with at most 125 bytes. */
export function controlFrame(opcode: number, payload: Uint8Array): Buffer {
  const frame = Buffer.alloc(FRAME_HEAD_BYTES_MAX + payload.length);
  frame.set(payload, FRAME_HEAD_BYTES_MAX);
  return frame.subarray(writeFrameHead(frame, FRAME_HEAD_BYTES_MAX, payload.length, opcode));
}

/** Takes what a server sends apart. */
export class FrameReader {
  readonly #message: (opcode: number, payload: Buffer) => void;
  readonly #broken: (why: string) => void;
  #parts: Buffer[] = [];
  #length = 0;
  /** Bytes that there must be before anything more can be done. */
  #needed = 2;
  #failed = false;

  /** `message` gets payloads that are valid during the call. */
  constructor(message: (opcode: number, payload: Buffer) => void, broken: (why: string) => void) {
    this.#message = message;
    this.#broken = broken;
  }

  push(chunk: Buffer): void {
    this.#parts.push(chunk);
    this.#length += chunk.length;
    // A large message is put together once, when it is all there.
    if (this.#length < this.#needed) return;
    const bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts);
    let at = 0;
    while (!this.#failed) {
      const used = this.#frame(bytes, at);
      if (used === 0) break;
      at += used;
      this.#needed = 2;
    }
    const rest = bytes.subarray(at);
    this.#parts = rest.length === 0 ? [] : [rest];
    this.#length = rest.length;
  }

  /** Bytes of the frame at `at`; 0 where it is not all there: then #needed says how many are. */
  #frame(bytes: Buffer, at: number): number {
    const left = bytes.length - at;
    if (left < 2) return this.#wait(2);
    const first = bytes[at] as number;
    const short = (bytes[at + 1] as number) & LENGTH_BITS;
    const head = 2 + (short === LENGTH_16 ? 2 : short === LENGTH_64 ? 8 : 0);
    if (left < head) return this.#wait(head);
    let length = short;
    if (short === LENGTH_16) length = bytes.readUInt16BE(at + 2);
    else if (short === LENGTH_64) length = Number(bytes.readBigUInt64BE(at + 2));
    if (
      (first & FIN) === 0 ||
      ((bytes[at + 1] as number) & MASKED) !== 0 ||
      length > loadLimits.answerBytesMax
    ) {
      this.#failed = true;
      this.#broken(`a frame that is fragmented, masked, or of more than ${loadLimits.answerBytesMax} bytes`);
      return 0;
    }
    if (left < head + length) return this.#wait(head + length);
    this.#message(first & OPCODE_BITS, bytes.subarray(at + head, at + head + length));
    return head + length;
  }
  #wait(bytes: number): number {
    this.#needed = bytes;
    return 0;
  }
}
