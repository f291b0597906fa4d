import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { ClosedError, CorruptionError, IoError } from '../../src/base/errors.ts';
import { MiB } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import type { RecordFields } from '../../src/base/record.ts';
import { BlockCache } from '../../src/engine/block-cache.ts';
import { LOOKUP_ABSENT, LOOKUP_FOUND, LOOKUP_PENDING, type TableReader } from '../../src/engine/contract.ts';
import { ReadPolicy } from '../../src/engine/read-policy.ts';
import { tablePath } from '../../src/engine/table-format.ts';
import { openTable } from '../../src/engine/table-reader.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { testSeed } from '../seed.ts';
import { newDisk } from './disk.ts';
import {
  build,
  DIRECTORY,
  defaults,
  drain,
  encode,
  foundBytes,
  Listener,
  lookup,
  randomRecords,
} from './table-harness.ts';

const records = randomRecords(new Random(11), 800, 200);
const images = records.map(encode);
const one = records[400] as RecordFields;

interface Setup {
  disk: SimulatedFileSystem;
  reader: TableReader;
  listener: Listener;
  cache: BlockCache;
}
function setup(mode: 'sync' | 'async', cacheBytes = MiB): Setup {
  const disk = newDisk();
  const meta = build(disk, 1, records, { ...defaults, compression: 'none' });
  const cache = new BlockCache(cacheBytes);
  const reader = openTable(disk, DIRECTORY, meta, cache, new ReadPolicy(systemClock, mode));
  return { disk, reader, cache, listener: new Listener(reader) };
}

describe('lookups that wait', () => {
  it('share one read of a frame, and come back once each, in order', async () => {
    const { disk, reader, listener } = setup('async');
    for (let ticket = 1; ticket <= 50; ticket++)
      expect(lookup(reader, one, ticket, listener)).toBe(LOOKUP_PENDING);
    expect(disk.waiting).toBe(1);
    disk.resetCounts();
    await disk.settle();
    expect(disk.callsOf('read')).toBe(3);
    expect(listener.ended.map(({ ticket }) => ticket)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    for (const { outcome, found } of listener.ended) {
      expect(outcome).toBe(LOOKUP_FOUND);
      expect(found).toEqual(images[400]);
    }
    expect(lookup(reader, one, 99, listener)).toBe(LOOKUP_FOUND);
  });

  it('share reads also where nothing can be cached', async () => {
    const { disk, reader, listener, cache } = setup('async', 0);
    for (let ticket = 1; ticket <= 20; ticket++) lookup(reader, one, ticket, listener);
    disk.resetCounts();
    await disk.settle();
    expect(disk.callsOf('read')).toBe(3);
    expect(listener.ended.filter(({ outcome }) => outcome === LOOKUP_FOUND)).toHaveLength(20);
    expect(cache.usedBytes).toBe(0);
  });

  it('keep their own copy of the key', async () => {
    const { disk, reader, listener } = setup('async');
    const key = Buffer.from(one.key);
    reader.lookup(one.keyspace, one.tokenHi, one.tokenLo, key, 1, listener);
    key.fill(0);
    await disk.settle();
    expect(listener.ended[0]?.found).toEqual(images[400]);
  });

  it('come back after close, and the file is closed behind them', async () => {
    const { disk, reader, listener } = setup('async');
    for (let ticket = 0; ticket < records.length; ticket++)
      expect(lookup(reader, records[ticket] as RecordFields, ticket, listener)).toBe(LOOKUP_PENDING);
    reader.close();
    expect(() => lookup(reader, one, 1, listener)).toThrow(ClosedError);
    expect(() => reader.cursor(null)).toThrow(ClosedError);
    expect(disk.openPaths).toEqual([reader.path]);
    await disk.settle();
    expect(listener.ended).toHaveLength(records.length);
    for (const { ticket, found } of listener.ended) expect(found).toEqual(images[ticket]);
    expect(disk.openPaths).toEqual([]);
  });

  const seed = testSeed();
  it(`come back once each whatever order reads end in and whichever of them fail (seed ${seed})`, async () => {
    const random = new Random(seed);
    const { disk, reader, listener } = setup('async', random.pick([0, 30_000, MiB]));
    const asked: RecordFields[] = [];
    let closed = false;
    for (let round = 0; round < 30; round++) {
      const fault = random.chance(0.3) ? disk.inject({ operation: 'read', errno: 'EIO', times: 3 }) : null;
      for (let i = 0; i < 20 && !closed; i++) {
        const record = random.pick(records);
        const outcome = lookup(reader, record, asked.length, listener);
        if (outcome === LOOKUP_PENDING) asked.push(record);
        else expect(foundBytes(reader)).toEqual(encode(record));
      }
      if (round === 25) {
        closed = true;
        reader.close();
      }
      for (let i = random.below(40); i > 0 && disk.waiting > 0; i--) disk.step(random.below(disk.waiting));
      fault?.stop();
    }
    await disk.settle(random);
    const tickets = listener.ended.map(({ ticket }) => ticket).sort((a, b) => a - b);
    expect(tickets).toEqual(asked.map((_, i) => i));
    for (const { ticket, found, error } of listener.ended)
      if (error === null) expect(found).toEqual(encode(asked[ticket] as RecordFields));
      else expect(error).toBeInstanceOf(IoError);
    expect(disk.openPaths).toEqual([]);
  });

  it('may look again, and close the table, from within their call back', async () => {
    const { disk, reader, listener } = setup('async');
    const outcomes: number[] = [];
    const again = {
      onTableLookup: (ticket: number): void => {
        outcomes.push(lookup(reader, one, ticket + 100, listener));
        reader.close();
      },
    };
    reader.lookup(one.keyspace, one.tokenHi, one.tokenLo, one.key, 1, again);
    await disk.settle();
    expect(outcomes).toEqual([LOOKUP_FOUND]);
    expect(disk.openPaths).toEqual([]);
  });
});

describe('reads that fail', () => {
  it('throw an IoError at once, and the next lookup reads again', () => {
    const { disk, reader, listener } = setup('sync');
    const fault = disk.inject({ operation: 'read', errno: 'EIO', times: 1 });
    expect(() => lookup(reader, one, 1, listener)).toThrow(IoError);
    expect(fault.hits).toBe(1);
    expect(lookup(reader, one, 1, listener)).toBe(LOOKUP_FOUND);
  });

  it('throw in a cursor instead of ending it', () => {
    const { disk, reader } = setup('sync');
    const fault = disk.inject({ operation: 'read', errno: 'EIO', after: 1 });
    expect(() => drain(reader.cursor(null))).toThrow(IoError);
    expect(fault.hits).toBe(1);
    disk.clearFaults();
    expect(drain(reader.cursor(null))).toHaveLength(records.length);
  });

  it('tell every waiting lookup of a bad frame where it is, and never cache it', async () => {
    const { disk, reader, listener, cache } = setup('async');
    disk.flipBit(tablePath(DIRECTORY, 1), 70);
    const first = records[0] as RecordFields;
    for (const round of [1, 2]) {
      lookup(reader, first, 1, listener);
      lookup(reader, first, 2, listener);
      await disk.settle();
      expect(listener.ended).toHaveLength(2 * round);
      for (const { error, outcome } of listener.ended) {
        expect(outcome).toBe(LOOKUP_ABSENT);
        expect(error).toBeInstanceOf(CorruptionError);
        expect(error).toMatchObject({ file: tablePath(DIRECTORY, 1), offset: 0 });
      }
    }
    expect(cache.find(1, 0)).toBe(0);
  });
});

describe('the record that was found', () => {
  it('stays in place while other tables fill a cache that holds three blocks', () => {
    const disk = newDisk();
    const cache = new BlockCache(20_000);
    const policy = new ReadPolicy(systemClock, 'sync');
    const tables = [1, 2].map((number) =>
      openTable(
        disk,
        DIRECTORY,
        build(disk, number, records, { ...defaults, blockBytes: 1500 }, number),
        cache,
        policy,
      ),
    ) as [TableReader, TableReader];
    const [held, busy] = tables;
    const listener = new Listener(held);
    for (let i = 0; i < records.length; i += 40) {
      expect(lookup(held, records[i] as RecordFields, 1, listener)).toBe(LOOKUP_FOUND);
      for (let k = 0; k < 60; k++) {
        const at = (i + 13 * k) % records.length;
        expect(lookup(busy, records[at] as RecordFields, 1, listener)).toBe(LOOKUP_FOUND);
        expect(foundBytes(busy)).toEqual(images[at]);
      }
      expect(foundBytes(held)).toEqual(images[i]);
    }
    for (const table of tables) table.close();
  });
});

describe('pins', () => {
  it('are given back by the next lookup and by close', () => {
    const { reader, listener, cache } = setup('sync');
    // More often than a pin can be counted.
    for (let i = 0; i < 70_000; i++) lookup(reader, one, 1, listener);
    reader.close();
    const table = cache.openTable();
    for (let i = 0; i < 5000; i++) expect(cache.insert(table, 8 * i, 500)).not.toBe(0);
    expect(cache.find(1, 0)).toBe(0);
  });
});

describe('a cursor', () => {
  it('puts nothing into the block cache and reads in chunks', () => {
    const { disk, reader, cache } = setup('sync');
    disk.resetCounts();
    drain(reader.cursor(null));
    expect(cache.usedBytes + cache.hits + cache.misses).toBe(0);
    expect(disk.callsOf('read')).toBeLessThan(6);
  });

  it('of a table that was closed says so', () => {
    const { reader } = setup('sync');
    const cursor = reader.cursor(null);
    reader.close();
    expect(() => drain(cursor)).toThrow(ClosedError);
  });
});
