import { describe, expect, it } from 'vitest';
import { arrivalsOf } from '../../load/arrivals.ts';
import { OperationSource } from '../../load/operations.ts';
import { OPERATIONS, Operation, type Workload } from '../../load/workload.ts';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';

const workload: Workload = {
  mix: { read: 0.5, update: 0.3, insert: 0.1, scan: 0.1 },
  keys: { distribution: 'uniform' },
  records: 1000,
  valueBytes: { min: 100, max: 100 },
  ttlSeconds: { min: 0, max: 0 },
  scanLengthMax: 100,
  consistency: '',
  arrivals: 'constant',
};
const sourceOf = (more: Partial<Workload>, rate: number, seed: number): OperationSource =>
  new OperationSource({
    workload: { ...workload, ...more },
    seed,
    records: 1000,
    insertsExpected: 10_000,
    keysMax: 30_000,
    rate,
  });

describe('arrivals of an open loop', () => {
  it('constant: request n is due at n/rate, without drift', () => {
    const arrivals = arrivalsOf('constant', 30_000, new Random(1));
    let us = 0;
    for (let i = 0; i <= 3_000_000; i++) us = arrivals.nextUs();
    expect(us).toBe(100e6);
    expect(arrivalsOf('constant', 7, new Random(1)).nextUs()).toBe(0);
  });

  it('Poisson: gaps are exponential, so that mean and deviation are 1/rate and counts vary as they are', () => {
    const seed = testSeed();
    const rate = 5000;
    const draws = 100_000;
    const arrivals = arrivalsOf('poisson', rate, new Random(seed));
    const times = Array.from({ length: draws }, () => arrivals.nextUs());
    const gaps = times.map((us, at) => us - (times[at - 1] ?? 0));
    const meanUs = 1e6 / rate;
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / draws;
    // The mean of n exponential gaps deviates by mean / sqrt(n).
    expect(Math.abs(mean - meanUs), `seed ${seed}`).toBeLessThan((6 * meanUs) / Math.sqrt(draws));
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / draws;
    expect(Math.sqrt(variance) / meanUs, `seed ${seed}`).toBeCloseTo(1, 1);
    expect(
      gaps.every((gap) => gap >= 0),
      `seed ${seed}`,
    ).toBe(true);
    expect(gaps.filter((gap) => gap > meanUs).length / draws, `seed ${seed}`).toBeCloseTo(Math.exp(-1), 1);
    const windows = new Map<number, number>();
    for (const us of times)
      windows.set(Math.floor(us / 100_000), (windows.get(Math.floor(us / 100_000)) ?? 0) + 1);
    const counts = [...windows.values()].slice(0, -1);
    const average = counts.reduce((sum, count) => sum + count, 0) / counts.length;
    const dispersion =
      counts.reduce((sum, count) => sum + (count - average) ** 2, 0) / counts.length / average;
    expect(dispersion, `seed ${seed}: variance of counts over their mean`).toBeGreaterThan(0.5);
    expect(dispersion, `seed ${seed}`).toBeLessThan(1.8);
  });

  it('the same seed gives the same requests; another one others', () => {
    const drawn = (seed: number): string => {
      const source = sourceOf({ arrivals: 'poisson' }, 1000, seed);
      return Array.from({ length: 500 }, () => {
        source.advance(0);
        return `${source.dueUs} ${source.operation} ${source.key} ${source.scanLength}`;
      }).join('\n');
    };
    expect(drawn(11)).toBe(drawn(11));
    expect(drawn(11)).not.toBe(drawn(12));
  });

  it('operations come in the shares of the mix, scans from 1 to the most', () => {
    const seed = testSeed();
    const source = sourceOf({}, 1000, seed);
    const counts = OPERATIONS.map(() => 0);
    let least = Number.POSITIVE_INFINITY;
    let most = 0;
    for (let i = 0; i < 50_000; i++) {
      source.advance(0);
      counts[source.operation] = (counts[source.operation] ?? 0) + 1;
      if (source.operation !== Operation.SCAN) continue;
      least = Math.min(least, source.scanLength);
      most = Math.max(most, source.scanLength);
    }
    expect([least, most], `seed ${seed}`).toEqual([1, 100]);
    OPERATIONS.forEach((name, at) => {
      expect((counts[at] ?? 0) / 50_000, `seed ${seed}, ${name}`).toBeCloseTo(workload.mix[name] ?? 0, 1);
    });
  });

  it('inserts take new keys one after another, and are read only when they were due a second before', () => {
    const seed = testSeed();
    const rate = 1000;
    const source = sourceOf({ keys: { distribution: 'latest' } }, rate, seed);
    const insertedUs = new Map<number, number>();
    let next = 1000;
    let youngest = 0;
    for (let i = 0; i < 20_000; i++) {
      source.advance(0);
      if (source.operation === Operation.INSERT) {
        expect(source.key, `seed ${seed}`).toBe(next++);
        insertedUs.set(source.key, source.dueUs);
      } else {
        const us = insertedUs.get(source.key) ?? Number.NEGATIVE_INFINITY;
        expect(source.dueUs - us, `seed ${seed}, key ${source.key}`).toBeGreaterThan(1_000_000);
        youngest = Math.max(youngest, source.key);
      }
    }
    expect(youngest, `seed ${seed}: inserts are read at all`).toBeGreaterThan(1000);
    expect(source.records).toBe(next);
  });

  it('beyond the most keys, inserts are updates', () => {
    const source = new OperationSource({
      workload: { ...workload, mix: { insert: 1 } },
      seed: 1,
      records: 10,
      insertsExpected: 5,
      keysMax: 13,
      rate: 10,
    });
    const keys = Array.from({ length: 50 }, () => {
      source.advance(0);
      return source.operation === Operation.INSERT ? source.key : -1;
    });
    expect(keys.filter((key) => key >= 0)).toEqual([10, 11, 12]);
    expect(source.records).toBe(13);
  });
});
