import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { type ClientWriteAnswer, Consistency } from '../../src/cluster/contract.ts';
import { standIns, writeGroups } from '../../src/cluster/ring-lookup.ts';
import { Cluster, joiningRing, vnodeOfKey } from './coordinator-calls.ts';
import { CALM, testRing } from './coordinator-world.ts';

const { ALL, ONE, QUORUM } = Consistency;
const FIVE = [1, 2, 3, 4, 5];
const homesOf = (key: string, numbers = FIVE): readonly number[] =>
  writeGroups(testRing(numbers), vnodeOfKey(key))[0] ?? [];
const hintsOf = (cluster: Cluster): string[] =>
  [...cluster.world.nodes.values()].flatMap(({ number, replica }) =>
    replica.hints.map(({ target }) => `${number} for ${target}`),
  );

describe('a plain write', () => {
  it('goes to all replicas with one version', () => {
    const cluster = new Cluster();
    const answer = cluster.write('k', 'a');
    cluster.world.run(50);
    expect(answer).toMatchObject({ status: Status.OK, sloppy: false });
    for (const node of [1, 2, 3]) expect(cluster.held(node, 'k')).toBe(`a@${answer.version}`);
    expect(hintsOf(cluster)).toEqual([]);
  });

  it('gets above what two replicas hold, though this clock is 10 minutes behind theirs', () => {
    const cluster = new Cluster();
    const ahead = cluster.nowVersion() + 600_000_000 + 5_000_000;
    for (const node of [2, 3]) cluster.put(node, 'k', 'old', ahead);
    const answer = cluster.write('k', 'new');
    cluster.world.run(50);
    expect(answer.status).toBe(Status.OK);
    expect(answer.version).toBeGreaterThan(ahead);
    for (const node of [1, 2, 3]) expect(cluster.held(node, 'k')).toBe(`new@${answer.version}`);
    expect(cluster.world.node(1).coordinator.metrics.retriesAboveBeat).toBe(1);
  });
  it('does not follow a version two hours ahead, and says so', () => {
    const cluster = new Cluster();
    for (const node of [2, 3]) cluster.put(node, 'k', 'old', cluster.nowVersion() + 7_200_000_000);
    const answer = cluster.write('k', 'new');
    expect(answer.status).toBe(Status.UNAVAILABLE);
    expect(answer.message).toContain('3600000000 us ahead');
    expect(cluster.write('other', 'new').version).toBeLessThan(cluster.nowVersion() + 10_000_000);
  });
  it('is repeated with the ring that a replica sends along', () => {
    const cluster = new Cluster();
    for (const node of [2, 3]) cluster.world.node(node).ring = testRing([1, 2, 3], 2);
    expect(cluster.write('k', 'a').status).toBe(Status.OK);
    expect(cluster.world.node(1).ring.number).toBe(2);
  });
  it('needs a quorum of the present replicas and of those to come while the ring changes', () => {
    const key = 'moving';
    const ring = joiningRing(2, 'copying');
    const groups = writeGroups(ring, vnodeOfKey(key));
    expect(groups.length).toBe(2);
    const leaving = groups[0]?.filter((node) => !groups[1]?.includes(node)) ?? [];
    const staying = groups[0]?.filter((node) => groups[1]?.includes(node)) ?? [];
    const [coordinator = 0, other = 0] = staying;
    const cluster = new Cluster([1, 2, 3, 4], ring);
    cluster.down(4, other);
    // Two of the three present replicas are there, one of the three to come.
    const answer = cluster.write(key, 'a', { sloppy: false }, coordinator);
    expect(answer.status).toBe(Status.UNAVAILABLE);
    expect(answer.message).toContain('2 of 3 and 2 of 3');
    expect(cluster.held(leaving[0] ?? 0, key)).toBe('');
  });

  it('leaves a hint for a replica that is down, which does not count', () => {
    const cluster = new Cluster();
    cluster.down(3);
    expect(cluster.write('k', 'a')).toMatchObject({ status: Status.OK, sloppy: false });
    cluster.world.run(50);
    expect(hintsOf(cluster)).toEqual(['1 for 3']);
  });
  it('leaves a hint for a replica that fails after the answer', () => {
    const cluster = new Cluster();
    cluster.cut(1, 3);
    expect(cluster.write('k', 'a')).toMatchObject({ status: Status.OK, sloppy: false });
    expect(hintsOf(cluster)).toEqual([]);
    cluster.world.run(2000);
    expect(hintsOf(cluster)).toEqual(['1 for 3']);
  });
  it('leaves no hint for a replica that is slow and takes the write after all', () => {
    const cluster = new Cluster();
    const { world } = cluster;
    world.faults = { ...CALM, delayMsMax: 400 };
    let slow = 0;
    for (let i = 0; i < 50; i++) {
      const beginMs = world.schedule.nowMs;
      expect(cluster.write(`k${i}`, 'a')).toMatchObject({ status: Status.OK, sloppy: false });
      if (world.schedule.nowMs - beginMs > limits.writeStandInMs) slow++;
    }
    expect(slow).toBeGreaterThan(25);
    world.run(1000);
    for (let i = 0; i < 50; i++)
      for (const node of [1, 2, 3]) expect(cluster.held(node, `k${i}`)).toMatch(/^a@/);
    expect(world.node(1).coordinator.metrics).toMatchObject({ hintsKept: 0, hintsLost: 0 });
  });
  it('is acknowledged with stand-ins where home replicas do not suffice, and says so', () => {
    const [a = 0, b = 0, c = 0] = homesOf('k');
    const cluster = new Cluster(FIVE);
    cluster.down(b, c);
    expect(cluster.write('k', 'a', {}, a)).toMatchObject({ status: Status.OK, sloppy: true });
    cluster.world.run(50);
    const hints = hintsOf(cluster);
    expect(hints.length).toBe(2);
    const [first = 0, second = 0] = standIns(testRing(FIVE), vnodeOfKey('k'));
    expect(hints.map((hint) => Number(hint[0])).sort()).toEqual([first, second].sort());
  });
  it('counts silent replicas out after a while, and stand-ins in', () => {
    const [a = 0, b = 0, c = 0] = homesOf('k');
    const cluster = new Cluster(FIVE);
    cluster.cut(a, b);
    cluster.cut(a, c);
    const before = cluster.world.schedule.nowMs;
    expect(cluster.write('k', 'a', {}, a)).toMatchObject({ status: Status.OK, sloppy: true });
    expect(cluster.world.schedule.nowMs - before).toBeGreaterThanOrEqual(100);
    expect(cluster.world.schedule.nowMs - before).toBeLessThan(130);
  });
  it('is tried again while connections are made anew, and not where replicas refuse', () => {
    const cluster = new Cluster();
    const { schedule } = cluster.world;
    const broken = (status: number, ms: number): void => {
      const untilMs = schedule.nowMs + ms;
      for (const node of [2, 3])
        cluster.world.node(node).fault = (operation) =>
          operation === 'write' && schedule.nowMs < untilMs ? status : Status.OK;
    };
    broken(Status.UNAVAILABLE, 300);
    const answer = cluster.write('k', 'a');
    expect(answer.status).toBe(Status.OK);
    cluster.world.run(50);
    for (const node of [1, 2, 3]) expect(cluster.held(node, 'k')).toBe(`a@${answer.version}`);
    broken(Status.UNAVAILABLE, 4000);
    expect(cluster.write('k', 'b').status).toBe(Status.UNAVAILABLE);
    broken(Status.OVERLOADED, 300);
    expect(cluster.write('k', 'c').status).not.toBe(Status.OK);
  });
  it('never counts a hint that another replica or this node as a replica keeps', () => {
    const cluster = new Cluster();
    cluster.down(2, 3);
    const answer = cluster.write('k', 'a');
    expect(answer.status).toBe(Status.UNAVAILABLE);
    expect(answer.message).toBe(
      'QUORUM needs 2 of 3 replicas; 1 are up, 0 answered: too few replicas answered; nothing was written',
    );
  });
  it('is refused where stand-ins are not allowed to count: by default at ALL, on request at QUORUM', () => {
    const [a = 0, b = 0, c = 0] = homesOf('k');
    const cluster = new Cluster(FIVE);
    cluster.down(b, c);
    expect(cluster.write('k', 'a', { sloppy: false }, a).status).toBe(Status.UNAVAILABLE);
    expect(cluster.write('k', 'a', { consistency: ALL }, a).status).toBe(Status.UNAVAILABLE);
    expect(cluster.write('k', 'a', { consistency: ONE }, a)).toMatchObject({
      status: Status.OK,
      sloppy: false,
    });
    expect(cluster.held(a, 'k')).not.toBe('');
  });
  it('marks the vnode for repair where nobody keeps the hint, and succeeds', () => {
    const cluster = new Cluster();
    cluster.down(3);
    for (const { number } of cluster.world.nodes.values())
      cluster.world.node(number).fault = (operation) =>
        operation === 'hint' ? Status.OVERLOADED : Status.OK;
    expect(cluster.write('k', 'a').status).toBe(Status.OK);
    cluster.world.run(50);
    expect([...cluster.world.node(1).marked]).toEqual([vnodeOfKey('k')]);
    expect(cluster.world.node(1).coordinator.metrics.hintsLost).toBe(1);
  });

  it('reports a full disk only where every replica refused', () => {
    const cluster = new Cluster();
    const full = (...nodes: number[]): void => {
      for (const { number } of cluster.world.nodes.values())
        cluster.world.node(number).fault = (operation) =>
          operation === 'write' && nodes.includes(number) ? Status.DISK_FULL : Status.OK;
    };
    full(1, 2, 3);
    const refused = cluster.write('k', 'a');
    expect(refused.status).toBe(Status.DISK_FULL);
    expect(refused.message).toContain('nothing was written');
    full(1, 2);
    const partial = cluster.write('k', 'a');
    expect(partial.status).toBe(Status.UNAVAILABLE);
    expect(partial.message).toContain('the write may have been done');
  });
  it('says that it may have been done where replicas do not answer by the deadline', () => {
    const cluster = new Cluster();
    cluster.cut(1, 2);
    cluster.cut(1, 3);
    const answer = cluster.write('k', 'a', { sloppy: false });
    expect(answer.status).toBe(Status.TIMEOUT);
    expect(answer.message).toContain('QUORUM needs 2 of 3 replicas; 3 are up, 1 answered');
    expect(answer.message).toContain('the write may have been done');
    expect(cluster.world.node(1).coordinator.metrics.unknownOutcomes).toBe(1);
  });
  it('ends by its deadline where replicas always know better', () => {
    const cluster = new Cluster();
    for (const number of [1, 2, 3])
      cluster.world.node(number).fault = (operation) =>
        operation === 'write' ? PeerStatus.STALE_RING : Status.OK;
    const answer = cluster.write('k', 'a');
    expect([Status.TIMEOUT, Status.UNAVAILABLE]).toContain(answer.status);
    expect(answer.message).toContain('nothing was written');
  });
  it('is answered once, and leaves nothing in flight', () => {
    const cluster = new Cluster();
    const answers: ClientWriteAnswer[] = [];
    for (let i = 0; i < 50; i++)
      cluster.startWrite(`k${i}`, 'a', { consistency: QUORUM }, 1 + (i % 3), (answer) =>
        answers.push(answer),
      );
    cluster.world.run(3000);
    expect(answers.length).toBe(50);
    for (const { coordinator } of cluster.world.nodes.values()) expect(coordinator.inFlight).toBe(0);
  });
});
