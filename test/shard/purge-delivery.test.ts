import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import type { HintStore } from '../../src/cluster/contract.ts';
import { Op } from '../../src/shard/contract.ts';
import { type Horizon, PurgeDelivery } from '../../src/shard/purge-delivery.ts';
import { RingReplica } from '../../src/shard/ring-replica.ts';
import { ManualTimers } from '../cluster/manual-timers.ts';
import { testSeed } from '../seed.ts';
import { Harness, type HarnessOptions, until } from './harness.ts';

const seed = testSeed();
const VNODES = 16;

interface Sent {
  readonly shard: number;
  readonly horizons: readonly Horizon[];
  readonly done: (taken: boolean) => void;
}

/** Shards that remember what they took, and answer when the test says so. */
class Shards {
  readonly timers = new ManualTimers();
  readonly vnodes: number;
  readonly shards: number;
  readonly delivery: PurgeDelivery;
  readonly took: Map<number, number>[];
  readonly underWay: Sent[] = [];
  sent = 0;

  constructor(vnodes: number, shards: number) {
    this.vnodes = vnodes;
    this.shards = shards;
    this.took = Array.from({ length: shards }, () => new Map());
    this.delivery = new PurgeDelivery(vnodes, shards, this.timers, (shard, horizons, done) => {
      this.sent++;
      expect(this.underWay.some((one) => one.shard === shard)).toBe(false);
      expect(horizons.length).toBeLessThanOrEqual(limits.purgeHorizonsPerRequestMax);
      expect(horizons.every(({ vnode }) => vnode % shards === shard)).toBe(true);
      this.underWay.push({ shard, horizons, done });
    });
  }
  /** `isTaken`: the shard does what it is told; `isHeard`: and is heard. */
  answer(at: number, isTaken: boolean, isHeard: boolean): void {
    const [{ shard, horizons, done }] = this.underWay.splice(at, 1) as [Sent];
    if (isTaken) for (const { vnode, version } of horizons) this.took[shard]?.set(vnode, version);
    done(isTaken && isHeard);
  }
  restart(shard: number): void {
    const at = this.underWay.findIndex((one) => one.shard === shard);
    // The client fails what was under way before the new shard is there, or the answer comes too late.
    if (at >= 0) this.underWay.splice(at, 1)[0]?.done(false);
    this.took[shard]?.clear();
    this.delivery.attached(shard);
  }
}

describe(`the delivery of horizons (seed ${seed})`, () => {
  it('brings the newest to every shard in the end, whatever is refused, unheard or restarted on the way', () => {
    const random = new Random(seed);
    for (let round = 0; round < 50; round++) {
      const all = new Shards(random.pick([16, 2048, 4096]), random.between(1, 4));
      const newest = new Map<number, number>();
      for (let step = 0; step < 300; step++) {
        const what = random.below(10);
        if (what < 4) {
          const vnode = random.below(all.vnodes);
          const version = random.pick([0, random.below(1e6), Number.POSITIVE_INFINITY]);
          newest.set(vnode, version);
          all.delivery.set(vnode, version);
        } else if (what === 4 && random.chance(0.05)) {
          // As when a ring is taken up.
          for (let vnode = 0; vnode < all.vnodes; vnode++) {
            newest.set(vnode, step);
            all.delivery.set(vnode, step);
          }
        } else if (what < 7) all.timers.advance(random.pick([0, 1, limits.purgeHorizonRetryMs]));
        else if (what < 9 && all.underWay.length > 0)
          all.answer(random.below(all.underWay.length), random.chance(0.6), random.chance(0.7));
        else if (random.chance(0.2)) all.restart(random.below(all.shards));
      }
      for (let turns = 0; turns < 100; turns++) {
        all.timers.advance(limits.purgeHorizonRetryMs);
        while (all.underWay.length > 0) all.answer(0, true, true);
      }
      const took = new Map(all.took.flatMap((one) => [...one]));
      expect(new Map([...took].sort(([a], [b]) => a - b))).toEqual(
        new Map([...newest].sort(([a], [b]) => a - b)),
      );
      const { sent } = all;
      all.timers.advance(100 * limits.purgeHorizonRetryMs);
      expect(all.sent).toBe(sent);
    }
  });

  it('sends many vnodes that are set in one turn together, and what is known already not at all', () => {
    const all = new Shards(64, 2);
    for (let vnode = 0; vnode < 64; vnode++) all.delivery.set(vnode, 7);
    all.timers.advance(0);
    expect(all.sent).toBe(2);
    while (all.underWay.length > 0) all.answer(0, true, true);
    for (let vnode = 0; vnode < 64; vnode++) all.delivery.set(vnode, 7);
    all.timers.advance(10_000);
    expect(all.sent).toBe(2);
  });

  it('does not take the answer of a shard that died for one of its successor', () => {
    const all = new Shards(4, 1);
    all.delivery.set(0, 7);
    all.timers.advance(0);
    const [late] = all.underWay.splice(0) as [Sent];
    all.delivery.attached(0);
    late.done(true);
    all.timers.advance(0);
    all.answer(0, true, true);
    expect(all.took[0]?.get(0)).toBe(7);
  });

  it('ends with its close', () => {
    const all = new Shards(4, 1);
    all.delivery.set(0, 7);
    all.delivery.close();
    all.delivery.set(1, 8);
    all.delivery.attached(0);
    all.timers.advance(100_000);
    expect(all.sent).toBe(0);
  });
});

const noHints: HintStore = {
  add: () => {
    throw new Error('no hints here');
  },
  targets: () => new Map(),
  next: () => undefined,
  postpone: () => undefined,
  discard: () => undefined,
  expire: () => [],
};

describe('the replica over the rings', () => {
  const harnesses: Harness[] = [];
  afterEach(async () => {
    for (const one of harnesses.splice(0)) await one.close();
  });
  const start = (options: HarnessOptions = {}) => {
    const harness = new Harness(options);
    harnesses.push(harness);
    const timers = new ManualTimers();
    const { client } = harness.client;
    const replica = new RingReplica(client, noHints, harness.clock, timers);
    replica.attached(0);
    return { harness, timers, client, replica };
  };
  const all = (version: number): Map<number, number> =>
    new Map(Array.from({ length: VNODES }, (_, vnode) => [vnode, version]));

  it('tells a shard that was started again all that it had told the one before', async () => {
    const { harness, timers, replica } = start();
    for (let vnode = 0; vnode < VNODES; vnode++) replica.setPurgeBefore(vnode, 100 + vnode);
    timers.advance(0);
    await until(() => harness.engine.purges.size === VNODES);
    // As a shard's thread that died: detached, and its successor knows nothing.
    harness.client.client.detach(0);
    harness.engine.purges.clear();
    harness.restart();
    replica.attached(0);
    timers.advance(0);
    await until(() => harness.engine.purges.size === VNODES);
    for (let vnode = 0; vnode < VNODES; vnode++) expect(harness.engine.purges.get(vnode)).toBe(100 + vnode);
  });

  it('brings a horizon through a ring that was full, and once only the newest', async () => {
    const { harness, timers, client, replica } = start({ ringBytes: 1 << 13 });
    const fill = (): number => {
      let sent = 0;
      for (; ; sent++) {
        Object.assign(client.request, {
          op: Op.REPLICA_READ,
          tokenHi: 0,
          tokenLo: 0,
          key: Buffer.from('k'),
          value: new Uint8Array(0),
          deadlineMs: harness.clock.nowMs() + 5000,
        });
        const slot = client.submit();
        if (slot >= 0) continue;
        expect(-slot).toBe(Status.OVERLOADED);
        return sent;
      }
    };
    for (let version = 1; version <= 3; version++) {
      expect(fill()).toBeGreaterThan(version === 1 ? 10 : -1);
      for (let vnode = 0; vnode < VNODES; vnode++) replica.setPurgeBefore(vnode, version);
      timers.advance(limits.purgeHorizonRetryMs);
      // The refusal comes before the shard has its turn.
      await Promise.resolve();
    }
    expect(harness.engine.purges.size).toBe(0);
    await until(() => client.inFlight === 0);
    expect(harness.engine.purges.size).toBe(0);
    timers.advance(limits.purgeHorizonRetryMs);
    await until(() => harness.engine.purges.size === VNODES);
    expect(harness.engine.purges).toEqual(all(3));
  });

  it('tells of a horizon without end, and of none', async () => {
    const { harness, timers, replica } = start();
    replica.setPurgeBefore(3, Number.POSITIVE_INFINITY);
    replica.setPurgeBefore(4, 0);
    timers.advance(0);
    await until(() => harness.engine.purges.size === 2);
    expect(harness.engine.purges).toEqual(
      new Map([
        [3, Number.POSITIVE_INFINITY],
        [4, 0],
      ]),
    );
  });
});
