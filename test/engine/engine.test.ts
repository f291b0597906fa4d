import { describe, expect, it } from 'vitest';
import { versionAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { newDisk } from './disk.ts';
import { EngineHarness, fieldsOf, ownKeys, SHAPE, scanAll, turn } from './engine-harness.ts';

const TIERED = { ...SHAPE, dial: 10 };
const [KEY, OTHER] = ownKeys(2, SHAPE) as [Uint8Array, Uint8Array];

/** Version that a lookup of `key` finds, 0 for none. */
async function versionOf(harness: EngineHarness, key: Uint8Array): Promise<number> {
  let version = -1;
  harness.lookup(key, false, ({ outcome, error }) => {
    expect(error).toBeNull();
    const { view, offset } = harness.engine.found;
    version = outcome === 1 ? versionAt(view, offset) : 0;
  });
  await harness.settle();
  return version;
}
function put(harness: EngineHarness, key: Uint8Array, version: number, value = 'v'): number {
  return harness.engine.append(fieldsOf({ key, value: Buffer.from(value), version }), null);
}
const flush = (harness: EngineHarness): Promise<void> => harness.wait(harness.engine.flush());

describe('a lookup', () => {
  it('that waits for a table answers with what was appended and flushed meanwhile', async () => {
    const disk = newDisk();
    const harness = new EngineHarness(disk, TIERED);
    await harness.open();
    put(harness, KEY, 1);
    await flush(harness);
    await harness.settle();
    let version = 0;
    harness.lookup(KEY, false, () => {
      version = versionAt(harness.engine.found.view, harness.engine.found.offset);
    });
    expect(harness.lookupsPending).toBe(1);
    put(harness, KEY, 2);
    const flushed = harness.engine.flush();
    // The lookup's read, first in the line, comes back last.
    for (let i = 0; harness.engine.stats().flushes < 2 && i < 1000; i++) {
      if (disk.waiting > 1) disk.step(1);
      await turn();
    }
    await flushed;
    expect(version).toBe(0);
    await harness.settle();
    expect(version).toBe(2);
    await harness.close();
  });

  it('goes on past a table that has the key where another may hold a newer version', async () => {
    const harness = new EngineHarness(newDisk(), TIERED);
    await harness.open();
    put(harness, OTHER, 100);
    put(harness, KEY, 10);
    await flush(harness);
    put(harness, KEY, 20);
    await flush(harness);
    expect(harness.engine.stats().tables).toBe(2);
    expect(await versionOf(harness, KEY)).toBe(20);
    expect(
      scanAll(harness.engine, 0, { limit: 10, bytesMax: 1e6, examinedMax: 10 })
        .map((one) => one.version)
        .sort(),
    ).toEqual([100, 20]);
    await harness.close();
  });
});

describe('backpressure', () => {
  it('refuses writes while more tables overlap than allowed, and takes them when compaction has caught up', async () => {
    const harness = new EngineHarness(newDisk(), { ...SHAPE, dial: 0, tablesMax: 2 });
    const engine = await harness.open();
    put(harness, KEY, 1);
    await flush(harness);
    put(harness, KEY, 2);
    await flush(harness);
    expect(put(harness, KEY, 3)).toBe(-Status.OVERLOADED);
    expect(engine.stats().writesRefused).toContain('2 tables overlap, the limit is 2');
    await harness.settle();
    expect(engine.stats().tables).toBe(1);
    expect(put(harness, KEY, 3)).toBeGreaterThan(0);
    expect(harness.events.filter((event) => !event.startsWith('error')).length).toBe(2);
    await harness.close();
  });

  it('refuses writes while every memtable waits for its flush', async () => {
    const disk = newDisk();
    const harness = new EngineHarness(disk, { ...TIERED, slots: 2 });
    const engine = await harness.open();
    let seq = 0;
    for (let version = 1; seq >= 0; version++) seq = put(harness, KEY, version, 'x'.repeat(5000));
    expect(seq).toBe(-Status.OVERLOADED);
    expect(engine.stats().frozenMemtables).toBe(1);
    engine.commit();
    await harness.settle();
    expect(put(harness, KEY, 1000)).toBeGreaterThan(0);
    await harness.close();
  });

  it('refuses a record that no memtable can take', async () => {
    const harness = new EngineHarness(newDisk(), TIERED);
    await harness.open();
    expect(put(harness, KEY, 1, 'x'.repeat(SHAPE.arenaBytes))).toBe(-Status.VALUE_TOO_LARGE);
    expect(put(harness, KEY, 1)).toBeGreaterThan(0);
    await harness.close();
  });
});

describe('opening', () => {
  it('takes segments that are larger, and more, than the memtables of this start', async () => {
    const disk = newDisk();
    const large = { ...TIERED, arenaBytes: 256 * 1024, slots: 4 };
    const before = new EngineHarness(disk, large);
    await before.open();
    // Full memtables whose flushes never come to an end.
    disk.inject({ operation: 'create', path: /\.sst$/, errno: 'ENOSPC' });
    const keys = ownKeys(200, SHAPE);
    let last = 0;
    for (let version = 1; version <= 700; version++) {
      const seq = put(before, keys[version % 200] as Uint8Array, version, 'x'.repeat(1000));
      if (seq < 0) break;
      last = version;
      if (version % 50 === 0) {
        before.engine.commit();
        await before.settle();
      }
    }
    expect(before.engine.stats().frozenMemtables).toBe(2);
    await before.close();
    disk.clearFaults();
    const harness = new EngineHarness(disk, { ...TIERED, arenaBytes: 64 * 1024, slots: 2 });
    const engine = await harness.open();
    expect(engine.versionMax).toBe(last);
    expect(engine.stats().tables).toBe(3);
    for (let version = last; version > last - 200; version--)
      expect(await versionOf(harness, keys[version % 200] as Uint8Array)).toBe(version);
    await harness.close();
  });

  it('with a full disk and every slot taken serves reads, and takes writes when there is room', async () => {
    const disk = newDisk();
    const harness = new EngineHarness(disk, { ...TIERED, slots: 2 });
    await harness.open();
    disk.inject({ operation: 'create', path: /\.sst$/, errno: 'ENOSPC' });
    for (let version = 1; put(harness, KEY, version, 'x'.repeat(3000)) > 0; version++)
      harness.engine.commit();
    await harness.settle();
    const newest = await versionOf(harness, KEY);
    await harness.close();
    await harness.open();
    expect(await versionOf(harness, KEY)).toBe(newest);
    await harness.settle();
    expect(put(harness, KEY, newest + 1)).toBe(-Status.DISK_FULL);
    disk.clearFaults();
    for (let i = 0; i < 20; i++) {
      harness.advance(10_000);
      await harness.settle();
    }
    expect(put(harness, KEY, newest + 1)).toBeGreaterThan(0);
    await harness.close();
  });

  it('with a damaged table serves all but its tokens, and never an older version in its place', async () => {
    const disk = newDisk();
    const harness = new EngineHarness(disk, TIERED);
    await harness.open();
    put(harness, KEY, 1);
    put(harness, OTHER, 1);
    await flush(harness);
    put(harness, KEY, 2);
    await flush(harness);
    await harness.close();
    const name = disk.readdir('/shard').filter((one) => one.endsWith('.sst'))[1];
    const path = `/shard/${name}`;
    disk.flipBit(path, disk.bytesOf(path).length - 20, 3);
    const engine = await harness.open();
    expect(harness.events.filter((event) => event.startsWith(`error: ${path}: corrupt`))).toHaveLength(1);
    let told = '';
    harness.lookup(KEY, false, ({ error }) => {
      told = error?.message ?? 'an answer';
    });
    expect(told).toContain(path);
    expect(await versionOf(harness, OTHER)).toBe(1);
    expect(() => scanAll(engine, 0, { limit: 10, bytesMax: 1e6, examinedMax: 10 })).toThrow(path);
    put(harness, KEY, 3);
    engine.commit();
    await harness.settle();
    expect(await versionOf(harness, KEY)).toBe(3);
    await harness.wait(engine.compactAll());
    expect(disk.exists(path)).toBe(true);
    await harness.close();
  });

  it('refuses a directory of another shard', async () => {
    const disk = newDisk();
    const harness = new EngineHarness(disk, TIERED);
    await harness.open();
    await harness.close();
    const other = new EngineHarness(disk, { ...TIERED, shards: 2, shard: 1 });
    await expect(other.open()).rejects.toThrow(
      '/shard belongs to shard 0 of 1 with 16 vnodes, not to shard 1 of 2 with 16',
    );
    expect(disk.openPaths).toEqual([]);
  });
});

describe('a write', () => {
  it('is told durable before a later one is told failed', async () => {
    const disk = newDisk();
    const harness = new EngineHarness(disk, TIERED);
    await harness.open();
    await harness.settle();
    const told: string[] = [];
    harness.onDurableHook = (seq) => told.push(`durable ${seq}`);
    harness.onFailureHook = (status) => told.push(`failed with ${status}`);
    disk.inject({ operation: 'sync-directory', after: 1, times: 1, errno: 'ENOSPC' });
    let seq = 0;
    for (let version = 1; harness.engine.stats().frozenMemtables === 0; version++)
      seq = put(harness, KEY, version, 'x'.repeat(9000));
    harness.engine.commit();
    await harness.settle();
    expect(told).toEqual([`durable ${seq - 1}`, `failed with ${Status.DISK_FULL}`]);
    await harness.close();
  });
});

describe('a scan', () => {
  it('passes records of the other keyspace by, once, on pages of any size', async () => {
    const harness = new EngineHarness(newDisk(), TIERED);
    const engine = await harness.open();
    const keys = ownKeys(6, SHAPE);
    let version = 0;
    for (const key of keys) {
      put(harness, key, ++version);
      // The outcomes of idempotent writes stand under the token of the key that they are about.
      const user = fieldsOf({ key, version: 1 });
      for (let i = 0; i < 5; i++)
        engine.append({ ...user, keyspace: 1, key: Buffer.from(`${i}`), version: ++version }, null);
      if (version % 12 === 0) await flush(harness);
    }
    await flush(harness);
    for (const examinedMax of [1, 2, 3, 7, 100])
      for (const limit of [1, 2, 100]) {
        const seen = scanAll(engine, 0, { limit, bytesMax: 1e6, examinedMax });
        expect(seen.map(({ key }) => key).sort()).toEqual(keys.map((key) => key.toString()).sort());
      }
    await harness.close();
  });
});

describe('closing', () => {
  it('commits what was appended, and leaves a log in which damage to the last record shows', async () => {
    const disk = newDisk();
    const harness = new EngineHarness(disk, TIERED);
    await harness.open();
    put(harness, OTHER, 1);
    harness.engine.commit();
    await harness.settle();
    put(harness, KEY, 7, 'last');
    await harness.close();
    await harness.open();
    expect(harness.engine.versionMax).toBe(7);
    expect(await versionOf(harness, KEY)).toBe(7);
    await harness.close();
    const again = newDisk();
    const second = new EngineHarness(again, TIERED);
    await second.open();
    put(second, OTHER, 1);
    second.engine.commit();
    await second.settle();
    put(second, KEY, 7, 'last');
    await second.close();
    const log = '/shard/wal-0000000001.log';
    again.flipBit(log, Buffer.from(again.bytesOf(log)).indexOf('last'), 0);
    await second.open();
    expect(second.engine.stats().writesRefused).toContain(`${log}: corrupt`);
    expect(await versionOf(second, OTHER)).toBe(1);
    expect(put(second, KEY, 8)).toBe(-Status.READ_ONLY);
    await second.close();
  });

  it('ends lookups in flight with an error and is idempotent', async () => {
    const disk = newDisk();
    const harness = new EngineHarness(disk, TIERED);
    const engine = await harness.open();
    put(harness, KEY, 1);
    await flush(harness);
    await harness.settle();
    let ended = '';
    harness.lookup(KEY, false, ({ error }) => {
      ended = error?.name ?? 'an answer';
    });
    const closed = engine.close();
    expect(() => harness.engine.lookup(0, 0, 0, KEY, false, 1)).toThrow('closed');
    await harness.close();
    await closed;
    await harness.settle().catch(() => undefined);
    expect(['ClosedError', 'an answer']).toContain(ended);
    expect(put({ engine } as unknown as EngineHarness, KEY, 2)).toBe(-Status.SHARD_DOWN);
    expect(disk.openPaths).toEqual([]);
  });
});
