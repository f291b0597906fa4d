import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { KEYSPACE_OUTCOMES } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { Consistency } from '../../src/cluster/contract.ts';
import { versionOf } from '../../src/cluster/coordinator-records.ts';
import { writeGroups } from '../../src/cluster/ring-lookup.ts';
import { Cluster, joiningRing, vnodeOfKey } from './coordinator-calls.ts';

const { ALL, ONE, QUORUM, SERIAL } = Consistency;

describe('a plain read', () => {
  it('asks as many replicas as it needs, and repairs nothing where they agree', () => {
    const cluster = new Cluster();
    const { version } = cluster.write('k', 'a', { consistency: ALL });
    const before = [1, 2, 3].map((node) => cluster.requests(node, 'read'));
    expect(cluster.read('k')).toMatchObject({ status: Status.OK, value: 'a', version });
    const asked = [1, 2, 3].map((node, i) => cluster.requests(node, 'read') - (before[i] ?? 0));
    expect(asked.reduce((sum, one) => sum + one)).toBe(2);
    expect(cluster.world.node(1).coordinator.metrics.readRepairsBefore).toBe(0);
  });
  it('finds nothing where there is nothing, a tombstone, or what has expired', () => {
    const cluster = new Cluster();
    expect(cluster.read('k').status).toBe(Status.NOT_FOUND);
    cluster.write('k', null);
    expect(cluster.read('k').status).toBe(Status.NOT_FOUND);
    cluster.write('k', 'a', { expiresMs: cluster.world.node(1).clock.nowMs() + 50 });
    expect(cluster.read('k').status).toBe(Status.OK);
    cluster.world.run(100);
    expect(cluster.read('k').status).toBe(Status.NOT_FOUND);
  });
  it('answers with the newest, which whoever of the asked is stale has by then', () => {
    for (const [mine, other] of [
      ['old', 'new'],
      ['new', 'old'],
    ] as const) {
      const cluster = new Cluster();
      cluster.put(1, 'k', mine, mine === 'new' ? 20 : 10);
      for (const node of [2, 3]) cluster.put(node, 'k', other, other === 'new' ? 20 : 10);
      expect(cluster.read('k')).toMatchObject({ value: 'new', version: 20 });
      expect([1, 2, 3].filter((node) => cluster.held(node, 'k') === 'new@20').length).toBeGreaterThanOrEqual(
        2,
      );
    }
  });
  it('brings the outcomes along with the record that it repairs by', () => {
    const cluster = new Cluster();
    cluster.down(3);
    const { version } = cluster.write('k', 'a', { idempotencyKey: Buffer.from('once'), consistency: SERIAL });
    cluster.world.heal();
    cluster.world.node(1).replica.hints.length = 0;
    cluster.down(2);
    // Its writer has forgotten it.
    cluster.world.node(1).crash();
    cluster.world.node(1).restart();
    expect(cluster.read('k').value).toBe('a');
    expect(cluster.held(3, 'k')).toBe(`a@${version}`);
    const outcomes = cluster.heldRecord(3, 'k', KEYSPACE_OUTCOMES);
    expect(outcomes === null ? 0 : versionOf(outcomes)).toBe(version);
  });
  it('asks a further replica before it repairs: it has what is on its way to the other', () => {
    for (const stale of [2, 3]) {
      const cluster = new Cluster();
      for (const node of [1, 2, 3])
        cluster.put(node, 'k', node === stale ? 'old' : 'new', node === stale ? 10 : 20);
      // Whichever of the two is asked first: both orders come up within a few reads.
      for (let i = 0; i < 20; i++) expect(cluster.read('k')).toMatchObject({ value: 'new', version: 20 });
      const { metrics } = cluster.world.node(1).coordinator;
      expect(metrics.readRepairsBefore).toBe(0);
      expect(cluster.held(stale, 'k')).toBe('old@10');
      // The write never comes: then it is repaired, once.
      cluster.world.run(limits.readRepairBehindMs + 50);
      expect(cluster.held(stale, 'k')).toBe('new@20');
      expect(metrics).toMatchObject({ readRepairsBehind: 1, readRepairsSpared: 0 });
    }
  });
  it('repairs nobody behind its answer who has caught up by then', () => {
    const cluster = new Cluster();
    for (const node of [1, 2, 3]) cluster.put(node, 'k', node === 2 ? 'old' : 'new', node === 2 ? 10 : 20);
    for (let i = 0; i < 20; i++) cluster.read('k');
    cluster.put(2, 'k', 'new', 20);
    cluster.world.run(limits.readRepairBehindMs + 50);
    expect(cluster.world.node(1).coordinator.metrics).toMatchObject({
      readRepairsBefore: 0,
      readRepairsBehind: 0,
      readRepairsSpared: 1,
    });
  });
  it('repairs at once as many as a majority lacks where nobody else has it, and the others behind', () => {
    const cluster = new Cluster();
    for (const node of [1, 2, 3]) cluster.put(node, 'k', node === 1 ? 'new' : 'old', node === 1 ? 20 : 10);
    expect(cluster.read('k')).toMatchObject({ value: 'new', version: 20 });
    const { metrics } = cluster.world.node(1).coordinator;
    expect(metrics.readRepairsBefore).toBe(1);
    expect([2, 3].map((node) => cluster.held(node, 'k')).sort()).toEqual(['new@20', 'old@10']);
    cluster.world.run(limits.readRepairBehindMs + 50);
    expect([2, 3].map((node) => cluster.held(node, 'k'))).toEqual(['new@20', 'new@20']);
    expect(metrics.readRepairsBehind).toBe(1);
  });
  it('repairs without the further replica where that does not answer', () => {
    for (const silent of [2, 3]) {
      const cluster = new Cluster();
      for (const node of [1, 2, 3]) cluster.put(node, 'k', node === 1 ? 'new' : 'old', node === 1 ? 20 : 10);
      cluster.world.cut.add(`1>${silent}`);
      expect(cluster.read('k')).toMatchObject({ value: 'new', version: 20 });
      expect(cluster.held(5 - silent, 'k')).toBe('new@20');
    }
  });
  it('goes on with what a replica holds where that replaced the repair', () => {
    const cluster = new Cluster();
    cluster.down(3);
    cluster.put(1, 'k', 'refused', 20);
    cluster.put(2, 'k', 'base', 10);
    const node = cluster.world.node(2);
    // Between its head and its repair the second replica takes something newer.
    node.fault = (operation) => {
      if (operation === 'write' && cluster.held(2, 'k') === 'base@10') cluster.put(2, 'k', 'chosen', 30);
      return Status.OK;
    };
    expect(cluster.read('k')).toMatchObject({ value: 'chosen', version: 30 });
    expect(cluster.held(1, 'k')).toBe('chosen@30');
  });
  it('lets SERIAL settle what a promise bars', () => {
    const cluster = new Cluster();
    cluster.down(3);
    cluster.put(1, 'k', 'unfinished', 20);
    cluster.put(2, 'k', 'base', 10);
    cluster.put(2, 'k', '', 25, 7, 2);
    const answer = cluster.read('k');
    expect(answer.value).toBe('unfinished');
    expect(answer.version).toBeGreaterThan(25);
    expect(cluster.held(2, 'k')).toBe(cluster.held(1, 'k'));
    expect(cluster.world.node(1).coordinator.metrics.settles).toBe(1);
  });
  it('takes the word of a replica that knows a record to be deleted, and passes it on', () => {
    const cluster = new Cluster();
    cluster.down(3);
    cluster.put(1, 'k', 'dead', 10);
    cluster.world.node(2).replica.raiseHorizon(vnodeOfKey('k'), cluster.world.node(2).clock.nowMs() - 1000);
    expect(cluster.read('k').status).toBe(Status.NOT_FOUND);
    expect(cluster.held(1, 'k')).toBe('-@10');
    expect(cluster.world.node(1).coordinator.metrics.resurrections).toBe(1);
  });
  it('asks the next replica where one is slow, and counts it', () => {
    const cluster = new Cluster();
    cluster.write('k', 'a', { consistency: ALL });
    for (let i = 0; i < 5; i++) cluster.read('k');
    const before = cluster.world.schedule.nowMs;
    cluster.cut(1, 2);
    for (let i = 0; i < 3; i++) expect(cluster.read('k').value).toBe('a');
    expect(cluster.world.schedule.nowMs - before).toBeLessThan(200);
    expect(cluster.world.node(1).coordinator.metrics.readSpeculations).toBeGreaterThan(0);
  });
  it('reads through a replica that refuses', () => {
    const cluster = new Cluster();
    cluster.write('k', 'a', { consistency: ALL });
    cluster.world.node(1).fault = (operation) => (operation === 'read' ? Status.OVERLOADED : Status.OK);
    expect(cluster.read('k').value).toBe('a');
  });
  it('is tried again while connections are made anew, and not where replicas refuse', () => {
    const cluster = new Cluster();
    const { schedule } = cluster.world;
    cluster.write('k', 'a', { consistency: ALL });
    const broken = (status: number, ms: number): void => {
      const untilMs = schedule.nowMs + ms;
      for (const node of [2, 3])
        cluster.world.node(node).fault = (operation) =>
          operation === 'read' && schedule.nowMs < untilMs ? status : Status.OK;
    };
    broken(Status.UNAVAILABLE, 300);
    expect(cluster.read('k').value).toBe('a');
    broken(Status.UNAVAILABLE, 4000);
    expect(cluster.read('k').status).toBe(Status.UNAVAILABLE);
    broken(Status.OVERLOADED, 300);
    expect(cluster.read('k').status).toBe(Status.UNAVAILABLE);
  });
  it('says how many replicas it needs where too few are up', () => {
    const cluster = new Cluster();
    cluster.down(2, 3);
    const answer = cluster.read('k');
    expect(answer.status).toBe(Status.UNAVAILABLE);
    expect(answer.message).toContain('QUORUM needs 2 of 3 replicas; 1 are up');
    cluster.write('k', 'a', { consistency: ONE });
    expect(cluster.read('k', ONE).value).toBe('a');
  });
  it('at ONE answers from the nearest replica alone', () => {
    const cluster = new Cluster();
    cluster.put(1, 'k', 'near', 10);
    for (const node of [2, 3]) cluster.put(node, 'k', 'far', 20);
    expect(cluster.read('k', ONE).value).toBe('near');
  });
  it('at ONE answers from the node that coordinates, whichever that is', () => {
    for (const node of [1, 2, 3]) {
      const cluster = new Cluster();
      for (const holder of [1, 2, 3]) cluster.put(holder, 'k', `at ${holder}`, 10 + holder);
      expect(cluster.read('k', ONE, node).value).toBe(`at ${node}`);
    }
  });
  it('asks replicas of both groups first while the ring changes: two suffice, also from a node of one group', () => {
    const key = 'moving';
    const ring = joiningRing(2, 'copying');
    const [old = [], coming = []] = writeGroups(ring, vnodeOfKey(key));
    const both = coming.filter((node) => old.includes(node));
    const nodes = [1, 2, 3, 4];
    const coordinators = nodes.filter((node) => old.includes(node) !== coming.includes(node));
    expect(coordinators.length).toBeGreaterThan(0);
    for (const coordinator of coordinators) {
      const cluster = new Cluster(nodes, ring);
      for (const node of nodes) cluster.put(node, key, 'a', 10);
      expect(cluster.read(key, QUORUM, coordinator).value).toBe('a');
      expect(nodes.filter((node) => cluster.requests(node, 'read') > 0)).toEqual(both.sort((a, b) => a - b));
    }
  });
  it('repairs all replicas behind the answer for a sample of reads', () => {
    const cluster = new Cluster();
    cluster.put(1, 'k', 'new', 20);
    for (let i = 0; i < 400 && cluster.held(3, 'k') !== 'new@20'; i++) cluster.read('k', ONE);
    cluster.world.run(limits.readRepairBehindMs + 50);
    for (const node of [2, 3]) expect(cluster.held(node, 'k')).toBe('new@20');
    expect(cluster.world.node(1).coordinator.metrics.readRepairsBehind).toBeGreaterThan(0);
  });
  it('reaches a quorum of the replicas to come as well while the ring changes', () => {
    const key = 'moving';
    for (const phase of ['copying', 'switching'] as const) {
      const ring = joiningRing(2, phase);
      const [old = [], coming = []] = writeGroups(ring, vnodeOfKey(key));
      const cluster = new Cluster([1, 2, 3, 4], ring);
      // An unfinished write that the present replicas alone have.
      for (const node of old) cluster.put(node, key, 'a', 10);
      const [coordinator = 0] = coming.filter((node) => old.includes(node));
      cluster.down(...coming.filter((node) => node !== coordinator && node !== 4));
      expect(cluster.read(key, QUORUM, coordinator)).toMatchObject({ value: 'a', version: 10 });
      // Of those to come only the new node is left beside this one.
      expect(cluster.held(4, key)).toBe('a@10');
    }
  });
});
