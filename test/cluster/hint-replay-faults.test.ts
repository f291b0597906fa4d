import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { keyAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import type { NodeNumber, ReplicaWrite, WriteAnswer } from '../../src/cluster/contract.ts';
import type { CoordinatorOptions } from '../../src/cluster/coordinator-core.ts';
import { HintReplay, type HintsLeft } from '../../src/cluster/hint-replay.ts';
import { writeGroups } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { Cluster, vnodeOfKey } from './coordinator-calls.ts';
import { type TestNode, testMember, testRing, VNODES } from './coordinator-world.ts';
import { viewOf } from './records.ts';

const THREE = [1, 2, 3];
const FIVE = [1, 2, 3, 4, 5];
const KEYS = Array.from({ length: 30 }, (_, i) => `k${i}`);
const ALL_VNODES = Array.from({ length: VNODES }, (_, vnode) => vnode);

const hintsLeft = (cluster: Cluster): number =>
  [...cluster.world.nodes.values()].reduce((sum, { replica }) => sum + replica.hints.length, 0);
const sorted = (numbers: Iterable<number>): number[] => [...numbers].sort((a, b) => a - b);

/** Three nodes, of which 3 was away while keys were written at 1; it is back now. */
function afterAnAbsence(keys = KEYS): { cluster: Cluster; node: TestNode } {
  const cluster = new Cluster(THREE);
  cluster.down(3);
  for (const key of keys) expect(cluster.write(key, 'a').status).toBe(Status.OK);
  cluster.world.run(50);
  expect(hintsLeft(cluster)).toBe(keys.length);
  cluster.world.heal();
  return { cluster, node: cluster.world.node(1) };
}
/** Writes to a node are answered with this status, where it is not OK, and then not made. */
function refuse({ replica, world }: TestNode, statusOf: (key: string) => number): void {
  const write = replica.write.bind(replica);
  replica.write = (request: ReplicaWrite, done: (answer: WriteAnswer) => void): void => {
    const status = statusOf(Buffer.from(keyAt(viewOf(request.record), request.record, 0)).toString());
    if (status === Status.OK) write(request, done);
    else
      world.schedule.after(0.1, () =>
        done({ status, beat: 0, barred: false, newer: null, message: 'as told' }),
      );
  };
}
const without = (ring: RingMap, node: NodeNumber): RingMap =>
  testRing(
    ring.members.map(({ number }) => number).filter((number) => number !== node),
    ring.number + 1,
  );

describe('hints that a target refuses', () => {
  it('hold back neither the others of their part nor the parts behind', () => {
    const { cluster, node } = afterAnAbsence();
    let isBroken = true;
    refuse(cluster.world.node(3), (key) => (key === 'k0' && isBroken ? Status.SHARD_DOWN : Status.OK));
    cluster.world.run(60_000);
    for (const key of KEYS) expect(cluster.held(3, key) !== '', key).toBe(key !== 'k0');
    expect(hintsLeft(cluster)).toBe(8);
    expect(node.hintReplay.metrics.hintBatchesFailed).toBeGreaterThan(1);
    isBroken = false;
    cluster.world.run(limits.hintReplayRetryMsMax + 2000, () => hintsLeft(cluster) === 0);
    expect(cluster.held(3, 'k0')).toMatch(/^a@/);
    expect(hintsLeft(cluster)).toBe(0);
    expect([...node.marked]).toEqual([]);
  });

  it('leave the rest of a long part to be tried', () => {
    const { cluster, node } = afterAnAbsence();
    node.hints.partHints = KEYS.length;
    refuse(cluster.world.node(3), (key) => (key === 'k0' ? Status.SHARD_DOWN : Status.OK));
    cluster.world.run(20_000, () => node.hintReplay.metrics.hintBatchesFailed > 0);
    for (const key of KEYS) expect(cluster.held(3, key) !== '', key).toBe(key !== 'k0');
    expect(KEYS.length).toBeGreaterThan(limits.hintReplayInFlightMax);
  });

  it('are not all tried where so many fail', () => {
    const { hintReplayFailuresMax, hintReplayInFlightMax } = limits;
    const keys = Array.from({ length: 100 }, (_, i) => `key ${i}`);
    const { cluster, node } = afterAnAbsence(keys);
    node.hints.partHints = keys.length;
    let asked = 0;
    refuse(cluster.world.node(3), () => {
      asked++;
      return Status.SHARD_DOWN;
    });
    cluster.world.run(20_000, () => node.hintReplay.metrics.hintBatchesFailed > 0);
    expect(asked).toBeGreaterThanOrEqual(hintReplayFailuresMax);
    expect(asked).toBeLessThan(hintReplayFailuresMax + hintReplayInFlightMax);
  });

  it('are asked less and less often of one that refuses them all', () => {
    const { cluster } = afterAnAbsence();
    refuse(cluster.world.node(3), () => Status.OVERLOADED);
    const asked = (): number => cluster.world.node(1).hintReplay.metrics.hintBatchesFailed;
    cluster.world.run(5 * 60_000);
    const early = asked();
    cluster.world.run(5 * 60_000);
    expect(early).toBeGreaterThan(5);
    expect(asked() - early).toBeLessThanOrEqual((5 * 60_000) / limits.hintReplayRetryMsMax + 1);
    expect(hintsLeft(cluster)).toBe(KEYS.length);
  });

  it('for good mark their vnodes, and go when the marks are kept', () => {
    const { cluster, node } = afterAnAbsence();
    node.marksKeptAfterMs = 4000;
    refuse(cluster.world.node(3), (key) => (key === 'k0' ? Status.BAD_REQUEST : Status.OK));
    cluster.world.run(3000);
    expect([...node.marked]).toEqual([vnodeOfKey('k0')]);
    expect(node.hintReplay.metrics.hintsRefused).toBe(1);
    expect(hintsLeft(cluster)).toBe(KEYS.length);
    cluster.world.run(20_000, () => hintsLeft(cluster) === 0);
    expect(hintsLeft(cluster)).toBe(0);
    expect([...node.kept]).toEqual([vnodeOfKey('k0')]);
  });
});

describe('hints that are damaged', () => {
  it('mark all vnodes of their target, once, and those that can be read are delivered', () => {
    const { cluster, node } = afterAnAbsence();
    node.marksKeptAfterMs = 3000;
    node.hints.bytesDamaged = 99;
    let refusals = 20;
    refuse(cluster.world.node(3), () => (refusals-- > 0 ? Status.OVERLOADED : Status.OK));
    cluster.world.run(1100);
    expect(sorted(node.marked)).toEqual(ALL_VNODES);
    expect(node.hintReplay.metrics.hintBytesDamaged).toBe(99);
    // It failed, and comes again.
    node.marked.clear();
    cluster.world.run(60_000, () => hintsLeft(cluster) === 0);
    expect(hintsLeft(cluster)).toBe(0);
    expect([...node.marked]).toEqual([]);
    expect(node.hintReplay.metrics.hintBytesDamaged).toBe(99);
    for (const key of KEYS) expect(cluster.held(3, key)).toMatch(/^a@/);
  });

  it('stay until the marks are kept', () => {
    const { cluster, node } = afterAnAbsence();
    node.marksKeptAfterMs = 5000;
    node.hints.bytesDamaged = 99;
    cluster.world.run(4000);
    expect(node.replica.hints).toHaveLength(KEYS.length);
    expect(node.hints.discarded).toEqual([]);
    cluster.world.run(10_000, () => hintsLeft(cluster) === 0);
    expect(sorted(node.kept)).toEqual(ALL_VNODES);
    expect(hintsLeft(cluster)).toBe(0);
  });

  it('of a node that left mark every vnode: nobody knows which it had', () => {
    const ring = testRing(FIVE);
    const [, , gone = 0] = writeGroups(ring, vnodeOfKey('k'))[0] ?? [];
    const cluster = new Cluster(FIVE, ring);
    cluster.down(gone);
    const [at = 0] = FIVE.filter((node) => node !== gone);
    cluster.write('k', 'a', {}, at);
    cluster.world.run(50);
    const holder = [...cluster.world.nodes.values()].find(
      ({ replica }) => replica.hints.length > 0,
    ) as TestNode;
    for (const node of cluster.world.nodes.values()) node.ring = without(ring, gone);
    holder.hints.bytesDamaged = 5;
    cluster.world.run(5000, () => hintsLeft(cluster) === 0);
    expect(sorted(holder.kept)).toEqual(ALL_VNODES);
    expect(hintsLeft(cluster)).toBe(0);
  });

  it('so that a file cannot be read at all are tried again, less and less often, and hold no tick up', () => {
    const { cluster, node } = afterAnAbsence();
    for (let i = 0; i < 3; i++) node.hints.failures.push(new Error('EIO'));
    cluster.world.run(60_000, () => hintsLeft(cluster) === 0);
    expect(node.hints.failures).toEqual([]);
    expect(hintsLeft(cluster)).toBe(0);
  });
});

describe('hints for a node that is no member any more', () => {
  /** One hint for a node that left, at a node that keeps it; the ring without it, and who has the vnode now. */
  function afterALeave(): {
    cluster: Cluster;
    holder: TestNode;
    present: readonly NodeNumber[];
    vnode: number;
  } {
    const ring = testRing(FIVE);
    const vnode = vnodeOfKey('k');
    const [first = 0, , gone = 0] = writeGroups(ring, vnode)[0] ?? [];
    const cluster = new Cluster(FIVE, ring);
    cluster.down(gone);
    expect(cluster.write('k', 'a', {}, first).status).toBe(Status.OK);
    cluster.world.run(50);
    const holder = [...cluster.world.nodes.values()].find(
      ({ replica }) => replica.hints.length > 0,
    ) as TestNode;
    const left = without(ring, gone);
    for (const node of cluster.world.nodes.values()) node.ring = left;
    return { cluster, holder, present: writeGroups(left, vnode)[0] ?? [], vnode };
  }

  it('go when a quorum of the present replicas has them, and mark the vnode where one does not', () => {
    const { cluster, holder, present, vnode } = afterALeave();
    const away = present.find((node) => node !== holder.number) ?? 0;
    refuse(cluster.world.node(away), () => Status.UNAVAILABLE);
    cluster.world.run(10_000, () => hintsLeft(cluster) === 0);
    expect(hintsLeft(cluster)).toBe(0);
    expect([...holder.kept]).toEqual([vnode]);
    for (const node of present) if (node !== away) expect(cluster.held(node, 'k')).toMatch(/^a@/);
  });

  it('stay without such a quorum, and expire with a mark', () => {
    const { cluster, holder, present, vnode } = afterALeave();
    for (const node of present.slice(0, 2)) refuse(cluster.world.node(node), () => Status.UNAVAILABLE);
    cluster.world.run(120_000);
    expect(hintsLeft(cluster)).toBe(1);
    expect(holder.hints.discarded).toEqual([]);
    holder.hints.isTooOld = true;
    cluster.world.run(5000, () => hintsLeft(cluster) === 0);
    expect(hintsLeft(cluster)).toBe(0);
    expect(holder.kept.has(vnode)).toBe(true);
  });

  it('go to the node that replaced it', () => {
    const ring = testRing(THREE);
    const cluster = new Cluster([...THREE, 4], ring);
    cluster.down(3);
    for (const key of KEYS) cluster.write(key, 'a');
    cluster.world.run(50);
    const replaced: RingMap = {
      ...ring,
      number: 2,
      members: ring.members.map((member) => (member.number === 3 ? testMember(4) : member)),
    };
    for (const node of cluster.world.nodes.values()) node.ring = replaced;
    cluster.world.run(20_000, () => hintsLeft(cluster) === 0);
    for (const key of KEYS) expect(cluster.held(4, key)).toMatch(/^a@/);
    expect(hintsLeft(cluster)).toBe(0);
    expect([...cluster.world.node(1).marked]).toEqual([]);
  });
});

describe('hints for a vnode that moves', () => {
  it('go to those that are to have it as well: they may have pulled it already', () => {
    const ring = testRing([1, 2, 3, 4]);
    const moving: RingMap = {
      ...ring,
      number: 2,
      change: {
        kind: 'leave',
        node: 3,
        by: 0,
        phase: 'copying',
        members: [1, 2, 4].map(testMember),
        owners: Uint16Array.from({ length: VNODES }, (_, vnode) => vnode % 3),
      } as NonNullable<RingMap['change']>,
    };
    const cluster = new Cluster([1, 2, 3, 4], ring);
    const moved = KEYS.filter((key) => {
      const [old = [], next = []] = writeGroups(moving, vnodeOfKey(key));
      return old.includes(3) && next.length > 0;
    });
    expect(moved.length).toBeGreaterThan(3);
    cluster.down(3);
    for (const key of moved) cluster.write(key, 'a', {}, 1);
    cluster.world.run(50);
    expect(hintsLeft(cluster)).toBe(moved.length);
    for (const node of cluster.world.nodes.values()) {
      node.ring = moving;
      node.replica.wipe();
    }
    cluster.world.heal();
    cluster.world.run(20_000, () => hintsLeft(cluster) === 0);
    expect(hintsLeft(cluster)).toBe(0);
    for (const key of moved)
      for (const node of new Set(writeGroups(moving, vnodeOfKey(key)).flat()))
        expect(cluster.held(node, key), `${key} at ${node}`).toMatch(/^a@/);
  });
});

describe('handing hints back', () => {
  it('keeps to one rate for all targets together', () => {
    const cluster = new Cluster(FIVE);
    cluster.down(3);
    cluster.down(4);
    const value = 'v'.repeat(64 * 1024);
    let bytes = 0;
    for (let i = 0; i < 400; i++) cluster.write(`k${i}`, value, { sloppy: true }, 1);
    cluster.world.run(100);
    const node = cluster.world.node(1);
    for (const { write } of node.replica.hints) bytes += write.record.length;
    const seconds = bytes / limits.hintReplayBytesPerSecond;
    expect(node.hints.targets().size).toBe(2);
    expect(seconds).toBeGreaterThan(1.5);
    cluster.world.heal();
    const { metrics } = node.hintReplay;
    cluster.world.run(5000, () => metrics.hintBytesReplayed > 0);
    // A part of each target may be ahead of the rate.
    const ahead = 2 * 8 * (value.length + 200);
    for (let ms = 100; ms < 60_000 && node.replica.hints.length > 0; ms += 100) {
      cluster.world.run(100);
      const allowed = ms * (limits.hintReplayBytesPerSecond / 1000) + ahead;
      expect(metrics.hintBytesReplayed, `after ${ms} ms`).toBeLessThanOrEqual(allowed);
    }
    expect(node.replica.hints).toEqual([]);
    expect(metrics.hintBytesReplayed).toBe(bytes);
  });

  it('stops with the node, and begins again with it', () => {
    const { cluster, node } = afterAnAbsence();
    node.hintReplay.start();
    const { metrics } = node.hintReplay;
    cluster.world.run(5000, () => metrics.hintsReplayed > 0);
    node.hintReplay.stop();
    cluster.world.run(limits.behindMs);
    const { hintsReplayed } = metrics;
    cluster.world.run(20_000);
    expect(metrics.hintsReplayed).toBe(hintsReplayed);
    expect(hintsLeft(cluster)).toBeGreaterThan(0);
    node.crash();
    node.restart();
    cluster.world.run(20_000, () => hintsLeft(cluster) === 0);
    expect(hintsLeft(cluster)).toBe(0);
  });
});

describe('waiting until hints are handed out', () => {
  it('ends when none is left for nodes that are there, and tells of the others', () => {
    const cluster = new Cluster(FIVE);
    cluster.down(3);
    cluster.down(4);
    for (const key of KEYS) cluster.write(key, 'a', { sloppy: true }, 1);
    cluster.world.run(50);
    const node = cluster.world.node(1);
    cluster.world.heal();
    node.down.add(4);
    const bytesOf4 = node.hints.targets().get(4) ?? 0;
    expect(bytesOf4).toBeGreaterThan(0);
    expect(node.hints.targets().get(3)).toBeGreaterThan(0);
    let left: readonly HintsLeft[] | null = null;
    node.hintReplay.whenHandedOut(60_000, (some) => {
      left = some;
    });
    expect(left).toBeNull();
    cluster.world.run(30_000, () => left !== null);
    expect(left).toEqual([{ target: 4, bytes: bytesOf4, isDeliverable: false }]);
  });

  it('ends after its time, or with the node', () => {
    for (const way of ['time', 'stop']) {
      const { cluster, node } = afterAnAbsence();
      refuse(cluster.world.node(3), () => Status.OVERLOADED);
      let left = -1;
      node.hintReplay.whenHandedOut(5000, (some) => {
        left = some.filter(({ isDeliverable }) => isDeliverable).length;
      });
      cluster.world.run(4000);
      expect(left, way).toBe(-1);
      if (way === 'stop') node.hintReplay.stop();
      else cluster.world.run(2001);
      expect(left, way).toBe(1);
    }
  });

  it('ends at once where the node has not found its ring', () => {
    const { cluster, node } = afterAnAbsence();
    const { schedule } = cluster.world;
    const view = {
      self: 1,
      isUp: () => false,
      get ring(): never {
        throw new UnavailableError('no ring yet');
      },
    };
    const world = {
      clock: node.clock,
      timers: { after: (ms: number, run: () => void) => schedule.after(ms, run) },
    };
    const replay = new HintReplay(
      { world, view } as unknown as CoordinatorOptions,
      node.coordinator,
      node.hints,
    );
    let left: readonly HintsLeft[] = [];
    replay.whenHandedOut(60_000, (some) => {
      left = some;
    });
    expect(left).toEqual([]);
    cluster.world.run(2);
    expect(left).toMatchObject([{ target: 3, isDeliverable: true }]);
  });
});
