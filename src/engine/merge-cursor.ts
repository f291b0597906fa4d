/**
 * Merges cursors into one: every key once, its newest record, in order of (token, keyspace, key). For
 * compactions and scans; owned by the thread that made it. Nothing is allocated per record.
 *
 * A binary heap of source numbers in a typed array. Sources are ordered by the place of their record, then
 * newest first (compareRecordAge, not the age of the source: sources overlap in versions). Invariants:
 *
 * 1. The root holds the current record and has not been stepped on, so its bytes are still there.
 * 2. `#hi` and `#lo` are the token of each source's record; most comparisons end there.
 */
import { defined } from '../base/assert.ts';
import { compareRecordAge, compareRecordPlaces, tokenHiAt, tokenLoAt } from '../base/record.ts';
import type { RecordCursor } from '../ipc/contract.ts';

const NO_BYTES = new Uint8Array(0);
const NO_VIEW = new DataView(NO_BYTES.buffer);

export class MergeCursor implements RecordCursor {
  bytes: Uint8Array = NO_BYTES;
  view: DataView = NO_VIEW;
  offset = 0;
  valid = false;
  /** Records of the sources that were passed, older versions included. */
  passed = 0;
  readonly #sources: readonly RecordCursor[];
  readonly #heap: Int32Array;
  readonly #hi: Uint32Array;
  readonly #lo: Uint32Array;
  #size = 0;

  /** Steps on the sources from where they stand; they are nobody else's from now on. */
  constructor(sources: readonly RecordCursor[]) {
    this.#sources = sources;
    this.#heap = new Int32Array(sources.length);
    this.#hi = new Uint32Array(sources.length);
    this.#lo = new Uint32Array(sources.length);
    sources.forEach((source, index) => {
      if (!source.valid) return;
      this.#load(index, source);
      this.#heap[this.#size++] = index;
    });
    for (let at = (this.#size >> 1) - 1; at >= 0; at--) this.#siftDown(at);
    this.#show();
  }

  next(): void {
    // Older versions of the current key first: the root's bytes are what they are compared with.
    for (let at = this.#second(); at !== 0 && this.#samePlace(0, at); at = this.#second()) this.#step(at);
    this.#step(0);
    this.#show();
  }

  /** The place in the heap of the least source after the root, 0 where there is none. */
  #second(): number {
    if (this.#size < 2) return 0;
    return this.#size > 2 && this.#before(2, 1) ? 2 : 1;
  }

  #step(at: number): void {
    const index = this.#heap[at] as number;
    const source = this.#sources[index] as RecordCursor;
    source.next();
    this.passed++;
    if (source.valid) this.#load(index, source);
    else this.#heap[at] = this.#heap[--this.#size] as number;
    this.#siftDown(at);
  }

  #load(index: number, source: RecordCursor): void {
    this.#hi[index] = tokenHiAt(source.view, source.offset);
    this.#lo[index] = tokenLoAt(source.view, source.offset);
  }

  #show(): void {
    this.valid = this.#size > 0;
    if (!this.valid) return;
    const source = defined(this.#sources[this.#heap[0] as number], 'merge: a heap with a source too many');
    this.bytes = source.bytes;
    this.view = source.view;
    this.offset = source.offset;
  }

  #siftDown(start: number): void {
    const heap = this.#heap;
    for (let at = start; ; ) {
      const left = 2 * at + 1;
      if (left >= this.#size) return;
      const right = left + 1;
      const child = right < this.#size && this.#before(right, left) ? right : left;
      if (!this.#before(child, at)) return;
      const index = heap[at] as number;
      heap[at] = heap[child] as number;
      heap[child] = index;
      at = child;
    }
  }

  #samePlace(a: number, b: number): boolean {
    const i = this.#heap[a] as number;
    const j = this.#heap[b] as number;
    if (this.#hi[i] !== this.#hi[j] || this.#lo[i] !== this.#lo[j]) return false;
    const x = this.#sources[i] as RecordCursor;
    const y = this.#sources[j] as RecordCursor;
    return compareRecordPlaces(x.view, x.bytes, x.offset, y.view, y.bytes, y.offset) === 0;
  }

  /** Whether the source at `a` in the heap comes before the one at `b`. */
  #before(a: number, b: number): boolean {
    const i = this.#heap[a] as number;
    const j = this.#heap[b] as number;
    const hi = (this.#hi[i] as number) - (this.#hi[j] as number);
    if (hi !== 0) return hi < 0;
    const lo = (this.#lo[i] as number) - (this.#lo[j] as number);
    if (lo !== 0) return lo < 0;
    const x = this.#sources[i] as RecordCursor;
    const y = this.#sources[j] as RecordCursor;
    const place = compareRecordPlaces(x.view, x.bytes, x.offset, y.view, y.bytes, y.offset);
    if (place !== 0) return place < 0;
    return compareRecordAge(x.view, x.bytes, x.offset, y.view, y.bytes, y.offset) > 0;
  }
}
