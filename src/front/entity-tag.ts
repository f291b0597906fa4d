/**
 * The entity tag of a record, with the constant header lines that follow it, as bytes. A string made of the version costs
 * a number in decimal, a concatenation and its way into uWebSockets.js: 0.4 us a GET (docs/performance.md). Digits and
 * constants are all that is ever written here, so nothing of a request can end a header line. Front-end thread.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { DECIMAL_DIGITS_MAX, decimalBefore } from './decimal.ts';

const QUOTE = 0x22;
/** Where the digits end. */
const END = 1 + DECIMAL_DIGITS_MAX;

/** Name of the header whose value a TagLine gives. */
export const ETAG = new TextEncoder().encode('ETag');

export class TagLine {
  readonly #bytes: Uint8Array;
  /** Views to the end, by where the opening quote stands. */
  readonly #views: Uint8Array[] = [];

  /** `lines` is what follows the tag: whole header lines, each with CR and LF before it. */
  constructor(lines: string) {
    this.#bytes = new TextEncoder().encode(`${'"'.padStart(END + 1)}${lines}`);
    for (let at = 0; at < END; at++) this.#views.push(this.#bytes.subarray(at));
  }

  /** `"<version>"` and the lines, valid until the next call. */
  of(version: number): Uint8Array {
    assert(version >= 0 && version <= limits.versionMax, 'entity tag: no version');
    const at = decimalBefore(this.#bytes, END, version) - 1;
    this.#bytes[at] = QUOTE;
    return this.#views[at] as Uint8Array;
  }
}
