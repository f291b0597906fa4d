/**
 * Values that say which write they are from, so that an answer can be checked as a whole for little: a stamp, then bytes
 * that a compressor cannot shorten, then as many that it can.
 *
 *   offset size field
 *        0    4 key number
 *        4    4 serial of the write, of one generator thread
 *        8    4 generator thread
 *       12    4 length of the whole value
 *       16    4 tag: a mix of all these and the seed of the run
 *       20      noise, from a place that the serial tells
 */
import { Random } from '../src/base/random.ts';

const STAMP_BYTES = 20;
const NOISE_BYTES_MIN = 2 ** 20;
const FILLER = 'ringkv';
const GOLDEN = 0x9e3779b1;

function mix(a: number, b: number): number {
  let mixed = Math.imul(a ^ (a >>> 16) ^ b, 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

export interface ValueOptions {
  /** The same for all threads of a run. */
  readonly seed: number;
  readonly min: number;
  readonly max: number;
}

export class Values {
  readonly #seed: number;
  readonly #min: number;
  readonly #ratio: number;
  readonly #noise: Buffer;
  readonly #filler: Buffer;

  constructor({ seed, min, max }: ValueOptions) {
    this.#seed = seed;
    this.#min = min;
    this.#ratio = max / min;
    this.#noise = Buffer.allocUnsafeSlow(Math.max(NOISE_BYTES_MIN, 2 * max));
    const random = new Random(seed);
    for (let at = 0; at + 4 <= this.#noise.length; at += 4) this.#noise.writeUInt32LE(random.uint32(), at);
    this.#filler = Buffer.alloc(max, FILLER);
  }

  /** Bytes of the value that the write with this serial makes. */
  bytesOf(writer: number, serial: number): number {
    if (this.#ratio === 1) return this.#min;
    const share = mix(serial, mix(writer, this.#seed)) / 2 ** 32;
    return Math.floor(this.#min * this.#ratio ** share);
  }

  /** Writes `length` bytes at `at`. */
  write(into: Buffer, at: number, length: number, key: number, writer: number, serial: number): void {
    into.writeUInt32LE(key, at);
    into.writeUInt32LE(serial, at + 4);
    into.writeUInt32LE(writer, at + 8);
    into.writeUInt32LE(length, at + 12);
    into.writeUInt32LE(this.#tag(key, writer, serial, length), at + 16);
    const noiseBytes = noiseBytesOf(length);
    const from = this.#noisePlace(serial, noiseBytes);
    const body = at + STAMP_BYTES;
    this.#noise.copy(into, body, from, from + noiseBytes);
    this.#filler.copy(into, body + noiseBytes, 0, length - STAMP_BYTES - noiseBytes);
  }

  /** Serial of the write by `writer` that made exactly these bytes for `key`; -1: no write of this run did; -2: another thread's. */
  serialOf(value: Buffer, key: number, writer: number): number {
    const { length } = value;
    if (length < STAMP_BYTES || value.readUInt32LE(0) !== key || value.readUInt32LE(12) !== length) return -1;
    const serial = value.readUInt32LE(4);
    const by = value.readUInt32LE(8);
    if (value.readUInt32LE(16) !== this.#tag(key, by, serial, length)) return -1;
    const noiseBytes = noiseBytesOf(length);
    const from = this.#noisePlace(serial, noiseBytes);
    const filler = STAMP_BYTES + noiseBytes;
    const sound =
      value.compare(this.#noise, from, from + noiseBytes, STAMP_BYTES, filler) === 0 &&
      value.compare(this.#filler, 0, length - filler, filler) === 0;
    if (!sound) return -1;
    return by === writer ? serial : -2;
  }

  #tag(key: number, writer: number, serial: number, length: number): number {
    return mix(mix(mix(key, this.#seed), serial), mix(writer, length));
  }
  #noisePlace(serial: number, noiseBytes: number): number {
    return (Math.imul(serial, GOLDEN) >>> 0) % (this.#noise.length - noiseBytes);
  }
}

const noiseBytesOf = (length: number): number => Math.max(0, (length >> 1) - STAMP_BYTES);
