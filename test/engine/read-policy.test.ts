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
  it('goes to the thread pool after a few slow reads', () => {
    const bench = new Bench();
    bench.reads(100, 5);
    expect(bench.reads(100, 4 * limits.tableReadSlowUs)).toBeLessThan(5);
    expect(bench.read(5)).toBe(false);
  });
  it('takes one outlier for what it is', () => {
    const bench = new Bench();
    bench.reads(100, 5);
    expect(bench.read(300)).toBe(true);
    bench.turn();
    expect(bench.reads(10, 5)).toBe(10);
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
