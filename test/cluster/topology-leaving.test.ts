import { expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { beginLeave, nextPhase } from '../../src/cluster/ring-change.ts';
import { TopologyLeaving } from '../../src/cluster/topology-leaving.ts';
import { testRing } from './coordinator-world.ts';

it('a change that waits no longer for hints of who leaves says so once for each ring, however often it is asked', () => {
  const clock = new ManualClock(0);
  const logged: string[] = [];
  const leaving = new TopologyLeaving(
    { self: 1, clock, log: (_, message) => void logged.push(message) },
    { isUp: () => true, fact: () => undefined, setFact: () => undefined, hintBytes: () => 0 },
  );
  const ring = nextPhase(beginLeave(testRing([1, 2, 3, 4]), 3));
  for (const [round, number] of [7, 9].entries()) {
    const now = { ...ring, number };
    expect(leaving.mayEnd(now)).toBe(false);
    clock.advanceMs(limits.leaveHintsMsMax);
    for (let asked = 0; asked < 50; asked++) expect(leaving.mayEnd(now)).toBe(true);
    expect(logged.length).toBe(round + 1);
  }
  expect(logged[0]).toContain('node 00000003 leaves with hints for others');
});
