import { describe, expect, it } from 'vitest';
import { deadlineIn, ManualClock } from '../../src/base/clock.ts';
import { ClosedError, CorruptionError, TimeoutError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import {
  comparePlace,
  copyHead,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  headBytesAt,
  isDeadAt,
  keyAt,
  keyspaceAt,
  originAt,
  tokenHiAt,
  versionAt,
} from '../../src/base/record.ts';
import { hashToken, shardOf, token } from '../../src/base/token.ts';
import type { JobResult, TableMeta, TreeJob } from '../../src/engine/contract.ts';
import { REST_PER_WORK } from '../../src/engine/job-pace.ts';
import type { TableFactory } from '../../src/engine/job-tools.ts';
import { runJob } from '../../src/engine/run-job.ts';
import { Sstables } from '../../src/engine/sstables.ts';
import type { TreePart, TreeSums } from '../../src/engine/tree-contract.ts';
import type { SeekTarget } from '../../src/ipc/contract.ts';
import { createStopFlag, StopFlag } from '../../src/ipc/stop-flag.ts';
import { clockOf, FAR_MS } from '../base/clocks.ts';
import { testSeed } from '../seed.ts';
import { newDisk } from './disk.ts';
import {
  type Encoded,
  encoded,
  inOrder,
  JobHarness,
  newestOf,
  recordOf,
  START_MS,
  type Write,
} from './job-harness.ts';

const seed = testSeed();
const LEAVES = 16;
const BITS_64 = (1n << 64n) - 1n;
const ALL = { firstHi: 0, lastHi: 0xffff_ffff, leaves: LEAVES };

const newHarness = (): JobHarness<Sstables> =>
  new JobHarness(newDisk(), new Sstables(new ManualClock(START_MS)));

const partOf = (others: Partial<TreePart> = {}, tree: Partial<TreePart['tree']> = {}): TreePart => ({
  tree: {
    ...ALL,
    nowMs: START_MS,
    ignoreDeadBeforeMs: 0,
    deadlineMs: FAR_MS,
    cancel: createStopFlag(),
    ...tree,
  },
  after: null,
  to: null,
  heads: new Uint8Array(0),
  bytesMax: Number.MAX_SAFE_INTEGER,
  ...others,
});

function jobOf(harness: JobHarness<TableFactory>, tables: readonly TableMeta[], part: TreePart): TreeJob {
  const { directory, fileSystem, table, stop } = harness.job([]);
  const ownership = { vnodes: 16, shards: 1, shard: 0 };
  return { kind: 'tree', directory, fileSystem, table, stop, ownership, tables, part };
}
async function sum(
  harness: JobHarness<TableFactory>,
  tables: readonly TableMeta[],
  part: TreePart,
  others: Partial<TreeJob> = {},
): Promise<TreeSums & Pick<JobResult, 'recordsRead' | 'bytesRead'>> {
  const job = { ...jobOf(harness, tables, part), ...others };
  const { tree, ...result } = await runJob(job, harness.disk, harness.tools);
  if (tree === undefined) throw new Error('a tree job without sums');
  return { ...result, ...tree };
}

function headsOf(records: Iterable<Encoded>): Uint8Array {
  const parts = inOrder(records).map(({ view, bytes }) => {
    const head = new Uint8Array(headBytesAt(view, 0));
    expect(copyHead(view, bytes, 0, head, 0)).toBe(head.length);
    return head;
  });
  return new Uint8Array(Buffer.concat(parts));
}

/** Leaves from the records that count, by BigInt. */
function leavesOf(records: Iterable<Encoded>): bigint[] {
  const sums = new Array<bigint>(LEAVES).fill(0n);
  for (const { view, bytes } of records) {
    const key = keyAt(view, bytes, 0);
    const tail = Buffer.alloc(13);
    tail.writeDoubleLE(versionAt(view, 0), 0);
    tail.writeUInt32LE(originAt(view, 0), 8);
    // A tombstone that expires as well is a tombstone.
    tail[12] = isDeadAt(view, 0, START_MS) ? FLAG_TOMBSTONE : view.getUint8(6);
    hashToken(Buffer.concat([Buffer.from([keyspaceAt(view, 0)]), key, tail]));
    const leaf = Math.floor((tokenHiAt(view, 0) * LEAVES) / 2 ** 32);
    sums[leaf] = ((sums[leaf] as bigint) + (BigInt(token.hi) << 32n) + BigInt(token.lo)) & BITS_64;
  }
  return sums;
}
const bigints = (sums: Uint32Array): bigint[] =>
  Array.from({ length: LEAVES }, (_, leaf) => {
    const [lo, hi] = sums.subarray(2 * leaf, 2 * leaf + 2);
    return (BigInt(hi ?? 0) << 32n) | BigInt(lo ?? 0);
  });
const added = (a: readonly bigint[], b: readonly bigint[]): bigint[] =>
  a.map((one, leaf) => (one + (b[leaf] ?? 0n)) & BITS_64);

/** Records that all count, some keys written again and again. */
function randomRecords(random: Random, count: number): Encoded[] {
  return Array.from({ length: count }, (_, i) => {
    const keyspace = random.pick([0, 0, 2]);
    return encoded(
      recordOf({
        key: `k${random.below(80)}`,
        // Dead records of other keyspaces do not count.
        value: keyspace === 0 && random.chance(0.2) ? null : 'v'.repeat(random.below(60)),
        version: random.between(1, 1e6) * 1000 + i,
        keyspace,
        ...(random.chance(0.2) ? { expiresMs: START_MS + 1000 } : {}),
      }),
    );
  });
}

describe(`a tree job (seed ${seed})`, () => {
  it('sums what is newest of each key in tables and heads, in one part or in many', async () => {
    let parts = 0;
    // How many parts a round takes is chance: on, until there were enough.
    for (let round = 0; round < 60 || (parts <= 200 && round < 600); round++) {
      const random = new Random(seed + round);
      const harness = newHarness();
      const all = randomRecords(random, random.between(1, 200));
      const sources = Array.from({ length: random.between(1, 5) }, () => [] as Encoded[]);
      for (const one of all) random.pick(sources).push(one);
      const inMemory = newestOf(sources.pop() ?? []);
      const tables = sources.filter((list) => list.length > 0).map((list) => harness.table(list));
      const heads = inOrder(inMemory.values());
      const wanted = newestOf(all);
      harness.disk.resetCounts();
      let sums = leavesOf([]);
      let records = 0;
      let after: SeekTarget | null = null;
      const bytesMax = random.pick([Number.MAX_SAFE_INTEGER, random.between(1, 3000)]);
      const headsMax = random.pick([heads.length, random.between(1, 20)]);
      do {
        const behind = heads.filter(
          ({ view, bytes }) => after === null || placeOrder(view, bytes, after) > 0,
        );
        const some = behind.slice(0, headsMax);
        const last = some.at(-1);
        const to = behind.length > some.length && last !== undefined ? placeOf(last) : null;
        const got = await sum(harness, tables, partOf({ after, to, heads: headsOf(some), bytesMax }));
        sums = added(sums, bigints(got.sums));
        records += got.records;
        after = got.next;
        parts++;
      } while (after !== null);
      expect(records).toBe(wanted.size);
      expect(sums).toEqual(leavesOf(wanted.values()));
      expect(harness.disk.changes).toBe(0);
      expect(harness.disk.openPaths).toEqual([]);
    }
    expect(parts).toBeGreaterThan(200);
  });

  it('sums a stretch between two tokens alone, and nothing of vnodes of other shards', async () => {
    const random = new Random(seed);
    const harness = newHarness();
    const all = [...newestOf(randomRecords(random, 300)).values()];
    const tables = [harness.table(all.slice(0, 50)), harness.table(all.slice(50))];
    const bounds = { firstHi: 0x4000_0000, lastHi: 0xbfff_ffff };
    const within = all.filter(({ view }) => {
      const hi = tokenHiAt(view, 0);
      return hi >= bounds.firstHi && hi <= bounds.lastHi && shardOf(hi, 16, 2) === 1;
    });
    const ownership = { vnodes: 16, shards: 2, shard: 1 };
    const got = await sum(harness, tables, partOf({}, { ...bounds, leaves: 8 }), { ownership });
    expect(got.records).toBe(within.length);
    const whole = leavesOf(within);
    expect(bigints(got.sums).slice(0, 8)).toEqual(whole.slice(4, 12));
  });

  it('lets the head count where a table has another record of the same version and origin, and else the later', async () => {
    const harness = newHarness();
    const [expiring, plain]: [Write, Write] = [
      { key: 'k', value: 'long enough to win', version: 5, expiresMs: START_MS + 1000 },
      { key: 'k', value: 'v', version: 5 },
    ];
    const of = (write: Write): Encoded => encoded(recordOf(write));
    const result = async (inTable: Write, head: Write): Promise<bigint[]> =>
      bigints((await sum(harness, [harness.tableOf(inTable)], partOf({ heads: headsOf([of(head)]) }))).sums);
    expect(await result(expiring, plain)).toEqual(leavesOf([of(plain)]));
    expect(await result(plain, expiring)).toEqual(leavesOf([of(expiring)]));
    expect(of(expiring).view.getUint8(6)).toBe(FLAG_EXPIRING);
    for (const later of [
      { ...plain, version: 6 },
      { ...plain, origin: 2 },
    ]) {
      expect(await result(later, expiring)).toEqual(leavesOf([of(later)]));
      expect(await result(expiring, later)).toEqual(leavesOf([of(later)]));
    }
  });

  it('gives up between two slices where the shard closes, nobody waits any more, or the deadline has passed', async () => {
    const big = (number: number): Write => ({
      key: `k${number}`,
      value: 'v'.repeat(100_000),
      version: number,
    });
    const harness = newHarness();
    const writes = Array.from({ length: 20 }, (_, i) => big(i + 1));
    const tables = [harness.tableOf(...writes)];
    const ends: [(part: TreePart) => void, abstract new (...args: never[]) => Error][] = [
      [() => new StopFlag(harness.stop).raise(), ClosedError],
      [({ tree }) => new StopFlag(tree.cancel).raise(), ClosedError],
      [() => harness.clock.advanceMs(5000), TimeoutError],
      [
        () => {
          harness.clock.jumpMs(-600_000);
          harness.clock.advanceMs(5000);
        },
        TimeoutError,
      ],
    ];
    for (const [end, error] of ends) {
      harness.stop = createStopFlag();
      const part = partOf({}, { deadlineMs: deadlineIn(harness.clock, 5000) });
      let slices = 0;
      harness.onPause = () => {
        if (++slices === 3) end(part);
      };
      await expect(sum(harness, tables, part)).rejects.toThrow(error);
      expect(slices).toBe(3);
      expect(harness.disk.openPaths).toEqual([]);
      // Nor does one begin after that.
      slices = 0;
      harness.onPause = () => slices++;
      await expect(sum(harness, tables, part)).rejects.toThrow(error);
      expect(slices).toBe(0);
    }
  });

  it('is built although the wall clock is set far ahead', async () => {
    const harness = newHarness();
    const tables = [harness.tableOf({ key: 'a', value: 'v'.repeat(300_000), version: 1 })];
    harness.onPause = () => harness.clock.jumpMs(600_000);
    harness.clock.jumpMs(600_000);
    const part = partOf({}, { deadlineMs: deadlineIn(harness.clock, 5000) });
    harness.clock.jumpMs(600_000);
    expect((await sum(harness, tables, part)).records).toBe(1);
  });

  it('rests between its slices, whoever waits for it', async () => {
    const harness = newHarness();
    const writes = Array.from({ length: 30 }, (_, i) => ({
      key: `k${i}`,
      value: 'v'.repeat(100_000),
      version: i + 1,
    }));
    const tables = [harness.tableOf(...writes)];
    let nowMs = 0;
    // Each slice takes 2 ms by this clock.
    const clock = clockOf(
      () => START_MS,
      () => (nowMs += 1),
    );
    const rests: number[] = [];
    const tools = {
      tables: harness.tables,
      clock,
      pause: (ms: number) => {
        rests.push(ms);
        return Promise.resolve();
      },
    };
    await runJob(jobOf(harness, tables, partOf()), harness.disk, tools);
    expect(rests.length).toBeGreaterThan(5);
    for (const ms of rests) expect(ms).toBeGreaterThanOrEqual(REST_PER_WORK);
  });

  it('fails with the place of damage, and leaves no file open', async () => {
    const harness = newHarness();
    const tables = [
      harness.tableOf({ key: 'a', value: 'v', version: 1 }, { key: 'b', value: 'v', version: 2 }),
    ];
    const path = harness.pathOf(tables[0]?.number ?? 0);
    harness.disk.flipBit(path, 40, 7);
    const failed = sum(harness, tables, partOf());
    await expect(failed).rejects.toThrow(CorruptionError);
    await expect(failed).rejects.toMatchObject({ file: path });
    expect(harness.disk.openPaths).toEqual([]);
  });
});

const placeOf = ({ view, bytes }: Encoded): SeekTarget => ({
  tokenHi: tokenHiAt(view, 0),
  tokenLo: view.getUint32(12, true),
  keyspace: keyspaceAt(view, 0),
  key: keyAt(view, bytes, 0).slice(),
});
const placeOrder = (view: DataView, bytes: Uint8Array, place: SeekTarget): number =>
  comparePlace(view, bytes, 0, place.tokenHi, place.tokenLo, place.keyspace, place.key);
