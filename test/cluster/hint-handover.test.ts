import { describe, expect, it } from 'vitest';
import { defined } from '../../src/base/assert.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Consistency, type NodeNumber } from '../../src/cluster/contract.ts';
import { replicasOf, standIns } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { Cluster, keyOf, vnodeOfKey } from './coordinator-calls.ts';
import { testRing } from './coordinator-world.ts';

const SIX = [1, 2, 3, 4, 5, 6];
const KEY = 'k';
const RING = testRing(SIX);
const [HOME = 0, , TARGET = 0] = replicasOf(RING, vnodeOfKey(KEY));
const [LEAVER = 0, OTHER = 0] = standIns(RING, vnodeOfKey(KEY));
/** Those that stay and are up: TARGET is not. */
const OTHERS = SIX.filter((node) => node !== LEAVER && node !== TARGET);
/** Of the same vnode. */
const OTHER_KEY = defined(
  Array.from({ length: 100 }, (_, i) => `other-${i}`).find((key) => vnodeOfKey(key) === vnodeOfKey(KEY)),
  'a key of the same vnode',
);

/** The ring under which a node leaves; nothing else changes. */
function leaving(node: NodeNumber, phase: 'copying' | 'switching', number = 2): RingMap {
  const rest = SIX.filter((one) => one !== node);
  const after = testRing(rest);
  // Whoever held a vnode holds it still: the place of the one that leaves is taken by the next.
  const owners = RING.owners.map((owner) => {
    const [heir = 0] = [SIX[owner] ?? 0, SIX[(owner + 1) % SIX.length] ?? 0].filter((one) => one !== node);
    return rest.indexOf(heir);
  });
  const { members } = after;
  return testRing(SIX, number, { kind: 'leave', node, by: 0, phase, members, owners });
}
const setRing = (cluster: Cluster, ring: RingMap): void => {
  for (const node of cluster.world.nodes.values()) node.ring = ring;
};
const hintsAt = (cluster: Cluster, node: NodeNumber): number => cluster.world.node(node).replica.hints.length;

/** One acknowledged write, whose hint for TARGET lies on LEAVER. */
function hinted(): Cluster {
  const cluster = new Cluster(SIX, RING);
  cluster.down(TARGET);
  const answer = cluster.write(KEY, 'v', { consistency: Consistency.ALL, sloppy: true }, HOME);
  expect([answer.status, answer.sloppy]).toEqual([Status.OK, true]);
  cluster.world.run(50);
  expect(hintsAt(cluster, LEAVER)).toBe(1);
  return cluster;
}

describe('hints of a node that leaves', () => {
  it('are kept by another node where their target is down, and handed out there when the leaver is gone', () => {
    const cluster = hinted();
    setRing(cluster, leaving(LEAVER, 'copying'));
    cluster.world.run(5000, () => hintsAt(cluster, LEAVER) === 0);
    expect([hintsAt(cluster, LEAVER), hintsAt(cluster, OTHER)]).toEqual([0, 1]);
    expect(cluster.world.node(LEAVER).hintReplay.metrics.hintsHandedOver).toBe(1);
    cluster.world.node(LEAVER).crash();
    cluster.world.cut.clear();
    for (const node of cluster.world.nodes.values()) node.down.delete(TARGET);
    cluster.world.run(5000, () => hintsAt(cluster, OTHER) === 0);
    expect(cluster.held(TARGET, KEY)).toMatch(/^v@/);
  });

  it('go on being handed over when it has left', () => {
    const cluster = hinted();
    const { members, owners } = leaving(LEAVER, 'switching').change ?? RING;
    setRing(cluster, { ...testRing(SIX, 4), members, owners });
    cluster.world.run(5000, () => hintsAt(cluster, LEAVER) === 0);
    expect([hintsAt(cluster, LEAVER), hintsAt(cluster, OTHER)]).toEqual([0, 1]);
  });

  it('stay where no other node takes them in any way, and are tried again', () => {
    const cluster = hinted();
    setRing(cluster, leaving(LEAVER, 'copying'));
    let isFull = true;
    let refusals = 0;
    for (const node of OTHERS)
      cluster.world.node(node).fault = (operation) => {
        if (!isFull) return Status.OK;
        if (operation === 'hint') refusals++;
        return operation === 'hint' || operation === 'write' ? Status.DISK_FULL : Status.OK;
      };
    const { metrics } = cluster.world.node(LEAVER).hintReplay;
    cluster.world.run(60_000, () => metrics.hintBatchesFailed >= 3);
    expect(refusals).toBeGreaterThanOrEqual(9);
    expect(hintsAt(cluster, LEAVER)).toBe(1);
    isFull = false;
    cluster.world.run(60_000, () => hintsAt(cluster, LEAVER) === 0);
    expect([hintsAt(cluster, LEAVER), hintsAt(cluster, OTHER)]).toEqual([0, 1]);
  });

  it('that are older than hints are kept go to no stand-in, which would let them grow older than horizons allow, but to replicas', () => {
    const cluster = hinted();
    const leaver = cluster.world.node(LEAVER);
    // One of the replicas lost it since, or took the write back: it is the only one that the hint could still serve.
    const replicas = replicasOf(RING, vnodeOfKey(KEY)).filter((node) => node !== TARGET);
    const [poor = 0] = replicas.slice(1);
    cluster.world.node(poor).replica.wipe();
    leaver.skewMs = limits.hintAgeMsMax + 60_000;
    setRing(cluster, leaving(LEAVER, 'copying'));
    cluster.world.run(5000, () => hintsAt(cluster, LEAVER) === 0);
    expect(SIX.map((node) => hintsAt(cluster, node))).toEqual([0, 0, 0, 0, 0, 0]);
    for (const node of replicas) expect(cluster.held(node, KEY)).toMatch(/^v@/);
    // The target gets it by repair: its vnode is marked, and the mark was kept before the hint went.
    expect([...leaver.kept]).toEqual([vnodeOfKey(KEY)]);
    const { hintsHandedOver, hintsToReplicas } = leaver.hintReplay.metrics;
    expect([hintsHandedOver, hintsToReplicas]).toEqual([0, 1]);
  });

  it('that no other node has room for go to replicas', () => {
    const cluster = hinted();
    for (const node of OTHERS)
      cluster.world.node(node).fault = (operation) => (operation === 'hint' ? Status.OVERLOADED : Status.OK);
    setRing(cluster, leaving(LEAVER, 'copying'));
    cluster.world.run(5000, () => hintsAt(cluster, LEAVER) === 0);
    expect(hintsAt(cluster, LEAVER)).toBe(0);
    expect([...cluster.world.node(LEAVER).kept]).toEqual([vnodeOfKey(KEY)]);
  });

  it('stay where a quorum could miss them: of three replicas one alone is up', () => {
    const cluster = hinted();
    const [, other = 0] = replicasOf(RING, vnodeOfKey(KEY));
    cluster.down(other);
    cluster.world.node(LEAVER).skewMs = limits.hintAgeMsMax + 60_000;
    setRing(cluster, leaving(LEAVER, 'copying'));
    const { metrics } = cluster.world.node(LEAVER).hintReplay;
    const writes = cluster.requests(HOME, 'write');
    cluster.world.run(60_000, () => metrics.hintBatchesFailed >= 3);
    expect(metrics.hintBatchesFailed).toBe(3);
    expect(hintsAt(cluster, LEAVER)).toBe(1);
    // The one is not asked again and again in vain.
    expect(cluster.requests(HOME, 'write')).toBe(writes);
    cluster.world.heal();
    for (const node of cluster.world.nodes.values()) node.down.add(TARGET);
    cluster.world.run(60_000, () => hintsAt(cluster, LEAVER) === 0);
    expect([hintsAt(cluster, LEAVER), metrics.hintsToReplicas]).toEqual([0, 1]);
  });

  it('say for the sake of whom they stay, and go as soon as one of those is back, however often they were tried', () => {
    const cluster = hinted();
    const [, other = 0] = replicasOf(RING, vnodeOfKey(KEY));
    cluster.down(other);
    cluster.world.node(LEAVER).skewMs = limits.hintAgeMsMax + 60_000;
    setRing(cluster, leaving(LEAVER, 'copying'));
    const { hintReplay } = cluster.world.node(LEAVER);
    const { metrics } = hintReplay;
    // The pause is the longest by now.
    cluster.world.run(300_000, () => metrics.hintBatchesFailed >= 7);
    expect(metrics.hintBatchesFailed).toBe(7);
    expect(hintReplay.block).toEqual({
      vnode: vnodeOfKey(KEY),
      down: expect.arrayContaining([other, TARGET]),
    });
    cluster.world.heal();
    for (const node of cluster.world.nodes.values()) node.down.add(TARGET);
    cluster.world.run(2 * limits.hintReplayTickMs, () => hintsAt(cluster, LEAVER) === 0);
    expect([hintsAt(cluster, LEAVER), metrics.hintBatchesFailed]).toEqual([0, 7]);
    expect(hintReplay.block).toBeNull();
  });

  it('stay where a quorum could miss them: of two replicas that are up one does not take them', () => {
    const cluster = hinted();
    const [, other = 0] = replicasOf(RING, vnodeOfKey(KEY));
    let isFull = true;
    cluster.world.node(other).fault = (operation) =>
      isFull && operation === 'write' ? Status.DISK_FULL : Status.OK;
    cluster.world.node(LEAVER).skewMs = limits.hintAgeMsMax + 60_000;
    setRing(cluster, leaving(LEAVER, 'copying'));
    const { metrics } = cluster.world.node(LEAVER).hintReplay;
    cluster.world.run(60_000, () => metrics.hintBatchesFailed >= 3);
    expect([metrics.hintBatchesFailed, hintsAt(cluster, LEAVER)]).toEqual([3, 1]);
    isFull = false;
    cluster.world.run(60_000, () => hintsAt(cluster, LEAVER) === 0);
    expect([hintsAt(cluster, LEAVER), metrics.hintsToReplicas]).toEqual([0, 1]);
  });

  it('go to others once, also where another one of their part cannot; a mark for one is kept before the part goes', () => {
    const cluster = hinted();
    const leaver = cluster.world.node(LEAVER);
    cluster.write(OTHER_KEY, 'w', { consistency: Consistency.ALL, sloppy: true }, HOME);
    cluster.world.run(50);
    expect(hintsAt(cluster, LEAVER)).toBe(2);
    // Nobody has room for hints, and nobody takes the second one at all.
    let isFull = true;
    const writes = new Map<string, number>();
    for (const node of OTHERS) {
      const { replica } = cluster.world.node(node);
      const write = replica.write.bind(replica);
      cluster.world.node(node).fault = (operation) =>
        isFull && operation === 'hint' ? Status.OVERLOADED : Status.OK;
      replica.write = (request, done) => {
        const key = keyOf(request.record);
        writes.set(key, (writes.get(key) ?? 0) + 1);
        if (isFull && key === OTHER_KEY)
          void cluster.world.schedule.after(0.1, () =>
            done({ status: Status.DISK_FULL, beat: 0, barred: false, newer: null, message: '' }),
          );
        else write(request, done);
      };
    }
    // The disk of the leaver takes its time.
    leaver.marksKeptAfterMs = 3000;
    setRing(cluster, leaving(LEAVER, 'copying'));
    const { metrics } = leaver.hintReplay;
    cluster.world.run(5 * limits.hintReplayRetryMsMax, () => metrics.hintBatchesFailed >= 4);
    expect(metrics.hintBatchesFailed).toBe(4);
    expect([metrics.hintsToReplicas, writes.get(KEY)]).toEqual([1, 2]);
    expect(leaver.kept.size).toBe(0);
    isFull = false;
    cluster.world.run(5 * limits.hintReplayRetryMsMax, () => hintsAt(cluster, LEAVER) === 0);
    expect([hintsAt(cluster, LEAVER), metrics.hintsHandedOver, metrics.hintsToReplicas]).toEqual([0, 1, 1]);
    expect(writes.get(KEY)).toBe(2);
    expect([...leaver.kept]).toEqual([vnodeOfKey(KEY)]);
  });

  it('of a node that stays wait for their target', () => {
    const cluster = hinted();
    setRing(cluster, leaving(OTHER, 'copying'));
    cluster.world.run(5000);
    // It is taken for up, and does not answer.
    cluster.world.node(LEAVER).down.delete(TARGET);
    const failed = (): number => cluster.world.node(LEAVER).hintReplay.metrics.hintBatchesFailed;
    cluster.world.run(2 * limits.behindMs, () => failed() > 0);
    expect([failed(), hintsAt(cluster, LEAVER), hintsAt(cluster, OTHER)]).toEqual([1, 1, 0]);
  });
});

describe('a node that leaves', () => {
  it('stands in last while the change copies, and not at all while it switches', () => {
    const vnode = vnodeOfKey(KEY);
    expect(standIns(leaving(LEAVER, 'copying'), vnode).at(-1)).toBe(LEAVER);
    expect(standIns(leaving(LEAVER, 'copying'), vnode)).toContain(OTHER);
    expect(standIns(leaving(LEAVER, 'switching'), vnode)).not.toContain(LEAVER);
    expect(standIns(leaving(LEAVER, 'switching'), vnode)).toContain(OTHER);
  });

  it('stands in for nobody under the ring before, either', () => {
    const cluster = new Cluster(SIX, RING);
    // Nobody knows yet, so it gets its hint when it has been silent for a while.
    cluster.down(TARGET);
    const node = cluster.world.node(LEAVER);
    node.down.clear();
    let isOver = false;
    cluster.startWrite(KEY, 'v', { consistency: Consistency.ALL, sloppy: true }, LEAVER, () => {
      isOver = true;
    });
    // The write goes on under the ring that it began under.
    node.ring = leaving(LEAVER, 'switching', 3);
    cluster.world.run(2000, () => isOver);
    cluster.world.run(2000);
    expect([hintsAt(cluster, LEAVER), hintsAt(cluster, OTHER)]).toEqual([0, 1]);
  });

  it('keeps a hint that counts for nothing only where nobody else can', () => {
    const three = [1, 2, 3];
    const before = testRing(three);
    const [leaver = 0, target = 0] = replicasOf(before, vnodeOfKey(KEY));
    const members = before.members.filter(({ number }) => number !== leaver);
    const owners = before.owners.map((_, vnode) => vnode % members.length);
    for (const othersRefuse of [false, true]) {
      const ring = testRing(three, 2, {
        kind: 'leave',
        node: leaver,
        by: 0,
        phase: 'switching',
        members,
        owners,
      });
      const cluster = new Cluster(three, ring);
      cluster.down(target);
      if (othersRefuse)
        for (const node of three)
          if (node !== leaver)
            cluster.world.node(node).fault = (operation) =>
              operation === 'hint' ? Status.DISK_FULL : Status.OK;
      cluster.write(KEY, 'v', { consistency: Consistency.ONE }, leaver);
      // Before it would be handed over.
      cluster.world.run(limits.hintReplayTickMs / 2);
      const kept = cluster.world.node(leaver).replica.hints.filter((one) => one.target === target).length;
      expect(kept, `others refuse: ${othersRefuse}`).toBe(othersRefuse ? 1 : 0);
    }
  });
});
