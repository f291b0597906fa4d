/** Collects tokens in order and writes them as filter pages and a filter root (table-format.ts). */
import { limits } from '../base/limits.ts';
import { bloomAdd, bloomBytes, bloomHashes } from './bloom.ts';
import { FRAME_FILTER, FRAME_FILTER_ROOT } from './table-format.ts';
import { IndexBuilder } from './table-index-builder.ts';
import type { TableOutput } from './table-output.ts';

/** Hash functions and size in bits at the end of a filter payload. */
export const FILTER_TRAILER_BYTES = 8;

export class FilterBuilder {
  readonly hashes: number;
  pages = 0;
  readonly #bitsPerKey: number;
  readonly #tokensMax: number;
  /** hi, lo of the tokens that no page has yet. */
  #tokens: Uint32Array;
  #waiting = 0;
  readonly #root = new IndexBuilder();
  #payload: Uint8Array;
  #view: DataView;

  /** `bitsPerKey` 0 writes nothing. */
  constructor(bitsPerKey: number) {
    this.hashes = bitsPerKey === 0 ? 0 : bloomHashes(bitsPerKey);
    this.#bitsPerKey = bitsPerKey;
    this.#tokensMax = Math.max(1, Math.floor((limits.tableFilterPageBytes * 8) / Math.max(1, bitsPerKey)));
    this.#tokens = new Uint32Array(4 * this.#tokensMax);
    this.#payload = new Uint8Array(limits.tableFilterPageBytes + 8 + FILTER_TRAILER_BYTES);
    this.#view = new DataView(this.#payload.buffer);
  }

  /** A token above the one before. */
  add(tokenHi: number, tokenLo: number): void {
    if (this.hashes === 0) return;
    if (2 * this.#waiting === this.#tokens.length) {
      const wider = new Uint32Array(2 * this.#tokens.length);
      wider.set(this.#tokens);
      this.#tokens = wider;
    }
    this.#tokens[2 * this.#waiting] = tokenHi;
    this.#tokens[2 * this.#waiting + 1] = tokenLo;
    this.#waiting++;
  }

  /** Writes the pages that are full, or all with `last`. */
  endPages(output: TableOutput, last: boolean): void {
    let from = 0;
    while (this.#waiting - from >= this.#tokensMax || (last && this.#waiting > from)) {
      const count = Math.min(this.#tokensMax, this.#waiting - from);
      this.#page(output, from, count);
      from += count;
    }
    this.#tokens.copyWithin(0, 2 * from, 2 * this.#waiting);
    this.#waiting -= from;
  }

  #page(output: TableOutput, from: number, count: number): void {
    const filterBytes = bloomBytes(count, this.#bitsPerKey);
    const tokens = this.#tokens;
    this.#payload.fill(0, 0, filterBytes);
    for (let i = 2 * from; i < 2 * (from + count); i += 2)
      bloomAdd(this.#payload, 0, 8 * filterBytes, this.hashes, tokens[i] as number, tokens[i + 1] as number);
    this.#view.setUint32(filterBytes, this.hashes, true);
    this.#view.setUint32(filterBytes + 4, 8 * filterBytes, true);
    const position = output.position;
    const length = output.frame(
      FRAME_FILTER,
      count,
      this.#payload,
      0,
      filterBytes + FILTER_TRAILER_BYTES,
      false,
    );
    this.#root.add(tokens[2 * from] as number, tokens[2 * from + 1] as number, position, length, 0, null);
    this.pages++;
  }

  /** Writes the root; its bytes, 0 without pages. */
  endRoot(output: TableOutput): number {
    if (this.pages === 0) return 0;
    const length = this.#root.bytes;
    const entries = this.#root.count;
    const payload = new Uint8Array(length);
    this.#root.take(payload, new DataView(payload.buffer), 0);
    return output.frame(FRAME_FILTER_ROOT, entries, payload, 0, length, false);
  }
}
