import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { ReadPolicy } from '../../src/engine/read-policy.ts';

class Bench {
  readonly clock = new ManualClock(1000);
  readonly turns: (() => void)[] = [];
  readonly policy = new ReadPolicy(this.clock, 'adaptive', (run) => void this.turns.push(run));
  /** One read that would take `us` when synchronous; whether it was. */
  read(us: number): boolean {
    if (!this.policy.synchronous()) return false;
    const start = this.clock.monotonicMs();
    this.clock.advanceMs(us / 1000);
    this.policy.observe(start);
    return true;
  }
  turn(): void {
    for (const run of this.turns.splice(0)) run();
  }
  reads(count: number, us: number): number {
    let synchronous = 0;
    for (let i = 0; i < count; i++) {
      if (this.read(us)) synchronous++;
      this.turn();
    }
    return synchronous;
  }
}

describe('the adaptive policy of reads', () => {
  it('reads at once while the page cache answers', () => {
    expect(new Bench().reads(1000, 5)).toBe(1000);
  });
  it('spends its budget in one turn of the event loop and has it again in the next', () => {
    const bench = new Bench();
    let synchronous = 0;
    for (let i = 0; i < 1000; i++) if (bench.read(5)) synchronous++;
    expect(synchronous).toBe(limits.tableReadTurnUs / 5);
    expect(bench.turns).toHaveLength(1);
    bench.turn();
    expect(bench.read(5)).toBe(true);
  });
  it('goes to the thread pool after a few slow reads, the sooner the slower they are', () => {
    for (const [us, readsMax] of [
      [10_000, 8],
      [10 * limits.tableReadSlowUs, 8],
      [4 * limits.tableReadSlowUs, 20],
    ] as const) {
      const bench = new Bench();
      bench.reads(100, 5);
      expect(bench.reads(100, us)).toBeLessThan(readsMax);
      expect(bench.read(5)).toBe(false);
    }
  });
  it('goes there too where one read in four is slow', () => {
    const bench = new Bench();
    let slow = 0;
    for (let i = 0; i < 400; i++) {
      if (bench.read(i % 4 === 0 ? 5000 : 5) && i % 4 === 0) slow++;
      bench.turn();
    }
    expect(slow).toBeLessThan(12);
  });
  it('takes reads during which the thread lost its core for what they are', () => {
    const bench = new Bench();
    let synchronous = 0;
    for (let i = 1; i <= 10_000; i++) {
      if (bench.read(i % 200 === 0 ? 20_000 : 5)) synchronous++;
      bench.turn();
    }
    expect(synchronous).toBe(10_000);
  });
  it('probes ever more rarely while reads stay slow', () => {
    const bench = new Bench();
    bench.reads(10, 10_000);
    let probes = 0;
    for (let ms = 0; ms < 60_000; ms += 10) {
      bench.clock.advanceMs(10);
      if (bench.read(10_000)) probes++;
      bench.turn();
    }
    expect(probes).toBeGreaterThan(5);
    expect(probes).toBeLessThan(14);
  });
  it('returns to synchronous reads with the first fast probe', () => {
    const bench = new Bench();
    bench.reads(10, 10_000);
    expect(bench.read(5)).toBe(false);
    bench.clock.advanceMs(limits.tableReadProbeMsMax);
    expect(bench.reads(100, 5)).toBe(100);
  });
  it('does nothing of this where the mode is fixed', () => {
    expect(new ReadPolicy(new ManualClock(0), 'sync').synchronous()).toBe(true);
    expect(new ReadPolicy(new ManualClock(0), 'async').synchronous()).toBe(false);
  });
});
