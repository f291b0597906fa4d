/**
 * The part of a verification that compares index and filter pages with the frames and tokens before them. It
 * sees frames in order of the file; a builder writes each page behind what it describes, so little waits.
 */
import { keyAt, keyspaceAt, tokenHiAt, tokenLoAt } from '../base/record.ts';
import { countAt } from './block-search.ts';
import { bloomMayContain } from './bloom.ts';
import type { Payload } from './table-file.ts';
import { FILTER_TRAILER_BYTES } from './table-filter-builder.ts';
import { FRAME_FILTER, FRAME_FILTER_ROOT, FRAME_INDEX, type TableShape } from './table-format.ts';
import { IndexBuilder } from './table-index-builder.ts';

export class PageCheck {
  readonly #shape: TableShape;
  readonly #report: (offset: number, what: string) => void;
  /** The index payloads as they must be, built again from the frames. */
  readonly #index = new IndexBuilder();
  readonly #indexRoot = new IndexBuilder();
  readonly #filterRoot = new IndexBuilder();
  /** Tokens that no filter page covered yet, as hi, lo. */
  #tokens: number[] = [];
  #anyRecord = false;
  #lastHi = 0;
  #lastLo = 0;
  #dataFrames = 0;
  #indexPages = 0;
  #filterPages = 0;
  #roots = 0;

  constructor(shape: TableShape, report: (offset: number, what: string) => void) {
    this.#shape = shape;
    this.#report = report;
  }

  /** The record at `at`; where it is the first of its data frame, the frame is noted. */
  record(payload: Payload, at: number, first: boolean, position: number, length: number): void {
    const { view, bytes } = payload;
    const hi = tokenHiAt(view, at);
    const lo = tokenLoAt(view, at);
    const sameToken = this.#anyRecord && hi === this.#lastHi && lo === this.#lastLo;
    if (first) {
      this.#dataFrames++;
      this.#index.add(
        hi,
        lo,
        position,
        length,
        keyspaceAt(view, at),
        sameToken ? keyAt(view, bytes, at) : null,
      );
    }
    if (!sameToken && this.#shape.hashes > 0) this.#tokens.push(hi, lo);
    this.#anyRecord = true;
    this.#lastHi = hi;
    this.#lastLo = lo;
  }

  /** A frame that is not data. */
  page(kind: number, position: number, length: number, payload: Payload, entries: number): void {
    if (kind === FRAME_FILTER) this.#filter(position, length, payload, entries);
    else if (kind === FRAME_INDEX) this.#indexPage(position, length, payload);
    else this.#root(kind, position, length, payload);
  }

  /** Behind the last frame, which ends at `end`. */
  end(end: number): void {
    const shape = this.#shape;
    if (this.#tokens.length > 0) this.#report(end, `${this.#tokens.length / 2} tokens stand in no filter`);
    if (this.#index.count > 0) this.#report(end, `${this.#index.count} data frames stand in no index page`);
    const roots = shape.filterRootBytes > 0 ? 2 : 1;
    if (this.#roots !== roots) this.#report(end, `${this.#roots} roots, the footer says ${roots}`);
    this.#compare(end, 'data frames', this.#dataFrames, shape.dataFrames);
    this.#compare(end, 'index pages', this.#indexPages, shape.indexPages);
    this.#compare(end, 'filter pages', this.#filterPages, shape.filterPages);
  }

  #compare(at: number, what: string, counted: number, stored: number): void {
    if (counted !== stored) this.#report(at, `${counted} ${what}, the footer says ${stored}`);
  }

  #filter(position: number, length: number, payload: Payload, entries: number): void {
    const { view, bytes, end } = payload;
    const hashes = view.getUint32(end - FILTER_TRAILER_BYTES, true);
    const bits = (end - FILTER_TRAILER_BYTES) * 8;
    if (hashes !== this.#shape.hashes)
      this.#report(position, `a filter of ${hashes} hash functions, the footer says ${this.#shape.hashes}`);
    if (entries === 0 || 2 * entries > this.#tokens.length) {
      this.#report(position, `a filter of ${entries} tokens behind ${this.#tokens.length / 2}`);
      return;
    }
    for (let i = 0; i < 2 * entries; i += 2)
      if (!bloomMayContain(bytes, 0, bits, hashes, this.#tokens[i] as number, this.#tokens[i + 1] as number))
        this.#report(position, `token ${this.#tokens[i]}:${this.#tokens[i + 1]} is not in its filter`);
    this.#filterRoot.add(this.#tokens[0] as number, this.#tokens[1] as number, position, length, 0, null);
    this.#tokens = this.#tokens.slice(2 * entries);
    this.#filterPages++;
  }

  #indexPage(position: number, length: number, payload: Payload): void {
    const { firstHi, firstLo, firstKeyspace, firstKey } = this.#index;
    this.#same(this.#index, position, payload, 'data frames');
    this.#indexRoot.add(firstHi, firstLo, position, length, firstKeyspace, firstKey);
    this.#indexPages++;
  }

  #root(kind: number, position: number, length: number, payload: Payload): void {
    const filter = kind === FRAME_FILTER_ROOT;
    const at = filter ? this.#shape.filterRootAt : this.#shape.indexRootAt;
    const bytes = filter ? this.#shape.filterRootBytes : this.#shape.indexRootBytes;
    if (at !== position || bytes !== length)
      this.#report(position, `a root of ${length} bytes, the footer says ${bytes} at ${at}`);
    this.#same(filter ? this.#filterRoot : this.#indexRoot, position, payload, 'pages');
    this.#roots++;
  }

  /** A payload must be, byte for byte, what a builder writes about the frames that were seen. */
  #same(expected: IndexBuilder, position: number, payload: Payload, what: string): void {
    const count = expected.count;
    const bytes = new Uint8Array(expected.bytes);
    expected.take(bytes, new DataView(bytes.buffer), 0);
    if (Buffer.compare(bytes, payload.bytes) === 0) return;
    const entries = countAt(payload.view, payload.end);
    this.#report(position, `${entries} entries that do not describe the ${count} ${what} before them`);
  }
}
