/**
 * Reads CBOR (RFC 8949) in place from bytes that a stranger sent. Any thread; one object is reused for all messages.
 * 1. It allocates nothing, whatever lengths are declared: strings are told as positions, numbers as numbers.
 * 2. It reads only what its caller asks for, so that nesting is bounded by the caller's grammar.
 * 3. Whatever the bytes are, it throws nothing but a MalformedError that names what is wrong and at which byte.
 * Indefinite lengths and tags are refused, but for tag 64 before a byte string (RFC 8746), which some encoders write.
 */
import { isUtf8 } from 'node:buffer';
import { BadRequestError } from '../base/errors.ts';

/** The bytes are not what they should be, whoever sent them is told so and goes. */
export class MalformedError extends BadRequestError {}

const EMPTY = new Uint8Array(0);
const UNSIGNED = 0;
const NEGATIVE = 1;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const TAG = 6;
const KINDS = ['an integer', 'an integer', 'a byte string', 'a text', 'an array', 'a map', 'a tag'] as const;
const FALSE = 0xf4;
const TRUE = 0xf5;
const NULL = 0xf6;
const UNDEFINED = 0xf7;
const FLOAT_16 = 0xf9;
const FLOAT_32 = 0xfa;
const FLOAT_64 = 0xfb;
const INFO_8 = 24;
const INFO_16 = 25;
const INFO_32 = 26;
const INFO_64 = 27;
const INFO_INDEFINITE = 31;
const TAG_BYTES = 64;
const TWO_32 = 2 ** 32;

const scratch = new DataView(new ArrayBuffer(8));

export class CborReader {
  #bytes: Uint8Array = EMPTY;
  #at = 0;
  /** Of the last string: bytes[start, end). */
  start = 0;
  end = 0;

  load(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#at = 0;
  }
  /** Lets go of the bytes. */
  clear(): void {
    this.#bytes = EMPTY;
  }
  get at(): number {
    return this.#at;
  }

  /** Number of pairs. */
  map(what: string): number {
    return this.#length(MAP, what);
  }
  /** Number of items. */
  array(what: string): number {
    return this.#length(ARRAY, what);
  }
  isArray(): boolean {
    return this.#peek() >> 5 === ARRAY;
  }

  /** A byte string, whose place is in `start` and `end`. */
  byteString(what: string): void {
    const initial = this.#peek();
    if (initial >> 5 === TAG) this.#tag(what);
    this.#string(BYTES, what);
  }
  /** The UTF-8 of a text, whose place is in `start` and `end`. */
  text(what: string): void {
    this.#string(TEXT, what);
    this.#checkUtf8(what);
  }
  /** Either of both. */
  string(what: string): void {
    if (this.#peek() >> 5 === TEXT) this.text(what);
    else this.byteString(what);
  }

  /** Whether null, or undefined, comes next; then it is passed. */
  absent(): boolean {
    const initial = this.#peek();
    if (initial !== NULL && initial !== UNDEFINED) return false;
    this.#at++;
    return true;
  }
  boolean(what: string): boolean {
    const initial = this.#next(what);
    if (initial !== TRUE && initial !== FALSE) this.#wrong(what, initial, 'true or false');
    return initial === TRUE;
  }

  /** A finite number in any form; an integer beyond 2^53 comes as the nearest one that JavaScript has. */
  number(what: string): number {
    const initial = this.#next(what);
    if (initial < INFO_8) return initial;
    const major = initial >> 5;
    if (major === UNSIGNED) return this.#argument(initial, what);
    if (major === NEGATIVE) return -1 - this.#argument(initial, what);
    let value = Number.NaN;
    if (initial === FLOAT_64) value = this.#float64(what);
    else if (initial === FLOAT_32) value = this.#float32(what);
    else if (initial === FLOAT_16) value = float16(this.#uint(2, what));
    else this.#wrong(what, initial, 'a number');
    if (!Number.isFinite(value)) throw this.#error(`${what} is ${value}, which is no number`);
    return value;
  }

  /** Throws where bytes are left. */
  finish(): void {
    const left = this.#bytes.length - this.#at;
    if (left > 0) throw this.#error(`${left} bytes after the one item of the message`);
  }

  #peek(): number {
    return this.#at < this.#bytes.length ? (this.#bytes[this.#at] as number) : -1;
  }
  #next(what: string): number {
    if (this.#at >= this.#bytes.length) throw this.#error(`the message ends before ${what}`);
    return this.#bytes[this.#at++] as number;
  }

  #length(major: number, what: string): number {
    const initial = this.#next(what);
    if (initial >> 5 !== major) this.#wrong(what, initial, KINDS[major] as string);
    return this.#argument(initial, what);
  }

  #string(major: number, what: string): void {
    const length = this.#length(major, what);
    const left = this.#bytes.length - this.#at;
    if (length > left) throw this.#error(`${what} declares ${length} bytes and the message has ${left} more`);
    this.start = this.#at;
    this.end = this.#at += length;
  }

  #tag(what: string): void {
    const tag = this.#argument(this.#next(what), what);
    if (tag !== TAG_BYTES) throw this.#error(`${what} has tag ${tag}; tags are not used here`);
  }

  #checkUtf8(what: string): void {
    const bytes = this.#bytes;
    const { start, end } = this;
    for (let at = start; at < end; at++)
      if ((bytes[at] as number) > 0x7f) {
        if (!isUtf8(bytes.subarray(at, end))) throw this.#error(`${what} is a text of invalid UTF-8`);
        return;
      }
  }

  /** The number in, or behind, an initial byte of major type 0 to 6. */
  #argument(initial: number, what: string): number {
    const info = initial & 0x1f;
    if (info < INFO_8) return info;
    if (info === INFO_8) return this.#uint(1, what);
    if (info === INFO_16) return this.#uint(2, what);
    if (info === INFO_32) return this.#uint(4, what);
    if (info === INFO_64) return this.#uint(4, what) * TWO_32 + this.#uint(4, what);
    throw this.#error(
      info === INFO_INDEFINITE
        ? `${what} has an indefinite length; lengths must be given`
        : `${what} begins with 0x${initial.toString(16)}, which is no CBOR`,
    );
  }

  #uint(size: number, what: string): number {
    if (this.#at + size > this.#bytes.length) throw this.#error(`the message ends within ${what}`);
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + (this.#bytes[this.#at++] as number);
    return value;
  }
  #float64(what: string): number {
    scratch.setUint32(0, this.#uint(4, what));
    scratch.setUint32(4, this.#uint(4, what));
    return scratch.getFloat64(0);
  }
  #float32(what: string): number {
    scratch.setUint32(0, this.#uint(4, what));
    return scratch.getFloat32(0);
  }

  #wrong(what: string, initial: number, wanted: string): never {
    this.#at--;
    throw this.#error(`${what} is ${kindOf(initial)}, not ${wanted}`);
  }
  #error(message: string): MalformedError {
    return new MalformedError(`${message} (at byte ${this.#at})`);
  }
}

function kindOf(initial: number): string {
  if (initial >> 5 <= TAG) return KINDS[initial >> 5] as string;
  if (initial === TRUE || initial === FALSE) return 'a boolean';
  if (initial === NULL || initial === UNDEFINED) return 'null';
  if (initial >= FLOAT_16 && initial <= FLOAT_64) return 'a float';
  return `a simple value, 0x${initial.toString(16)}`;
}

/** RFC 8949, appendix D. */
function float16(half: number): number {
  const exponent = (half >> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  let value = Number.POSITIVE_INFINITY;
  if (exponent === 0) value = mantissa * 2 ** -24;
  else if (exponent !== 31) value = (mantissa + 1024) * 2 ** (exponent - 25);
  else if (mantissa !== 0) value = Number.NaN;
  return (half & 0x8000) === 0 ? value : -value;
}
