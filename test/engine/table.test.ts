import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { MiB } from '../../src/base/limits.ts';
import { Random, systemSeed } from '../../src/base/random.ts';
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
import { readTableMeta } from '../../src/engine/table-file.ts';
import { tablePath } from '../../src/engine/table-format.ts';
import { openTable } from '../../src/engine/table-reader.ts';
import { verifyTable } from '../../src/engine/table-verify.ts';
import { FakeDisk } from './fake-disk.ts';
import {
  build,
  DIRECTORY,
  drain,
  encode,
  foundBytes,
  Listener,
  lookup,
  order,
  randomRecords,
} from './table-harness.ts';

const open = (disk: FakeDisk, meta: TableMeta, mode: ReadMode = 'sync', cacheBytes = MiB): TableReader =>
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
    const seed = systemSeed();
    it(`finds, misses, iterates and seeks alike (seed ${seed})`, async () => {
      const random = new Random(seed);
      const valueMax = random.pick([0, 10, 100, 3000]);
      const records = randomRecords(random, random.pick([1, 10, 300, 1200]), valueMax);
      const options: TableOptions = {
        blockBytes: random.pick([1, 100, 512, 16_384, 100_000]),
        compression: random.pick(['none', 'snappy']),
        bloomBitsPerKey: random.pick([0, 1, 10, 64]),
      };
      const disk = new FakeDisk();
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
