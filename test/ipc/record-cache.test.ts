import { afterEach, describe, expect, it, vi } from 'vitest';
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
import {
  createRecordCache,
  PLACE_OFFSET,
  type RecordCacheMemory,
  recordCacheBytes,
} from '../../src/ipc/record-cache-layout.ts';
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
    writeRecord(bytes, 16, record);
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
    for (const key of ['on', 'ones'])
      expect(cache.find({ ...(one as RecordFields), key: Buffer.from(key) })).toBe('miss');
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
    // Then the second goes, and not the place that the fifth took.
    cache.put(recordOf({ tokenHi: 60, tokenLo: 6 }));
    const found = [1, 2, 3, 4, 5, 6].map((i) => cache.find(recordOf({ tokenHi: 10 * i, tokenLo: i })));
    expect(found).toEqual(['miss', 'miss', 1, 1, 1, 1]);
  });

  it('does not take a token of zeros for one that was asked for', () => {
    const cache = new Cache();
    expect([cache.writer.wants(0, 0), cache.writer.wants(0, 0)]).toEqual([false, true]);
  });

  it('keeps a record that was put in anew when the place of the old one in the arena is written over', () => {
    const cache = new Cache(memoryOf(256, 1024));
    const first = recordOf({ tokenHi: 1, tokenLo: 1 });
    const size = recordBytes(1, 1) + 8;
    cache.put(first);
    cache.put({ ...first, version: 2 });
    // Up to the end of the arena, and one more: where the old one lies.
    for (let i = 2; i < Math.floor(1024 / size); i++) cache.put(recordOf({ tokenHi: i, tokenLo: i }));
    expect(cache.find(first)).toBe(2);
    cache.put(recordOf({ tokenHi: 100, tokenLo: 100 }));
    expect([cache.find(first), cache.writer.evictions]).toEqual([2, 0]);
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
    expect(recordCacheBytes(2 * limits.recordCacheShardBytesMax)).toBe(limits.recordCacheShardBytesMax);
    // A place for 256 to 512 bytes of the arena.
    for (const bytes of [limits.recordCacheBytesMin, 3_000_000]) {
      const { index, arena } = createRecordCache(bytes) as RecordCacheMemory;
      expect(arena.byteLength / (index.byteLength / 16)).toBeGreaterThanOrEqual(256);
      expect(arena.byteLength / (index.byteLength / 16)).toBeLessThan(2 * 272);
    }
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

describe('a read of the record cache while it is written', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });
  const atomics = Atomics as unknown as Record<'load' | 'store', (...args: unknown[]) => number>;
  /** Runs `what` each time before `name` of Atomics is done, and not within itself. */
  const precede = (name: 'load' | 'store', what: (value: number) => void): void => {
    const done = atomics[name];
    let within = false;
    vi.spyOn(atomics, name).mockImplementation((...args: unknown[]) => {
      if (!within) {
        within = true;
        what(Number(args[2]));
        within = false;
      }
      return done(...args);
    });
  };

  it.each([
    ['lives', 0, 1],
    ['is dead', NOW, 'dead'],
  ])(
    'is a miss where its record, which %s, gives way to another before the read is over',
    (_, expiresMs, found) => {
      const cache = new Cache();
      const flags = expiresMs === 0 ? 0 : FLAG_EXPIRING;
      const record = recordOf({ flags, expiresMs, value: Buffer.from('first') });
      cache.put(record);
      expect(cache.find(record)).toBe(found);
      let loads = 0;
      precede('load', () => {
        // The second look at the stamp.
        if (++loads === 2) cache.put({ ...record, version: 2, value: Buffer.from('other') });
      });
      expect(cache.find(record)).toBe('miss');
      expect(loads).toBe(2);
    },
  );

  it('never finds the record that was there before: its place shows nothing until all of the new one is there', () => {
    const cache = new Cache(memoryOf(4, 4096));
    const old = recordOf({ tokenHi: 1, tokenLo: 1 });
    const next = recordOf({ tokenHi: 2, tokenLo: 2, key: Buffer.from('n'), version: 7 });
    cache.put(old);
    cache.writer.remove(1, 1);
    const seen: unknown[] = [];
    precede('store', () => seen.push(cache.find(old), cache.find(next)));
    cache.put(next);
    vi.restoreAllMocks();
    expect(new Set(seen)).toEqual(new Set(['miss']));
    expect([cache.find(old), cache.find(next)]).toEqual(['miss', 7]);
  });

  it('is a miss whatever the bytes are that it meets', () => {
    const memory = memoryOf(4, 256);
    const cache = new Cache(memory);
    const record = recordOf({});
    cache.put(record);
    const index = new Int32Array(memory.index);
    const lengths = new DataView(memory.arena);
    // Of the value, behind the entry's own two words.
    for (const length of [0x7fff_ffff, 256]) {
      lengths.setUint32(8, length, true);
      expect(cache.find(record), `a value of ${length} bytes`).toBe('miss');
    }
    lengths.setUint32(8, 1, true);
    expect(cache.find(record)).toBe(1);
    for (const offset of [-1, 31, 28, 2 ** 31 - 1]) {
      index[PLACE_OFFSET] = offset;
      expect(cache.find(record), `offset ${offset}`).toBe('miss');
    }
  });
});
