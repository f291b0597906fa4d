import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import {
  FLAG_EXPIRING,
  KEYSPACE_IDEMPOTENCY,
  type RecordFields,
  recordBytes,
  valueAt,
  versionAt,
  writeRecord,
} from '../../src/base/record.ts';
import { MEMTABLE_DEAD, MEMTABLE_HIT, MEMTABLE_MISS } from '../../src/ipc/contract.ts';
import { createRecordCache, type RecordCacheMemory } from '../../src/ipc/record-cache-layout.ts';
import { RecordCacheReader } from '../../src/ipc/record-cache-reader.ts';
import { RecordCacheWriter } from '../../src/ipc/record-cache-writer.ts';
import { testSeed } from '../seed.ts';

const NOW = 1_000_000;

function recordOf(over: Partial<RecordFields>): RecordFields {
  const base = { tokenHi: 0, tokenLo: 0, keyspace: 0, version: 1, origin: 1, flags: 0, expiresMs: 0 };
  return { ...base, key: Buffer.from('k'), value: Buffer.from('v'), ...over };
}

const memoryOf = (places: number, arenaBytes: number): RecordCacheMemory => ({
  index: new SharedArrayBuffer(places * 16),
  arena: new SharedArrayBuffer(arenaBytes),
});

class Cache {
  readonly writer: RecordCacheWriter;
  readonly reader: RecordCacheReader;
  constructor(memory: RecordCacheMemory = memoryOf(64, 8192)) {
    this.writer = new RecordCacheWriter(memory);
    this.reader = new RecordCacheReader(memory);
  }
  /** Encoded somewhere in a larger buffer, as in a block. */
  put(record: RecordFields): void {
    const bytes = new Uint8Array(16 + recordBytes(record.key.length, record.value.length));
    const view = new DataView(bytes.buffer);
    writeRecord(view, bytes, 16, record);
    this.writer.put(view, bytes, 16);
  }
  /** The version found, 'dead' or 'miss'. */
  find({ tokenHi, tokenLo, key }: RecordFields, nowMs = NOW): number | string {
    const outcome = this.reader.lookup(tokenHi, tokenLo, key, nowMs);
    if (outcome === MEMTABLE_HIT) return versionAt(this.reader.view, 0);
    expect([MEMTABLE_DEAD, MEMTABLE_MISS]).toContain(outcome);
    return outcome === MEMTABLE_DEAD ? 'dead' : 'miss';
  }
}

describe('the record cache', () => {
  it('gives the record that was put in, whole, and nothing once it was removed', () => {
    const cache = new Cache();
    const record = recordOf({ tokenHi: 0xffff_ffff, tokenLo: 0xffff_fffe, value: Buffer.from('a value') });
    expect(cache.find(record)).toBe('miss');
    cache.put(record);
    expect(cache.find(record)).toBe(1);
    expect(Buffer.from(valueAt(cache.reader.view, cache.reader.bytes, 0)).toString()).toBe('a value');
    cache.writer.remove(0xffff_ffff, 0xffff_fffe);
    expect(cache.find(record)).toBe('miss');
    expect(cache.writer.usedBytes).toBe(0);
  });

  it('holds one record of a token: the one put in last', () => {
    const cache = new Cache();
    const [one, other] = ['one', 'another'].map((key) => recordOf({ tokenLo: 5, key: Buffer.from(key) }));
    cache.put(one as RecordFields);
    cache.put({ ...(one as RecordFields), version: 2 });
    expect(cache.find(one as RecordFields)).toBe(2);
    // Keys of one token: no key is answered with the record of the other.
    expect(cache.find(other as RecordFields)).toBe('miss');
    cache.put(other as RecordFields);
    expect(cache.find(one as RecordFields)).toBe('miss');
    expect(cache.find(other as RecordFields)).toBe(1);
  });

  it('tells keys apart that share the lower half of the token, which chooses the bucket', () => {
    const cache = new Cache();
    for (let i = 0; i < 3; i++) cache.put(recordOf({ tokenHi: i, tokenLo: 9, version: 10 + i }));
    for (let i = 0; i < 3; i++) expect(cache.find(recordOf({ tokenHi: i, tokenLo: 9 }))).toBe(10 + i);
    cache.writer.remove(1, 9);
    expect([0, 1, 2].map((i) => cache.find(recordOf({ tokenHi: i, tokenLo: 9 })))).toEqual([10, 'miss', 12]);
  });

  it('answers a record that has expired as dead, to the millisecond', () => {
    const cache = new Cache();
    const record = recordOf({ flags: FLAG_EXPIRING, expiresMs: NOW + 1 });
    cache.put(record);
    expect(cache.find(record, NOW)).toBe(1);
    expect(cache.find(record, NOW + 1)).toBe('dead');
  });

  it('never answers a user key with a record of another keyspace', () => {
    const cache = new Cache();
    const record = recordOf({ keyspace: KEYSPACE_IDEMPOTENCY });
    cache.put(record);
    expect(cache.find(record)).toBe('miss');
  });

  it('wants a record when its key is asked for again, and one that made room at once', () => {
    const cache = new Cache(memoryOf(4, 4096));
    expect(cache.writer.wants(1, 0)).toBe(false);
    expect(cache.writer.wants(1, 0)).toBe(true);
    // One bucket of four places: the fifth makes the first go.
    for (let i = 1; i <= 5; i++) cache.put(recordOf({ tokenHi: 10 * i, tokenLo: i }));
    expect(cache.find(recordOf({ tokenHi: 10, tokenLo: 1 }))).toBe('miss');
    expect(cache.find(recordOf({ tokenHi: 20, tokenLo: 2 }))).toBe(1);
    expect(cache.writer.evictions).toBe(1);
    expect(cache.writer.wants(10, 1)).toBe(true);
  });

  it('is washed out by no walk over keys that are read once', () => {
    const cache = new Cache(memoryOf(1024, 64 * 1024));
    const hot = Array.from({ length: 50 }, (_, i) => recordOf({ tokenHi: i, tokenLo: i }));
    const offer = (record: RecordFields): void => {
      if (cache.writer.wants(record.tokenHi, record.tokenLo)) cache.put(record);
    };
    for (const record of [...hot, ...hot]) offer(record);
    for (let i = 0; i < 100_000; i++) offer(recordOf({ tokenHi: 1000 + i, tokenLo: i * 7919 }));
    expect(hot.filter((record) => cache.find(record) === 1)).toHaveLength(50);
  });

  it('leaves out what is larger than a quarter of it, or than its limit, and keeps what it has', () => {
    const cache = new Cache(memoryOf(64, 4096));
    const small = recordOf({ tokenLo: 1 });
    cache.put(small);
    cache.put(recordOf({ tokenLo: 2, value: Buffer.alloc(1000) }));
    expect(cache.find(recordOf({ tokenLo: 2 }))).toBe('miss');
    expect(cache.find(small)).toBe(1);
    const large = new Cache(memoryOf(64, 1024 * 1024));
    const value = Buffer.alloc(limits.recordCacheRecordBytesMax - recordBytes(1, 0), 7);
    large.put(recordOf({ tokenLo: 3, value }));
    expect(large.find(recordOf({ tokenLo: 3 }))).toBe(1);
    large.put(recordOf({ tokenLo: 4, value: Buffer.concat([value, Buffer.alloc(8)]) }));
    expect(large.find(recordOf({ tokenLo: 4 }))).toBe('miss');
  });

  it('takes at most the bytes given, with its index, and is none below the smallest size', () => {
    for (const bytes of [limits.recordCacheBytesMin, 3_000_000, 64 * 1024 * 1024 + 8]) {
      const memory = createRecordCache(bytes);
      const size = (memory?.index.byteLength ?? 0) + (memory?.arena.byteLength ?? 0);
      expect(size).toBeLessThanOrEqual(bytes);
      expect(size).toBeGreaterThan(bytes * 0.99);
    }
    expect(createRecordCache(limits.recordCacheBytesMin - 1)).toBeNull();
  });

  it('agrees with a Map over random puts, removals and lookups, laps and full buckets included', () => {
    const seed = testSeed();
    console.log(`record cache: seed ${seed}`);
    const totals = { hits: 0, evictions: 0 };
    // How much of the keys finds room is chance: on, until enough was found.
    for (let round = 0; round < 40 || (totals.hits <= 5000 && round < 400); round++) {
      const random = new Random((seed + round) >>> 0);
      const places = random.pick([4, 16, 256]);
      const arenaBytes = 8 * random.between(64, 4096);
      const cache = new Cache(memoryOf(places, arenaBytes));
      const keys = random.between(1, 400);
      /** By key: what was put in last and not removed. */
      const model = new Map<number, RecordFields>();
      const recordOfKey = (key: number): RecordFields =>
        recordOf({ tokenHi: key % 3, tokenLo: key * 11, key: Buffer.from(`key ${key}`) });
      for (let step = 0; step < 2000; step++) {
        const key = random.below(keys);
        const roll = random.below(10);
        const record = recordOfKey(key);
        if (roll < 4) {
          const value = Buffer.alloc(random.below(random.pick([20, arenaBytes / 16])), step);
          const next = { ...record, version: step + 1, value };
          cache.put(next);
          model.set(key, next);
        } else if (roll < 5) {
          cache.writer.remove(record.tokenHi, record.tokenLo);
          model.delete(key);
        }
        const asked = random.below(keys);
        const found = cache.find(recordOfKey(asked));
        const expected = model.get(asked);
        if (found === 'miss') continue;
        totals.hits++;
        const value = valueAt(cache.reader.view, cache.reader.bytes, 0);
        // A call of expect for each takes longer than all the rest.
        if (found !== expected?.version || Buffer.compare(value, expected.value) !== 0)
          expect.fail(`seed ${seed}, round ${round}, step ${step}: ${found} instead of ${expected?.version}`);
      }
      // What it says that it holds is what readers find.
      let held = 0;
      for (const [key, record] of model)
        if (cache.find(recordOfKey(key)) !== 'miss')
          held += recordBytes(record.key.length, record.value.length) + 8;
      expect(held, `seed ${seed}, round ${round}`).toBe(cache.writer.usedBytes);
      expect(cache.writer.usedBytes).toBeLessThanOrEqual(arenaBytes);
      totals.evictions += cache.writer.evictions;
    }
    expect(totals.hits).toBeGreaterThan(5000);
    expect(totals.evictions).toBeGreaterThan(5000);
  });

  it('finds what was put in, while there is room for all', () => {
    const cache = new Cache(memoryOf(4096, 256 * 1024));
    const records = Array.from({ length: 500 }, (_, i) =>
      recordOf({ tokenHi: i, tokenLo: i * 7, version: i + 1 }),
    );
    for (const record of records) cache.put(record);
    expect(records.filter((record) => cache.find(record) === record.version)).toHaveLength(500);
  });
});
