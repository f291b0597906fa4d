import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { garbagePlan } from '../../src/engine/compaction-garbage.ts';
import { baseBytes, DIAL_MAX, DIAL_MIN, scalingOf } from '../../src/engine/compaction-levels.ts';
import {
  type CompactionOptions,
  type CompactionState,
  OVERLAP_MAX,
  pickCompactions,
  planFullCompaction,
} from '../../src/engine/compaction-strategy.ts';
import type { TableMeta } from '../../src/engine/contract.ts';
import { ownPosition, owns, rangesOverlap } from '../../src/engine/token-range.ts';
import { testSeed } from '../seed.ts';
import { RECORD_BYTES, SimulatedLevels } from './simulated-levels.ts';

const FLUSH_BYTES = 48 * RECORD_BYTES;
const TARGET_BYTES = 64 * RECORD_BYTES;
const NOW_MS = 1_700_000_000_000;
const DAY_MS = 86_400_000;

const optionsOf = (others: Partial<CompactionOptions> = {}): CompactionOptions => ({
  dial: 0,
  ownership: { vnodes: 16, shards: 2, shard: 1 },
  flushBytes: FLUSH_BYTES,
  tableTargetBytes: TARGET_BYTES,
  compactionsMax: 4,
  gcGraceMs: 10 * DAY_MS,
  ...others,
});
const stateOf = (tables: readonly TableMeta[], others: Partial<CompactionState> = {}): CompactionState => ({
  tables,
  busy: new Set(),
  running: 0,
  nowMs: NOW_MS,
  memoryVersionMin: Number.POSITIVE_INFINITY,
  purgeBefore: Number.POSITIVE_INFINITY,
  putOff: new Set(),
  freeBytes: Number.POSITIVE_INFINITY,
  ...others,
});
/** A table over part [from, to] of the tokens, in 256ths. */
function table(number: number, others: Partial<TableMeta> = {}, from = 0, to = 255): TableMeta {
  return {
    number,
    bytes: FLUSH_BYTES,
    records: 48,
    tombstones: 0,
    expiring: 0,
    range: { firstHi: from * 2 ** 24, firstLo: 0, lastHi: to * 2 ** 24 + 0xff_ffff, lastLo: 0xffff_ffff },
    versionMin: number * 100,
    versionMax: number * 100 + 99,
    expiresMsMin: 0,
    expiresMsMax: 0,
    tombstoneVersionMin: 0,
    ...others,
  };
}
const numbersOf = (tables: readonly TableMeta[] = []): number[] => tables.map(({ number }) => number);
function shuffled(count: number, random: Random): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}
const dials = Array.from({ length: DIAL_MAX - DIAL_MIN + 1 }, (_, i) => DIAL_MIN + i);
const seed = testSeed();

describe(`over many flushes (seed ${seed})`, () => {
  const FLUSHES = 160;
  /** Levels that the data can fill, and one for densities that chance raises. */
  const levelsMax = (bytes: number, fanout: number): number =>
    2 + Math.max(0, Math.floor(Math.log(bytes / baseBytes(FLUSH_BYTES, fanout)) / Math.log(fanout)));

  const planBytesMax = (fanout: number): number => 3 * fanout * TARGET_BYTES;

  for (const workload of ['new keys only', 'overwrites'] as const)
    it.each(dials)(`${workload}: dial %i keeps reads and writes within its bounds and all data`, (dial) => {
      const random = new Random(seed + dial);
      const keys = workload === 'overwrites' ? 2000 : FLUSHES * 64;
      const sim = new SimulatedLevels(optionsOf({ dial }), keys, random);
      const order = shuffled(keys, random);
      const written = new Map<number, number>();
      const { fanout, threshold } = scalingOf(dial);
      for (let flush = 0; flush < FLUSHES; flush++) {
        const count = random.between(32, 64);
        const some = Array.from({ length: count }, () =>
          workload === 'overwrites' ? random.below(keys) : (order.pop() as number),
        );
        sim.flush(some);
        for (const { records } of [...sim.tables.values()].slice(-1))
          for (const { key, version } of records) written.set(key, version);
        sim.settle((plan) => {
          // Parts keep buckets narrow: however much there is, a compaction takes some tables of each part.
          if (workload === 'new keys only') expect(plan.bytes).toBeLessThanOrEqual(planBytesMax(fanout));
        });
        const { overlapMax, levels, pending } = sim.pick();
        expect(pending).toBe(0);
        const allowed = levelsMax(sim.flushedBytes, fanout);
        expect(levels.length).toBeLessThanOrEqual(allowed);
        for (const level of levels) expect(level.overlap).toBeLessThan(threshold);
        expect(overlapMax).toBeLessThanOrEqual(allowed * (threshold - 1));
      }
      const levels = levelsMax(sim.flushedBytes, fanout);
      const writesMax = dial >= 0 ? 1 + levels : 1 + (levels * fanout) / 2;
      expect(sim.writeAmplification).toBeLessThanOrEqual(writesMax);
      expect(sim.contents()).toEqual(written);
      for (const { meta } of sim.tables.values())
        expect(meta.bytes).toBeLessThanOrEqual(TARGET_BYTES + RECORD_BYTES);
    });

  it('keeps a table on every token within the target where the disk has little room', () => {
    const random = new Random(seed);
    const sim = new SimulatedLevels(optionsOf({ dial: -2 }), 4000, random);
    for (let flush = 0; flush < 40; flush++) {
      sim.flush(Array.from({ length: 48 }, () => random.below(4000)));
      sim.freeBytes = FLUSH_BYTES * 12;
      for (const { bytes } of sim.pick().plans) expect(bytes).toBeLessThanOrEqual(FLUSH_BYTES * 10);
      sim.settle();
    }
    expect(sim.compactions).toBeGreaterThan(10);
  });

  it('puts flushes of one record together though they do not overlap', () => {
    const random = new Random(seed);
    for (const dial of [-10, 0, 10]) {
      const sim = new SimulatedLevels(optionsOf({ dial }), 1000, random);
      for (const key of shuffled(1000, random)) {
        sim.flush([key]);
        sim.settle();
        expect(sim.tables.size).toBeLessThan(256);
      }
    }
  });
});

describe('the choice of a compaction', () => {
  it('takes all tables of a bucket, newest first, when as many as the threshold overlap', () => {
    const tables = [table(3), table(1), table(2)];
    expect(pickCompactions(optionsOf({ dial: 2 }), stateOf(tables)).plans).toEqual([]);
    const [plan] = pickCompactions(optionsOf({ dial: 2 }), stateOf([...tables, table(4)])).plans;
    expect(plan?.level).toBe(0);
    expect(numbersOf(plan?.inputs)).toEqual([4, 3, 2, 1]);
    expect(plan?.reason).toContain('4 tables of level 0 overlap');
  });

  it('counts tables that cover one token, not tables of a level', () => {
    const apart = [
      table(1, {}, 0, 63),
      table(2, {}, 64, 127),
      table(3, {}, 128, 191),
      table(4, {}, 192, 255),
    ];
    expect(pickCompactions(optionsOf({ dial: -2 }), stateOf(apart)).plans).toEqual([]);
  });

  it('starts with the bucket of the highest overlap, then with the lowest level', () => {
    const dense = { bytes: 16 * FLUSH_BYTES, records: 48 * 16 };
    const high = [table(1, dense), table(2, dense), table(3, dense)];
    const low = [table(4), table(5)];
    const of = (tables: TableMeta[]): number[] =>
      pickCompactions(optionsOf(), stateOf(tables)).plans.map(({ inputs }) => inputs.length);
    expect(of([...low, ...high])).toEqual([3, 2]);
    const levels = pickCompactions(optionsOf(), stateOf([...low, ...high.slice(1)])).plans;
    expect(levels.map(({ level }) => level)).toEqual([0, 4]);
  });

  it('leaves busy tables alone and starts no more than are free to run', () => {
    const tables = [1, 2, 3, 4].map((number) => table(number));
    const busy = stateOf(tables, { busy: new Set([1, 2, 3]), running: 1 });
    expect(pickCompactions(optionsOf(), busy).plans).toEqual([]);
    const some = stateOf(tables, { busy: new Set([1, 2]), running: 1 });
    expect(numbersOf(pickCompactions(optionsOf(), some).plans[0]?.inputs)).toEqual([4, 3]);
    const full = pickCompactions(optionsOf({ compactionsMax: 1 }), some);
    expect(full.plans).toEqual([]);
    expect(full.pending).toBe(1);
    expect(full.pendingBytes).toBe(2 * FLUSH_BYTES);
    expect(full.overlapMax).toBe(4);
  });

  it('never takes excluded tables, and keeps no room for them', () => {
    const state = stateOf(
      [1, 2, 3, 4].map((number) => table(number)),
      {
        excluded: new Set([2]),
        freeBytes: 5 * FLUSH_BYTES,
      },
    );
    const { plans, overlapMax } = pickCompactions(optionsOf(), state);
    expect(plans.map(({ inputs }) => numbersOf(inputs))).toEqual([[4, 3, 1]]);
    expect(overlapMax).toBe(4);
    const full = planFullCompaction(optionsOf(), state).plans;
    expect(full.map(({ inputs }) => numbersOf(inputs).sort())).toEqual([[1, 3, 4]]);
  });

  it('takes the oldest of a backlog, as many as may be open at a time', () => {
    const tables = Array.from({ length: 100 }, (_, i) => table(100 - i));
    const [plan] = pickCompactions(optionsOf(), stateOf(tables)).plans;
    expect(numbersOf(plan?.inputs)).toEqual(Array.from({ length: OVERLAP_MAX }, (_, i) => OVERLAP_MAX - i));
  });

  it('never puts one table into two plans, and plans the same for the same tables in any order', () => {
    const random = new Random(seed);
    for (let round = 0; round < 300; round++) {
      const tables = Array.from({ length: random.between(2, 60) }, (_, i) => {
        const from = random.below(250);
        const records = random.between(1, 400);
        const tombstones = random.below(records + 1);
        return table(
          i + 1,
          {
            records,
            tombstones,
            bytes: records * RECORD_BYTES,
            tombstoneVersionMin: tombstones > 0 ? i * 100 : 0,
          },
          from,
          random.between(from, 255),
        );
      });
      const options = optionsOf({ dial: random.between(DIAL_MIN, DIAL_MAX), compactionsMax: 100 });
      const { plans } = pickCompactions(options, stateOf(tables));
      const taken = plans.flatMap(({ inputs }) => numbersOf(inputs));
      expect(new Set(taken).size, `seed ${seed} round ${round}`).toBe(taken.length);
      const mixed = shuffled(tables.length, random).map((i) => tables[i] as TableMeta);
      expect(pickCompactions(options, stateOf(mixed)).plans).toEqual(plans);
      for (const { inputs, level } of plans)
        if (level > 0)
          expect(inputs.some((a) => inputs.some((b) => a !== b && rangesOverlap(a.range, b.range)))).toBe(
            true,
          );
    }
  });

  it('says how much room is missing where two tables are too many for the disk', () => {
    const state = stateOf([table(1), table(2)], { freeBytes: 3 * FLUSH_BYTES });
    const { plans, skipped, pending } = pickCompactions(optionsOf(), state);
    expect(plans).toEqual([]);
    expect(pending).toBe(1);
    expect(skipped).toEqual([
      `level 0: 2 tables overlap: at least ${2 * FLUSH_BYTES} bytes to write, and there is room for ${FLUSH_BYTES}`,
    ]);
  });

  it('takes the smallest for which there is room', () => {
    const half = { bytes: FLUSH_BYTES / 2, records: 24 };
    const tables = [table(1), table(2, half), table(3), table(4, half)];
    const state = stateOf(tables, { freeBytes: 3 * FLUSH_BYTES });
    expect(numbersOf(pickCompactions(optionsOf(), state).plans[0]?.inputs)).toEqual([4, 2]);
  });

  it('plans no more at a time than there is room for', () => {
    const apart = [table(1, {}, 0, 99), table(2, {}, 0, 99), table(3, {}, 100, 255), table(4, {}, 100, 255)];
    const { plans, skipped } = pickCompactions(optionsOf(), stateOf(apart, { freeBytes: 5 * FLUSH_BYTES }));
    expect([plans.length, skipped.length]).toEqual([1, 1]);
  });

  it('cuts outputs so that each is expected to take 40% to 80% of the target', () => {
    for (const dense of [1, 2, 5, 11, 40]) {
      const one = { bytes: dense * FLUSH_BYTES, records: dense * 48 };
      const [plan] = pickCompactions(optionsOf(), stateOf([table(1, one), table(2, one)])).plans;
      const each = (2 * one.bytes) / 2 ** (plan?.shardBits ?? 0) / TARGET_BYTES;
      expect(each).toBeLessThanOrEqual(0.81);
      expect(each).toBeGreaterThan(0.39);
      expect(plan?.outputsMax).toBeGreaterThan(2 ** (plan?.shardBits ?? 0));
      expect(plan?.outputBytesMax).toBe(TARGET_BYTES);
    }
  });

  it('leaves room for what runs', () => {
    const state = stateOf([table(1), table(2), table(3), table(4)], {
      freeBytes: 5 * FLUSH_BYTES,
      busy: new Set([1, 2]),
      running: 1,
    });
    expect(pickCompactions(optionsOf(), state).skipped).toHaveLength(1);
    expect(pickCompactions(optionsOf(), { ...state, freeBytes: 6 * FLUSH_BYTES }).skipped).toEqual([]);
  });

  it('merges everything for a full compaction, into one table where one is enough', () => {
    const small = { bytes: 1000, records: 1 };
    const tables = [table(1, small, 0, 9), table(2, small, 20, 29), table(3, { bytes: 2000 }, 40, 99)];
    const { plans } = planFullCompaction(optionsOf({ compactionsMax: 1 }), stateOf(tables));
    expect(plans.map(({ inputs }) => numbersOf(inputs))).toEqual([[3, 2, 1]]);
    expect(planFullCompaction(optionsOf(), stateOf([table(1)])).plans).toEqual([]);
    const dead = { tombstones: 1, tombstoneVersionMin: 1 };
    expect(planFullCompaction(optionsOf(), stateOf([table(1, dead)])).plans).toHaveLength(1);
  });
});

describe('garbage', () => {
  const oldVersion = (NOW_MS - 11 * DAY_MS) * 1000;
  const tombs = {
    tombstones: 40,
    tombstoneVersionMin: oldVersion - 10,
    versionMin: oldVersion - 10,
    versionMax: oldVersion,
  };
  const plansOf = (tables: readonly TableMeta[], others: Partial<CompactionState> = {}): number[][] =>
    pickCompactions(optionsOf({ dial: 10 }), stateOf(tables, others)).plans.map(({ inputs }) =>
      numbersOf(inputs),
    );

  it('is a reason to write a table again when its tombstones are older than gc_grace', () => {
    expect(plansOf([table(1, tombs)])).toEqual([[1]]);
    const young = { ...tombs, tombstoneVersionMin: NOW_MS * 1000 - 10, versionMax: NOW_MS * 1000 };
    expect(plansOf([table(1, young)])).toEqual([]);
    expect(plansOf([table(1, { ...tombs, tombstones: 4 })])).toEqual([]);
  });

  it('takes the older tables along that tombstones hide something in', () => {
    const below = { versionMin: 1, versionMax: 2 };
    expect(plansOf([table(1, below), table(2, tombs)])).toEqual([[2, 1]]);
    expect(plansOf([table(1, below, 0, 9), table(2, tombs, 20, 29)])).toEqual([[2]]);
    expect(plansOf([table(1, { ...below, records: 10_000 }), table(2, tombs)])).toEqual([]);
  });

  it('waits for memtables with older versions and for busy tables', () => {
    expect(plansOf([table(1, tombs)], { memoryVersionMin: oldVersion - 10 })).toEqual([]);
    expect(plansOf([table(1, tombs)], { memoryVersionMin: oldVersion - 9 })).toEqual([[1]]);
    const below = table(1, { versionMin: 1, versionMax: 2 });
    expect(plansOf([below, table(2, tombs)], { busy: new Set([1]), running: 1 })).toEqual([]);
  });

  it('is a reason to write a table again when enough of it has expired', () => {
    const expiring = { expiring: 48, expiresMsMin: NOW_MS - DAY_MS, expiresMsMax: NOW_MS };
    expect(plansOf([table(1, expiring)])).toEqual([[1]]);
    expect(plansOf([table(1, { ...expiring, expiresMsMax: NOW_MS + 9 * DAY_MS })])).toEqual([]);
    expect(plansOf([table(1, { ...expiring, expiring: 24 })])).toEqual([]);
    expect(plansOf([table(1, { ...expiring, expiresMsMin: NOW_MS + 1, expiresMsMax: NOW_MS + 2 })])).toEqual(
      [],
    );
  });

  it('waits for the horizon, below which all replicas have the tombstones', () => {
    expect(plansOf([table(1, tombs)], { purgeBefore: 0 })).toEqual([]);
    expect(plansOf([table(1, tombs)], { purgeBefore: oldVersion - 10 })).toEqual([]);
    expect(plansOf([table(1, tombs)], { purgeBefore: oldVersion + 1 })).toEqual([[1]]);
  });

  it('is left alone in tables that are put off', () => {
    expect(plansOf([table(1, tombs)], { putOff: new Set([1]) })).toEqual([]);
    expect(plansOf([table(1, tombs)], { putOff: new Set([2]) })).toEqual([[1]]);
  });

  it('says why', () => {
    const state = { ...stateOf([]), tables: [], gcGraceMs: DAY_MS };
    expect(garbagePlan(table(1, tombs), state)?.reason).toBe(
      'about 83% of its records are tombstones older than gc_grace',
    );
  });
});

describe('a token among those of a shard', () => {
  it('stands higher than every lower one, and the own vnodes fill 0 to 1', () => {
    const random = new Random(seed);
    for (const ownership of [
      { vnodes: 16, shards: 2, shard: 1 },
      { vnodes: 1024, shards: 3, shard: 2 },
      { vnodes: 65_536, shards: 256, shard: 255 },
      { vnodes: 1, shards: 1, shard: 0 },
    ]) {
      const tokens = Array.from({ length: 2000 }, () => ({ hi: random.uint32(), lo: random.uint32() }));
      tokens.sort((a, b) => a.hi - b.hi || a.lo - b.lo);
      const places = tokens.map(({ hi, lo }) => ownPosition(ownership, hi, lo));
      expect(places).toEqual([...places].sort((a, b) => a - b));
      expect(places.every((place) => place >= 0 && place <= 1)).toBe(true);
      const own = tokens
        .filter(({ hi }) => owns(ownership, hi))
        .map(({ hi, lo }) => ownPosition(ownership, hi, lo));
      if (own.length > 500) expect(own.reduce((sum, x) => sum + x, 0) / own.length).toBeCloseTo(0.5, 1);
    }
    const last = ownPosition({ vnodes: 16, shards: 2, shard: 1 }, 0xffff_ffff, 0xffff_ffff);
    expect(last).toBeGreaterThan(1 - 1e-9);
  });
});
