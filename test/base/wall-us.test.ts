import { afterEach, describe, expect, it, vi } from 'vitest';
import { HybridClock, systemClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { WallUs } from '../../src/base/wall-us.ts';
import { testSeed } from '../seed.ts';
import { clockOf } from './clocks.ts';

/** 2026, and a fraction that the machine's clock does not tell. */
const START_MS = 1_770_000_000_000.432;
const MINUTE_MS = 60_000;
/** What the machine's clock leaves out, and what a number of this size cannot tell. */
const OFF_US_MAX = 1001;

/** A machine: time passes, somebody sets its clock, or that runs faster than the monotonic one. */
class Time {
  /** Since the start of the process. */
  trueMs = 250.125;
  setMs = 0;
  /** Milliseconds in a million. */
  driftPpm = 0;
  /** Passes between two readings of one call. */
  readingMs = 0;
  readings = 0;
  get wallMs(): number {
    return START_MS + this.trueMs * (1 + this.driftPpm / 1e6) + this.setMs;
  }
  readonly us: WallUs;
  constructor(originMs = START_MS) {
    const read = (ms: () => number): number => {
      this.readings++;
      const read = ms();
      this.trueMs += this.readingMs;
      return read;
    };
    this.us = new WallUs(
      () => read(() => Math.floor(this.wallMs)),
      () => read(() => this.trueMs),
      originMs,
    );
  }
  pass(ms: number): this {
    this.trueMs += ms;
    return this;
  }
  /** How far what is given lies ahead of the machine's clock, microseconds. */
  get aheadUs(): number {
    return this.us.now() - this.wallMs * 1000;
  }
}

describe('microseconds since 1970', () => {
  for (const [what, setMs] of [
    ['ahead', 10 * MINUTE_MS],
    ['back', -10 * MINUTE_MS],
    ['ahead by days', 3 * 24 * 60 * MINUTE_MS],
    ['back by days', -3 * 24 * 60 * MINUTE_MS],
    ['ahead by little', 128],
    ['back by little', -3],
  ] as const)
    it(`follow a clock that is set ${what}, within a millisecond, and stay with it`, () => {
      const time = new Time();
      expect(Math.abs(time.aheadUs)).toBeLessThan(OFF_US_MAX);
      time.setMs = setMs;
      time.pass(1);
      for (let i = 0; i < 1000; i++) expect(Math.abs(time.pass(0.37).aheadUs)).toBeLessThan(OFF_US_MAX);
    });

  it('follow a clock that runs faster or slower than the monotonic one, for a day', () => {
    for (const driftPpm of [200, -200]) {
      const time = new Time();
      time.driftPpm = driftPpm;
      for (let i = 0; i < 2000; i++) expect(Math.abs(time.pass(43_200).aheadUs)).toBeLessThan(OFF_US_MAX);
    }
  });

  it('rise by what passes while nobody sets the clock, where its origin was known', () => {
    const time = new Time();
    const firstUs = time.us.now();
    const beganMs = time.trueMs;
    for (let i = 1; i <= 3000; i++) {
      const nowUs = time.pass(0.125).us.now();
      expect(Math.abs(nowUs - firstUs - (time.trueMs - beganMs) * 1000)).toBeLessThanOrEqual(1);
    }
  });

  it('take no pause between two readings for a step', () => {
    const time = new Time();
    time.us.now();
    time.readingMs = 70;
    for (let i = 0; i < 100; i++) {
      // As of the first of its readings.
      const beginMs = time.pass(1.3).wallMs;
      expect(Math.abs(time.us.now() - beginMs * 1000)).toBeLessThan(2);
    }
  });

  it('come to agree in all threads, whatever each took for the origin', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const begun = [START_MS, START_MS - 0.9, START_MS + 0.9, START_MS - MINUTE_MS, START_MS + MINUTE_MS];
    const times = begun.map((originMs) => new Time(originMs));
    for (let i = 0; i < 20_000; i++) {
      const ms = random.below(2_000_000) / 1e6;
      for (const time of times) {
        if (i === 5000) time.setMs = 7 * MINUTE_MS + 0.3;
        time.pass(ms).us.now();
      }
    }
    const now = times.map(({ aheadUs }) => aheadUs);
    expect(Math.max(...now) - Math.min(...now), `seed ${seed}`).toBeLessThan(10);
    expect(Math.max(...now.map(Math.abs)), `seed ${seed}`).toBeLessThan(10);
  });

  it('look at the clock that can be set once a millisecond, not with each call', () => {
    const time = new Time();
    time.us.now();
    time.readings = 0;
    for (let i = 0; i < 1000; i++) time.pass(0.0625).us.now();
    const [looks, ms] = [(time.readings - 1000) / 2, 62.5];
    expect(looks).toBeLessThanOrEqual(ms);
    expect(looks).toBeGreaterThan(ms / 2);
  });

  it('lead to versions that never go back where the clock is set back, and that follow it ahead', () => {
    const time = new Time();
    const versions = new HybridClock({
      ...clockOf(
        () => time.wallMs,
        () => time.trueMs,
      ),
      nowUs: () => time.us.now(),
    });
    const first = versions.next();
    time.setMs = -MINUTE_MS;
    let last = first;
    for (let i = 0; i < 100; i++) {
      const version = time.pass(1).us.now() < last ? versions.next() : -1;
      expect(version).toBe(last + 1);
      last = version;
    }
    time.pass(MINUTE_MS);
    expect(Math.abs(versions.next() - time.wallMs * 1000)).toBeLessThan(OFF_US_MAX);
    time.setMs = 10 * MINUTE_MS;
    time.pass(1);
    expect(Math.abs(versions.next() - time.wallMs * 1000)).toBeLessThan(OFF_US_MAX);
  });
});

describe('the microseconds of the system', () => {
  afterEach(() => void vi.restoreAllMocks());

  it('follow its milliseconds where they are set, and back again', () => {
    const trueMs = Date.now;
    for (const setMs of [10 * MINUTE_MS, -10 * MINUTE_MS, 0]) {
      vi.spyOn(Date, 'now').mockImplementation(() => trueMs.call(Date) + setMs);
      const setAt = systemClock.monotonicMs();
      while (systemClock.monotonicMs() < setAt + 2);
      const beforeMs = Date.now();
      const us = systemClock.nowUs();
      expect(us / 1000).toBeGreaterThanOrEqual(beforeMs - 1);
      expect(us / 1000).toBeLessThan(Date.now() + 2);
    }
  });

  it('are those of its milliseconds, to one', () => {
    for (let i = 0; i < 1000; i++) {
      const beforeMs = Date.now();
      const us = systemClock.nowUs();
      const afterMs = Date.now();
      expect(us / 1000).toBeGreaterThanOrEqual(beforeMs - 1);
      expect(us / 1000).toBeLessThan(afterMs + 2);
    }
  });
});
