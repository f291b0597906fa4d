import { describe, expect, it } from 'vitest';
import { IoError, UnavailableError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { KEYSPACE_IDEMPOTENCY, KEYSPACE_PROMISES } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { JOINING, resumeJoin } from '../../src/cluster/join-document.ts';
import { RingAgreement } from '../../src/cluster/ring-agreement.ts';
import { beginReweigh, beginJoin as ringWithJoin } from '../../src/cluster/ring-change.ts';
import { encodeRing } from '../../src/cluster/ring-codec.ts';
import { testSeed } from '../seed.ts';
import { testMember } from './coordinator-world.ts';
import { joined, LoneNode, newNode, pass, ringOf, VNODES } from './lone-node.ts';
import type { Written } from './records.ts';
import { EventQueue } from './ring-event-queue.ts';

const seed = testSeed();

describe(`a node that is alone and told to join, seed ${seed},`, () => {
  it('is one that joins by these seeds, durably and held, where nothing speaks against it', async () => {
    const node = newNode(new Random(seed));
    expect(await joined(node, ['n7:1', 'n8:1'])).toBe('joins');
    expect(node.isHeld).toBe(true);
    expect(resumeJoin(node.documents)).toEqual(['n7:1', 'n8:1']);
  });

  it('also where it has found no cluster yet, whose seeds then count no more', async () => {
    const node = newNode(new Random(seed));
    node.ring = null;
    node.standing = 'waiting';
    expect(await joined(node, ['n7:1'])).toBe('joins');
    node.isHeld = false;
    node.outcome = '';
    expect(await joined(node, ['n8:1'])).toBe('joins');
    expect(resumeJoin(node.documents)).toEqual(['n8:1']);
  });

  it('also where it knows a cluster that has not taken it in', async () => {
    const node = newNode(new Random(seed));
    node.ring = { ...ringOf(2), number: 7, members: [testMember(2), testMember(3)] };
    for (const standing of ['removed', 'joining'] as const) {
      node.standing = standing;
      expect(await joined(node, ['n8:1']), standing).toMatch(
        /^BadRequestError: this node knows a cluster of 2/,
      );
      node.outcome = '';
    }
    node.standing = 'waiting';
    expect(await joined(node, ['n8:1'])).toBe('joins');
    expect(resumeJoin(node.documents)).toEqual(['n8:1']);
  });

  const others = { ...ringOf(1), members: [testMember(1), testMember(2)] };
  const cases: readonly (readonly [what: string, of: (node: LoneNode) => void, says: RegExp])[] = [
    [
      'has others',
      (node) => {
        node.ring = others;
      },
      /^BadRequestError: this node knows a cluster of 2 nodes/,
    ],
    [
      'is being joined by another',
      (node) => {
        node.ring = ringWithJoin(ringOf(1), testMember(2));
      },
      /^BadRequestError: .*cluster of 1 node \(ring 2\), which is being changed/,
    ],
    [
      'had others, or was changed',
      (node) => {
        node.ring = { ...beginReweigh(ringOf(1), testMember(1)), change: null };
      },
      /^BadRequestError: the cluster of this node has been changed before \(ring 2\)/,
    ],
    [
      'is about to change',
      (node) => {
        node.isChanging = true;
      },
      /^UnavailableError: a change .* is being agreed on/,
    ],
    [
      'keeps hints',
      (node) => {
        node.hintBytes.set(7, 123);
      },
      /^BadRequestError: .*123 bytes of hints/,
    ],
    [
      'cannot read what it holds',
      (node) => {
        node.pageStatus = Status.SHARD_DOWN;
      },
      /^ShardDownError: whether this node is empty cannot be told/,
    ],
    [
      'finds no seed',
      (node) => {
        node.answers = () => Promise.reject(new UnavailableError('no seed'));
      },
      /^UnavailableError: no seed$/,
    ],
    [
      'finds another number of vnodes',
      (node) => {
        node.answers = () => Promise.resolve(ringOf(99, 32));
      },
      /^BadRequestError: the cluster has 32 vnodes, and this data directory was made for 16/,
    ],
    [
      'finds another name',
      (node) => {
        node.answers = () => Promise.resolve(ringOf(99, VNODES, 'theirs'));
      },
      /^BadRequestError: the seeds are of cluster theirs, and this node of test/,
    ],
    [
      'finds its own cluster',
      (node) => {
        node.answers = () => Promise.resolve(ringOf(1));
      },
      /^BadRequestError: node 00000001\w+ is in the cluster of these seeds already/,
    ],
    [
      'finds itself in the other cluster',
      (node) => {
        node.answers = () => Promise.resolve(ringWithJoin(ringOf(99), testMember(1)));
      },
      /^BadRequestError: node 00000001\w+ is in the cluster of these seeds already \(ring 2\)/,
    ],
  ];
  it.each(cases)('that %s is refused, and as it was', async (_, prepare, says) => {
    const node = newNode(new Random(seed));
    prepare(node);
    expect(await joined(node)).toMatch(says);
    expect([node.isHeld, node.documents.load(JOINING)]).toEqual([false, null]);
  });

  const helds: readonly (readonly [what: string, written: Omit<Written, 'version'>, says: RegExp])[] = [
    ['a value', { key: 'user_1', value: 'Ada' }, /a record of the key "user_1"/],
    ['a tombstone', { key: 'user_1', tombstone: true }, /a record of the key "user_1" \(deleted/],
    ['what has expired', { key: 'user_1', expiresMs: 1 }, /a record of the key "user_1"/],
    [
      'the outcome of an idempotency key',
      { key: 'request-1\0user_1', keyspace: KEYSPACE_IDEMPOTENCY },
      /outcomes or promises for the key "request-1\\u0000user_1"/,
    ],
    [
      'a promise',
      { key: 'user_1', keyspace: KEYSPACE_PROMISES },
      /outcomes or promises for the key "user_1"/,
    ],
    ['a value of a long key', { key: 'k'.repeat(200), value: '' }, new RegExp(`"${'k'.repeat(80)}"`)],
  ];
  it.each(helds)('that holds %s is refused, whatever vnode it is in', async (_, written, says) => {
    const random = new Random(seed);
    for (let i = 0; i < VNODES; i++) {
      const node = newNode(random);
      node.write({ ...written, key: i === 0 ? written.key : `${i} ${written.key}`, version: 1 });
      await pass(node.queue, 1000, () => node.acknowledged.length === 1);
      const outcome = await joined(node);
      if (i === 0) expect(outcome).toMatch(says);
      expect(outcome).toMatch(/^BadRequestError: .*only an empty node can join$/);
      expect(node.isHeld).toBe(false);
    }
  });

  it('has acknowledged no write that the other cluster does not get, whenever it was written', async () => {
    const outcomes = { joins: 0, refused: 0, refusedLate: 0 };
    for (let round = 0; round < 400; round++) {
      const random = new Random(seed + round);
      const node = newNode(random);
      const { queue } = node;
      let asked = 0;
      node.answers = () => {
        asked++;
        return new Promise((resolve) => queue.after(random.below(30), () => resolve(ringOf(99))));
      };
      for (let i = random.below(4); i > 0; i--)
        queue.after(random.below(80), () => node.write({ key: `key-${i}`, version: i + 1, value: 'v' }));
      queue.after(random.below(40), () => void node.join());
      await pass(queue, 400, () => false);
      const { outcome } = node;
      if (outcome === 'joins') expect(node.acknowledged, `round ${round}`).toEqual([]);
      else {
        expect(outcome, `round ${round}`).toMatch(/holds a record of the key "key-\d"/);
        expect(node.documents.load(JOINING)).toBe(null);
        expect(node.isHeld).toBe(false);
      }
      if (outcome === 'joins') outcomes.joins++;
      else if (asked > 0) outcomes.refusedLate++;
      else outcomes.refused++;
    }
    // Both ends were met, and the one that only a second look finds.
    expect(Math.min(...Object.values(outcomes)), JSON.stringify(outcomes)).toBeGreaterThan(3);
  });

  it('never waits for one that waits for it, in whatever circle they are told to join', async () => {
    let joins = 0;
    for (let round = 0; round < 300; round++) {
      const random = new Random(seed + round);
      const queue = new EventQueue(random);
      const nodes = Array.from({ length: random.between(2, 4) }, (_, i) => new LoneNode(i + 1, queue));
      for (const [i, node] of nodes.entries()) {
        const next = nodes[(i + 1) % nodes.length] as LoneNode;
        // As RingProbe: asks again and again, and a node that is held says nothing.
        node.answers = () =>
          new Promise((resolve, reject) => {
            const endMs = queue.clock.monotonicMs() + limits.joinProbeMs;
            const ask = (): void => {
              if (queue.clock.monotonicMs() >= endMs) reject(new UnavailableError('silent'));
              else if (!next.isHeld) queue.after(random.below(20), () => resolve(ringOf(next.number)));
              else queue.after(limits.joinProbeAgainMs, ask);
            };
            queue.after(random.below(20), ask);
          });
        queue.after(random.below(60), () => void node.join([`n${next.number}:1`]));
      }
      await pass(queue, 20_000, () => nodes.every(({ outcome }) => outcome !== ''));
      const outcomes = nodes.map(({ outcome }) => outcome);
      expect(outcomes, `round ${round}`).not.toContain('');
      expect(
        outcomes.every((one) => one === 'joins'),
        `round ${round}: a circle`,
      ).toBe(false);
      joins += outcomes.filter((one) => one === 'joins').length;
    }
    expect(joins).toBeGreaterThan(100);
  });

  it('is as it was where the disk does not take it, and ends where that is not known', async () => {
    for (const isRemovable of [true, false]) {
      const node = newNode(new Random(seed));
      const { documents } = node;
      // Renamed, and then the sync of the directory failed.
      const save = documents.save.bind(documents);
      documents.save = (name, bytes, done) =>
        save(name, bytes, () => done(new IoError('sync-directory failed', 'EIO')));
      if (!isRemovable)
        documents.remove = () => {
          throw new IoError('unlink failed', 'EIO');
        };
      const outcome = await joined(node);
      if (isRemovable) {
        expect(outcome).toBe('IoError: sync-directory failed');
        expect([node.isHeld, documents.load(JOINING)]).toEqual([false, null]);
      } else {
        expect(outcome).toBe('Error: whether this node joins is not known: unlink failed');
        expect(node.isHeld, 'it must take no write').toBe(true);
      }
    }
  });

  it('takes no ring of the cluster that it has left, whoever gives it back', async () => {
    const node = newNode(new Random(seed));
    expect(await joined(node)).toBe('joins');
    const { queue, documents } = node;
    const world = {
      self: 1,
      random: queue.random,
      timers: queue.timers(() => true),
      documents,
      log: () => undefined,
    };
    const agreement = new RingAgreement(
      world,
      VNODES,
      () => undefined,
      () => undefined,
    );
    expect(() => agreement.learn(encodeRing(ringOf(1)))).toThrow(/which this node has left/);
    agreement.learn(encodeRing(ringOf(99)));
    await pass(queue, 100, () => agreement.ring !== null);
    expect(agreement.ring?.clusterId).toBe(ringOf(99).clusterId);
  });
});
