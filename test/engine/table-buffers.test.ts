import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { AssertionError } from '../../src/base/assert.ts';
import { systemClock } from '../../src/base/clock.ts';
import { KiB, limits, MiB } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { KEYSPACE_USER, type RecordFields } from '../../src/base/record.ts';
import { BlockCache } from '../../src/engine/block-cache.ts';
import { LOOKUP_FOUND, LOOKUP_PENDING, type TableMeta } from '../../src/engine/contract.ts';
import { ReadPolicy } from '../../src/engine/read-policy.ts';
import { scanPage } from '../../src/engine/scans.ts';
import { Sstables } from '../../src/engine/sstables.ts';
import { TableBuffers } from '../../src/engine/table-buffers.ts';
import { openTable } from '../../src/engine/table-reader.ts';
import { TableSet } from '../../src/engine/table-set.ts';
import { realFileSystem } from '../../src/vfs/real.ts';
import { encode, Listener, lookup, order, recordOf } from './table-harness.ts';

const { tableBuffersBytesMax, tableReadAheadBytesMax, tableReadAheadBytesMin } = limits;

describe('the buffers of tables', () => {
  it('are given again when they came back, of the least size that fits', () => {
    const buffers = new TableBuffers();
    const small = buffers.take(1);
    const large = buffers.take(tableReadAheadBytesMin + 1);
    expect([small.bytes.length, large.bytes.length]).toEqual([
      tableReadAheadBytesMin,
      2 * tableReadAheadBytesMin,
    ]);
    expect(buffers.take(1)).not.toBe(small);
    buffers.give(small);
    buffers.give(large);
    expect(buffers.idleBytes).toBe(3 * tableReadAheadBytesMin);
    expect(buffers.take(tableReadAheadBytesMin)).toBe(small);
    expect(buffers.take(2 * tableReadAheadBytesMin)).toBe(large);
    expect(buffers.idleBytes).toBe(0);
  });

  it('are kept up to a bound, and none that is longer than a read-ahead', () => {
    const buffers = new TableBuffers();
    const many = Array.from({ length: 100 }, () => buffers.take(tableReadAheadBytesMax));
    for (const one of many) buffers.give(one);
    expect(buffers.idleBytes).toBe(tableBuffersBytesMax);
    const others = new TableBuffers();
    const long = others.take(tableReadAheadBytesMax + 1);
    expect(long.bytes.length).toBeGreaterThan(tableReadAheadBytesMax);
    others.give(long);
    expect(others.idleBytes).toBe(0);
  });

  it('are not given back twice, or two readers would share one', () => {
    const buffers = new TableBuffers();
    const one = buffers.take(1);
    buffers.give(one);
    expect(() => buffers.give(one)).toThrow(AssertionError);
  });
});

const directory = mkdtempSync(join(tmpdir(), 'ringkv-buffers-'));
afterAll(() => rmSync(directory, { recursive: true }));
const options = { blockBytes: 16 * KiB, compression: 'snappy', bloomBitsPerKey: 10 } as const;
const TABLES = 6;
const RECORDS = 1200;
const random = new Random(1);
/** Half of each value is noise. */
const records: RecordFields[] = Array.from({ length: TABLES * RECORDS }, (_, i) =>
  recordOf(`key-${i}`, Buffer.concat([Buffer.alloc(KiB, 'half of it '), random.bytes(KiB)])),
);
const tables = new Sstables(systemClock);
function write(number: number): TableMeta {
  const builder = tables.create(realFileSystem, directory, number, options);
  for (const record of records.filter((_, i) => i % TABLES === number).sort(order)) {
    const bytes = encode(record);
    builder.add(new DataView(bytes.buffer), bytes, 0);
  }
  return builder.finish();
}

/** The most that buffers outside of the heap grew by during `step`, repeated: what a collection takes away comes again. */
function growthOf(steps: number, step: (i: number) => void): number {
  const start = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let i = 0; i < steps; i++) {
    step(i);
    if (i % 4 === 0) most = Math.max(most, process.memoryUsage().arrayBuffers - start);
  }
  return most;
}

describe('tables in the page cache', () => {
  const metas = Array.from({ length: TABLES }, (_, number) => write(number));
  const cache = new BlockCache(128 * KiB);
  const open = (mode: 'sync' | 'async'): ReturnType<typeof openTable>[] =>
    metas.map((meta) => openTable(realFileSystem, directory, meta, cache, new ReadPolicy(systemClock, mode)));

  it('are looked up without a buffer for each block', () => {
    const readers = open('sync');
    const missesBefore = cache.misses;
    const growth = growthOf(4000, (i) => {
      const record = records[(i * 7919) % records.length] as RecordFields;
      const at = records.indexOf(record) % TABLES;
      const reader = readers[at] as (typeof readers)[number];
      expect(lookup(reader, record, 1, new Listener(reader))).toBe(LOOKUP_FOUND);
    });
    // 16 KiB and more for each would make 48 MiB.
    expect(cache.misses - missesBefore).toBeGreaterThan(3000);
    expect(growth).toBeLessThan(4 * MiB);
    for (const reader of readers) reader.close();
  });

  it('are read through the thread pool into one buffer, one read after another', async () => {
    // It holds nothing, so that every frame is read.
    const own = new BlockCache(0);
    const [meta] = metas as [TableMeta];
    const reader = openTable(realFileSystem, directory, meta, own, new ReadPolicy(systemClock, 'async'));
    const listener = new Listener(reader);
    for (let i = 0; i < 100; i++) {
      const record = records[TABLES * ((7 * i) % RECORDS)] as RecordFields;
      expect(lookup(reader, record, i, listener)).toBe(LOOKUP_PENDING);
      await expect.poll(() => listener.ended.length, { interval: 1 }).toBe(i + 1);
    }
    expect(listener.ended.every(({ outcome }) => outcome === LOOKUP_FOUND)).toBe(true);
    expect(own.buffers.idleBytes).toBe(tableReadAheadBytesMin);
    reader.close();
  });

  it('give a scan page without new buffers, also where it ends early', () => {
    const set = new TableSet(open('sync'), () => undefined);
    const page = (limit: number): number => {
      let shown = 0;
      const request = {
        from: { tokenHi: 0, tokenLo: 0, keyspace: KEYSPACE_USER, key: Buffer.alloc(0) },
        exclusive: false,
        prefix: Buffer.alloc(0),
        limit,
        bytesMax: MiB,
        examinedMax: 1e6,
        keyspace: KEYSPACE_USER,
      };
      const ownership = { vnodes: 16, shards: 1, shard: 0 };
      scanPage(request, set.current, null, ownership, 0, () => shown++);
      return shown;
    };
    page(100);
    const idle = cache.buffers.idleBytes;
    const growth = growthOf(300, () => expect(page(100)).toBe(100));
    // Six tables, two buffers each: 110 MiB.
    expect(growth).toBeLessThan(4 * MiB);
    expect(cache.buffers.idleBytes).toBe(idle);
    set.close();
  });

  it('are written without a buffer for each block', () => {
    const sources = [...records].sort(order).map(encode);
    const builder = tables.create(realFileSystem, directory, TABLES, options);
    const growth = growthOf(sources.length, (i) => {
      const bytes = sources[i] as Uint8Array;
      builder.add(new DataView(bytes.buffer), bytes, 0);
    });
    builder.finish();
    // 9 KiB of output for each of 1000 blocks.
    expect(growth).toBeLessThan(2 * MiB);
  });

  it('are written one after another from the same buffers', () => {
    const sources = records.slice(0, 8).sort(order).map(encode);
    let number = TABLES + 1;
    const growth = growthOf(120, () => {
      const builder = tables.create(realFileSystem, directory, number++, options);
      for (const bytes of sources) builder.add(new DataView(bytes.buffer), bytes, 0);
      builder.finish();
    });
    // 256 KiB to write from and 64 KiB for blocks, of each: 37 MiB.
    expect(growth).toBeLessThan(14 * MiB);
  });
});
