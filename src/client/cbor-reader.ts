/**
 * Reads items of CBOR (RFC 8949) of definite length, one after another. Whatever the bytes are, it throws ProtocolError and
 * nothing else, and allocates no more than they could hold.
 */
import { ProtocolError } from './errors.ts';

const UNSIGNED = 0;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const TAG = 6;
const SIMPLE = 7;
const NULL = 0xf6;
const INFO_8 = 24;
const INFO_64 = 27;
/** Of what the reader does not know. */
const NESTING_MAX = 8;
const decoder = new TextDecoder();

export class CborReader {
  readonly #bytes: Uint8Array;
  readonly #expected: string;
  #at = 0;
  /** `expected` is what the bytes should be, for errors. */
  constructor(bytes: Uint8Array, expected: string) {
    this.#bytes = bytes;
    this.#expected = expected;
  }

  /** Of a map: how many pairs of a name and a value follow. */
  members(what: string): number {
    return this.length(MAP, what);
  }

  column<T>(name: string, element: () => T): T[] {
    const length = this.length(ARRAY, name);
    const items: T[] = [];
    for (let i = 0; i < length; i++) items.push(element());
    return items;
  }
  optional<T>(read: () => T): T | null {
    if (this.#bytes[this.#at] !== NULL) return read();
    this.#at++;
    return null;
  }
  unsigned(what: string): number {
    const value = this.#argument(UNSIGNED, what);
    if (!Number.isSafeInteger(value)) return this.#fail(`${what} is ${value}, beyond 2^53`);
    return value;
  }
  text(what: string): string {
    return decoder.decode(this.#string(TEXT, what));
  }
  /** A copy: a view would keep the whole message alive. */
  byteString(what: string): Uint8Array {
    return this.#string(BYTES, what).slice();
  }
  limits(): Record<string, number> {
    const told: [string, number][] = [];
    for (let left = this.length(MAP, 'limits'); left > 0; left--) {
      const name = this.text('a limit');
      if ((this.#bytes[this.#at] ?? 0) >> 5 === UNSIGNED) told.push([name, this.unsigned(name)]);
      else this.pass();
    }
    return Object.fromEntries(told);
  }
  /** Length of an array or map. Each element has a byte at least, so that a lie is found before it costs anything. */
  length(major: number, what: string): number {
    const length = this.#argument(major, what);
    if (length > this.#bytes.length - this.#at)
      return this.#fail(
        `${what} declares ${length} elements and ${this.#bytes.length - this.#at} bytes follow`,
      );
    return length;
  }

  /** Passes over one item of any kind. */
  pass(nesting = NESTING_MAX): void {
    const initial = this.#bytes[this.#at] ?? this.#fail('the message ends early');
    const major = initial >> 5;
    if (nesting === 0) this.#fail(`more than ${NESTING_MAX} levels`);
    const argument = this.#argument(major, 'an unknown column');
    if (major === BYTES || major === TEXT) this.#take(argument, 'an unknown column');
    const inner =
      major === ARRAY || major === TAG ? (major === TAG ? 1 : argument) : major === MAP ? 2 * argument : 0;
    for (let i = 0; i < inner; i++) this.pass(nesting - 1);
  }
  finish(): void {
    const left = this.#bytes.length - this.#at;
    if (left > 0) this.#fail(`${left} bytes after the message`);
  }

  #string(major: number, what: string): Uint8Array {
    return this.#take(this.#argument(major, what), what);
  }
  #take(length: number, what: string): Uint8Array {
    if (length > this.#bytes.length - this.#at)
      return this.#fail(`${what} declares ${length} bytes, too many`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
  #argument(major: number, what: string): number {
    const initial = this.#bytes[this.#at] ?? this.#fail(`the message ends before ${what}`);
    if (initial >> 5 !== major) return this.#fail(`${what} begins with 0x${initial.toString(16)}`);
    this.#at++;
    const info = initial & 0x1f;
    if (info < INFO_8) return info;
    if (info > INFO_64) return this.#fail(`${what} begins with 0x${initial.toString(16)}`);
    const bytes = this.#take(2 ** (info - INFO_8), what);
    let value = 0;
    // Of a float only the length counts: it is passed over.
    for (const byte of bytes) value = major === SIMPLE ? 0 : value * 256 + byte;
    return value;
  }
  #fail(what: string): never {
    throw new ProtocolError(`not ${this.#expected}: ${what} (at byte ${this.#at})`);
  }
}
