import { describe, expect, it } from 'vitest';
import { KEYSPACE_OUTCOMES, tokenHiAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { vnodeOf } from '../../src/base/token.ts';
import { Consistency } from '../../src/cluster/contract.ts';
import { versionOf } from '../../src/cluster/coordinator-records.ts';
import { writeGroups } from '../../src/cluster/ring-lookup.ts';
import { Cluster, vnodeOfKey } from './coordinator-calls.ts';
import { testRing, VNODES } from './coordinator-world.ts';
import { viewOf } from './records.ts';

const FIVE = [1, 2, 3, 4, 5];
const vnodeOfRecord = (record: Uint8Array): number => vnodeOf(tokenHiAt(viewOf(record), 0), VNODES);
const hintsLeft = (cluster: Cluster): number =>
  [...cluster.world.nodes.values()].reduce((sum, { replica }) => sum + replica.hints.length, 0);

describe('hints', () => {
  it('are handed back when their target returns, and then discarded', () => {
    const cluster = new Cluster();
    cluster.down(3);
    const versions = Array.from({ length: 30 }, (_, i) => cluster.write(`k${i}`, `v${i}`).version);
    cluster.world.run(5000);
    expect(hintsLeft(cluster)).toBe(30);
    cluster.world.heal();
    cluster.world.run(5000, () => hintsLeft(cluster) === 0);
    for (const [i, version] of versions.entries()) expect(cluster.held(3, `k${i}`)).toBe(`v${i}@${version}`);
    expect(hintsLeft(cluster)).toBe(0);
    expect(cluster.world.node(1).hintReplay.metrics.hintsReplayed).toBe(30);
  });
  it('bring the outcomes of SERIAL writes with them', () => {
    const cluster = new Cluster();
    cluster.down(3);
    const { version } = cluster.write('k', 'a', {
      consistency: Consistency.SERIAL,
      idempotencyKey: Buffer.from('i'),
    });
    cluster.world.run(50);
    cluster.world.heal();
    cluster.world.run(5000, () => hintsLeft(cluster) === 0);
    const outcomes = cluster.heldRecord(3, 'k', KEYSPACE_OUTCOMES);
    expect(outcomes === null ? 0 : versionOf(outcomes)).toBe(version);
  });
  it('stay until all of a batch was taken', () => {
    const cluster = new Cluster();
    cluster.down(3);
    for (let i = 0; i < 5; i++) cluster.write(`k${i}`, 'a');
    cluster.world.run(50);
    cluster.world.heal();
    let refusals = 3;
    cluster.world.node(3).fault = (operation) =>
      operation === 'write' && refusals-- > 0 ? Status.OVERLOADED : Status.OK;
    cluster.world.run(1500);
    expect(hintsLeft(cluster)).toBe(5);
    expect(cluster.world.node(1).hintReplay.metrics.hintBatchesFailed).toBe(1);
    cluster.world.run(20_000, () => hintsLeft(cluster) === 0);
    for (let i = 0; i < 5; i++) expect(cluster.held(3, `k${i}`)).toMatch(/^a@/);
  });
  it('are settled by SERIAL where a promise bars them', () => {
    const cluster = new Cluster();
    cluster.down(3);
    const { version } = cluster.write('k', 'a');
    cluster.world.run(50);
    cluster.put(3, 'k', '', version + 1_000_000, 9, 2);
    cluster.world.heal();
    cluster.world.run(5000, () => hintsLeft(cluster) === 0);
    expect(hintsLeft(cluster)).toBe(0);
    expect(cluster.world.node(1).hintReplay.metrics.hintsSettled).toBe(1);
    expect(cluster.read('k', Consistency.SERIAL, 3).value).toBe('a');
  });
  it('go to the present replicas where their target left the ring', () => {
    const ring = testRing(FIVE);
    const [a = 0, b = 0, c = 0] = writeGroups(ring, vnodeOfKey('k'))[0] ?? [];
    const cluster = new Cluster(FIVE, ring);
    cluster.down(c);
    expect(cluster.write('k', 'a', {}, a).status).toBe(Status.OK);
    cluster.world.run(50);
    expect(hintsLeft(cluster)).toBe(1);
    const left = testRing(
      FIVE.filter((node) => node !== c),
      2,
    );
    for (const node of cluster.world.nodes.values()) node.ring = left;
    cluster.world.run(5000, () => hintsLeft(cluster) === 0);
    cluster.world.run(50);
    expect(hintsLeft(cluster)).toBe(0);
    for (const node of writeGroups(left, vnodeOfKey('k'))[0] ?? [])
      expect(cluster.held(node, 'k')).toMatch(/^a@/);
    expect([a, b].length).toBe(2);
  });
  it('that expired mark their own vnodes, and go when the marks are kept', () => {
    const ring = testRing(FIVE);
    const cluster = new Cluster(FIVE, ring);
    const node = cluster.world.node(1);
    const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
    cluster.down(3);
    for (const key of keys) cluster.write(key, 'a');
    cluster.world.run(50);
    const hinted = new Set(node.replica.hints.map(({ write }) => vnodeOfRecord(write.record)));
    const count = node.replica.hints.length;
    expect(count).toBeGreaterThan(0);
    node.marksKeptAfterMs = 3000;
    node.hints.isTooOld = true;
    cluster.world.run(2500);
    expect([...node.marked].sort()).toEqual([...hinted].sort());
    expect(node.hintReplay.metrics.hintsExpired).toBe(count);
    expect(node.replica.hints).toHaveLength(count);
    cluster.world.run(3000);
    expect(node.replica.hints).toHaveLength(0);
    expect([...node.kept].sort()).toEqual([...hinted].sort());
  });
  it('that expired are told again after a crash before the marks were kept', () => {
    const cluster = new Cluster();
    const node = cluster.world.node(1);
    cluster.down(3);
    cluster.write('k', 'a');
    cluster.world.run(50);
    node.marksKeptAfterMs = 60_000;
    node.hints.isTooOld = true;
    cluster.world.run(2500);
    node.crash();
    node.marked.clear();
    node.marksKeptAfterMs = 2;
    node.restart();
    cluster.world.run(2500);
    expect([...node.kept]).toEqual([vnodeOfKey('k')]);
    expect(node.replica.hints).toHaveLength(0);
  });
});
