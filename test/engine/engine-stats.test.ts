import { describe, expect, it } from 'vitest';
import { newDisk } from './disk.ts';
import { EngineHarness, fieldsOf, ownKeys, SHAPE } from './engine-harness.ts';

/** Nothing is merged, and blocks are read at once. */
const TIERED = { ...SHAPE, dial: 10, readMode: 'sync' as const };
const VALUE = Buffer.alloc(100, 'v');
const KEYS = ownKeys(64, SHAPE);
const keyBytes = KEYS.reduce((sum, key) => sum + key.length, 0);

function put(harness: EngineHarness, version: number): void {
  for (const key of KEYS) harness.engine.append(fieldsOf({ key, value: VALUE, version }), null);
  harness.engine.commit();
}
async function twoTables(shape = TIERED): Promise<EngineHarness> {
  const harness = new EngineHarness(newDisk(), shape);
  await harness.open();
  for (const version of [10, 20]) {
    put(harness, version);
    await harness.settle();
    await harness.wait(harness.engine.flush());
  }
  await harness.settle();
  return harness;
}
async function lookUp(harness: EngineHarness, key: Uint8Array): Promise<void> {
  harness.lookup(key, false, ({ error }) => expect(error).toBeNull());
  await harness.settle();
}

describe('figures of an engine', () => {
  it('count what was appended, and what log and flushes wrote for it', async () => {
    const harness = await twoTables();
    const { appendedBytes, walBytesWritten, flushBytesWritten, tableBytes, tables } = harness.engine.stats();
    expect(tables).toBe(2);
    expect(appendedBytes).toBe(2 * (keyBytes + KEYS.length * VALUE.length));
    expect(flushBytesWritten).toBe(tableBytes);
    expect(flushBytesWritten).toBeGreaterThan(appendedBytes);
    expect(walBytesWritten).toBeGreaterThan(appendedBytes);
    expect(walBytesWritten).toBeLessThan(2 * appendedBytes);
    await harness.close();
  });

  it('count lookups that went to tables, the tables that they asked, and the frames that had to be read', async () => {
    const harness = await twoTables();
    const [key] = KEYS as [Uint8Array];
    await lookUp(harness, key);
    const first = harness.engine.stats();
    // The newer table has it, and nothing in the older one can be newer: filter, index and data.
    expect(first).toMatchObject({ tableLookups: 1, tablesAsked: 1, tableReads: 3, tablesOverlap: 2 });
    expect(first.tableReadBytes).toBeGreaterThan(SHAPE.blockBytes);
    expect(first.tableReadBytes).toBeLessThan(first.tableBytes);
    await lookUp(harness, key);
    expect(harness.engine.stats()).toMatchObject({ tableLookups: 2, tablesAsked: 2, tableReads: 3 });
    // Some tokens of others lie within the range of both tables.
    const strangers = ownKeys(128, SHAPE).slice(KEYS.length);
    for (const stranger of strangers) await lookUp(harness, stranger);
    const { tableLookups, tablesAsked } = harness.engine.stats();
    expect(tableLookups).toBe(2 + strangers.length);
    expect(tablesAsked).toBeGreaterThan(2 + strangers.length);
    expect(tablesAsked).toBeLessThanOrEqual(2 + 2 * strangers.length);
    put(harness, 30);
    await harness.settle();
    await lookUp(harness, key);
    expect(harness.engine.stats().tableLookups).toBe(tableLookups);
    await harness.close();
  });

  it('tell how many levels are in use, and how many tables lie over one token', async () => {
    const tiered = await twoTables();
    expect(tiered.engine.stats()).toMatchObject({ compactionLevels: 1, tablesOverlap: 2 });
    await tiered.close();
    const merged = await twoTables({ ...TIERED, dial: 0 });
    const { compactions, tablesOverlap } = merged.engine.stats();
    expect(compactions).toBeGreaterThan(0);
    expect(tablesOverlap).toBe(1);
    await merged.close();
  });
});
