import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { KEYSPACE_PROMISES, versionAt } from '../../src/base/record.ts';
import { hashToken, token, vnodeOf } from '../../src/base/token.ts';
import type { NodeNumber } from '../../src/cluster/contract.ts';
import { replicasOf } from '../../src/cluster/ring-lookup.ts';
import { testSeed } from '../seed.ts';
import type { MemoryDocuments } from './gossip-network.ts';
import { MemoryReplica } from './memory-replica.ts';
import { recordOf, viewOf } from './records.ts';
import { diverge, textOf } from './repair-harness.ts';
import { RepairCluster, ringOf, VNODES } from './repairs-cluster.ts';

const seed = testSeed();
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const held = (cluster: RepairCluster, node: NodeNumber, vnode: number): string[] =>
  textOf(cluster.replica(node)).filter(
    (hex) => vnodeOf(viewOf(Buffer.from(hex, 'hex')).getUint32(8, true), VNODES) === vnode,
  );
const areSame = (cluster: RepairCluster, vnode: number): boolean => {
  const all = replicasOf(cluster.ring, vnode).map((node) => held(cluster, node, vnode).join());
  return all.every((one) => one === all[0]);
};
const versionOf = (hex: string): number => versionAt(viewOf(Buffer.from(hex, 'hex')), 0);
const everyVnode = Array.from({ length: VNODES }, (_, vnode) => vnode);

describe(`the repairs of a node, seed ${seed},`, () => {
  it('make all replicas the same on demand, and raise the horizon by what hints and clocks may delay', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    diverge(cluster.random, [...cluster.replicas.values()], 400, false);
    const repairs = cluster.start(1);
    expect(repairs.request(null)).toBe(VNODES);
    const startMs = cluster.nowMs;
    expect(await cluster.until(() => !repairs.running, 60_000)).toBe(true);
    expect(everyVnode.filter((vnode) => !areSame(cluster, vnode))).toEqual([]);
    for (const vnode of everyVnode) {
      const latest = (cluster.nowMs - 2 * limits.hintAgeMsMax - limits.repairHorizonMarginMs) * 1000;
      const earliest = (startMs - 2 * limits.hintAgeMsMax - limits.repairHorizonMarginMs) * 1000;
      expect(cluster.horizon(1, vnode)).toBeGreaterThanOrEqual(earliest);
      expect(cluster.horizon(1, vnode)).toBeLessThanOrEqual(latest);
    }
    expect(repairs.done).toBe(VNODES);
  });

  it('raise no horizon while a replica is missing, and go on as soon as it is back', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    diverge(cluster.random, [...cluster.replicas.values()], 200, false);
    cluster.down.add(3);
    const repairs = cluster.start(1);
    repairs.request([4]);
    await cluster.advance(4 * limits.repairRetryIntervalMs);
    expect([repairs.waiting, cluster.horizon(1, 4)]).toEqual([1, 0]);
    // Those that are there are the same; and are not compared again and again.
    expect(held(cluster, 1, 4)).toEqual(held(cluster, 2, 4));
    expect(cluster.replica(2).requests.get('tree') ?? 0).toBeLessThan(60);
    cluster.down.delete(3);
    expect(await cluster.until(() => !repairs.running, 3 * limits.repairTickMs)).toBe(true);
    expect(areSame(cluster, 4)).toBe(true);
    expect(cluster.horizon(1, 4)).toBeGreaterThan(0);
  });

  it('raise no horizon while the ring changes', async () => {
    const nodes = [1, 2, 3];
    const { members, owners } = ringOf(nodes);
    const change = { kind: 'reweigh', node: 1, by: 0, phase: 'copying', members, owners } as const;
    const cluster = new RepairCluster(nodes, { change });
    diverge(cluster.random, [...cluster.replicas.values()], 50, false);
    const repairs = cluster.start(1);
    repairs.request([2]);
    expect(await cluster.until(() => !repairs.running, 10_000)).toBe(true);
    expect(areSame(cluster, 2)).toBe(true);
    expect(cluster.horizon(1, 2)).toBe(0);
  });

  it('let nothing be purged while the ring changes, and as much as before when it has changed', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    const repairs = cluster.start(1);
    repairs.request(null);
    expect(await cluster.until(() => !repairs.running, 60_000)).toBe(true);
    const reached = everyVnode.map((vnode) => cluster.horizon(1, vnode));
    expect(Math.min(...reached)).toBeGreaterThan(0);
    const still = cluster.ring;
    const { members, owners } = still;
    for (const phase of ['copying', 'switching'] as const) {
      cluster.ring = { ...still, change: { kind: 'reweigh', node: 1, by: 0, phase, members, owners } };
      repairs.onRing(cluster.ring);
      expect(everyVnode.map((vnode) => cluster.horizon(1, vnode))).toEqual(everyVnode.map(() => 0));
    }
    repairs.onRing(still);
    expect(everyVnode.map((vnode) => cluster.horizon(1, vnode))).toEqual(reached);
  });

  it('let nothing be purged of a node that was alone while another joins it', () => {
    const cluster = new RepairCluster([1]);
    const repairs = cluster.start(1);
    expect(cluster.horizon(1, 5)).toBe(Number.POSITIVE_INFINITY);
    const { members, owners } = ringOf([1, 2]);
    const change = { kind: 'join', node: 2, by: 0, phase: 'copying', members, owners } as const;
    repairs.onRing(ringOf([1], { change }));
    expect(everyVnode.map((vnode) => cluster.horizon(1, vnode))).toEqual(everyVnode.map(() => 0));
  });

  it('remember horizons over a restart, and after a crash none that was not reached', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    const first = cluster.start(1);
    first.request([3]);
    expect(await cluster.until(() => !first.running, 10_000)).toBe(true);
    const reached = cluster.horizon(1, 3);
    expect(reached).toBeGreaterThan(0);
    await cluster.advance(2000);
    // From here on nothing is kept: the node dies first.
    const documents = cluster.documents.get(1) as MemoryDocuments;
    documents.save = () => undefined;
    await cluster.advance(HOUR_MS);
    first.request([3, 4]);
    expect(await cluster.until(() => !first.running, 10_000)).toBe(true);
    expect(cluster.horizon(1, 3)).toBeGreaterThan(reached);
    first.stop();
    cluster.purgeBefore.get(1)?.clear();
    cluster.start(1);
    expect([cluster.horizon(1, 3), cluster.horizon(1, 4), cluster.horizon(1, 5)]).toEqual([reached, 0, 0]);
  });

  it('take no horizon from before the restart that lies in the future', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    cluster.nowMs += 365 * DAY_MS;
    const first = cluster.start(1);
    first.request([3]);
    expect(await cluster.until(() => !first.running, 10_000)).toBe(true);
    await cluster.advance(2000);
    first.stop();
    cluster.nowMs -= 365 * DAY_MS;
    cluster.purgeBefore.get(1)?.clear();
    cluster.start(1);
    const latest = (cluster.nowMs - 2 * limits.hintAgeMsMax - limits.repairHorizonMarginMs) * 1000;
    expect(cluster.horizon(1, 3)).toBe(latest);
  });

  it('remember what waits over a restart', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    cluster.down.add(2);
    const first = cluster.start(1);
    first.mark(7);
    await cluster.advance(2 * limits.repairSaveMs);
    first.stop();
    cluster.down.delete(2);
    diverge(cluster.random, [...cluster.replicas.values()], 100, false);
    const again = cluster.start(1);
    expect(again.waiting).toBe(1);
    expect(await cluster.until(() => !again.running, 10_000)).toBe(true);
    expect(areSame(cluster, 7)).toBe(true);
  });

  it('tell that marks are kept once a save that has them succeeded, and soon', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    cluster.down.add(2);
    const repairs = cluster.start(1);
    await cluster.advance(2 * limits.repairSaveMs);
    const documents = cluster.documents.get(1) as MemoryDocuments;
    const save = documents.save.bind(documents);
    const ends: ((error: Error | null) => void)[] = [];
    documents.save = (name, bytes, done) => {
      ends.push((error) => {
        if (error === null) save(name, bytes, done);
        else done(error);
      });
    };
    let told = 0;
    repairs.mark(7);
    repairs.whenMarksKept(() => told++);
    await cluster.advance(limits.repairTickMs);
    expect(ends).toHaveLength(1);
    // This one comes too late for the save under way.
    repairs.mark(8);
    repairs.whenMarksKept(() => told++);
    ends.shift()?.(new Error('EIO'));
    await cluster.advance(limits.repairTickMs);
    expect([told, ends.length]).toEqual([0, 1]);
    repairs.mark(9);
    repairs.whenMarksKept(() => told++);
    ends.shift()?.(null);
    await cluster.advance(2 * limits.repairTickMs);
    expect([told, ends.length]).toEqual([2, 1]);
    ends.shift()?.(null);
    await cluster.advance(1);
    expect(told).toBe(3);
    repairs.stop();
    expect(cluster.start(1).waiting).toBe(3);
  });

  it('repair again what was marked while it was being repaired', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    const repairs = cluster.start(1);
    repairs.mark(7);
    let marks = 0;
    const { tree } = MemoryReplica.prototype;
    cluster.replica(2).tree = function again(this: MemoryReplica, ...args) {
      if (marks++ === 0) repairs.mark(7);
      return tree.apply(this, args);
    };
    expect(await cluster.until(() => !repairs.running, 10_000)).toBe(true);
    expect(repairs.done).toBe(2);
  });

  it('ask for everything after the node was away longer than hints are kept, and for nothing after a short stop', async () => {
    for (const [awayMs, waiting] of [
      [limits.hintAgeMsMax + 2 * limits.repairAliveMs, VNODES],
      [limits.hintAgeMsMax / 2, 0],
    ] as const) {
      const cluster = new RepairCluster([1, 2, 3]);
      const first = cluster.start(1);
      await cluster.advance(2 * limits.repairAliveMs);
      first.stop();
      cluster.nowMs += awayMs;
      expect(cluster.start(1).waiting).toBe(waiting);
    }
  });

  it('come round once in an interval, also where the node restarts every two hours', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    let done = 0;
    const endMs = cluster.nowMs + 8 * DAY_MS;
    while (cluster.nowMs < endMs) {
      const repairs = cluster.start(1, 7 * DAY_MS);
      await cluster.advance(2 * limits.repairAliveMs);
      done += repairs.done;
      repairs.stop();
      cluster.nowMs += 2 * HOUR_MS;
    }
    expect(done).toBeGreaterThanOrEqual(VNODES);
    expect(done).toBeLessThanOrEqual(2 * VNODES);
  });

  it('repair between others what a node marked that holds no replica of it', async () => {
    const cluster = new RepairCluster([1, 2, 3, 4]);
    const vnode = everyVnode.find((one) => !replicasOf(cluster.ring, one).includes(4)) as number;
    diverge(
      cluster.random,
      [1, 2, 3].map((node) => cluster.replica(node)),
      400,
      false,
    );
    const repairs = cluster.start(4);
    repairs.mark(vnode);
    expect(await cluster.until(() => !repairs.running, 10_000)).toBe(true);
    expect(areSame(cluster, vnode)).toBe(true);
    expect(cluster.replica(4).all()).toEqual([]);
    expect(cluster.horizon(4, vnode)).toBe(0);
  });

  it('count a forgotten deletion that they meet while they pull', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    const key = 'k';
    hashToken(Buffer.from(key));
    const vnode = vnodeOf(token.hi, VNODES);
    const deletedUs = cluster.nowMs * 1000;
    cluster.replica(2).load([recordOf({ key, version: deletedUs - 10, value: 'deleted since' })]);
    cluster.replica(1).load([recordOf({ key, version: deletedUs, tombstone: true })]);
    cluster.nowMs += DAY_MS;
    cluster.replica(1).raiseHorizon(vnode, cluster.nowMs);
    expect(cluster.replica(1).purge()).toBe(1);
    const repairs = cluster.start(1);
    await repairs.pull(vnode, [2, 3]);
    expect(repairs.statistics.resurrections).toBe(1);
    repairs.stop();
  });

  it('pull a vnode from others where one of its replicas is up and cannot be read', async () => {
    for (const broken of [1, 2, 3]) {
      const cluster = new RepairCluster([1, 2, 3, 4]);
      const vnode = everyVnode.find((one) => !replicasOf(cluster.ring, one).includes(4)) as number;
      const sources = [1, 2, 3];
      diverge(
        cluster.random,
        sources.filter((node) => node !== broken).map((node) => cluster.replica(node)),
        100,
        false,
      );
      const repairs = cluster.start(4);
      cluster.down.add(broken);
      const result = await repairs.pull(vnode, sources);
      expect(result.complete, `with ${broken} broken`).toBe(true);
      const ofOthers = sources.flatMap((node) => (node === broken ? [] : held(cluster, node, vnode)));
      const newest = Math.max(...ofOthers.map(versionOf));
      expect(Math.max(...held(cluster, 4, vnode).map(versionOf))).toBe(newest);
      cluster.down.add(2).add(3);
      await expect(repairs.pull(vnode, sources)).rejects.toThrow();
      repairs.stop();
    }
  });

  it('pull below promises where a source is part of every quorum: of two replicas, not of three', async () => {
    for (const replicas of [2, 3]) {
      const copy = recordOf({ key: 'k', version: 10, value: 'x' });
      const vnode = vnodeOf(viewOf(copy).getUint32(8, true), VNODES);
      const owners = Uint16Array.from({ length: VNODES }, (_, one) => (one + VNODES - vnode) % 4);
      const cluster = new RepairCluster([1, 2, 3, 4], { replicas, owners });
      const sources = replicasOf(cluster.ring, vnode).slice(1);
      for (const node of sources) cluster.replica(node).load([copy]);
      cluster.replica(4).load([recordOf({ key: 'k', keyspace: KEYSPACE_PROMISES, version: 20 })]);
      const pulled = cluster.start(4).pull(vnode, sources);
      if (replicas === 2) expect((await pulled).complete).toBe(true);
      else await expect(pulled).rejects.toThrow('nothing to settle');
      expect(held(cluster, 4, vnode).length).toBe(replicas === 2 ? 2 : 1);
    }
  });

  it('end when the node stops, in the middle of a session', async () => {
    const cluster = new RepairCluster([1, 2, 3]);
    diverge(cluster.random, [...cluster.replicas.values()], 400, false);
    const repairs = cluster.start(1);
    repairs.request(null);
    await cluster.advance(limits.repairTickMs - 1);
    repairs.stop();
    await cluster.advance(60_000);
    const counts = [...cluster.replicas.values()].map(({ requests }) => requests.get('tree') ?? 0);
    await cluster.advance(60_000);
    expect([...cluster.replicas.values()].map(({ requests }) => requests.get('tree') ?? 0)).toEqual(counts);
  });
});
