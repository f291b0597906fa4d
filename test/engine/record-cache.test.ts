/** What other threads may read beside the engine: the record cache, and memtables that stand in tables. */
import { describe, expect, it } from 'vitest';
import { KEYSPACE_OUTCOMES, versionAt } from '../../src/base/record.ts';
import { MEMTABLE_DEAD, MEMTABLE_HIT, MEMTABLE_MISS } from '../../src/ipc/contract.ts';
import { newDisk } from './disk.ts';
import { EngineHarness, fieldsOf, ownKeys, SHAPE, scanAll, turn } from './engine-harness.ts';
import type { Key, State } from './engine-model-state.ts';

const CACHED = { ...SHAPE, dial: 10, recordCache: [1024, 256 * 1024] as const };
const KEPT = { ...SHAPE, dial: 10, keepsFlushed: true };
const [KEY, OTHER] = ownKeys(2, SHAPE) as [Uint8Array, Uint8Array];

function put(harness: EngineHarness, key: Uint8Array, version: number, value = 'v'): number {
  return harness.engine.append(fieldsOf({ key, value: Buffer.from(value), version }), null);
}
const flush = (harness: EngineHarness): Promise<void> => harness.wait(harness.engine.flush());
async function lookup(harness: EngineHarness, key: Uint8Array): Promise<void> {
  harness.lookup(key, false, ({ error }) => expect(error).toBeNull());
  await harness.settle();
}
/** Version of a key in the record cache, 0 for none. */
function cachedVersion(harness: EngineHarness, key: Uint8Array): number {
  if (harness.shared.inCache(key, harness.clock.nowMs()) !== MEMTABLE_HIT) return 0;
  const { cached } = harness.shared;
  return cached === null ? 0 : versionAt(cached.view, 0);
}

/** An engine with KEY in a table and in the record cache, at version 1. */
async function withCached(over: Partial<typeof CACHED> = {}): Promise<EngineHarness> {
  const harness = new EngineHarness(newDisk(), { ...CACHED, ...over });
  await harness.open();
  put(harness, KEY, 1);
  await flush(harness);
  await lookup(harness, KEY);
  expect(cachedVersion(harness, KEY)).toBe(0);
  await lookup(harness, KEY);
  expect(cachedVersion(harness, KEY)).toBe(1);
  return harness;
}

describe('the record cache of an engine', () => {
  it('gets a record when a table answers for the second time, and keeps it over flush and compaction', async () => {
    const harness = await withCached();
    expect(harness.engine.stats()).toMatchObject({ recordCacheFills: 1, recordCacheEvictions: 0 });
    expect(harness.engine.stats().recordCacheBytes).toBeGreaterThan(40);
    put(harness, OTHER, 2);
    await flush(harness);
    await harness.wait(harness.engine.compactAll());
    expect(cachedVersion(harness, KEY)).toBe(1);
    await harness.close();
  });

  it('loses a record as soon as a newer one is appended, durable or not', async () => {
    const harness = await withCached();
    put(harness, KEY, 2);
    expect(cachedVersion(harness, KEY)).toBe(0);
    // Not durable: what is read is the old one, and it does not come back.
    await lookup(harness, KEY);
    await lookup(harness, KEY);
    expect(cachedVersion(harness, KEY)).toBe(0);
    await flush(harness);
    await lookup(harness, KEY);
    expect(cachedVersion(harness, KEY)).toBe(2);
    await harness.close();
  });

  it('loses the record of the second one of a pair too', async () => {
    const harness = await withCached();
    const [record, also] = [OTHER, KEY].map((key) => fieldsOf({ key, value: Buffer.from('w'), version: 5 }));
    if (record === undefined || also === undefined) throw new Error('no records');
    harness.engine.append(record, also);
    expect(cachedVersion(harness, KEY)).toBe(0);
    await harness.close();
  });

  it('gets nothing from a lookup that began before a write of the key', async () => {
    for (const durable of [false, true]) {
      // Nothing in the block cache, so that every lookup waits.
      const harness = await withCached({ blockCacheBytes: 0 });
      put(harness, OTHER, 1);
      await flush(harness);
      harness.lookup(KEY, false, () => undefined);
      expect(harness.lookupsPending).toBe(1);
      put(harness, KEY, 2);
      if (durable) harness.engine.commit();
      await harness.settle();
      expect(harness.lookupsPending).toBe(0);
      expect(cachedVersion(harness, KEY)).toBe(0);
      await harness.close();
    }
  });

  it('gets the newest record from a lookup that a write and its flush overtook', async () => {
    const harness = await withCached({ blockCacheBytes: 0 });
    const { disk } = harness;
    harness.lookup(KEY, false, () => undefined);
    expect(harness.lookupsPending).toBe(1);
    put(harness, KEY, 2);
    const flushed = harness.engine.flush();
    // The lookup's read, first in the line, comes back last.
    for (let i = 0; harness.engine.stats().flushes < 2 && i < 1000; i++) {
      if (disk.waiting > 1) disk.step(1);
      await turn();
    }
    await flushed;
    await harness.settle();
    expect([0, 2]).toContain(cachedVersion(harness, KEY));
    await lookup(harness, KEY);
    expect(cachedVersion(harness, KEY)).toBe(2);
    await harness.close();
  });

  it('says that a record is dead once its time is over, and gets no tombstone', async () => {
    const harness = new EngineHarness(newDisk(), CACHED);
    await harness.open();
    const expiresMs = harness.clock.nowMs() + 1000;
    harness.engine.append(fieldsOf({ key: KEY, value: Buffer.from('v'), version: 1, expiresMs }), null);
    harness.engine.append(fieldsOf({ key: OTHER, version: 1, deleted: true }), null);
    await flush(harness);
    for (const key of [KEY, KEY, OTHER, OTHER]) await lookup(harness, key);
    expect(cachedVersion(harness, KEY)).toBe(1);
    expect(harness.shared.inCache(OTHER, harness.clock.nowMs())).toBe(MEMTABLE_MISS);
    harness.advance(1000);
    expect(harness.shared.inCache(KEY, harness.clock.nowMs())).toBe(MEMTABLE_DEAD);
    await harness.close();
  });

  it('gets no records but of users, and keeps those of keys that have others too', async () => {
    const harness = await withCached();
    const outcomes = { key: KEY, keyspace: KEYSPACE_OUTCOMES, value: Buffer.from('o'), version: 9 };
    harness.engine.append(fieldsOf(outcomes), null);
    await flush(harness);
    for (let times = 0; times < 3; times++) await lookup(harness, KEY);
    expect(cachedVersion(harness, KEY)).toBe(1);
    const { recordCacheFills } = harness.engine.stats();
    for (let times = 0; times < 3; times++) {
      harness.lookup(KEY, false, ({ outcome }) => expect(outcome).toBe(1), KEYSPACE_OUTCOMES);
      await harness.settle();
    }
    expect(harness.engine.stats().recordCacheFills).toBe(recordCacheFills);
    expect(cachedVersion(harness, KEY)).toBe(1);
    await harness.close();
  });

  it('is empty in the next life, whatever the one before had', async () => {
    const harness = await withCached();
    await harness.close();
    await harness.open();
    expect(cachedVersion(harness, KEY)).toBe(0);
    await harness.close();
  });
});

describe('memtables that have been flushed', () => {
  const nameOf = (bytes: Uint8Array): Key => ({ bytes, name: Buffer.from(bytes).toString() });
  const foundIn = (harness: EngineHarness, key: Uint8Array, version: number): string => {
    const entry = { seq: 1, version, value: Buffer.from('v'), deleted: false, expiresMs: 0 };
    const state: State = new Map([[nameOf(key).name, entry]]);
    expect(harness.shared.faultOf(nameOf(key), state, state, harness.clock.nowMs())).toBe('');
    return harness.shared.from;
  };

  it('are read by other threads until their slot is needed, and shown once by scans', async () => {
    const harness = new EngineHarness(newDisk(), KEPT);
    await harness.open();
    put(harness, KEY, 1);
    await flush(harness);
    expect(foundIn(harness, KEY, 1)).toBe('memtables');
    expect(harness.engine.stats()).toMatchObject({ keptMemtables: 1, tables: 1, frozenMemtables: 0 });
    expect(scanAll(harness.engine, 0, { limit: 10, bytesMax: 1e6, examinedMax: 10 })).toHaveLength(1);
    // Of three slots one takes writes: the third flush needs the slot of the first.
    put(harness, OTHER, 2);
    await flush(harness);
    expect(harness.engine.stats().keptMemtables).toBe(2);
    expect(foundIn(harness, KEY, 1)).toBe('memtables');
    put(harness, OTHER, 3);
    await flush(harness);
    expect(harness.engine.stats().keptMemtables).toBe(2);
    expect(foundIn(harness, KEY, 1)).toBe('nowhere');
    expect(foundIn(harness, OTHER, 3)).toBe('memtables');
    await harness.close();
  });

  it('refuse no write: a kept slot is a free one', async () => {
    for (const keepsFlushed of [false, true]) {
      const harness = new EngineHarness(newDisk(), { ...KEPT, keepsFlushed, slots: 2 });
      await harness.open();
      for (let version = 1; version <= 6; version++) {
        expect(put(harness, KEY, version)).toBeGreaterThan(0);
        await flush(harness);
        expect(foundIn(harness, KEY, version)).toBe(keepsFlushed ? 'memtables' : 'nowhere');
      }
      expect(harness.engine.stats().keptMemtables).toBe(keepsFlushed ? 1 : 0);
      await harness.close();
    }
  });
});
