/**
 * Percent-decoding to bytes: keys are any bytes, so nothing here goes by way of characters. `+` is a plus sign
 * in a path; in a query it is a space, as forms and URLSearchParams write it.
 */
import { BadRequestError, KeyTooLargeError } from '../base/errors.ts';
import { short } from './outcome.ts';

const hexDigits = new Int8Array(256).fill(-1);
for (let i = 0; i < 16; i++) {
  hexDigits[i.toString(16).charCodeAt(0)] = i;
  hexDigits[i.toString(16).toUpperCase().charCodeAt(0)] = i;
}
const hexAt = (text: string, at: number): number => hexDigits[text.charCodeAt(at) & 0xff] as number;

const PERCENT = 0x25;
const PLUS = 0x2b;

/**
 * Decodes text[start, end) into `target` and returns the number of bytes, or target.length + 1 where they do
 * not fit. Throws BadRequestError for an invalid escape and for characters that a URL cannot have.
 */
export function percentDecode(
  text: string,
  start: number,
  end: number,
  target: Uint8Array,
  plusIsSpace: boolean,
): number {
  let length = 0;
  for (let at = start; at < end; at++) {
    let byte = text.charCodeAt(at);
    if (byte === PERCENT) {
      const hi = at + 2 < end ? hexAt(text, at + 1) : -1;
      const lo = hi < 0 ? -1 : hexAt(text, at + 2);
      if (lo < 0 || text.charCodeAt(at + 1) > 0x7f || text.charCodeAt(at + 2) > 0x7f)
        throw new BadRequestError(
          `${short(text.slice(at, at + 3))} is not a percent escape: % and two hex digits`,
        );
      byte = (hi << 4) | lo;
      at += 2;
    } else if (byte === PLUS && plusIsSpace) byte = 0x20;
    else if (byte > 0x7e || byte < 0x21)
      throw new BadRequestError(`character ${byte} in a URL; bytes outside 0x21 to 0x7e are percent-encoded`);
    if (length === target.length) return length + 1;
    target[length++] = byte;
  }
  return length;
}

/** Decodes keys into one buffer of its own; one per thread. */
export class KeyDecoder {
  readonly #bytes: Uint8Array;
  /** Views of the buffer by length, so that a key costs no view of its own after the first of its length. */
  readonly #views: (Uint8Array | undefined)[] = [];
  readonly #keyBytesMax: number;

  constructor(keyBytesMax: number) {
    this.#keyBytesMax = keyBytesMax;
    this.#bytes = new Uint8Array(keyBytesMax);
  }

  /** The key that `path` holds from `start` on, valid until the next call. Throws for no key and for too long a one. */
  decode(path: string, start: number): Uint8Array {
    const length = percentDecode(path, start, path.length, this.#bytes, false);
    if (length === 0) throw new BadRequestError(`an empty key; a key has 1 to ${this.#keyBytesMax} bytes`);
    if (length > this.#keyBytesMax)
      throw new KeyTooLargeError(
        `a key of more than ${this.#keyBytesMax} bytes; the limit is ${this.#keyBytesMax}`,
      );
    const view = this.#views[length] ?? this.#bytes.subarray(0, length);
    this.#views[length] = view;
    return view;
  }
}
