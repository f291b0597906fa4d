import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { turnClock } from '../../src/base/turn-time.ts';

describe('a clock that is looked up once a turn', () => {
  it('stands still within a turn of the event loop, and is right in the next', async () => {
    const clock = new ManualClock(1_000_000);
    const turn = turnClock(clock);
    const first = turn.monotonicMs();
    expect(first).toBe(clock.monotonicMs());
    clock.advanceMs(7);
    expect(turn.monotonicMs()).toBe(first);
    await nextTurn();
    expect(turn.monotonicMs()).toBe(clock.monotonicMs());
    expect(turn.monotonicMs()).toBe(first + 7);
  });

  it('does not let the loop wait while it keeps a time: a timer that is due later sees a new one', async () => {
    const clock = new ManualClock(1_000_000);
    const turn = turnClock(clock);
    const kept = turn.monotonicMs();
    const seen = await new Promise<number>((resolve) => {
      setTimeout(() => resolve(turn.monotonicMs()), 20);
      clock.advanceMs(20);
    });
    expect(seen).toBe(kept + 20);
  });

  it('tells the time since 1970 as it is at any moment: versions are made of it', () => {
    const clock = new ManualClock(1_000_000);
    const turn = turnClock(clock);
    expect([turn.nowMs(), turn.nowUs()]).toEqual([1_000_000, 1_000_000_000]);
    clock.jumpMs(-3);
    expect([turn.nowMs(), turn.nowUs()]).toEqual([999_997, 999_997_000]);
  });
});
