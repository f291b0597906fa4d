/**
 * Merges pages of one range from several replicas: records in order of (token, key), of each key the newest, up to where
 * the first page ends. Owned by the thread of the coordinator.
 */
import { comparePlace, compareRecordPlaces, isDeadAt, recordBytesAt } from '../base/record.ts';
import type { PagePlace } from './contract.ts';
import { compareHeads, NO_BYTES, viewOf } from './coordinator-records.ts';

export interface MergedPage {
  readonly records: Uint8Array;
  /** Where the page ends; null at the end of the range. */
  readonly next: PagePlace | null;
}

interface Source {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  offset: number;
}

export class ScanMerge {
  /** The record that `next` went to. */
  view: DataView = viewOf(NO_BYTES);
  bytes: Uint8Array = NO_BYTES;
  offset = 0;
  /** Whether each page has this key, with this record. */
  agreed = false;
  /** Whether a page has a live record of the key. */
  someLive = false;
  /** The place up to which the pages are complete; null for the whole range. */
  readonly end: PagePlace | null;
  readonly #sources: readonly Source[];
  readonly #nowMs: number;

  /** Records are dead or alive at `nowMs`. */
  constructor(pages: readonly MergedPage[], nowMs: number) {
    this.#nowMs = nowMs;
    let end: PagePlace | null = null;
    for (const { next } of pages)
      if (next !== null && (end === null || comparePlaces(next, end) < 0)) end = next;
    this.end = end;
    this.#sources = pages.map(({ records }) => ({ view: viewOf(records), bytes: records, offset: 0 }));
  }

  /** False at the end. */
  next(): boolean {
    let best: Source | null = null;
    for (const source of this.#sources) {
      if (source.offset >= source.bytes.length) continue;
      if (best === null || order(source, best) < 0) best = source;
    }
    if (best === null) return false;
    const { end } = this;
    const { view, bytes, offset } = best;
    if (
      end !== null &&
      comparePlace(view, bytes, offset, end.tokenHi, end.tokenLo, end.keyspace, end.key) > 0
    )
      return false;
    let newest = best;
    let newestOffset = offset;
    let holders = 0;
    let differ = false;
    this.someLive = false;
    for (const source of this.#sources) {
      if (source.offset >= source.bytes.length) continue;
      if (source !== best && order(source, best) !== 0) continue;
      holders++;
      if (!isDeadAt(source.view, source.offset, this.#nowMs)) this.someLive = true;
      const age = compareAges(source, source.offset, newest, newestOffset);
      if (age !== 0) differ = true;
      if (age > 0) {
        newest = source;
        newestOffset = source.offset;
      }
    }
    this.agreed = !differ && holders === this.#sources.length;
    // The winner's place is compared with by those that come after it: moved last.
    for (const source of this.#sources)
      if (source !== best && source.offset < source.bytes.length && order(source, best) === 0) step(source);
    step(best);
    this.view = newest.view;
    this.bytes = newest.bytes;
    this.offset = newestOffset;
    return true;
  }
}

function order(a: Source, b: Source): number {
  return compareRecordPlaces(a.view, a.bytes, a.offset, b.view, b.bytes, b.offset);
}
function step(source: Source): void {
  source.offset += recordBytesAt(source.view, source.offset);
}
function compareAges(a: Source, aOffset: number, b: Source, bOffset: number): number {
  return compareHeads(a.bytes.subarray(aOffset), b.bytes.subarray(bOffset));
}
function comparePlaces(a: PagePlace, b: PagePlace): number {
  const token = a.tokenHi - b.tokenHi || a.tokenLo - b.tokenLo || a.keyspace - b.keyspace;
  return token || Buffer.compare(a.key, b.key);
}
