import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { GroupPace } from '../../src/engine/wal-pace.ts';

const US_MAX = 1000;
class Bench {
  readonly clock = new ManualClock(1000);
  readonly pace: GroupPace;
  waitUs = 5_000_000;
  constructor(inlineUsMax = US_MAX) {
    this.pace = new GroupPace(this.clock, inlineUsMax, () => this.waitUs);
  }
  /** `count` groups, one after another; how many went inline. `waitUs`: of an inline one, what this thread waited for a processor. */
  groups(count: number, inlineUs: number, pooledUs = inlineUs, waitUs = 0): number {
    let inline = 0;
    for (let i = 0; i < count; i++) {
      const at = this.pace.start();
      if (at) inline++;
      this.clock.advanceMs((at ? inlineUs : pooledUs) / 1000);
      this.waitUs += at ? waitUs : pooledUs;
      this.pace.end();
    }
    return inline;
  }
}

describe('groups of the commit log', () => {
  it('go inline while the disk is fast, whatever single ones take', () => {
    const bench = new Bench();
    for (let i = 0; i < 100; i++) {
      expect(bench.groups(1, 80_000)).toBe(1);
      expect(bench.groups(9, 200)).toBe(9);
    }
  });

  it('stay inline on a machine that is short of processor time, and do not on a slow disk beside it', () => {
    expect(new Bench().groups(100, 8000, 8000, 7800)).toBe(100);
    expect(new Bench().groups(100, 8000, 8000, 6900)).toBeLessThanOrEqual(20);
    // What was waited before a group, or in the pool, is no excuse.
    const bench = new Bench();
    bench.waitUs += 60_000_000;
    expect(bench.groups(100, 8000)).toBeLessThanOrEqual(20);
  });

  it('go through the pool on a slow disk after a few, but for one that tries it ever more rarely', () => {
    const bench = new Bench();
    expect(bench.groups(20, 10_000)).toBeLessThanOrEqual(12);
    // 100 s of groups.
    const tries = bench.groups(10_000, 10_000);
    const doublings = Math.log2(limits.walInlineProbeMsMax / limits.walInlineProbeMsMin);
    expect(tries).toBeGreaterThanOrEqual(doublings);
    expect(tries).toBeLessThanOrEqual(doublings + 100_000 / limits.walInlineProbeMsMax + 2);
  });

  it('come back from the pool when one shows that the disk is fast, though the pool itself is slow', () => {
    const bench = new Bench();
    bench.groups(20, 10_000);
    bench.clock.advanceMs(limits.walInlineProbeMsMax);
    expect(bench.groups(100, 200, 1500)).toBeGreaterThanOrEqual(99);
    // It stays to be watched: a disk that is slow after all is left at once.
    const slow = new Bench();
    slow.groups(20, 10_000);
    slow.clock.advanceMs(limits.walInlineProbeMsMax);
    expect(slow.groups(1, 200)).toBe(1);
    expect(slow.groups(3, 10_000)).toBe(1);
  });

  it('come back when the disk is fast through the pool too', () => {
    const bench = new Bench();
    bench.groups(20, 10_000);
    expect(bench.groups(40, 200)).toBeGreaterThan(20);
  });

  it('never go inline with a limit of 0', () => {
    expect(new Bench(0).groups(100, 0)).toBe(0);
  });
});
