/**
 * Point reads in the record cache of one shard, from any thread, without a lock: layout and invariants are in
 * record-cache-layout.ts. One reader per thread; nothing here writes shared memory that another thread reads.
 *
 * A lookup reads the stamp of a place, copies what it names, and reads the stamp again. Where it changed, what was copied may be
 * of two records, and the lookup is a MISS. MISS is always safe: the caller asks the shard. HIT rests on a record that was the newest of its
 * key in the engine at some moment of the lookup, and durable. Whoever looks here looks into the memtables first.
 */
import { limits } from '../base/limits.ts';
import {
  isDeadAt,
  KEYSPACE_USER,
  keyLengthAt,
  keyspaceAt,
  RECORD_HEADER_BYTES,
  recordBytesAt,
} from '../base/record.ts';
import { type LookupOutcome, MEMTABLE_DEAD, MEMTABLE_HIT, MEMTABLE_MISS } from './contract.ts';
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

export class RecordCacheReader {
  /** After HIT: the encoded record at offset 0, until the next lookup. */
  readonly bytes = new Uint8Array(limits.recordCacheRecordBytesMax);
  readonly view = new DataView(this.bytes.buffer);
  readonly #index: Int32Array;
  readonly #arena: Uint8Array;
  readonly #arenaView: DataView;
  readonly #buckets: number;
  /** Stored to before a stamp is read again: see #unchanged. Seen by no other thread. */
  readonly #fence = new Int32Array(new SharedArrayBuffer(4));

  constructor({ index, arena }: RecordCacheMemory) {
    this.#index = new Int32Array(index);
    this.#arena = new Uint8Array(arena);
    this.#arenaView = new DataView(arena);
    this.#buckets = bucketsOf(index);
  }

  /** Of a user record. DEAD where it has expired at `nowMs`. */
  lookup(tokenHi: number, tokenLo: number, key: Uint8Array, nowMs: number): LookupOutcome {
    const index = this.#index;
    const first = bucketWord(tokenLo, this.#buckets);
    for (let place = first; place < first + WAYS * PLACE_WORDS; place += PLACE_WORDS) {
      const stamp = Atomics.load(index, place + PLACE_STAMP);
      if (stamp === 0 || index[place + PLACE_TOKEN_LO] !== (tokenLo | 0)) continue;
      if (index[place + PLACE_TOKEN_HI] !== (tokenHi | 0)) continue;
      const outcome = this.#copy(
        (index[place + PLACE_OFFSET] as number) * 8 + ENTRY_HEADER_BYTES,
        key,
        nowMs,
      );
      return this.#unchanged(place, stamp) ? outcome : MEMTABLE_MISS;
    }
    return MEMTABLE_MISS;
  }

  /** Whatever the bytes are: they may be of a record that is being written over another. */
  #copy(offset: number, key: Uint8Array, nowMs: number): LookupOutcome {
    const view = this.#arenaView;
    const room = Math.min(limits.recordCacheRecordBytesMax, this.#arena.length - offset);
    if (offset < 0 || room < RECORD_HEADER_BYTES + key.length) return MEMTABLE_MISS;
    if (keyspaceAt(view, offset) !== KEYSPACE_USER || !this.#isKey(offset, key)) return MEMTABLE_MISS;
    if (isDeadAt(view, offset, nowMs)) return MEMTABLE_DEAD;
    const size = recordBytesAt(view, offset);
    if (size <= 0 || size > room) return MEMTABLE_MISS;
    this.bytes.set(this.#arena.subarray(offset, offset + size));
    return MEMTABLE_HIT;
  }

  #isKey(offset: number, key: Uint8Array): boolean {
    if (keyLengthAt(this.#arenaView, offset) !== key.length) return false;
    const arena = this.#arena;
    const start = offset + RECORD_HEADER_BYTES;
    for (let i = 0; i < key.length; i++) if (arena[start + i] !== key[i]) return false;
    return true;
  }

  /**
   * Whether all that was read since `stamp` was read is whole. The store keeps the plain loads before it (release), and no later
   * atomic load overtakes it (sequential consistency), as in memtable-reader.ts.
   */
  #unchanged(place: number, stamp: number): boolean {
    Atomics.store(this.#fence, 0, 0);
    return Atomics.load(this.#index, place + PLACE_STAMP) === stamp;
  }
}
