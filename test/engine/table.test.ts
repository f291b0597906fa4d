import { describe, expect, it } from 'vitest';
import { AssertionError } from '../../src/base/assert.ts';
import { systemClock } from '../../src/base/clock.ts';
import { CorruptionError, DiskFullError, IoError } from '../../src/base/errors.ts';
import { limits, MiB } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { FLAG_EXPIRING, FLAG_TOMBSTONE, type RecordFields } from '../../src/base/record.ts';
import { BlockCache } from '../../src/engine/block-cache.ts';
import {
  LOOKUP_FOUND,
  LOOKUP_PENDING,
  type TableMeta,
  type TableOptions,
  type TableReader,
} from '../../src/engine/contract.ts';
import { type ReadMode, ReadPolicy } from '../../src/engine/read-policy.ts';
import { createTable } from '../../src/engine/table-builder.ts';
import { readTableMeta } from '../../src/engine/table-file.ts';
import { tableName, tableNumberOfName, tablePath } from '../../src/engine/table-format.ts';
import { openTable } from '../../src/engine/table-reader.ts';
import { verifyTable } from '../../src/engine/table-verify.ts';
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
  order,
  randomRecords,
  recordOf,
} from './table-harness.ts';

const open = (
  disk: SimulatedFileSystem,
  meta: TableMeta,
  mode: ReadMode = 'sync',
  cacheBytes = MiB,
): TableReader =>
  openTable(disk, DIRECTORY, meta, new BlockCache(cacheBytes), new ReadPolicy(systemClock, mode));

/** A record that is not in the table, near one that is. */
function near(random: Random, records: readonly RecordFields[]): RecordFields {
  const one = { ...random.pick(records) };
  const kind = random.below(4);
  if (kind === 0) one.keyspace = 1 - one.keyspace;
  else if (kind === 1) one.key = Buffer.concat([one.key, Buffer.from([random.below(256)])]);
  else if (kind === 2) one.tokenLo = (one.tokenLo + random.pick([1, 0xffff_ffff])) % 2 ** 32;
  else [one.tokenHi, one.tokenLo] = [random.uint32(), random.uint32()];
  return one;
}

describe('a table against a sorted array', () => {
  for (let round = 0; round < 12; round++) {
    const seed = testSeed();
    it(`finds, misses, iterates and seeks alike (seed ${seed})`, async () => {
      const random = new Random(seed);
      const valueMax = random.pick([0, 10, 100, 3000]);
      const records = randomRecords(random, random.pick([1, 10, 300, 1200]), valueMax);
      const options: TableOptions = {
        blockBytes: random.pick([1, 100, 512, 16_384, 100_000]),
        compression: random.pick(['none', 'snappy']),
        bloomBitsPerKey: random.pick([0, 1, 10, 64]),
      };
      const disk = newDisk();
      const meta = build(disk, 7, records, options);
      expect(readTableMeta(disk, tablePath(DIRECTORY, 7), 7)).toEqual(meta);
      expect(meta).toEqual(expectedMeta(records, meta.bytes));
      const images = records.map(encode);
      const mode = random.pick<ReadMode>(['sync', 'async', 'adaptive']);
      const cacheBytes = random.pick([0, 20_000, 200_000, 16 * MiB]);
      const reader = open(disk, meta, mode, cacheBytes);
      const listener = new Listener(reader);
      const expected = new Map<number, Uint8Array | null>();
      const present = new Map(records.map((one, i) => [placeName(one), images[i] as Uint8Array]));
      for (let ticket = 0; ticket < 600; ticket++) {
        const one = random.chance(0.5) ? random.pick(records) : near(random, records);
        const image = present.get(placeName(one)) ?? null;
        const outcome = lookup(reader, one, ticket, listener);
        if (outcome === LOOKUP_PENDING) expected.set(ticket, image);
        else expectSame(outcome === LOOKUP_FOUND ? foundBytes(reader) : null, image);
        if (random.chance(0.1)) await disk.settle();
      }
      await disk.settle();
      expect(listener.ended.length).toBe(expected.size);
      for (const { ticket, found, error } of listener.ended) {
        expect(error).toBeNull();
        expectSame(found, expected.get(ticket) ?? null);
      }
      if (mode === 'async' && cacheBytes === 0) expect(expected.size).toBeGreaterThan(0);

      const all = Buffer.concat(images);
      expect(Buffer.concat(drain(reader.cursor(null))).equals(all)).toBe(true);
      let checked = 0;
      const onBytes = (bytes: number): void => {
        checked += bytes;
      };
      expect(verifyTable(disk, tablePath(DIRECTORY, 7), meta, onBytes)).toEqual([]);
      expect(checked).toBeGreaterThanOrEqual(meta.bytes);
      for (let i = 0; i < 20; i++) {
        const from = random.chance(0.5) ? random.pick(records) : near(random, records);
        const first = records.findIndex((one) => order(one, from) >= 0);
        const rest = Buffer.concat(drain(reader.cursor(from)));
        const expectedRest = Buffer.concat(first < 0 ? [] : images.slice(first));
        expect(rest.equals(expectedRest)).toBe(true);
      }
      reader.close();
    });
  }
});

function expectSame(found: Uint8Array | null, image: Uint8Array | null): void {
  expect(found === null).toBe(image === null);
  if (found !== null && image !== null) expect(Buffer.compare(found, image)).toBe(0);
}
const placeName = (one: RecordFields): string =>
  `${one.tokenHi} ${one.tokenLo} ${one.keyspace} ${Buffer.from(one.key).toString('hex')}`;

function expectedMeta(records: readonly RecordFields[], bytes: number): TableMeta {
  const first = records[0] as RecordFields;
  const last = records.at(-1) as RecordFields;
  const tombstones = records.filter((one) => one.flags === FLAG_TOMBSTONE).map((one) => one.version);
  const expiries = records.filter((one) => one.flags === FLAG_EXPIRING).map((one) => one.expiresMs);
  const versions = records.map((one) => one.version);
  return {
    number: 7,
    bytes,
    records: records.length,
    tombstones: tombstones.length,
    expiring: expiries.length,
    range: { firstHi: first.tokenHi, firstLo: first.tokenLo, lastHi: last.tokenHi, lastLo: last.tokenLo },
    versionMin: Math.min(...versions),
    versionMax: Math.max(...versions),
    expiresMsMin: expiries.length === 0 ? 0 : Math.min(...expiries),
    expiresMsMax: expiries.length === 0 ? 0 : Math.max(...expiries),
    tombstoneVersionMin: tombstones.length === 0 ? 0 : Math.min(...tombstones),
  };
}

describe('a table builder', () => {
  const records = randomRecords(new Random(1), 400, 300);
  const path = tablePath(DIRECTORY, 3);

  it('refuses a record that does not come after the one before', () => {
    const [first, second] = records.slice(0, 2).map(encode) as [Uint8Array, Uint8Array];
    for (const last of [first, second]) {
      const builder = createTable(newDisk(), DIRECTORY, 3, defaults);
      builder.add(viewOf(second), second, 0);
      expect(() => builder.add(viewOf(last), last, 0)).toThrow(AssertionError);
    }
  });

  it('refuses to finish without records, and a file that exists', () => {
    const disk = newDisk();
    const builder = createTable(disk, DIRECTORY, 3, defaults);
    expect(() => builder.finish()).toThrow(AssertionError);
    expect(() => createTable(disk, DIRECTORY, 3, defaults)).toThrow(IoError);
  });

  it('syncs the whole file before it gives the meta', () => {
    const disk = newDisk();
    const meta = build(disk, 3, records);
    disk.syncDirectory(DIRECTORY);
    const after = disk.powerCut(new Random(9));
    expect(verifyTable(after, path, meta, () => undefined)).toEqual([]);
    expect(disk.openPaths).toEqual([]);
  });

  it('says at each point at least how long the file will be without pages and footer', () => {
    const builder = createTable(newDisk(), DIRECTORY, 3, { ...defaults, compression: 'none' });
    let payload = 0;
    for (const image of records.map(encode)) {
      builder.add(viewOf(image), image, 0);
      payload += image.length;
      expect(builder.bytes).toBeGreaterThanOrEqual(payload);
      expect(builder.bytes).toBeLessThan(1.6 * payload + 2000);
    }
    expect(builder.records).toBe(records.length);
    expect(builder.finish().bytes).toBeLessThan(1.6 * payload + 5000);
  });

  it('leaves nothing behind when it is abandoned, on a full disk or without a file', () => {
    const big = randomRecords(new Random(2), 300, 4000);
    const disk = newDisk({ capacityBytes: 300_000 });
    const builder = createTable(disk, DIRECTORY, 3, defaults);
    const addAll = (): void => {
      for (const image of big.map(encode)) builder.add(viewOf(image), image, 0);
      builder.finish();
    };
    expect(addAll).toThrow(DiskFullError);
    builder.abandon();
    builder.abandon();
    expect(disk.readdir(DIRECTORY)).toEqual([]);
    expect(disk.openPaths).toEqual([]);
  });

  it('passes on what a failed sync says', () => {
    const disk = newDisk();
    disk.inject({ operation: 'sync', errno: 'EIO' });
    expect(() => build(disk, 3, records)).toThrow(IoError);
  });

  it('keeps blocks raw where compression does not save an eighth', () => {
    const noise = Array.from({ length: 50 }, (_, i) => recordOf(`k${i}`, new Random(i).bytes(2000))).sort(
      order,
    );
    const text = noise.map((one) => ({ ...one, value: Buffer.alloc(2000, 'text ') }));
    const size = (list: readonly RecordFields[], compression: 'none' | 'snappy'): number =>
      build(newDisk(), 1, list, { ...defaults, compression }).bytes;
    expect(size(noise, 'snappy')).toBe(size(noise, 'none'));
    expect(size(text, 'snappy')).toBeLessThan(0.2 * size(text, 'none'));
  });

  it('takes the longest record', async () => {
    const disk = newDisk();
    const value = new Random(5).bytes(limits.valueBytesCeiling);
    const long = { ...recordOf('k', value), key: new Random(6).bytes(limits.keyBytesCeiling) };
    const meta = build(disk, 3, [long], { ...defaults, blockBytes: limits.blockBytesDefault });
    const reader = open(disk, meta);
    const listener = new Listener(reader);
    expect(lookup(reader, long, 1, listener)).toBe(LOOKUP_FOUND);
    expect(Buffer.compare(foundBytes(reader), encode(long))).toBe(0);
    expect(Buffer.compare(drain(reader.cursor(null))[0] as Uint8Array, encode(long))).toBe(0);
  });
});

describe('a table', () => {
  const records = randomRecords(new Random(3), 500, 100);

  it('holds little memory beside the cache, and the file system closes with it', () => {
    const disk = newDisk();
    const reader = open(disk, build(disk, 1, records, { ...defaults, blockBytes: 1 }));
    expect(reader.memoryBytes).toBeLessThan(4096);
    reader.close();
    reader.close();
    expect(disk.openPaths).toEqual([]);
  });

  it('reads the same under another number', () => {
    const disk = newDisk();
    const meta = build(disk, 1, records);
    disk.link(tablePath(DIRECTORY, 1), tablePath(DIRECTORY, 22));
    const reader = open(disk, { ...meta, number: 22 });
    expect(drain(reader.cursor(null)).length).toBe(records.length);
  });

  it('is refused where the manifest says something else', () => {
    const disk = newDisk();
    const meta = build(disk, 1, records);
    const names: (keyof TableMeta)[] = [
      'bytes',
      'records',
      'tombstones',
      'versionMax',
      'tombstoneVersionMin',
    ];
    for (const name of names) {
      const other = { ...meta, [name]: (meta[name] as number) + 1 };
      expect(() => open(disk, other)).toThrow(CorruptionError);
      expect(verifyTable(disk, tablePath(DIRECTORY, 1), other, () => undefined)).toHaveLength(1);
    }
    expect(() => open(disk, { ...meta, range: { ...meta.range, lastLo: 1 } })).toThrow(CorruptionError);
    expect(disk.openPaths).toEqual([]);
  });

  it('has a name that says its number, and no other name does', () => {
    expect(tableName(7)).toBe('table-0000000007.sst');
    for (const number of [0, 7, 9_999_999_999, 10_000_000_000, Number.MAX_SAFE_INTEGER])
      expect(tableNumberOfName(tableName(number))).toBe(number);
    for (const name of [
      'table-7.sst',
      'table-0000000007.sst.tmp',
      'xtable-0000000007.sst',
      'wal-0000000007.log',
      'table-00000000007.sst',
    ])
      expect(tableNumberOfName(name)).toBe(-1);
  });
});

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
