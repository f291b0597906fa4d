import type { Histogram } from 'hdr-histogram-js';
import { describe, expect, it } from 'vitest';
import { countFailure, mergeResults, noCounts } from '../../load/generator/tally.ts';
import {
  clampUs,
  correctedForOmission,
  curveOf,
  emptyHistogram,
  IntervalRecorder,
  Latencies,
  mergeLatencies,
  Series,
  summaryOf,
} from '../../load/latencies.ts';
import { loadLimits } from '../../load/limits.ts';
import { Operation } from '../../load/workload.ts';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';

describe('latencies', () => {
  it('a closed loop that stops for a second gets the requests back that it did not send', () => {
    const service = emptyHistogram();
    // A request each 10 ms for 10 s would be 1,000; one stop of a second leaves 900 of them, and one that took it all.
    for (let i = 0; i < 900; i++) service.recordValue(1000);
    service.recordValue(1_000_000);
    expect(service.getValueAtPercentile(95)).toBeLessThan(1100);
    const corrected = correctedForOmission(service, 10_000);
    expect(corrected.totalCount).toBe(1000);
    // Those 100 waited from 10 ms to a second, evenly.
    expect(corrected.getValueAtPercentile(95) / 1000).toBeCloseTo(510, -2);
    expect(corrected.maxValue / 1000).toBeCloseTo(1000, -1);
    expect(service.totalCount).toBe(901);
  });

  it('threads put together give what one would have counted', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const whole = new Latencies();
    const parts = [new Latencies(), new Latencies(), new Latencies()];
    for (let i = 0; i < 30_000; i++) {
      const us = 10 ** (1 + 5 * (random.uint32() / 2 ** 32));
      const operation = random.pick([Operation.READ, Operation.UPDATE, Operation.SCAN]);
      whole.record(operation, us, us / 2);
      parts[i % 3]?.record(operation, us, us / 2);
    }
    // As they go through messages of threads.
    const merged = mergeLatencies(parts.map((part) => new Latencies(part.encode())));
    // What was sent as text knows the maximum to three digits.
    const counted = (histogram: Histogram): object => ({ ...summaryOf(histogram), maxMs: 0 });
    expect(counted(merged.response), `seed ${seed}`).toEqual(counted(whole.response));
    expect(counted(merged.service), `seed ${seed}`).toEqual(counted(whole.service));
    expect(merged.response.maxValue / whole.response.maxValue, `seed ${seed}`).toBeCloseTo(1, 2);
    merged.byOperation.forEach((own, at) => {
      const other = whole.byOperation[at] ?? null;
      expect(own === null ? null : counted(own), `seed ${seed}`).toEqual(
        other === null ? null : counted(other),
      );
    });
    expect(merged.byOperation[Operation.DELETE] ?? null).toBeNull();
    expect(merged.encode()).toEqual(new Latencies(merged.encode()).encode());
  });

  it('three digits are right from a microsecond to the longest, and what lies outside is the end', () => {
    for (const us of [1, 7, 999, 12_345, 1_234_567, 98_765_432]) {
      const histogram = emptyHistogram();
      histogram.recordValue(clampUs(us));
      expect(Math.abs(histogram.getValueAtPercentile(50) - us) / us).toBeLessThan(0.001);
    }
    expect([clampUs(-3), clampUs(0), clampUs(1e12)]).toEqual([1, 1, loadLimits.latencyUsMax]);
  });

  it('a request that was never sent counts with the time it waited, and has no service time', () => {
    const latencies = new Latencies();
    latencies.record(Operation.READ, 1000, 500);
    latencies.recordGivenUp(Operation.UPDATE, 10_000_000);
    expect(latencies.response.totalCount).toBe(2);
    expect(latencies.service.totalCount).toBe(1);
    expect(latencies.response.maxValue / 1e6).toBeCloseTo(10, 1);
  });

  it('the curve has the percentiles of the histogram, by nines, up to the slowest', () => {
    const histogram = emptyHistogram();
    for (let us = 1; us <= 10_000; us++) histogram.recordValue(us * 10);
    const curve = curveOf(histogram);
    expect(curve[0]?.percentile).toBe(0);
    for (const nines of [1, 2, 3]) {
      const percentile = 100 * (1 - 10 ** -nines);
      const point = curve.find((one) => Math.abs(one.percentile - percentile) < 1e-9);
      expect(point?.ms).toBe(histogram.getValueAtPercentile(percentile) / 1000);
    }
    expect(curve.at(-1)?.ms).toBe(histogram.maxValue / 1000);
    const percentiles = curve.map((one) => one.percentile);
    expect(percentiles).toEqual([...percentiles].sort((a, b) => a - b));
    expect(Math.max(...percentiles)).toBeLessThan(100);
    expect(curveOf(emptyHistogram())).toEqual([]);
  });

  it('a series is put together from the intervals of all threads, in whatever order they come', () => {
    const [a, b] = [new IntervalRecorder(), new IntervalRecorder()];
    const series = new Series(500);
    for (let i = 0; i < 90; i++) a.add(1000, false);
    for (let i = 0; i < 9; i++) b.add(2000, false);
    b.add(300_000, true);
    b.addGivenUp(400_000);
    const early = a.take(0);
    series.add(b.take(0));
    a.add(5000, false);
    series.add(a.take(3));
    series.add(early);
    const [first, second] = series.points();
    expect(first).toMatchObject({ second: 0.5, okPerSecond: 198, failedPerSecond: 2, givenUpPerSecond: 2 });
    expect(first?.p50Ms).toBeCloseTo(1, 1);
    expect(first?.maxMs).toBeGreaterThanOrEqual(396);
    expect(second).toMatchObject({ second: 2, okPerSecond: 2, failedPerSecond: 0 });
    expect(second?.maxMs).toBeCloseTo(5, 1);
    expect(b.take(9)).toEqual({ interval: 9, ok: 0, failed: 0, givenUp: 0, latencies: [] });
  });

  it('counts of threads add up, times are those of the slowest, and names of failures are bounded', () => {
    const latencies = new Latencies().encode();
    const merged = mergeResults([
      { ...noCounts(), due: 5, ok: 3, seconds: 2, ownLateMs: 7, failures: { a: 1 }, latencies },
      { ...noCounts(), due: 6, ok: 6, seconds: 3, ownLateMs: 1, failures: { a: 2, b: 1 }, latencies },
    ]);
    expect(merged).toMatchObject({ due: 11, ok: 9, seconds: 3, ownLateMs: 7, failures: { a: 3, b: 1 } });
    const failures: Record<string, number> = {};
    for (let i = 0; i < loadLimits.failureNamesMax + 5; i++) countFailure(failures, `name ${i}`);
    countFailure(failures, 'name 0');
    expect(failures.other).toBe(5);
    expect(failures['name 0']).toBe(2);
  });
});
