import { describe, expect, it } from 'vitest';
import { AssertionError } from '../../src/base/assert.ts';
import { ClosedError, DiskFullError, IoError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import { tokenHiAt, tokenLoAt, versionAt } from '../../src/base/record.ts';
import type { TableMeta } from '../../src/engine/contract.ts';
import { BURST_MS_MAX, PAUSE_MS_MAX, SLICE_BYTES_MAX } from '../../src/engine/job-pace.ts';
import { runJob } from '../../src/engine/run-job.ts';
import { ownPart, rangesOverlap } from '../../src/engine/token-range.ts';
import { StopFlag } from '../../src/ipc/stop-flag.ts';
import { testSeed } from '../seed.ts';
import {
  DAY_MS,
  DIRECTORY,
  type Encoded,
  encoded,
  GRACE_MS,
  imageOf,
  inOrder,
  type JobHarness,
  nameAt,
  newestOf,
  newHarness,
  outsideOf,
  randomTables,
  recordOf,
  START_MS,
} from './job-harness.ts';

const seed = testSeed();
const bytesIn = (records: Map<string, Encoded>): Map<string, string> =>
  new Map([...records].map(([name, { bytes }]) => [name, Buffer.from(bytes).toString('hex')]));

describe(`a compaction (seed ${seed})`, () => {
  it('of any tables with any others outside changes no read, now or later', async () => {
    const random = new Random(seed);
    for (let round = 0; round < 150; round++) {
      const harness = newHarness();
      const tables = randomTables(harness, random);
      const inputs = tables.filter(() => random.chance(0.6));
      const others = tables.filter((table) => !inputs.includes(table));
      const laterMs = START_MS + random.below(40) * DAY_MS;
      const times = [START_MS, laterMs];
      const before = times.map((ms) => bytesIn(harness.live(tables, ms)));
      const result = await harness.compact(inputs, {
        outside: outsideOf(others),
        gcGraceMs: random.pick([0, GRACE_MS, 25 * DAY_MS]),
        outputBytesMax: random.pick([500, 2000, 1e9]),
        shardBits: random.below(3),
      });
      const after = times.map((ms) => bytesIn(harness.live([...result.tables, ...others], ms)));
      expect(after, `seed ${seed} round ${round}`).toEqual(before);
      expect(harness.readAll(inputs)).toHaveLength(result.recordsRead);
      expect(harness.readAll(result.tables)).toHaveLength(result.recordsWritten);
      expect(harness.disk.openPaths).toEqual([]);
      for (const [i, a] of result.tables.entries())
        for (const b of result.tables.slice(i + 1)) expect(rangesOverlap(a.range, b.range)).toBe(false);
    }
  });

  it('of everything leaves live records and young tombstones, and nothing else', async () => {
    const random = new Random(seed);
    for (let round = 0; round < 60; round++) {
      const harness = newHarness();
      const tables = randomTables(harness, random);
      const { tables: outputs } = await harness.compact(tables);
      const expected = [...newestOf(harness.readAll(tables))].filter(([, { view }]) => {
        const dead = (view.getUint8(6) & 1) !== 0;
        const expiresMs =
          (view.getUint8(6) & 2) === 0
            ? Number.POSITIVE_INFINITY
            : view.getUint32(32, true) + view.getUint32(36, true) * 2 ** 32;
        if (dead) return START_MS - versionAt(view, 0) / 1000 < GRACE_MS;
        return START_MS - expiresMs < GRACE_MS;
      });
      const names = harness
        .readAll(outputs)
        .map((one) => nameAt(one))
        .sort();
      expect(names, `seed ${seed} round ${round}`).toEqual(expected.map(([name]) => name).sort());
    }
  });

  it('keeps a tombstone while an older record lies outside, so that it does not come back', async () => {
    const harness = newHarness();
    const version = (START_MS - 2 * GRACE_MS) * 1000;
    const old = harness.tableOf({ key: 'a', value: 'back', version });
    const deletion = harness.tableOf({ key: 'a', value: null, version: version + 1 });
    const first = await harness.compact([deletion], { outside: outsideOf([old]) });
    expect(harness.live([...first.tables, old]).size).toBe(0);
    expect(first.tables).toHaveLength(1);
    const second = await harness.compact([...first.tables, old]);
    expect(second.tables).toEqual([]);
    expect(second.recordsRead).toBe(2);
  });

  it('keeps all that an active memtable may be older than', async () => {
    const harness = newHarness();
    const version = (START_MS - 2 * GRACE_MS) * 1000;
    const deletion = harness.tableOf({ key: 'a', value: null, version });
    const memtable = {
      firstHi: 0,
      firstLo: 0,
      lastHi: 0xffff_ffff,
      lastLo: 0xffff_ffff,
      versionMin: version,
    };
    expect((await harness.compact([deletion], { outside: [memtable] })).tables).toHaveLength(1);
  });

  it('cuts its outputs at the parts of the token space and at their size, never within a token', async () => {
    const harness = newHarness();
    const ownership = { vnodes: 16, shards: 2, shard: 1 };
    const records: Encoded[] = [];
    for (let i = 0; i < 400; i++)
      records.push(encoded(recordOf({ key: `k${i}`, value: 'v'.repeat(60), version: i + 1 })));
    for (let i = 0; i < 50; i++)
      records.push(encoded(recordOf({ key: 'k1', value: `${i}`, version: i + 1, keyspace: 1, origin: i })));
    const table = harness.table(records);
    const { tables } = await harness.compact([table], {
      ownership,
      shardBits: 2,
      outputBytesMax: 3000,
      outputsMax: 64,
    });
    expect(tables.length).toBeGreaterThan(8);
    for (const meta of tables) {
      const [first, last] = [harness.read(meta)[0], harness.read(meta).at(-1)] as [Encoded, Encoded];
      const part = ({ view }: Encoded): number =>
        ownPart(ownership, 2, tokenHiAt(view, 0), tokenLoAt(view, 0));
      expect(part(first)).toBe(part(last));
      expect(meta.bytes).toBeLessThan(3000 + 200);
    }
  });

  it('keeps the records of one token in one table however long it grows', async () => {
    const harness = newHarness();
    const records = Array.from({ length: 200 }, (_, i) =>
      encoded({
        ...recordOf({ key: 'hot', value: 'v'.repeat(50), version: i + 1, keyspace: 1 }),
        key: Buffer.from(`id-${i}`),
      }),
    );
    const { tables } = await harness.compact([harness.table(records)], { outputBytesMax: 1000 });
    expect(tables.map((meta) => meta.records)).toEqual([200]);
  });

  it('writes no more outputs than it may: the last takes the rest', async () => {
    const harness = newHarness();
    const writes = Array.from({ length: 300 }, (_, i) => ({ key: `k${i}`, value: 'v', version: i + 1 }));
    const { tables } = await harness.compact([harness.tableOf(...writes)], {
      outputBytesMax: 100,
      outputsMax: 3,
    });
    expect(tables).toHaveLength(3);
    expect(harness.readAll(tables)).toHaveLength(300);
  });

  it('opens as many tables at a time as overlap, not as many as it reads', async () => {
    const harness = newHarness();
    const writes = Array.from({ length: 400 }, (_, i) => ({ key: `k${i}`, value: 'v', version: i + 1 }));
    const { tables } = await harness.compact([harness.tableOf(...writes)], {
      outputBytesMax: 1000,
      outputsMax: 99,
    });
    expect(tables.length).toBeGreaterThan(15);
    harness.tables.openedMax = 0;
    await harness.compact([...tables, harness.tableOf(...writes)]);
    expect(harness.tables.openedMax).toBe(2);
  });

  it('refuses inputs whose numbers it would write over', async () => {
    const harness = newHarness();
    const table = harness.tableOf({ key: 'a', value: 'v', version: 1 });
    await expect(harness.compact([table], { firstNumber: table.number })).rejects.toThrow(AssertionError);
    expect(harness.files()).toHaveLength(1);
  });
});

describe('durability', () => {
  it('means that outputs and their names are on the disk when the result comes back', async () => {
    const random = new Random(seed);
    const harness = newHarness();
    const writes = Array.from({ length: 60 }, (_, i) => ({
      key: `k${i}`,
      value: 'v'.repeat(99),
      version: i + 1,
    }));
    const inputs = [harness.tableOf(...writes), harness.tableOf({ key: 'k1', value: 'w', version: 99 })];
    const { tables } = await harness.compact(inputs, { outputBytesMax: 2000 });
    expect(tables.length).toBeGreaterThan(1);
    const expected = harness.image(tables);
    for (let i = 0; i < 20; i++)
      expect(newHarness(harness.disk.powerCut(random)).image(tables)).toBe(expected);
  });

  it('is not asked of the disk for a job without outputs', async () => {
    const harness = newHarness();
    const inputs = [harness.tableOf({ key: 'a', value: null, version: 1 })];
    harness.disk.resetCounts();
    expect((await harness.compact(inputs)).tables).toEqual([]);
    expect(harness.disk.log).toEqual([]);
  });
});

const OUTPUTS_MAX = 16;
/** Two overlapping tables of some 40 KB, and the compaction of them into several outputs. */
function twoTables(): { harness: JobHarness; inputs: TableMeta[]; files: string[] } {
  const harness = newHarness();
  const writes = (version: number) =>
    Array.from({ length: 100 }, (_, i) => ({ key: `k${i}`, value: 'v'.repeat(400), version: version + i }));
  const inputs = [harness.tableOf(...writes(1000)), harness.tableOf(...writes(1))];
  // The number after the job's own: somebody else's.
  harness.disk.place(harness.pathOf(harness.number + OUTPUTS_MAX), new Uint8Array(8));
  return { harness, inputs, files: harness.files() };
}

describe('a compaction that fails', () => {
  it('at any call to the disk leaves no output and its inputs as they were', async () => {
    const whole = twoTables();
    whole.harness.disk.resetCounts();
    await whole.harness.compact(whole.inputs, { outputBytesMax: 10_000, outputsMax: OUTPUTS_MAX });
    const { disk } = whole.harness;
    for (const operation of [
      'exists',
      'create',
      'write',
      'sync',
      'sync-directory',
      'open',
      'read',
    ] as const) {
      expect(disk.callsOf(operation), operation).toBeGreaterThan(0);
      for (let after = 0; after < disk.callsOf(operation); after++)
        for (const errno of ['EIO', 'ENOSPC']) {
          const { harness, inputs, files } = twoTables();
          const contents = harness.image(inputs);
          const fault = harness.disk.inject({ operation, after, times: 1, errno });
          const failed = harness.compact(inputs, { outputBytesMax: 10_000, outputsMax: OUTPUTS_MAX });
          const where = `${operation} ${after} ${errno}`;
          await expect(failed, where).rejects.toThrow(errno === 'EIO' ? IoError : DiskFullError);
          expect(fault.hits).toBe(1);
          expect(harness.disk.openPaths, where).toEqual([]);
          expect(harness.files(), where).toEqual(files);
          expect(harness.image(inputs) === contents, where).toBe(true);
        }
    }
  });

  it('for want of room gives the room back', async () => {
    const { harness, inputs, files } = twoTables();
    const { disk } = harness;
    disk.capacityBytes = disk.usedBytes + 20_000;
    await expect(
      harness.compact(inputs, { outputBytesMax: 10_000, outputsMax: OUTPUTS_MAX }),
    ).rejects.toThrow(DiskFullError);
    expect(harness.files()).toEqual(files);
    expect(disk.freeBytes(DIRECTORY)).toBe(20_000);
  });

  it('reports its own failure where its outputs cannot be deleted either', async () => {
    const { harness, inputs } = twoTables();
    harness.disk.inject({ operation: 'sync', errno: 'EIO' });
    const unlink = harness.disk.inject({ operation: 'unlink', errno: 'EPERM' });
    await expect(harness.compact(inputs)).rejects.toThrow(/^sync .*EIO/);
    expect(unlink.hits).toBeGreaterThan(0);
  });

  it('and is repeated under the same numbers writes over what a crash left behind', async () => {
    const { harness, inputs, files } = twoTables();
    const job = harness.job(inputs, { outputBytesMax: 10_000 });
    for (const number of [job.firstNumber, job.firstNumber + 1]) {
      const left = harness.disk.open(harness.pathOf(number), 'create');
      left.writeSync(new Uint8Array(100_000), 0, 100_000, 0);
      left.close();
    }
    const { tables } = await runJob(job, harness.disk, harness.tools);
    expect(tables[0]?.number).toBe(job.firstNumber);
    expect(harness.files()).toHaveLength(files.length + tables.length);
    expect(harness.image(tables)).toBe(imageOf(inOrder(newestOf(harness.readAll(inputs)).values())));
  });
});

describe('the stop flag', () => {
  it('ends a compaction that has not begun before it opens anything', async () => {
    const { harness, inputs, files } = twoTables();
    new StopFlag(harness.stop).raise();
    await expect(harness.compact(inputs)).rejects.toThrow(ClosedError);
    expect(harness.files()).toEqual(files);
  });

  it('ends a compaction within a slice, and nothing of it is left', async () => {
    const harness = newHarness();
    const value = 'v'.repeat(64 * 1024);
    const writes = Array.from({ length: 80 }, (_, i) => ({ key: `k${i}`, value, version: i + 1 }));
    const input = harness.tableOf(...writes);
    let turns = 0;
    harness.onPause = () => {
      if (++turns === 2) new StopFlag(harness.stop).raise();
    };
    harness.disk.resetCounts();
    await expect(harness.compact([input])).rejects.toThrow('the shard is closing');
    expect(harness.files()).toHaveLength(1);
    const written = harness.disk.log.filter((entry) => entry.startsWith('write')).length * value.length;
    expect(written).toBeLessThanOrEqual(2 * SLICE_BYTES_MAX + value.length);
    expect(harness.disk.log.filter((entry) => entry.startsWith('sync'))).toEqual([]);
  });

  it('ends one that waits for its rate within moments', async () => {
    const harness = newHarness();
    const value = 'v'.repeat(64 * 1024);
    const input = harness.tableOf(
      ...Array.from({ length: 80 }, (_, i) => ({ key: `k${i}`, value, version: i + 1 })),
    );
    const start = harness.clock.nowMs();
    harness.onPause = () => {
      if (harness.clock.nowMs() >= start + 1000) new StopFlag(harness.stop).raise();
    };
    await expect(harness.compact([input], { rateBytesPerSecond: 1000 })).rejects.toThrow(ClosedError);
    expect(harness.clock.nowMs() - start).toBeLessThanOrEqual(1000 + 2 * PAUSE_MS_MAX);
  });
});

describe('the rate', () => {
  it('is kept over the whole compaction, but for a short burst', async () => {
    for (const rate of [1_000_000, 7_000_000]) {
      const harness = newHarness();
      const value = 'v'.repeat(32 * 1024);
      const writes = Array.from({ length: 300 }, (_, i) => ({ key: `k${i}`, value, version: i + 1 }));
      const input = harness.tableOf(...writes);
      const start = harness.clock.monotonicMs();
      const { bytesWritten } = await harness.compact([input], { rateBytesPerSecond: rate });
      const ms = harness.clock.monotonicMs() - start;
      const atRate = (bytesWritten / rate) * 1000;
      // The last slice is written and not waited for.
      expect(ms).toBeGreaterThanOrEqual(atRate - BURST_MS_MAX - (2 * SLICE_BYTES_MAX * 1000) / rate);
      expect(ms).toBeLessThanOrEqual(atRate + PAUSE_MS_MAX);
      expect(Math.max(...harness.pauses)).toBeLessThanOrEqual(PAUSE_MS_MAX);
    }
  });

  it('of 0 waits for nothing, and others still have their turn between slices', async () => {
    const harness = newHarness();
    const value = 'v'.repeat(64 * 1024);
    const input = harness.tableOf(
      ...Array.from({ length: 80 }, (_, i) => ({ key: `k${i}`, value, version: i + 1 })),
    );
    await harness.compact([input]);
    expect(harness.pauses.length).toBeGreaterThanOrEqual(4);
    expect(new Set(harness.pauses)).toEqual(new Set([0]));
  });
});

describe('the result', () => {
  it('counts what was read and written', async () => {
    const harness = newHarness();
    const inputs = [
      harness.tableOf({ key: 'a', value: 'v', version: 1 }, { key: 'b', value: 'v', version: 2 }),
      harness.tableOf({ key: 'a', value: 'w', version: 3 }),
    ];
    const result = await harness.compact(inputs);
    const read = inputs.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(result).toMatchObject({ bytesRead: read, recordsRead: 3, recordsWritten: 2, damage: [] });
    expect(result.bytesWritten).toBe(result.tables[0]?.bytes);
    expect(harness.disk.readdir(DIRECTORY)).toHaveLength(3);
  });
});
