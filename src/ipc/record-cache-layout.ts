/**
 * How the record cache of one shard lies in shared memory: records that tables answered with, where any thread finds them
 * without the shard (Cassandra's row cache, RocksDB's row cache). Owner and only writer: the shard thread
 * (record-cache-writer.ts). Readers: any thread (record-cache-reader.ts). Whole records and not blocks, because a block does
 * not say whether it holds the newest version of a key: a reader would need all tables' filters and indexes for that.
 *
 * Index: buckets of WAYS places of four 32-bit words each, one cache line a bucket. The bucket of a record is chosen by the lower
 * half of its token, which is evenly spread.
 *
 *   word  holds
 *   0     stamp: 0 where the place is empty or being written; each insertion has another
 *   1     tokenHi
 *   2     tokenLo
 *   3     offset of the entry in the arena, divided by 8
 *
 * Arena: a ring of entries, each a multiple of 8 bytes; the oldest makes room for the newest. An entry is 8 bytes for the writer (the
 * place's number, size of the entry) and the encoded record (src/base/record.ts).
 *
 * Invariants:
 * 1. What is in the cache of a key is the newest record that the engine holds of it: it was in a table, no memtable held the key when it
 *    was put in, and it goes before a newer one is appended. So it is also older than nothing that was ever acknowledged.
 * 2. A place's words and its entry are written while its stamp is 0, and do not change while it is not. Bytes of the arena are
 *    written anew only after the stamps of all entries in them are 0. So whoever reads the same stamp before and after has read
 *    one whole record (a sequence lock for each place).
 * 3. Stamps rise by one with each insertion, modulo 2^32 and without 0: a reader would have to sleep through 2^32 insertions to take one for
 *    another.
 * 4. The memory is of one life of the shard's thread. When that ends it stays as it is: no write can be acknowledged before the
 *    readers have turned to the next life.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';

export const WAYS = 4;
export const PLACE_WORDS = 4;
export const PLACE_STAMP = 0;
export const PLACE_TOKEN_HI = 1;
export const PLACE_TOKEN_LO = 2;
export const PLACE_OFFSET = 3;
export const ENTRY_HEADER_BYTES = 8;

/** Arena bytes for each place of the index: 1/16 of the arena's size goes into the index, and entries of 256 bytes fill both. */
const ARENA_BYTES_PER_PLACE = 256;
const PLACE_BYTES = 4 * PLACE_WORDS;

/** Posted to every thread that reads it. */
export interface RecordCacheMemory {
  readonly index: SharedArrayBuffer;
  readonly arena: SharedArrayBuffer;
}

/** Bytes that a shard's record cache takes where it may take so many: 0 where those are too few for one. */
export const recordCacheBytes = (most: number): number =>
  most < limits.recordCacheBytesMin ? 0 : Math.min(most, limits.recordCacheShardBytesMax);

/** Of `most` bytes at most, index included; null where that is less than limits.recordCacheBytesMin. Pages cost memory only once written. */
export function createRecordCache(most: number): RecordCacheMemory | null {
  const wanted = recordCacheBytes(most);
  if (wanted === 0) return null;
  // Rounded down to a power of two, so that a mask chooses the bucket.
  const places = 2 ** Math.floor(Math.log2(wanted / (ARENA_BYTES_PER_PLACE + PLACE_BYTES)));
  const arenaBytes = Math.floor((wanted - places * PLACE_BYTES) / 8) * 8;
  return { index: new SharedArrayBuffer(places * PLACE_BYTES), arena: new SharedArrayBuffer(arenaBytes) };
}

/** First word of a bucket. */
export const bucketWord = (tokenLo: number, buckets: number): number =>
  (tokenLo & (buckets - 1)) * WAYS * PLACE_WORDS;

export function bucketsOf(index: SharedArrayBuffer): number {
  const buckets = index.byteLength / PLACE_BYTES / WAYS;
  assert(Number.isInteger(Math.log2(buckets)), 'record cache: buckets must be a power of two');
  return buckets;
}
