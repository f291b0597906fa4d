import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import {
  compareRecordAge,
  compareRecordPlaces,
  FLAG_TOMBSTONE,
  flagsAt,
  KEYSPACE_USER,
  keyAt,
  keyspaceAt,
  type RecordFields,
  recordBytes,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
  valueAt,
  versionAt,
  writeRecord,
} from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import type { ReplicaPage } from '../../src/cluster/contract.ts';
import type { SeekTarget } from '../../src/ipc/contract.ts';
import { readPage } from '../../src/shard/replica-pages.ts';
import { FAR_MS } from '../base/clocks.ts';
import { testSeed } from '../seed.ts';
import { newDisk } from './disk.ts';
import { EngineHarness, fieldsOf, ownKeys, SHAPE, type Shape } from './engine-harness.ts';

const seed = testSeed();
const NO_BYTES = new Uint8Array(0);
const PAGE_SHAPE: Shape = { ...SHAPE, gcGraceMs: 0, purgeBefore: 0 };

interface Record {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}
function encoded(fields: RecordFields): Record {
  const bytes = new Uint8Array(recordBytes(fields.key.length, fields.value.length));
  const view = new DataView(bytes.buffer);
  writeRecord(bytes, 0, fields);
  return { bytes, view };
}
const nameOf = ({ view, bytes }: Record): string =>
  `${keyspaceAt(view, 0)} ${Buffer.from(keyAt(view, bytes, 0)).toString()} ${versionAt(view, 0)}`;

/** All that was appended, the newest of each place, in order. */
class Model {
  readonly #records = new Map<string, Record>();
  put(fields: RecordFields): void {
    this.#records.set(`${fields.keyspace} ${Buffer.from(fields.key).toString()}`, encoded(fields));
  }
  get size(): number {
    return this.#records.size;
  }
  all(): Record[] {
    return [...this.#records.values()].sort((a, b) =>
      compareRecordPlaces(a.view, a.bytes, 0, b.view, b.bytes, 0),
    );
  }
}
/** Two lists of one key never meet in time: a page may show a record or its successor. */
const placeOf = (name: string): string => name.split(' ').slice(0, 2).join(' ');

class World extends EngineHarness {
  readonly model = new Model();
  version = 0;
  async append(random: Random, keys: readonly Uint8Array[]): Promise<void> {
    const kind = random.below(4);
    const fields = fieldsOf({
      key: random.pick(keys),
      version: ++this.version,
      value: kind === 0 ? NO_BYTES : Buffer.alloc(random.pick([0, 5, 300, 3000]), `${this.version}`),
      keyspace: random.pick([KEYSPACE_USER, KEYSPACE_USER, 1, 2, 3]),
      ...(kind === 0 ? { deleted: true } : kind === 1 ? { expiresMs: 4e12 } : {}),
    });
    await this.appendWhenTaken(fields);
    this.model.put(fields);
  }
}

const tokenOf = ({ view }: Record): bigint =>
  (BigInt(tokenHiAt(view, 0)) << 32n) | BigInt(tokenLoAt(view, 0));

describe(`raw pages (seed ${seed})`, () => {
  it('together are the records of a range, each once and in order, whatever the bounds and wherever they lie', async () => {
    let pages = 0;
    for (let round = 0; round < 3; round++) {
      const random = new Random(seed + round);
      const shards = random.pick([1, 2]);
      const shape: Shape = { ...PAGE_SHAPE, shards, shard: random.below(shards), dial: random.pick([-4, 4]) };
      const world = new World(newDisk({ seed: random.uint32() }), shape, random);
      await world.open();
      const keys = ownKeys(200, shape);
      for (let i = 0; i < 500; i++) {
        await world.append(random, keys);
        if (random.chance(0.01)) await world.wait(world.engine.flush());
        if (random.chance(0.003)) await world.wait(world.engine.compactAll());
      }
      await world.settle();
      for (let range = 0; range < 25; range++) {
        // Some ends are tokens of records: the ends belong to the range.
        const ends = [0, 1]
          .map(() =>
            random.chance(0.5)
              ? tokenOf(random.pick(world.model.all()))
              : (BigInt(random.uint32()) << 32n) | BigInt(random.uint32()),
          )
          .sort((a, b) => (a < b ? -1 : 1));
        const [first = 0n, last = 0n] = random.chance(0.2) ? [0n, (1n << 64n) - 1n] : ends;
        const wanted = world.model
          .all()
          .filter((record) => tokenOf(record) >= first && tokenOf(record) <= last)
          .map(({ bytes }) => Buffer.from(bytes).toString('base64'));
        const found: string[] = [];
        let from: SeekTarget = {
          tokenHi: Number(first >> 32n),
          tokenLo: Number(first & 0xffff_ffffn),
          keyspace: 0,
          key: NO_BYTES,
        };
        for (let exclusive = false, isDone = false; !isDone; exclusive = true, pages++) {
          const recordsMax = random.between(1, 30);
          const bytesMax = random.pick([1, 500, 5000, 1e6]);
          let records = 0;
          let bytes = 0;
          const stopAt = random.chance(0.2) ? random.between(1, 5) : Number.POSITIVE_INFINITY;
          isDone = world.engine.rawPage(
            {
              from,
              exclusive,
              lastHi: Number(last >> 32n),
              lastLo: Number(last & 0xffff_ffffn),
              recordsMax,
              bytesMax,
            },
            (view, all, offset) => {
              const size = recordBytesAt(view, offset);
              records++;
              bytes += size;
              found.push(Buffer.from(all.subarray(offset, offset + size)).toString('base64'));
              from = {
                tokenHi: tokenHiAt(view, offset),
                tokenLo: tokenLoAt(view, offset),
                keyspace: keyspaceAt(view, offset),
                key: keyAt(view, all, offset).slice(),
              };
              return records < stopAt;
            },
          );
          expect(records).toBeLessThanOrEqual(recordsMax);
          if (records > 1) expect(bytes).toBeLessThanOrEqual(bytesMax);
          if (!isDone) expect(records).toBeGreaterThan(0);
        }
        expect(found).toEqual(wanted);
      }
      await world.close();
    }
    expect(pages).toBeGreaterThan(200);
  });

  it('are each a state of one moment, and miss nothing that was there before the first and stayed', async () => {
    for (let round = 0; round < 3; round++) {
      const random = new Random(seed + 100 + round);
      const world = new World(newDisk({ seed: random.uint32() }), PAGE_SHAPE, random);
      await world.open();
      const keys = ownKeys(150, PAGE_SHAPE);
      for (let i = 0; i < 300; i++) await world.append(random, keys);
      await world.settle();
      const before = new Map(world.model.all().map((record) => [placeOf(nameOf(record)), record]));
      const userOnly = random.chance(0.3);
      const headOnly = random.chance(0.3);
      let after: ReplicaPage['after'] = null;
      let last: Record | null = null;
      const seen = new Map<string, Record>();
      for (let isDone = false; !isDone; ) {
        const page = readPage(world.engine, {
          firstHi: 0,
          firstLo: 0,
          lastHi: 0xffff_ffff,
          lastLo: 0xffff_ffff,
          after,
          userOnly,
          prefix: NO_BYTES,
          headOnly,
          recordsMax: random.between(1, 12),
          bytesMax: random.pick([1, 4000, 1e6]),
          deadlineMs: FAR_MS,
        });
        expect(page.status).toBe(Status.OK);
        const durable = new Map(world.model.all().map((record) => [placeOf(nameOf(record)), record]));
        const view = new DataView(page.records.buffer, page.records.byteOffset, page.records.length);
        for (let at = 0; at < page.records.length; at += recordBytesAt(view, at)) {
          const bytes = page.records.slice(at, at + recordBytesAt(view, at));
          const record = { bytes, view: new DataView(bytes.buffer) };
          const name = placeOf(nameOf(record));
          expect(seen.has(name), `${name} twice`).toBe(false);
          seen.set(name, record);
          if (last !== null)
            expect(compareRecordPlaces(last.view, last.bytes, 0, record.view, bytes, 0)).toBeLessThan(0);
          last = record;
          const now = durable.get(name) as Record;
          expect(versionAt(record.view, 0), name).toBe(versionAt(now.view, 0));
          expect(flagsAt(record.view, 0)).toBe(flagsAt(now.view, 0));
          if (headOnly) expect(valueAt(record.view, bytes, 0).length).toBe(0);
          else expect(Buffer.compare(bytes, now.bytes)).toBe(0);
        }
        after = page.next;
        isDone = after === null;
        // The engine goes on between two pages: appends, flushes, merges.
        for (let i = random.below(20); i > 0; i--) await world.append(random, keys);
        if (random.chance(0.1)) await world.wait(world.engine.flush());
        if (random.chance(0.05)) await world.wait(world.engine.compactAll());
        // Pages show what is durable.
        await world.settle();
      }
      for (const [name, { view }] of before)
        if (!userOnly || keyspaceAt(view, 0) === KEYSPACE_USER) expect(seen.has(name), name).toBe(true);
      if (userOnly) for (const { view } of seen.values()) expect(keyspaceAt(view, 0)).toBe(KEYSPACE_USER);
      await world.close();
    }
  });

  it('show nothing that is not durable, and the record before it instead', async () => {
    const world = new World(newDisk(), PAGE_SHAPE);
    await world.open();
    const [key] = ownKeys(1, PAGE_SHAPE) as [Uint8Array];
    const put = (version: number): number =>
      world.engine.append(fieldsOf({ key, version, value: Buffer.from(`${version}`) }), null);
    const versions = (): number[] => {
      const found: number[] = [];
      const from = { tokenHi: 0, tokenLo: 0, keyspace: 0, key: NO_BYTES };
      const bounds = { lastHi: 0xffff_ffff, lastLo: 0xffff_ffff, recordsMax: 10, bytesMax: 1000 };
      world.engine.rawPage({ from, exclusive: false, ...bounds }, (view, _, offset) => {
        found.push(versionAt(view, offset));
        return true;
      });
      return found;
    };
    put(1);
    expect(versions()).toEqual([]);
    world.engine.commit();
    await world.settle();
    expect(versions()).toEqual([1]);
    put(2);
    expect(versions()).toEqual([1]);
    world.engine.commit();
    await world.settle();
    expect(versions()).toEqual([2]);
    await world.close();
  });
});

describe(`two contents under one version (seed ${seed})`, () => {
  it('end as the same one by every way to read it, whatever order they came in, and in memtables, tables and merges', async () => {
    for (let round = 0; round < 20; round++) {
      const random = new Random(seed + round);
      const keys = ownKeys(8, PAGE_SHAPE);
      // Of each key all contents, by chance tombstones, values and expiries, under one version and origin.
      const contents = keys.map((key) =>
        [
          fieldsOf({ key, version: 7, deleted: true }),
          fieldsOf({ key, version: 7, value: Buffer.from('a') }),
          fieldsOf({ key, version: 7, value: Buffer.from('ab') }),
          fieldsOf({ key, version: 7, value: Buffer.from('b') }),
          fieldsOf({ key, version: 7, value: Buffer.from('b'), expiresMs: 4e12 }),
          fieldsOf({ key, version: 7, value: Buffer.from('b'), expiresMs: 4e12 + 1 }),
          fieldsOf({ key, version: 6, value: Buffer.from('z') }),
        ].filter(() => random.chance(0.6)),
      );
      const results: string[][] = [];
      for (let replica = 0; replica < 3; replica++) {
        const world = new World(newDisk({ seed: random.uint32() }), { ...PAGE_SHAPE, dial: 10 }, random);
        await world.open();
        const queue = contents.flatMap((list, i) => list.map((fields) => ({ fields, i })));
        for (let i = queue.length - 1; i > 0; i--) {
          const j = random.below(i + 1);
          [queue[i], queue[j]] = [queue[j] as (typeof queue)[number], queue[i] as (typeof queue)[number]];
        }
        const best = new Map<number, Record>();
        const newest = new Map<number, Record>();
        const order = (a: Record, b: Record): number =>
          compareRecordAge(a.view, a.bytes, 0, b.view, b.bytes, 0);
        for (const { fields, i } of queue) {
          const record = encoded(fields);
          const known = best.get(i);
          if (known === undefined || order(record, known) > 0) best.set(i, record);
          // As the rule of a replica has it: only what is newer than all that is held is appended.
          const held = newest.get(i);
          if (held !== undefined && order(record, held) <= 0) continue;
          newest.set(i, record);
          expect(world.engine.append(fields, null)).toBeGreaterThan(0);
          world.engine.commit();
          if (random.chance(0.25)) {
            // Beside it a newer version of another key: tables are asked by their highest version, not by their age.
            const filler = {
              key: Buffer.from(`filler-${replica}-${world.version++}`),
              version: random.between(8, 50),
            };
            if (random.chance(0.5)) world.engine.append(fieldsOf(filler), null);
            world.engine.commit();
            await world.wait(world.engine.flush());
          }
          if (random.chance(0.05)) await world.wait(world.engine.compactAll());
        }
        await world.settle();
        const byLookup: string[] = [];
        for (const [i, key] of keys.entries()) {
          let found = '';
          world.lookup(key, random.chance(0.5), ({ outcome }) => {
            const { bytes, view, offset } = world.engine.found;
            if (outcome === 1)
              found = Buffer.from(bytes.slice(offset, offset + recordBytesAt(view, offset))).toString('hex');
          });
          await world.settle();
          byLookup.push(found);
          expect(found).toBe(Buffer.from(best.get(i)?.bytes ?? NO_BYTES).toString('hex'));
        }
        const byPage: string[] = [];
        const from = { tokenHi: 0, tokenLo: 0, keyspace: 0, key: NO_BYTES };
        const bounds = { lastHi: 0xffff_ffff, lastLo: 0xffff_ffff, recordsMax: 100, bytesMax: 1e6 };
        world.engine.rawPage({ from, exclusive: false, ...bounds }, (view, bytes, offset) => {
          if (versionAt(view, offset) <= 7)
            byPage.push(
              Buffer.from(bytes.slice(offset, offset + recordBytesAt(view, offset))).toString('hex'),
            );
          return true;
        });
        expect([...byPage].sort()).toEqual(byLookup.filter((one) => one !== '').sort());
        await world.wait(world.engine.compactAll());
        const merged: number[] = [];
        world.engine.rawPage({ from, exclusive: false, ...bounds }, (view, _, offset) => {
          if (versionAt(view, offset) <= 7) merged.push(flagsAt(view, offset) & FLAG_TOMBSTONE);
          return true;
        });
        expect(merged.length).toBe(byPage.length);
        results.push(byLookup);
        await world.close();
      }
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    }
  });
});
