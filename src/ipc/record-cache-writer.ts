/**
 * The shard thread's end of its record cache: the only writer of everything in record-cache-layout.ts, which has the byte table
 * and the invariants. Nothing here allocates per record.
 *
 * Admission: a record is put in when its key is asked for the second time within some reads (S3-FIFO's ghosts, Yang et al., SOSP
 * 2023, without its small queue), so that what is read once (uniform reads, a walk through all keys) displaces nothing. What made room is
 * remembered too, and comes back with its next read: with readers that may not write here, that stands in for a record of uses.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { recordBytesAt, tokenHiAt, tokenLoAt } from '../base/record.ts';
import {
  bucketsOf,
  bucketWord,
  ENTRY_HEADER_BYTES,
  PLACE_OFFSET,
  PLACE_STAMP,
  PLACE_TOKEN_HI,
  PLACE_TOKEN_LO,
  PLACE_WORDS,
  type RecordCacheMemory,
  WAYS,
} from './record-cache-layout.ts';

export class RecordCacheWriter {
  readonly #index: Int32Array;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #buckets: number;
  readonly #recordBytesMax: number;
  /** Tokens of which a record was read once or went lately, by the lower half; 0 for none. Not shared. */
  readonly #ghosts: Uint32Array;
  /** The ring: entries stand in [tail, head), or in [tail, lapEnd) and [0, head). */
  #head = 0;
  #tail = 0;
  #lapEnd = 0;
  #wrapped = false;
  #stamp = 0;
  /** Bytes of entries that readers find. */
  usedBytes = 0;
  fills = 0;
  evictions = 0;

  /** `memory` must be new. */
  constructor({ index, arena }: RecordCacheMemory) {
    this.#index = new Int32Array(index);
    this.#words = new Uint32Array(arena);
    this.#bytes = new Uint8Array(arena);
    this.#buckets = bucketsOf(index);
    // A quarter of the arena at most: one record must not empty it.
    this.#recordBytesMax = Math.min(
      limits.recordCacheRecordBytesMax,
      arena.byteLength / 4 - ENTRY_HEADER_BYTES,
    );
    this.#ghosts = new Uint32Array(this.#buckets * WAYS);
  }

  /**
   * Whether a record of this token, found in a table, is to be put in; remembers that it was asked for. Where true, `put` follows, if
   * no memtable holds the key.
   */
  wants(tokenHi: number, tokenLo: number): boolean {
    const at = tokenLo & (this.#ghosts.length - 1);
    const ghost = ghostOf(tokenHi);
    if (this.#ghosts[at] === ghost) return true;
    this.#ghosts[at] = ghost;
    return false;
  }

  /** Puts in a copy of an encoded record, in place of any of the same token. One that is too long is left out. */
  put(view: DataView, bytes: Uint8Array, offset: number): void {
    const recordBytes = recordBytesAt(view, offset);
    if (recordBytes > this.#recordBytesMax) return;
    const tokenHi = tokenHiAt(view, offset);
    const tokenLo = tokenLoAt(view, offset);
    this.remove(tokenHi, tokenLo);
    const size = recordBytes + ENTRY_HEADER_BYTES;
    const start = this.#reserve(size);
    const place = this.#takePlace(tokenLo);
    const index = this.#index;
    // Emptied places come before what is written over them: a load that acquires is overtaken by no later plain store, where
    // a store that releases is (ARM).
    Atomics.load(index, place + PLACE_STAMP);
    this.#words[start / 4] = place / PLACE_WORDS;
    this.#words[start / 4 + 1] = size;
    this.#bytes.set(bytes.subarray(offset, offset + recordBytes), start + ENTRY_HEADER_BYTES);
    index[place + PLACE_TOKEN_HI] = tokenHi;
    index[place + PLACE_TOKEN_LO] = tokenLo;
    index[place + PLACE_OFFSET] = start / 8;
    this.#stamp = (this.#stamp + 1) | 0 || 1;
    Atomics.store(index, place + PLACE_STAMP, this.#stamp);
    this.usedBytes += size;
    this.fills++;
  }

  /** Takes out whatever has the token: before a record of it is appended. */
  remove(tokenHi: number, tokenLo: number): void {
    const index = this.#index;
    const first = bucketWord(tokenLo, this.#buckets);
    for (let place = first; place < first + WAYS * PLACE_WORDS; place += PLACE_WORDS)
      if (
        index[place + PLACE_STAMP] !== 0 &&
        index[place + PLACE_TOKEN_LO] === (tokenLo | 0) &&
        index[place + PLACE_TOKEN_HI] === (tokenHi | 0)
      )
        this.#empty(place);
  }

  #empty(place: number): void {
    const offset = this.#index[place + PLACE_OFFSET] as number;
    this.usedBytes -= this.#words[offset * 2 + 1] as number;
    Atomics.store(this.#index, place + PLACE_STAMP, 0);
  }

  /** A place of the bucket: an empty one, or the one that was filled first, which makes room. */
  #takePlace(tokenLo: number): number {
    const index = this.#index;
    const first = bucketWord(tokenLo, this.#buckets);
    let oldest = first;
    let ageMax = -1;
    for (let place = first; place < first + WAYS * PLACE_WORDS; place += PLACE_WORDS) {
      const stamp = index[place + PLACE_STAMP] as number;
      if (stamp === 0) return place;
      const age = (this.#stamp - stamp) >>> 0;
      if (age > ageMax) {
        ageMax = age;
        oldest = place;
      }
    }
    this.#evict(oldest);
    return oldest;
  }

  #evict(place: number): void {
    const tokenHi = this.#index[place + PLACE_TOKEN_HI] as number;
    const tokenLo = this.#index[place + PLACE_TOKEN_LO] as number;
    this.#ghosts[tokenLo & (this.#ghosts.length - 1)] = ghostOf(tokenHi);
    this.#empty(place);
    this.evictions++;
  }

  /** Offset of `size` free bytes in the arena; the oldest entries make room. */
  #reserve(size: number): number {
    const capacity = this.#bytes.length;
    if (this.#head + size > capacity) {
      // What is left at the end stays free for a lap. The entries in it are the oldest.
      while (this.#wrapped) this.#dropTail();
      this.#lapEnd = this.#head;
      this.#head = 0;
      this.#wrapped = true;
    }
    while (this.#wrapped && this.#tail - this.#head < size) this.#dropTail();
    const start = this.#head;
    this.#head += size;
    return start;
  }

  #dropTail(): void {
    const at = this.#tail;
    if (at >= this.#lapEnd) {
      this.#tail = 0;
      this.#wrapped = false;
      return;
    }
    const place = (this.#words[at / 4] as number) * PLACE_WORDS;
    const size = this.#words[at / 4 + 1] as number;
    assert(size > 0 && at + size <= this.#lapEnd, 'record cache: an entry of no size');
    const index = this.#index;
    // The place may hold another entry by now, or none.
    if (index[place + PLACE_STAMP] !== 0 && index[place + PLACE_OFFSET] === at / 8) this.#evict(place);
    this.#tail = at + size;
  }
}

/** Never 0, which is none. */
const ghostOf = (tokenHi: number): number => (tokenHi | 1) >>> 0;
