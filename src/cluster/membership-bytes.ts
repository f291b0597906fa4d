/**
 * Writing and checked reading of gossip in bytes: all integers little-endian, text as a 16-bit length and UTF-8. Pure.
 * Messages come from outside: reading past the end, or text that is no UTF-8, throws BadRequestError.
 */
import { BadRequestError } from '../base/errors.ts';
import { readInteger, writeInteger } from '../base/integers.ts';
import { limits } from '../base/limits.ts';

const ASCII_MAX = 0x7f;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** One buffer of the longest message, written again and again. */
export class GossipWriter {
  readonly #bytes = Buffer.allocUnsafeSlow(limits.gossipMessageBytesMax);
  readonly #view = new DataView(this.#bytes.buffer);
  #at = 0;

  get length(): number {
    return this.#at;
  }
  reset(): void {
    this.#at = 0;
  }
  /** Takes back what was written behind `length`. */
  cut(length: number): void {
    this.#at = length;
  }
  hasRoom(bytes: number): boolean {
    return this.#at + bytes <= this.#bytes.length;
  }
  u8(value: number): void {
    this.#view.setUint8(this.#at, value);
    this.#at += 1;
  }
  u16(value: number): void {
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
  }
  u32(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }
  /** A non-negative safe integer. */
  integer(value: number): void {
    writeInteger(this.#view, this.#at, value);
    this.#at += 8;
  }
  float(value: number): void {
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }
  text(value: string): void {
    const length = this.#bytes.write(value, this.#at + 2);
    this.u16(length);
    this.#at += length;
  }
  /** Overwrites 16 bits written before. */
  patchU16(at: number, value: number): void {
    this.#view.setUint16(at, value, true);
  }
  /** A copy of what was written. */
  take(): Uint8Array {
    return Uint8Array.prototype.slice.call(this.#bytes, 0, this.#at);
  }
}

export class GossipReader {
  readonly #bytes: Uint8Array;
  readonly #latin1: Buffer;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    if (bytes.length > limits.gossipMessageBytesMax)
      throw new BadRequestError(
        `a gossip message of ${bytes.length} bytes; the limit is ${limits.gossipMessageBytesMax}`,
      );
    this.#bytes = bytes;
    this.#latin1 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #advance(bytes: number): number {
    const at = this.#at;
    if (bytes > this.#bytes.length - at)
      throw new BadRequestError(`a gossip message of ${this.#bytes.length} bytes is cut off at byte ${at}`);
    this.#at = at + bytes;
    return at;
  }
  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#advance(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#advance(4), true);
  }
  integer(max: number): number {
    const value = readInteger(this.#view, this.#advance(8));
    if (value > max) throw new BadRequestError(`integer ${value} in a gossip message; the limit is ${max}`);
    return value;
  }
  float(): number {
    return this.#view.getFloat64(this.#advance(8), true);
  }
  /** A number of items of which each takes `bytesEach` at least. */
  count(max: number, bytesEach: number): number {
    const count = this.u16();
    if (count > max || count * bytesEach > this.#bytes.length - this.#at)
      throw new BadRequestError(`${count} items in a gossip message; the limit is ${max}, and what is left`);
    return count;
  }
  text(bytesMax: number): string {
    const length = this.u16();
    if (length > bytesMax)
      throw new BadRequestError(`text of ${length} bytes in a gossip message; the limit is ${bytesMax}`);
    const at = this.#advance(length);
    if (this.#isAscii(at, at + length)) return this.#latin1.toString('latin1', at, at + length);
    try {
      return utf8.decode(this.#bytes.subarray(at, at + length));
    } catch (cause) {
      throw new BadRequestError(`text at byte ${at} of a gossip message is not UTF-8`, { cause });
    }
  }
  /** Nearly all names, addresses and values are: the decoder takes several times as long for text so short. */
  #isAscii(start: number, end: number): boolean {
    for (let i = start; i < end; i++) if ((this.#bytes[i] as number) > ASCII_MAX) return false;
    return true;
  }
  end(): void {
    if (this.#at !== this.#bytes.length)
      throw new BadRequestError(`${this.#bytes.length - this.#at} bytes behind a gossip message`);
  }
}
