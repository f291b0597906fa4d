import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import type { Documents, LocalReplica } from '../../src/cluster/contract.ts';
import { Repairs } from '../../src/cluster/repairs.ts';
import { replicasOf } from '../../src/cluster/ring-lookup.ts';
import { clockOf } from '../base/clocks.ts';
import { testSeed } from '../seed.ts';
import { EventQueue, NO_NETWORK, timersOf } from './event-queue.ts';
import { MemoryDocuments } from './gossip-network.ts';
import { MemoryReplica } from './memory-replica.ts';
import { GRACE_MS, START_MS } from './repair-harness.ts';
import { RepairCluster } from './repairs-cluster.ts';
import { ringOf } from './ring-fixtures.ts';

const seed = testSeed();
const VNODES = 4;
const DAY_MS = 24 * 3_600_000;

/** Node 1 of two, with a clock that can be set and a disk that can fail. */
class World {
  monotonicMs = 0;
  /** What the clock on the wall shows more than the one that is never set. */
  wallMs = START_MS;
  failing = new Set<string>();
  readonly queue = new EventQueue();
  readonly saved: string[] = [];
  readonly repairs: Repairs;

  constructor(intervalMs: number) {
    const nowMs = (): number => this.wallMs + this.monotonicMs;
    const clock = clockOf(nowMs, () => this.monotonicMs);
    const [own, other] = [1, 2].map(() => new MemoryReplica({ clock, vnodes: VNODES, gcGraceMs: GRACE_MS }));
    const kept = new MemoryDocuments();
    const documents: Documents = {
      load: (name) => kept.load(name),
      save: (name, bytes, done) => {
        if (this.failing.has(name)) queueMicrotask(() => done(new Error('no space')));
        else kept.save(name, bytes, done);
        if (!this.failing.has(name)) this.saved.push(name);
      },
    };
    const ring = ringOf(2, VNODES);
    const options = {
      world: {
        self: 1,
        clock,
        random: new Random(seed),
        documents,
        timers: timersOf(this.queue, () => this.monotonicMs),
        network: NO_NETWORK,
        log: () => undefined,
      },
      local: Object.assign(own as MemoryReplica, {
        setPurgeBefore: () => undefined,
        resurrections: 0,
      }) as LocalReplica,
      replica: () => other as MemoryReplica,
      isUp: () => true,
      ring: () => ring,
      send: () => undefined,
      settle: () => Promise.reject(new Error('nothing to settle')),
      intervalMs,
    };
    this.repairs = new Repairs(options);
    this.repairs.onRing(ring);
    this.repairs.start();
  }

  async advance(ms: number): Promise<void> {
    const endMs = this.monotonicMs + ms;
    for (let dueMs = this.queue.nextMs; dueMs <= endMs; dueMs = this.queue.nextMs) {
      this.monotonicMs = Math.max(this.monotonicMs, dueMs);
      this.queue.runNext();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.monotonicMs = endMs;
  }
}

describe(`repairs (seed ${seed})`, () => {
  it('come round once in an interval, also after the clock was set back by a month', async () => {
    const intervalMs = 600_000;
    const world = new World(intervalMs);
    await world.advance(2 * intervalMs);
    expect(world.repairs.done).toBeGreaterThan(0);
    world.wallMs -= 30 * DAY_MS;
    const before = world.repairs.lastEndMs;
    await world.advance(2 * intervalMs);
    expect(world.repairs.lastEndMs).not.toBe(before);
  });

  it('keep their horizons in the end, where the disk failed for a while after the last of them', async () => {
    const world = new World(0);
    world.failing.add('horizons');
    world.repairs.request(null);
    await world.advance(60_000);
    expect(world.repairs.waiting).toBe(0);
    expect(world.saved).not.toContain('horizons');
    world.failing.delete('horizons');
    await world.advance(limits.repairSaveMs);
    expect(world.saved.filter((name) => name === 'horizons')).toHaveLength(1);
    await world.advance(60_000);
    expect(world.saved.filter((name) => name === 'horizons')).toHaveLength(1);
  });

  it('of vnodes that one replica cannot be compared for hold up no others', async () => {
    const cluster = new RepairCluster([1, 2, 3, 4]);
    // It is up, and a request for a tree is lost each time.
    cluster.replica(2).tree = () => undefined;
    const repairs = cluster.start(1);
    const held = Array.from({ length: cluster.ring.vnodes }, (_, vnode) => replicasOf(cluster.ring, vnode));
    const own = held.filter((nodes) => nodes.includes(1));
    const stuck = own.filter((nodes) => nodes.includes(2));
    expect(stuck.length).toBeGreaterThan(0);
    expect(stuck.length).toBeLessThan(own.length);
    expect(repairs.request(null)).toBe(own.length);
    const lookMs = limits.repairTreeMissesMax * limits.repairTreeLookMs;
    const isRest = (): boolean => repairs.waiting === stuck.length;
    expect(await cluster.until(isRest, own.length * (lookMs + 5000))).toBe(true);
    expect(cluster.log.join()).toMatch('did not say that it does: no such session');
  });
});
