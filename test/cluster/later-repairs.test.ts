import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import type { NodeNumber } from '../../src/cluster/contract.ts';
import type { CoordinatorCore } from '../../src/cluster/coordinator-core.ts';
import { newCoordinatorMetrics } from '../../src/cluster/coordinator-metrics.ts';
import { LaterRepairs } from '../../src/cluster/coordinator-repair.ts';
import { recordOf } from './message-samples.ts';

/** Repairs behind answers that wait for their time, and whom they look at when it comes. */
function waiting() {
  const due: (() => void)[] = [];
  const looks: NodeNumber[] = [];
  const metrics = newCoordinatorMetrics();
  const core = {
    metrics,
    world: {
      clock: new ManualClock(0),
      timers: {
        after: (ms: number, run: () => void) => {
          expect(ms).toBe(limits.readRepairBehindMs);
          due.push(run);
          return () => undefined;
        },
      },
    },
    view: { replica: (node: NodeNumber) => ({ read: () => void looks.push(node) }) },
  };
  return { repairs: new LaterRepairs(core as unknown as CoordinatorCore), due, looks, metrics };
}

describe('repairs behind the answers of reads', () => {
  it('wait at most so many at a time; what is left out is counted', () => {
    const { repairs, due, looks, metrics } = waiting();
    const fill = (): void => {
      for (let i = 0; i < limits.readRepairsWaitingMax + 10; i++)
        repairs.add(1, 2, recordOf(`key ${i}`, 'value', 20));
    };
    fill();
    expect(due.length).toBe(limits.readRepairsWaitingMax);
    expect(metrics.readRepairsSkipped).toBe(10);
    for (const run of due.splice(0)) run();
    expect(looks.length).toBe(limits.readRepairsWaitingMax);
    fill();
    expect(due.length).toBe(limits.readRepairsWaitingMax);
  });
  it('are one for each key and replica, however many reads find it stale meanwhile', () => {
    const { repairs, due, looks } = waiting();
    for (let i = 0; i < 5; i++) {
      repairs.add(1, 2, recordOf('k', 'value', 20 + i));
      repairs.add(1, 3, recordOf('k', 'value', 20));
      repairs.add(1, 2, recordOf('other', 'value', 20));
    }
    expect(due.length).toBe(3);
    for (const run of due) run();
    expect(looks).toEqual([2, 3, 2]);
  });
});
