import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import {
  FLAG_TOMBSTONE,
  flagsAt,
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  keyAt,
  keyspaceAt,
  versionAt,
} from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { type Replica, type ReplicaWrite, type WriteAnswer, WriteMode } from '../../src/cluster/contract.ts';
import { runRepairSession } from '../../src/cluster/repair-session.ts';
import { FAR_MS } from '../base/clocks.ts';
import { testSeed } from '../seed.ts';
import type { MemoryReplica } from './memory-replica.ts';
import { keyTextOf, recordOf, viewOf } from './records.ts';
import { diverge, GRACE_MS, RepairHarness, START_MS, textOf, userRecords } from './repair-harness.ts';

const seed = testSeed();
const START_US = START_MS * 1000;
const RUNS = 30;
const LIVE = 2000;

/** Passes requests on, and tells of each write first. */
function watched(replica: MemoryReplica, onWrite: (request: ReplicaWrite) => void): Replica {
  const bound: Replica = {
    write: (request, done) => {
      onWrite(request);
      replica.write(request, done);
    },
    read: (request, done) => replica.read(request, done),
    prepare: (request, done) => replica.prepare(request, done),
    page: (request, done) => replica.page(request, done),
    tree: (request, done) => replica.tree(request, done),
    treeNodes: (request, done) => replica.treeNodes(request, done),
    endTree: (session) => replica.endTree(session),
    hint: (target, request, done) => replica.hint(target, request, done),
  };
  return bound;
}
const write = (
  replica: MemoryReplica,
  request: Pick<ReplicaWrite, 'record' | 'mode'>,
): Promise<WriteAnswer> =>
  new Promise((resolve) => {
    replica.write({ ...request, also: null, deadlineMs: FAR_MS }, resolve);
  });

describe(`a repair session, seed ${seed},`, () => {
  it('makes both sides the same, whatever each had, promises and outcomes included', async () => {
    const random = new Random(seed);
    for (let run = 0; run < RUNS; run++) {
      const harness = new RepairHarness(2);
      diverge(random, harness.replicas, random.between(1, 300), true);
      await harness.run(harness.at(0), harness.at(1));
      expect(textOf(harness.at(0))).toEqual(textOf(harness.at(1)));
      expect(harness.at(0).treeSessions + harness.at(1).treeSessions).toBe(0);
    }
  });

  it('leaves the newest of each key, without promises in the way', async () => {
    const random = new Random(seed);
    const harness = new RepairHarness(2);
    diverge(random, harness.replicas, 500, false);
    const newest = new Map<string, number>();
    for (const replica of harness.replicas)
      for (const record of userRecords(replica)) {
        const key = keyTextOf(record);
        newest.set(key, Math.max(newest.get(key) ?? 0, versionAt(viewOf(record), 0)));
      }
    await harness.run(harness.at(0), harness.at(1));
    const held = userRecords(harness.at(1)).map(
      (one) => [keyTextOf(one), versionAt(viewOf(one), 0)] as const,
    );
    expect(new Map(held)).toEqual(newest);
    expect(harness.settled).toEqual([]);
  });

  it('sends nothing where nothing differs', async () => {
    const harness = new RepairHarness(2);
    diverge(new Random(seed), harness.replicas, 200, true);
    await harness.run(harness.at(0), harness.at(1));
    const { statistics } = await harness.run(harness.at(0), harness.at(1));
    expect([statistics.recordsCompared, statistics.recordsSent, statistics.recordsReceived]).toEqual([
      0, 0, 0,
    ]);
  });

  it('pulls all that the other side has, and gives it nothing', async () => {
    const random = new Random(seed);
    for (const isEmpty of [true, false]) {
      const harness = new RepairHarness(2);
      const [behind, ahead] = [harness.at(0), harness.at(1)];
      diverge(random, isEmpty ? [ahead] : harness.replicas, 3000, false);
      const before = textOf(ahead);
      await harness.run(behind, ahead, { pullOnly: true });
      expect(textOf(ahead)).toEqual(before);
      if (isEmpty) {
        expect(textOf(behind)).toEqual(before);
        // Whole pages, not a read for each record.
        expect(ahead.requests.get('read') ?? 0).toBe(0);
      } else {
        // Nothing is left to pull.
        const { statistics } = await harness.run(behind, ahead, { pullOnly: true });
        expect(statistics.recordsReceived).toBe(0);
      }
    }
  });

  it('interrupted at any request does no harm, and the next one does the rest', async () => {
    const random = new Random(seed);
    for (let stopAt = 1; stopAt < 120; stopAt += random.between(1, 4)) {
      let requests = 0;
      const harness = new RepairHarness(2, 1, {
        fault: () => (++requests === stopAt ? Status.UNAVAILABLE : Status.OK),
      });
      diverge(random, harness.replicas, 40, true);
      await runRepairSession(harness.options(harness.at(0), harness.at(1))).catch((error: Error) => error);
      requests = 1000;
      await harness.run(harness.at(0), harness.at(1));
      expect(textOf(harness.at(0))).toEqual(textOf(harness.at(1)));
      expect(harness.at(0).treeSessions + harness.at(1).treeSessions).toBe(0);
    }
  });

  it('asks an overloaded replica again, with pauses that grow, and gives up in the end', async () => {
    let refusals = 3;
    const pauses: number[] = [];
    const harness = new RepairHarness(2, 1, {
      fault: () => (refusals-- > 0 ? Status.OVERLOADED : Status.OK),
    });
    diverge(new Random(seed), harness.replicas, 10, false);
    const pause = (ms: number): Promise<void> => {
      if (ms < limits.repairTreeLookMs) pauses.push(ms);
      return harness.options(harness.at(0), harness.at(1)).pause(ms);
    };
    await harness.run(harness.at(0), harness.at(1), { pause });
    expect(pauses.length).toBe(3);
    expect(textOf(harness.at(0))).toEqual(textOf(harness.at(1)));
    refusals = Number.POSITIVE_INFINITY;
    await expect(harness.run(harness.at(0), harness.at(1), { pause })).rejects.toThrow();
  });

  it('settles what a promise bars, and brings it to who promised', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    a.load([recordOf({ key: 'k', version: 10, value: 'new' })]);
    b.load([recordOf({ key: 'k', version: 5, value: 'old' })]);
    const ballot = START_US;
    b.load([recordOf({ key: 'k', keyspace: KEYSPACE_PROMISES, version: ballot, origin: 2 })]);
    const { statistics } = await harness.run(a, b);
    expect([harness.settled, statistics.settled]).toEqual([['k'], 1]);
    expect(textOf(a)).toEqual(textOf(b));
    expect(userRecords(b).map((record) => versionAt(viewOf(record), 0) > ballot)).toEqual([true]);
  });

  it('fails where a key stays barred, so that nobody believes it repaired', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    a.load([recordOf({ key: 'k', version: 10, value: 'new' })]);
    b.load([recordOf({ key: 'k', keyspace: KEYSPACE_PROMISES, version: START_US, origin: 2 })]);
    const settle = (): Promise<void> => Promise.resolve();
    await expect(harness.run(a, b, { settle })).rejects.toThrow(/promise bars/);
  });

  it('takes below a promise what a source holds that is part of every quorum, and only on the way here', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    a.load([
      recordOf({ key: 'k', version: 10, value: 'new' }),
      recordOf({ key: 'k', version: 10, value: 'outcome', keyspace: KEYSPACE_OUTCOMES }),
    ]);
    b.load([recordOf({ key: 'k', keyspace: KEYSPACE_PROMISES, version: START_US, origin: 2 })]);
    const settle = (): Promise<void> => Promise.reject(new Error('a node is lost for good'));
    await expect(harness.run(b, a, { settle, pullOnly: true })).rejects.toThrow(/lost for good/);
    await expect(harness.run(a, b, { settle, overPromises: true })).rejects.toThrow(/lost for good/);
    const before = textOf(a);
    await harness.run(b, a, { settle, pullOnly: true, overPromises: true });
    expect(harness.settled).toEqual([]);
    expect(userRecords(b)).toEqual(userRecords(a));
    expect(textOf(a)).toEqual(before);
    // It goes on to promise nothing below.
    const record = recordOf({ key: 'k', version: 20, value: 'late' });
    for (const mode of [WriteMode.FRESH, WriteMode.MERGE])
      expect((await write(b, { record, mode })).status).toBe(PeerStatus.STALE_VERSION);
  });

  it('does not let the promises that it brings bar the records that it brings', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    for (let i = 0; i < 100; i++)
      a.load([
        recordOf({ key: `k${i}`, version: 10, value: 'x' }),
        recordOf({ key: `k${i}`, version: 10, value: 'outcome', keyspace: KEYSPACE_OUTCOMES }),
        recordOf({ key: `k${i}`, version: 20, keyspace: KEYSPACE_PROMISES }),
      ]);
    await harness.run(a, b);
    expect(harness.settled).toEqual([]);
    expect(textOf(a)).toEqual(textOf(b));
  });

  it('never leaves a record without its outcomes: both go in one write, also whole pages', async () => {
    for (const pullOnly of [false, true]) {
      const harness = new RepairHarness(2);
      const [a, b] = [harness.at(0), harness.at(1)];
      for (let i = 0; i < 600; i++)
        b.load([
          recordOf({ key: `k${i}`, version: 10, value: 'x' }),
          recordOf({ key: `k${i}`, version: 10, value: 'outcome', keyspace: KEYSPACE_OUTCOMES }),
        ]);
      let pairs = 0;
      const target = watched(a, ({ record, also }) => {
        expect(also === null ? 'alone' : keyAt(viewOf(also), also, 0)).toEqual(
          keyAt(viewOf(record), record, 0),
        );
        pairs++;
      });
      await harness.run(target, b, { pullOnly });
      expect(pairs).toBe(600);
      expect(textOf(a)).toEqual(textOf(b));
    }
  });

  it('takes outcomes back that are newer where the record goes to', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    a.load([
      recordOf({ key: 'k', version: 5, value: 'plain' }),
      recordOf({ key: 'k', version: 3, value: 'o3', keyspace: KEYSPACE_OUTCOMES }),
    ]);
    b.load([
      recordOf({ key: 'k', version: 4, value: 'serial' }),
      recordOf({ key: 'k', version: 4, value: 'o4', keyspace: KEYSPACE_OUTCOMES }),
    ]);
    await harness.run(a, b);
    for (const replica of harness.replicas)
      expect(replica.all().map((one) => [keyspaceAt(viewOf(one), 0), versionAt(viewOf(one), 0)])).toEqual([
        [KEYSPACE_USER, 5],
        [KEYSPACE_OUTCOMES, 4],
      ]);
  });

  it('gives a forgotten deletion back where one side still has the record, and counts it', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    a.load([recordOf({ key: 'k', version: START_US - 10, value: 'deleted since' })]);
    b.load([recordOf({ key: 'k', version: START_US, tombstone: true })]);
    harness.clock.advanceMs(2 * GRACE_MS);
    b.raiseHorizon(0, harness.clock.nowMs());
    expect(b.purge()).toBe(1);
    for (const [local, remote] of [
      [a, b],
      [b, a],
    ] as const) {
      const { statistics } = await harness.run(local, remote);
      const [record] = userRecords(a);
      expect(record === undefined ? 0 : flagsAt(viewOf(record), 0)).toBe(FLAG_TOMBSTONE);
      expect(statistics.resurrections).toBe(local === a ? 1 : 0);
      expect(userRecords(b).filter((one) => (flagsAt(viewOf(one), 0) & FLAG_TOMBSTONE) === 0)).toEqual([]);
    }
    expect(b.resurrections).toBe(1);
  });

  it('does not count it as a difference that one side purged what died long ago', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    const tombstones = Array.from({ length: 50 }, (_, i) =>
      recordOf({ key: `k${i}`, version: START_US + i, tombstone: true }),
    );
    a.load(tombstones);
    b.load(tombstones);
    harness.clock.advanceMs(2 * GRACE_MS);
    // In enough leaves that heads of the tombstones are compared as well.
    for (let i = 0; i < LIVE; i++)
      a.load([recordOf({ key: `live${i}`, version: harness.clock.nowUs(), value: 'x' })]);
    b.raiseHorizon(0, harness.clock.nowMs());
    expect(b.purge()).toBe(50);
    const { statistics } = await harness.run(a, b);
    expect(statistics.recordsCompared).toBeGreaterThan(LIVE);
    expect([statistics.recordsSent, b.all().length]).toEqual([LIVE, LIVE]);
  });

  it('sends a deletion, however old, to who still holds what was deleted', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    a.load([recordOf({ key: 'k', version: START_US, tombstone: true })]);
    b.load([recordOf({ key: 'k', version: START_US - 10, value: 'deleted' })]);
    harness.clock.advanceMs(2 * GRACE_MS);
    await harness.run(b, a);
    expect(textOf(b)).toEqual(textOf(a));
    expect(userRecords(b).map((record) => flagsAt(viewOf(record), 0))).toEqual([FLAG_TOMBSTONE]);
  });

  it('uses the later of both sides of what died long ago, and builds each tree once where it was known', async () => {
    const harness = new RepairHarness(2);
    const [a, b] = [harness.at(0), harness.at(1)];
    const slow = new RepairHarness(1, 1, { gcGraceMs: GRACE_MS * 2 }).at(0);
    const cutoffMs = await runRepairSession(harness.options(slow, a));
    expect(cutoffMs).toBe(START_MS - GRACE_MS);
    expect([slow.requests.get('tree'), a.requests.get('tree')]).toEqual([2, 1]);
    const expectedCutoffMs = START_MS - GRACE_MS + 60_000;
    expect(await runRepairSession(harness.options(a, b, { expectedCutoffMs }))).toBe(expectedCutoffMs);
    expect([a.requests.get('tree'), b.requests.get('tree')]).toEqual([2, 1]);
  });

  it('converges while writes go on, once they stop', async () => {
    const random = new Random(seed);
    const harness = new RepairHarness(2);
    diverge(random, harness.replicas, 200, true);
    let version = START_US + 100_000_000;
    const scribble = async (): Promise<void> => {
      if (random.chance(0.3)) {
        const record = recordOf({ key: `key-${random.below(250)}`, version: version++, value: 'w' });
        for (const replica of harness.replicas)
          if (random.chance(0.7)) await write(replica, { record, mode: 1 });
      }
    };
    for (let i = 0; i < 5; i++)
      await harness.run(harness.at(0), harness.at(1), { pace: scribble }).catch((error: Error) => error);
    await harness.run(harness.at(0), harness.at(1));
    expect(textOf(harness.at(0))).toEqual(textOf(harness.at(1)));
  });
});
