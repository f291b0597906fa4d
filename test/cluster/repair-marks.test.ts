import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import type { NodeNumber } from '../../src/cluster/contract.ts';
import { FEATURES, Feature } from '../../src/cluster/features.ts';
import { RepairBacklog } from '../../src/cluster/repair-backlog.ts';
import { comingReplicasOf } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { checkRingMessage } from '../../src/cluster/ring-message-check.ts';
import { MemoryDocuments } from './gossip-network.ts';
import { RepairCluster, ringOf, VNODES } from './repairs-cluster.ts';

const NODES = [1, 2, 3, 4, 5];
const LEAVER = 5;
const EVERY_VNODE = Array.from({ length: VNODES }, (_, vnode) => vnode);
const { members, owners } = ringOf(NODES.filter((node) => node !== LEAVER));
/** The ring under which LEAVER leaves, and the one after it. */
const LEAVING: Partial<RingMap> = {
  number: 2,
  change: { kind: 'leave', node: LEAVER, by: 0, phase: 'switching', members, owners },
};
const LEFT: Partial<RingMap> = { number: 4, members, owners };
const SETTLED_MS = 3 * limits.repairMarksAnswerMs;

/** The marks of a node as they are on its disk: what a crash leaves. */
function kept(cluster: RepairCluster, node: NodeNumber): number[] {
  const { clock } = cluster;
  const documents = cluster.documents.get(node) ?? new MemoryDocuments();
  return [...new RepairBacklog({ clock, documents, log: () => undefined }, VNODES).vnodes()];
}
const waiting = (cluster: RepairCluster, node: NodeNumber): number =>
  cluster.repairs.get(node)?.waiting ?? -1;

/** LEAVER, which has marked every vnode, and the others. */
function leaving(ring: Partial<RingMap> = LEAVING): RepairCluster {
  const cluster = new RepairCluster(NODES, ring);
  for (const node of NODES) cluster.start(node);
  // Twice, as by two hints of one vnode.
  for (const vnode of [...EVERY_VNODE, ...EVERY_VNODE]) cluster.repairs.get(LEAVER)?.mark(vnode);
  return cluster;
}
/** Each vnode that LEAVER told of, and whom. */
const told = (cluster: RepairCluster): { vnode: number; to: NodeNumber }[] =>
  cluster.sent.flatMap(({ from, to, message }) =>
    from === LEAVER && message.kind === 'repair-marks' ? message.vnodes.map((vnode) => ({ vnode, to })) : [],
  );

describe('vnodes that a node that leaves has marked for repair', () => {
  it('go while one of them is still being repaired, and that one when its repair has ended', async () => {
    const cluster = leaving({});
    let isAsked = false;
    for (const node of [1, 2, 3, 4])
      cluster.replica(node).tree = () => {
        isAsked = true;
      };
    // It says that it builds the tree, for as long as that takes.
    for (const node of [1, 2, 3, 4])
      cluster.replica(node).treeNodes = (_, done) =>
        queueMicrotask(() => done({ status: Status.OVERLOADED, hashes: new Uint8Array(0), message: '' }));
    expect(await cluster.until(() => isAsked, 60_000)).toBe(true);
    cluster.ring = ringOf(NODES, LEAVING);
    for (const repairs of cluster.repairs.values()) repairs.onRing(cluster.ring);
    expect(await cluster.until(() => waiting(cluster, LEAVER) === 1, SETTLED_MS)).toBe(true);
    expect(new Set(told(cluster).map(({ vnode }) => vnode)).size).toBe(VNODES - 1);
    for (const node of [1, 2, 3, 4])
      cluster.replica(node).treeNodes = (_, done) =>
        queueMicrotask(() => done({ status: Status.NOT_FOUND, hashes: new Uint8Array(0), message: '' }));
    expect(await cluster.until(() => waiting(cluster, LEAVER) === 0, 5 * 60_000)).toBe(true);
    expect(new Set(told(cluster).map(({ vnode }) => vnode)).size).toBe(VNODES);
  });

  for (const [when, ring] of [
    ['while it leaves', LEAVING],
    ['when it has left', LEFT],
  ] as const)
    it(`go ${when} to replicas that stay, which keep the marks over a crash before they say so`, async () => {
      const cluster = leaving(ring);
      cluster.down.add(4);
      const answered: number[] = [];
      cluster.arrives = (_, message) => {
        if (message.kind !== 'repair-marks-kept') return true;
        const sender = cluster.sent.at(-1)?.from ?? 0;
        const asked = cluster.sent.find((one) => one.to === sender && one.message.id === message.id);
        const vnodes = asked?.message.kind === 'repair-marks' ? asked.message.vnodes : [];
        expect(kept(cluster, sender)).toEqual(expect.arrayContaining([...vnodes]));
        answered.push(...vnodes);
        return true;
      };
      expect(await cluster.until(() => waiting(cluster, LEAVER) === 0, SETTLED_MS)).toBe(true);
      expect(answered.sort((a, b) => a - b)).toEqual(EVERY_VNODE);
      for (const { vnode, to } of told(cluster)) {
        expect(comingReplicasOf(cluster.ring, vnode)).toContain(to);
        expect(to).not.toBe(4);
      }
      // It repaired nothing itself.
      expect(cluster.repairs.get(LEAVER)?.done).toBe(0);
      expect(cluster.sent.filter(({ from }) => from !== LEAVER).every(({ to }) => to === LEAVER)).toBe(true);
      // And the others see to it.
      cluster.down.clear();
      const staying = NODES.filter((node) => node !== LEAVER);
      expect(await cluster.until(() => staying.every((node) => waiting(cluster, node) === 0), 60_000)).toBe(
        true,
      );
      expect(staying.reduce((sum, node) => sum + (cluster.repairs.get(node)?.done ?? 0), 0)).toBe(VNODES);
    });

  it('go to another member where none of their replicas is up', async () => {
    const cluster = leaving();
    for (const node of comingReplicasOf(cluster.ring, 0)) cluster.down.add(node);
    const [other = 0] = NODES.filter((node) => node !== LEAVER && !cluster.down.has(node));
    expect(await cluster.until(() => waiting(cluster, LEAVER) === 0, SETTLED_MS)).toBe(true);
    expect(told(cluster)).toContainEqual({ vnode: 0, to: other });
  });

  it('go to none whose build knows no marks, and at once to those whose does', async () => {
    const cluster = leaving();
    for (const node of [1, 2, 3]) cluster.features.set(node, FEATURES & ~Feature.REPAIR_MARKS);
    const beganMs = cluster.nowMs;
    expect(await cluster.until(() => waiting(cluster, LEAVER) === 0, SETTLED_MS)).toBe(true);
    expect(new Set(told(cluster).map(({ to }) => to))).toEqual(new Set([4]));
    // Nobody was asked in vain.
    expect(cluster.nowMs - beganMs).toBeLessThan(limits.repairMarksAnswerMs);
  });

  for (const [when, ring] of [
    ['leaves', LEAVING],
    ['has left', LEFT],
  ] as const)
    it(`are repaired by the node that ${when} itself where no other build knows marks`, async () => {
      const cluster = leaving(ring);
      for (const node of [1, 2, 3, 4]) cluster.features.set(node, 0);
      expect(await cluster.until(() => waiting(cluster, LEAVER) === 0, 5 * 60_000)).toBe(true);
      expect(cluster.sent).toEqual([]);
      expect(cluster.repairs.get(LEAVER)?.done).toBe(VNODES);
    });

  it('stay until they are answered, and go to another node where they are not', async () => {
    const cluster = leaving();
    let isDeaf = true;
    cluster.arrives = (to, { kind }) => !(isDeaf && kind === 'repair-marks' && to !== LEAVER);
    await cluster.advance(SETTLED_MS);
    expect(waiting(cluster, LEAVER)).toBe(VNODES);
    for (const vnode of EVERY_VNODE)
      expect(
        new Set(told(cluster).flatMap((one) => (one.vnode === vnode ? one.to : []))).size,
      ).toBeGreaterThan(1);
    isDeaf = false;
    expect(await cluster.until(() => waiting(cluster, LEAVER) === 0, SETTLED_MS)).toBe(true);
  });

  it('are told of again where they are marked again meanwhile', async () => {
    const cluster = leaving();
    let isAgain = false;
    cluster.arrives = (_, message) => {
      if (message.kind === 'repair-marks' && message.vnodes.includes(7) && !isAgain) {
        isAgain = true;
        cluster.repairs.get(LEAVER)?.mark(7);
      }
      return true;
    };
    expect(await cluster.until(() => waiting(cluster, LEAVER) === 0, SETTLED_MS)).toBe(true);
    expect(told(cluster).filter(({ vnode }) => vnode === 7).length).toBe(2);
    expect(told(cluster).filter(({ vnode }) => vnode === 8).length).toBe(1);
  });

  it('do not go by an answer to another message, or of another node', async () => {
    const cluster = leaving();
    cluster.arrives = (_, { kind }) => kind !== 'repair-marks';
    await cluster.advance(2 * limits.repairTickMs);
    const leaver = cluster.repairs.get(LEAVER);
    for (const { to, message } of cluster.sent) {
      leaver?.onMessage(to, { kind: 'repair-marks-kept', id: message.id + 2 });
      leaver?.onMessage((to % 4) + 1, { kind: 'repair-marks-kept', id: message.id });
    }
    expect(waiting(cluster, LEAVER)).toBe(VNODES);
    for (const { to, message } of cluster.sent)
      leaver?.onMessage(to, { kind: 'repair-marks-kept', id: message.id });
    expect(waiting(cluster, LEAVER)).toBe(0);
  });

  it('are taken by no node that does not stay either', async () => {
    const cluster = new RepairCluster(NODES, LEAVING);
    for (const node of NODES) cluster.start(node);
    cluster.repairs.get(LEAVER)?.onMessage(1, { kind: 'repair-marks', id: 1, vnodes: [1, 2] });
    await cluster.advance(SETTLED_MS);
    expect([waiting(cluster, LEAVER), cluster.sent.length]).toEqual([0, 0]);
  });

  it('are not asked for by its schedule any more, and stay with a node that stays', async () => {
    const cluster = new RepairCluster(NODES, LEAVING);
    cluster.start(LEAVER, 1000);
    cluster.start(1).mark(3);
    await cluster.advance(SETTLED_MS);
    expect([waiting(cluster, LEAVER), cluster.sent.length]).toEqual([0, 0]);
    expect(cluster.repairs.get(1)?.done).toBe(1);
  });

  it('come as up to so many whole numbers in one message', () => {
    const message = (vnodes: unknown): unknown => checkRingMessage({ kind: 'repair-marks', id: 1, vnodes });
    expect(message([0, limits.vnodesMax - 1])).toEqual({
      kind: 'repair-marks',
      id: 1,
      vnodes: [0, limits.vnodesMax - 1],
    });
    for (const wrong of [null, [-1], [0.5], ['1'], [limits.vnodesMax]])
      expect(() => message(wrong)).toThrow();
    const most = limits.repairMarksPerMessageMax;
    expect(() => message(new Array(most + 1).fill(1))).toThrow(`vnodes are no array of up to ${most}`);
  });
});
