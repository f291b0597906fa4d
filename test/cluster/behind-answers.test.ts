import { describe, expect, it } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { KEYSPACE_PROMISES } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { BehindAnswers } from '../../src/cluster/behind-answers.ts';
import { Consistency } from '../../src/cluster/contract.ts';
import { Cluster, vnodeOfKey } from './coordinator-calls.ts';
import { ManualTimers } from './manual-timers.ts';

const behind = (cluster: Cluster): BehindAnswers => cluster.world.node(1).coordinator.behind;
const hints = (cluster: Cluster): number => cluster.world.node(1).replica.hints.length;
const isIdle = (cluster: Cluster): (() => boolean) => {
  let isTold = false;
  behind(cluster).whenIdle(60_000, () => {
    isTold = true;
  });
  return () => isTold;
};

const KINDS = [
  ['a plain one', Consistency.QUORUM],
  ['one at SERIAL', Consistency.SERIAL],
] as const;

describe('what is left to be done behind the answer to a write', () => {
  for (const [kind, consistency] of KINDS)
    it(`is a call that has not ended, and then its hint, until that is kept: ${kind}`, () => {
      const cluster = new Cluster();
      const { world } = cluster;
      cluster.cut(1, 3);
      const deadlineMs = deadlineIn(world.node(1).clock, 1000);
      expect(cluster.write('k', 'a', { consistency, deadlineMs }).status).toBe(Status.OK);
      const told = isIdle(cluster);
      expect([behind(cluster).size, [...behind(cluster).vnodes()]]).toEqual([1, [vnodeOfKey('k')]]);
      world.run(900);
      expect([told(), hints(cluster)]).toEqual([false, 0]);
      world.run(5000, told);
      expect([told(), hints(cluster), behind(cluster).size]).toEqual([true, 1, 0]);
    });

  it('is nothing where all replicas answered, and nothing once the others have', () => {
    const cluster = new Cluster();
    cluster.write('k', 'a');
    cluster.world.run(100);
    expect(behind(cluster).size).toBe(0);
    const told = isIdle(cluster);
    cluster.world.run(10, told);
    expect(told()).toBe(true);
  });

  it('is waited for until requests that leave nothing are answered too, and no longer', () => {
    const cluster = new Cluster();
    const seen: string[] = [];
    cluster.startRead('k', Consistency.QUORUM, 1, () => seen.push('answered'));
    behind(cluster).whenIdle(60_000, () => seen.push('idle'));
    cluster.world.run(1000);
    expect(seen).toEqual(['answered', 'idle']);
  });

  it('is a hint that its keeper is slow to keep', () => {
    const cluster = new Cluster();
    cluster.down(3);
    const { schedule } = cluster.world;
    const seen: number[][] = [];
    const look = (): void => void seen.push([behind(cluster).size, hints(cluster)]);
    cluster.startWrite('k', 'a', {}, 1, () => schedule.after(0.001, look));
    const told = isIdle(cluster);
    cluster.world.run(1000, told);
    look();
    expect([told(), seen]).toEqual([
      true,
      [
        [1, 0],
        [0, 1],
      ],
    ]);
  });

  it('ends with the mark of a vnode whose hint nobody keeps', () => {
    const cluster = new Cluster();
    const { world } = cluster;
    cluster.down(3);
    for (const number of [1, 2])
      world.node(number).fault = (operation) => (operation === 'hint' ? Status.OVERLOADED : Status.OK);
    expect(cluster.write('k', 'a').status).toBe(Status.OK);
    const told = isIdle(cluster);
    world.run(1000, told);
    expect([told(), [...world.node(1).marked]]).toEqual([true, [vnodeOfKey('k')]]);
  });

  for (const [kind, consistency] of KINDS)
    it(`is a key that a promise kept from a replica, until it is settled, once: ${kind}`, () => {
      const cluster = new Cluster();
      // Of one whose clock is ahead: all ballots of this node lie below.
      cluster.put(3, 'k', '', cluster.nowVersion() + 60_000_000, 9, KEYSPACE_PROMISES);
      expect(cluster.write('k', 'a', { consistency }).status).toBe(Status.OK);
      cluster.world.run(100);
      expect([behind(cluster).size, cluster.held(3, 'k')]).toEqual([1, '']);
      const told = isIdle(cluster);
      cluster.world.run(limits.settleLaterMs / 2);
      expect(told()).toBe(false);
      cluster.world.run(5000, told);
      expect([told(), cluster.world.node(1).coordinator.metrics.settles]).toEqual([true, 1]);
      expect(cluster.held(3, 'k')).toMatch(/^a@/);
    });
});

describe('who waits for what is left behind answers', () => {
  const work = { vnode: 3 };
  it('waits for requests that are not answered yet, and for what they leave in the turn of their answer', () => {
    const timers = new ManualTimers();
    let inFlight = 1;
    let told = 0;
    const left = new BehindAnswers(timers, () => inFlight);
    left.whenIdle(1000, () => told++);
    timers.advance(10);
    expect(told).toBe(0);
    inFlight = 0;
    left.lookIdle();
    left.begin(work);
    timers.advance(10);
    expect(told).toBe(0);
    left.end(work);
    expect(told).toBe(0);
    timers.advance(0);
    expect(told).toBe(1);
    timers.advance(5000);
    expect(told).toBe(1);
  });
  it('is told when its time is over, though something is left', () => {
    const timers = new ManualTimers();
    let told = 0;
    const left = new BehindAnswers(timers, () => 0);
    left.begin(work);
    left.whenIdle(1000, () => told++);
    left.whenIdle(3000, () => told++);
    timers.advance(1000);
    expect(told).toBe(1);
    left.end(work);
    timers.advance(1);
    expect(told).toBe(2);
  });
});
