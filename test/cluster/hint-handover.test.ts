import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Consistency, type NodeNumber } from '../../src/cluster/contract.ts';
import { replicasOf, standIns } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { Cluster, vnodeOfKey } from './coordinator-calls.ts';
import { testRing } from './coordinator-world.ts';

const SIX = [1, 2, 3, 4, 5, 6];
const KEY = 'k';
const RING = testRing(SIX);
const [HOME = 0, , TARGET = 0] = replicasOf(RING, vnodeOfKey(KEY));
const [LEAVER = 0, OTHER = 0] = standIns(RING, vnodeOfKey(KEY));

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

  it('stay where no other node takes them, and are tried again', () => {
    const cluster = hinted();
    setRing(cluster, leaving(LEAVER, 'copying'));
    let refusals = 0;
    for (const node of SIX.filter((one) => one !== LEAVER && one !== TARGET))
      cluster.world.node(node).fault = (operation) => {
        if (operation !== 'hint' || refusals >= 6) return Status.OK;
        refusals++;
        return Status.DISK_FULL;
      };
    cluster.world.run(2000, () => refusals === 3);
    cluster.world.run(10);
    expect([refusals, hintsAt(cluster, LEAVER)]).toEqual([3, 1]);
    cluster.world.run(60_000, () => hintsAt(cluster, LEAVER) === 0);
    expect([hintsAt(cluster, LEAVER), hintsAt(cluster, OTHER)]).toEqual([0, 1]);
  });

  it('are given to nobody when they are older than hints are kept: they would grow older than horizons allow', () => {
    const cluster = hinted();
    cluster.world.node(LEAVER).skewMs = limits.hintAgeMsMax + 60_000;
    setRing(cluster, leaving(LEAVER, 'copying'));
    cluster.world.run(5000);
    const all = SIX.map((node) => hintsAt(cluster, node));
    expect(all.reduce((sum, one) => sum + one, 0)).toBe(1);
    expect(hintsAt(cluster, LEAVER)).toBe(1);
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
