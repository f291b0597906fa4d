/** Writes of several coordinators for one key, and reads of it meanwhile: docs/decisions/0024-writes-that-conflict.md. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import {
  type ClientReadAnswer,
  type ClientWrite,
  type ClientWriteAnswer,
  Consistency,
  type NodeNumber,
  WriteMode,
} from '../../src/cluster/contract.ts';
import { versionOf } from '../../src/cluster/coordinator-records.ts';
import { writeGroups } from '../../src/cluster/ring-lookup.ts';
import { Cluster, joiningRing, vnodeOfKey } from './coordinator-calls.ts';
import { testRing } from './coordinator-world.ts';

const { ALL, ONE, QUORUM } = Consistency;
const UNKNOWN = 'the write may have been done';

/** Puts a newer record to a replica just before the nth write that it is asked for, from 1. */
function overtake(cluster: Cluster, node: NodeNumber, nths: readonly number[], before?: () => void): void {
  let writes = 0;
  cluster.world.node(node).fault = (operation) => {
    if (operation === 'write' && nths.includes(++writes)) {
      before?.();
      cluster.put(node, 'k', `other ${node} ${writes}`, cluster.nowVersion() + writes * 50_000);
    }
    return Status.OK;
  };
}
const metricsOf = (cluster: Cluster, node: NodeNumber = 1) => cluster.world.node(node).coordinator.metrics;
const newest = (cluster: Cluster, node: NodeNumber): number => {
  const record = cluster.heldRecord(node, 'k');
  return record === null ? 0 : versionOf(record);
};

describe('a plain write that was refused for its version', () => {
  it('goes on under a second version where a majority refused the first, though one replica took that', () => {
    const cluster = new Cluster();
    overtake(cluster, 2, [1]);
    overtake(cluster, 3, [1]);
    const answer = cluster.write('k', 'a');
    cluster.world.run(50);
    expect(answer).toMatchObject({ status: Status.OK, sloppy: false });
    for (const node of [1, 2, 3]) expect(cluster.held(node, 'k')).toBe(`a@${answer.version}`);
    expect(metricsOf(cluster)).toMatchObject({ retriesAboveBeat: 1, unknownOutcomes: 0, writesPassed: 0 });
  });
  it('ends with its second attempt, however often it is overtaken: what came since then replaced it', () => {
    const cluster = new Cluster();
    overtake(cluster, 2, [1, 2]);
    overtake(cluster, 3, [1, 2]);
    const answer = cluster.write('k', 'a');
    expect(answer).toMatchObject({ status: Status.OK, sloppy: false });
    for (const node of [2, 3]) {
      expect(cluster.held(node, 'k')).toMatch(/^other/);
      expect(newest(cluster, node)).toBeGreaterThan(answer.version);
    }
    expect(metricsOf(cluster)).toMatchObject({ retriesAboveBeat: 1, writesPassed: 1 });
  });
  it('also where nobody took the first', () => {
    const cluster = new Cluster();
    for (const node of [1, 2, 3]) overtake(cluster, node, [1, 2]);
    const { status, version } = cluster.write('k', 'a');
    expect(status).toBe(Status.OK);
    expect(Math.min(...[1, 2, 3].map((node) => newest(cluster, node)))).toBeGreaterThan(version);
  });
  it('is not taken for one that was replaced by what may have been acknowledged before it began', () => {
    const cluster = new Cluster();
    const ahead = cluster.nowVersion() + 600_000_000;
    for (const node of [2, 3]) cluster.put(node, 'k', 'acknowledged', ahead);
    const { version } = cluster.write('k', 'a');
    expect(version).toBeGreaterThan(ahead);
    expect(cluster.read('k', QUORUM, 2)).toMatchObject({ value: 'a', version });
  });

  it('has an unknown outcome where the first may have been read: a copy of it came to who refused it', () => {
    for (const copied of [[2], [3], [2, 3]]) {
      const cluster = new Cluster();
      for (const node of [2, 3])
        overtake(cluster, node, [1], () => {
          const first = cluster.heldRecord(1, 'k');
          if (first === null || !copied.includes(node)) return;
          const deadlineMs = (cluster.world.node(node).clock.monotonicMs() + 100) as never;
          const write = { record: first, also: null, mode: WriteMode.MERGE, deadlineMs };
          cluster.world.node(node).fault = () => Status.OK;
          cluster.world.node(node).replica.write(write, () => undefined);
        });
      const answer = cluster.write('k', 'a');
      expect(answer.status).toBe(Status.UNAVAILABLE);
      expect(answer.message).toContain(UNKNOWN);
      for (const node of copied) expect(cluster.held(node, 'k')).toMatch(/^other/);
      expect(metricsOf(cluster).unknownOutcomes).toBe(1);
    }
  });
  it('does not come back over what was acknowledged after it had been read, because a connection broke', () => {
    const cluster = new Cluster([1, 2, 3, 4]);
    const homes = writeGroups(testRing([1, 2, 3, 4]), vnodeOfKey('k'))[0] as readonly [
      number,
      number,
      number,
    ];
    const [first, second, third] = homes;
    const coordinator = [1, 2, 3, 4].find((node) => !homes.includes(node)) ?? 0;
    for (const node of [second, third])
      cluster.world.node(node).fault = (operation) =>
        operation === 'write' ? Status.UNAVAILABLE : Status.OK;
    const answers: ClientWriteAnswer[] = [];
    const write = { sloppy: false };
    cluster.startWrite('k', 'a', write, coordinator, (answer) => answers.push(answer));
    cluster.world.run(10);
    for (const node of [second, third]) cluster.world.node(node).fault = () => Status.OK;
    // Its coordinator cannot be asked.
    for (const node of homes) cluster.world.node(node).down.add(coordinator);
    expect(cluster.read('k', ALL, second).value).toBe('a');
    expect(cluster.write('k', 'b', {}, second).status).toBe(Status.OK);
    expect(answers).toEqual([]);
    cluster.world.run(500);
    expect(answers).toMatchObject([{ status: Status.UNAVAILABLE }]);
    expect(answers[0]?.message).toContain(UNKNOWN);
    expect(cluster.read('k', QUORUM, first).value).toBe('b');
  });

  it('at ALL counts a replica that has something newer, once a majority took the version', () => {
    const cluster = new Cluster();
    overtake(cluster, 2, [1]);
    const answer = cluster.write('k', 'a', { consistency: ALL });
    expect(answer.status).toBe(Status.OK);
    expect(cluster.held(1, 'k')).toBe(`a@${answer.version}`);
    expect(newest(cluster, 2)).toBeGreaterThan(answer.version);
    expect(metricsOf(cluster).retriesAboveBeat).toBe(0);
  });
  it('at ALL does not count one that has a promise above the version', () => {
    const cluster = new Cluster();
    cluster.put(2, 'k', 'base', 10);
    cluster.put(2, 'k', '', cluster.nowVersion() + 50_000, 7, 2);
    const answer = cluster.write('k', 'a', { consistency: ALL });
    expect(answer.status).toBe(Status.UNAVAILABLE);
    expect(answer.message).toContain(UNKNOWN);
  });
  it('of two replicas needs no second version: what the other has cannot have been acknowledged without this one', () => {
    const ring = { ...testRing([1, 2]), replicas: 2 };
    const cluster = new Cluster([1, 2], ring);
    overtake(cluster, 2, [1]);
    const answer = cluster.write('k', 'a');
    expect(answer.status).toBe(Status.OK);
    expect(cluster.held(1, 'k')).toBe(`a@${answer.version}`);
    expect(metricsOf(cluster)).toMatchObject({ retriesAboveBeat: 0, unknownOutcomes: 0 });
  });
  it('waits for a replica that has not answered yet rather than to say that it does not know', () => {
    for (const consistency of [QUORUM, ALL]) {
      const cluster = new Cluster();
      const { world } = cluster;
      overtake(cluster, 2, [1]);
      overtake(cluster, 3, [1]);
      const { replicaFor } = world;
      world.replicaFor = (from, number) => {
        const replica = replicaFor.call(world, from, number);
        if (number !== 3) return replica;
        return {
          ...replica,
          write: (request, done) => world.schedule.after(40, () => replica.write(request, done)),
        };
      };
      expect(cluster.write('k', 'a', { consistency }).status).toBe(Status.OK);
    }
  });
  it('gives no version while it waits for one, whatever is still heard of the last', () => {
    const cluster = new Cluster();
    const { world } = cluster;
    const ahead = cluster.nowVersion() + 600_000_000;
    for (const node of [1, 2, 3]) cluster.put(node, 'k', 'old', ahead);
    const answers: ClientWriteAnswer[] = [];
    const ask = (value: string, more: Partial<ClientWrite> = {}): void =>
      cluster.startWrite('k', value, more, 1, (answer) => answers.push(answer));
    // The version that beats those lies above the ceiling on disk, which takes a moment to be raised.
    for (let i = 0; i < 5; i++) ask(`a${i}`);
    world.run(500, () => answers.length === 5);
    for (const { status, version } of answers) {
      expect(status).toBe(Status.OK);
      expect(version).toBeGreaterThan(ahead);
    }
    expect(new Set(answers.map(({ version }) => version)).size).toBe(5);
  });
  it('never gives the version of another node', () => {
    const cluster = new Cluster();
    const ahead = cluster.nowVersion() + 600_000_000;
    const versions: number[] = [];
    for (let round = 0; round < 20; round++) {
      for (const node of [1, 2, 3]) cluster.put(node, `k${round}`, 'old', ahead + round * 1000);
      const answers: ClientWriteAnswer[] = [];
      for (const at of [1, 2, 3])
        cluster.startWrite(`k${round}`, `a${at}`, {}, at, (answer) => answers.push(answer));
      cluster.world.run(1000, () => answers.length === 3);
      for (const { status, version } of answers) {
        expect(status).toBe(Status.OK);
        versions.push(version);
      }
    }
    expect(new Set(versions).size).toBe(60);
  });
});

describe('a read of a key that is written all the time', () => {
  /** Writers at each node write the key as fast as they are answered, until they are stopped. */
  function writeOn(cluster: Cluster, consistency: number = QUORUM) {
    const acknowledged: ClientWriteAnswer[] = [];
    let isOver = false;
    let writes = 0;
    const write = (at: NodeNumber): void => {
      if (isOver) return;
      const more = { consistency: consistency as typeof QUORUM };
      cluster.startWrite('k', `change ${writes++}`, more, at, (answer) => {
        acknowledged.push(answer);
        // At ONE it is answered at once.
        cluster.world.schedule.after(0.3, () => write(at));
      });
    };
    for (const at of [1, 2, 3]) for (let i = 0; i < 3; i++) write(at);
    return {
      acknowledged,
      stop: () => {
        isOver = true;
        cluster.world.run(200);
      },
    };
  }

  it('ends, with nothing older than what was acknowledged before it, on the word of who wrote it', () => {
    for (const consistency of [QUORUM, ONE]) {
      const cluster = new Cluster();
      const writers = writeOn(cluster, consistency);
      cluster.world.run(50);
      let last = 0;
      for (let i = 0; i < 40; i++) {
        const before = writers.acknowledged.reduce((most, { version }) => Math.max(most, version), 0);
        const beganMs = cluster.world.schedule.nowMs;
        const { status, version } = cluster.read('k', QUORUM, 1 + (i % 3));
        expect(status).toBe(Status.OK);
        if (consistency === QUORUM) expect(version).toBeGreaterThanOrEqual(before);
        expect(version).toBeGreaterThanOrEqual(last);
        expect(cluster.world.schedule.nowMs - beganMs).toBeLessThan(consistency === QUORUM ? 30 : 200);
        last = version;
      }
      writers.stop();
      const all = writers.acknowledged;
      expect(all.filter(({ status }) => status !== Status.OK).length).toBe(0);
      if (consistency !== QUORUM) continue;
      const vouched = [1, 2, 3].reduce((sum, node) => sum + metricsOf(cluster, node).readsVouched, 0);
      expect(vouched).toBeGreaterThan(0);
      const conflicts = [1, 2, 3].reduce((sum, node) => sum + metricsOf(cluster, node).retriesAboveBeat, 0);
      expect(conflicts).toBeGreaterThan(10);
    }
  });
  it('answers with a record under the version under which it was written in the end', () => {
    const cluster = new Cluster([1, 2, 3, 4]);
    const homes = writeGroups(testRing([1, 2, 3, 4]), vnodeOfKey('k'))[0] as readonly number[];
    const [first = 0, second = 0, third = 0] = homes;
    const coordinator = [1, 2, 3, 4].find((node) => !homes.includes(node)) ?? 0;
    for (const node of homes) cluster.put(node, 'k', 'base', 10);
    const { world } = cluster;
    // The second version is on its way for a while.
    const asked = new Set<NodeNumber>();
    for (const node of [second, third]) overtake(cluster, node, [1]);
    const { replicaFor } = world;
    world.replicaFor = (from, number) => {
      const replica = replicaFor.call(world, from, number);
      if (from.number !== coordinator) return replica;
      const isFirst = !asked.has(number);
      asked.add(number);
      return isFirst
        ? replica
        : { ...replica, write: (...call) => world.schedule.after(30, () => replica.write(...call)) };
    };
    const answers: ClientWriteAnswer[] = [];
    cluster.startWrite('k', 'a', {}, coordinator, (answer) => answers.push(answer));
    world.run(5);
    // What others wrote is not there yet for this reader.
    for (const node of [second, third]) cluster.world.node(node).replica.wipe();
    for (const node of [second, third]) cluster.put(node, 'k', 'base', 10);
    const reads: ClientReadAnswer[] = [];
    const firstVersion = newest(cluster, first);
    cluster.startRead('k', QUORUM, first, (answer) => reads.push(answer));
    world.run(200, () => answers.length > 0 && reads.length > 0);
    const [written] = answers;
    expect(written?.status).toBe(Status.OK);
    expect(written?.version).toBeGreaterThan(firstVersion);
    expect(world.askedWriters).toContainEqual({ writer: coordinator, version: firstVersion });
    const [read] = reads;
    expect(read?.record === null || read?.record === undefined ? 0 : versionOf(read.record)).toBe(
      written?.version,
    );
  });
  it('brings to others what its writer knows of no majority for, and goes on with what they have instead', () => {
    const cluster = new Cluster();
    const nowUs = cluster.nowVersion();
    cluster.down(3);
    cluster.put(1, 'k', 'unfinished', nowUs + 20, 2);
    cluster.put(2, 'k', 'base', nowUs + 10);
    expect(cluster.read('k')).toMatchObject({ value: 'unfinished' });
    expect(cluster.world.askedWriters).toEqual([{ writer: 2, version: nowUs + 20 }]);
    expect(cluster.held(2, 'k')).toBe(`unfinished@${nowUs + 20}`);
    expect(metricsOf(cluster).readsVouched).toBe(0);
  });
  it('asks nobody for what is older than writers remember, nor a writer that is down', () => {
    for (const [ageUs, isDown] of [
      [limits.writerAskedMs * 1000 + 1_000_000, false],
      [0, true],
    ] as const) {
      const cluster = new Cluster([1, 2, 3, 4]);
      const homes = writeGroups(testRing([1, 2, 3, 4]), vnodeOfKey('k'))[0] as readonly number[];
      const [first = 0, second = 0, third = 0] = homes;
      const writer = [1, 2, 3, 4].find((node) => !homes.includes(node)) ?? 0;
      cluster.down(third, ...(isDown ? [writer] : []));
      const version = cluster.nowVersion() - ageUs;
      cluster.put(first, 'k', 'new', version, writer);
      cluster.put(second, 'k', 'base', 10);
      expect(cluster.read('k', QUORUM, first).value).toBe('new');
      expect(cluster.world.askedWriters).toEqual([]);
    }
  });
  it('does not wait long for a writer that says nothing', () => {
    const cluster = new Cluster([1, 2, 3, 4]);
    const homes = writeGroups(testRing([1, 2, 3, 4]), vnodeOfKey('k'))[0] as readonly number[];
    const [first = 0, second = 0, third = 0] = homes;
    const writer = [1, 2, 3, 4].find((node) => !homes.includes(node)) ?? 0;
    cluster.down(third);
    cluster.cut(first, writer);
    cluster.put(first, 'k', 'new', cluster.nowVersion(), writer);
    cluster.put(second, 'k', 'base', 10);
    const beganMs = cluster.world.schedule.nowMs;
    expect(cluster.read('k', QUORUM, first).value).toBe('new');
    expect(cluster.world.askedWriters.length).toBe(1);
    expect(cluster.world.schedule.nowMs - beganMs).toBeLessThan(limits.writerWaitMs + 40);
  });
  it('is not told of a write whose home replicas are fewer than a majority: of a sloppy one, or one at ONE', () => {
    const FIVE = [1, 2, 3, 4, 5];
    const [a = 0, b = 0, c = 0] = writeGroups(testRing(FIVE), vnodeOfKey('k'))[0] ?? [];
    for (const consistency of [QUORUM, ONE]) {
      const cluster = new Cluster(FIVE);
      cluster.down(b, c);
      const { status, version } = cluster.write('k', 'a', { consistency }, a);
      expect(status).toBe(Status.OK);
      const told: number[] = [];
      cluster.world.node(a).coordinator.askWritten(version, (as) => told.push(as));
      cluster.world.run(5);
      expect(told).toEqual([0]);
    }
  });
  it('takes the word of a writer while the ring changes too', () => {
    const ring = joiningRing(2, 'copying');
    const cluster = new Cluster([1, 2, 3, 4], ring);
    const writers = writeOn(cluster);
    cluster.world.run(20);
    for (let i = 0; i < 10; i++) expect(cluster.read('k', QUORUM, 1 + (i % 3)).status).toBe(Status.OK);
    writers.stop();
  });
});
