import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { recordBytesAt, valueStartAt } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import type { PagePlace } from '../../src/cluster/contract.ts';
import { viewOf } from '../../src/cluster/coordinator-records.ts';
import { testSeed } from '../seed.ts';
import { Cluster, joiningRing, keyOf, textOf, tokenOf } from './coordinator-calls.ts';
import { testRing } from './coordinator-world.ts';

const FIVE = [1, 2, 3, 4, 5];

function split(records: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  const view = viewOf(records);
  for (let at = 0; at < records.length; at += recordBytesAt(view, at)) {
    expect(valueStartAt(view, at)).toBeLessThanOrEqual(records.length);
    found.push(records.subarray(at, at + recordBytesAt(view, at)));
  }
  return found;
}
/** All pages of a scan. */
function scanAll(
  cluster: Cluster,
  recordsMax: number,
  prefix = '',
  each: (page: number) => void = () => undefined,
): Map<string, string> {
  const found = new Map<string, string>();
  let after: PagePlace | null = null;
  for (let page = 0; page < 10_000; page++) {
    const answer = cluster.scan(after, recordsMax, prefix);
    expect(answer.status, answer.message).toBe(Status.OK);
    const records = split(answer.records);
    expect(records.length).toBeLessThanOrEqual(recordsMax);
    for (const record of records) {
      expect(found.has(keyOf(record))).toBe(false);
      found.set(keyOf(record), textOf(record));
    }
    after = answer.next;
    if (after === null) return found;
    each(page);
  }
  throw new Error('a scan without end');
}
const inTokenOrder = (keys: Iterable<string>): string[] =>
  [...keys].sort((a, b) => {
    const x = tokenOf(a);
    const y = tokenOf(b);
    return x.tokenHi - y.tokenHi || x.tokenLo - y.tokenLo;
  });

describe('a scan of the cluster', () => {
  it('goes through an empty one, in few requests where all nodes hold everything', () => {
    const cluster = new Cluster();
    const answer = cluster.scan(null, 10);
    expect(answer).toMatchObject({ status: Status.OK, next: null });
    expect(cluster.requests(1, 'page') + cluster.requests(2, 'page') + cluster.requests(3, 'page')).toBe(2);
  });

  const seed = Number(process.env.CLUSTER_SEED ?? testSeed());
  it(`finds each live record once, in token order, the newest where replicas differ (seed ${seed})`, () => {
    const random = new Random(seed);
    for (let round = 0; round < 12; round++) {
      const ring = round % 3 === 0 ? joiningRing(2, 'copying') : testRing(round % 2 === 0 ? FIVE : [1, 2, 3]);
      const numbers = round % 3 === 0 ? [1, 2, 3, 4] : round % 2 === 0 ? FIVE : [1, 2, 3];
      const cluster = new Cluster(numbers, ring);
      const expected = new Map<string, string>();
      for (let i = 0; i < 60; i++) {
        const key = `${random.pick(['a', 'b'])}${i}`;
        const dead = random.chance(0.3);
        // Written everywhere or nowhere, then at a quorum of each group only: one replica has an old record, or none.
        const isOld = random.chance(0.5);
        if (isOld) for (const number of numbers) cluster.put(number, key, 'old', 10);
        cluster.down(random.pick(numbers.slice(1)));
        if (!isOld || random.chance(0.4)) {
          const answer = cluster.write(key, dead ? null : `new${i}`, { sloppy: false });
          expect(answer.status, answer.message).toBe(Status.OK);
          if (!dead) expected.set(key, `new${i}`);
        } else expected.set(key, 'old');
        for (const { down, replica } of cluster.world.nodes.values()) {
          down.clear();
          replica.hints.length = 0;
        }
        cluster.world.cut.clear();
      }
      const found = scanAll(cluster, random.pick([1, 3, 7, 100]));
      expect([...found.keys()]).toEqual(inTokenOrder(found.keys()));
      expect(found).toEqual(new Map(inTokenOrder(expected.keys()).map((key) => [key, expected.get(key)])));
      const prefixed = scanAll(cluster, 5, 'a');
      expect([...prefixed.keys()]).toEqual(
        inTokenOrder([...expected.keys()].filter((key) => key.startsWith('a'))),
      );
    }
  });
  it('goes on from its cursor after the ring has changed', () => {
    const cluster = new Cluster([1, 2, 3, 4], testRing([1, 2, 3]));
    const expected = new Map<string, string>();
    for (let i = 0; i < 40; i++) {
      for (const number of [1, 2, 3, 4]) cluster.put(number, `k${i}`, `v${i}`, 10);
      expected.set(`k${i}`, `v${i}`);
    }
    const rings = [joiningRing(2, 'copying'), joiningRing(3, 'switching'), testRing([1, 2, 3, 4], 4)];
    const found = scanAll(cluster, 4, '', (page) => {
      const ring = rings[Math.floor(page / 2)];
      if (ring !== undefined) for (const node of cluster.world.nodes.values()) node.ring = ring;
    });
    expect([...found].sort()).toEqual([...expected].sort());
  });
  it('is asked for again where a replica knows a newer ring', () => {
    const cluster = new Cluster();
    cluster.write('k', 'a');
    for (const number of [2, 3]) cluster.world.node(number).ring = testRing([1, 2, 3], 2);
    expect(scanAll(cluster, 10)).toEqual(new Map([['k', 'a']]));
  });
  it('asks another replica where one is silent or refuses', () => {
    const cluster = new Cluster();
    cluster.write('k', 'a');
    cluster.world.run(50);
    cluster.cut(1, 2);
    expect(scanAll(cluster, 10).size).toBe(1);
    cluster.world.node(1).fault = (operation) => (operation === 'page' ? Status.OVERLOADED : Status.OK);
    cluster.world.cut.clear();
    expect(scanAll(cluster, 10).size).toBe(1);
  });
  it('gives a record that one replica alone held only once a quorum holds it', () => {
    const cluster = new Cluster();
    cluster.down(3);
    cluster.put(1, 'k', 'under way', 20);
    cluster.put(2, 'k', 'base', 10);
    expect(scanAll(cluster, 10)).toEqual(new Map([['k', 'under way']]));
    expect(cluster.held(2, 'k')).toBe('under way@20');
    expect(cluster.world.node(1).coordinator.metrics.scanDoubts).toBe(1);
    expect(scanAll(cluster, 10)).toEqual(new Map([['k', 'under way']]));
    expect(cluster.world.node(1).coordinator.metrics.scanDoubts).toBe(1);
  });
  it('does not give what a conditional write has left that was overtaken and refused', () => {
    const cluster = new Cluster();
    cluster.down(3);
    cluster.put(1, 'k', 'refused', 20);
    cluster.put(2, 'k', 'base', 10);
    // Between its page and its repair the second replica takes something newer.
    cluster.world.node(2).fault = (operation) => {
      if (operation === 'write' && cluster.held(2, 'k') === 'base@10') cluster.put(2, 'k', 'chosen', 30);
      return Status.OK;
    };
    expect(scanAll(cluster, 10)).toEqual(new Map([['k', 'chosen']]));
    expect(cluster.held(1, 'k')).toBe('chosen@30');
  });
  it('leaves out only once a quorum has the tombstone what one replica alone deletes', () => {
    const cluster = new Cluster();
    cluster.down(3);
    cluster.put(1, 'k', null, 20);
    cluster.put(2, 'k', 'base', 10);
    expect(scanAll(cluster, 10).size).toBe(0);
    expect(cluster.held(2, 'k')).toBe('-@20');
  });
  it('reads nothing one by one where a replica has forgotten a tombstone that another still has', () => {
    const cluster = new Cluster();
    cluster.down(3);
    for (let i = 0; i < 50; i++) cluster.put(1, `k${i}`, null, 20);
    expect(scanAll(cluster, 10).size).toBe(0);
    expect(cluster.requests(1, 'read') + cluster.requests(2, 'read')).toBe(0);
  });
  it('reads a bounded number of keys one by one for a page, and finds all in the end', () => {
    const cluster = new Cluster();
    cluster.down(3);
    const expected = new Map<string, string>();
    for (let i = 0; i < limits.scanDoubtsMax + 40; i++) {
      cluster.put(1 + (i % 2), `k${i}`, `v${i}`, 10);
      expected.set(`k${i}`, `v${i}`);
    }
    const first = cluster.scan(null, 1000);
    expect(split(first.records).length).toBe(limits.scanDoubtsMax);
    expect(first.next).not.toBeNull();
    expect(cluster.world.node(1).coordinator.metrics.scanDoubts).toBe(limits.scanDoubtsMax);
    const rest = cluster.scan(first.next, 1000);
    expect([...split(first.records), ...split(rest.records)].map((one) => keyOf(one)).sort()).toEqual(
      [...expected.keys()].sort(),
    );
  });
  it.each([false, true])(
    'goes on where the bytes of a page are used up just as other replicas begin (doubts: %s)',
    (doubts) => {
      const cluster = new Cluster(FIVE, testRing(FIVE));
      const expected = new Set<string>();
      for (let i = 0; i < 80; i++) {
        const key = `k${i}`;
        for (const at of FIVE)
          if (!doubts || at !== 1 + (i % 5)) cluster.put(at, key, 'v'.repeat(30 + i), 10);
        expected.add(key);
      }
      for (const bytesMax of [1, 150, 200, 333, 1000]) {
        const found: string[] = [];
        let after: PagePlace | null = null;
        do {
          const page = cluster.scan(after, 1000, '', bytesMax);
          expect(page.status, page.message).toBe(Status.OK);
          found.push(...split(page.records).map((one) => keyOf(one)));
          after = page.next;
        } while (after !== null);
        expect(found.sort(), `pages of ${bytesMax} bytes`).toEqual([...expected].sort());
      }
    },
  );
  it('ends before a key that cannot be read, and fails where that is the first', () => {
    const cluster = new Cluster();
    cluster.down(3);
    const keys = inTokenOrder(Array.from({ length: 6 }, (_, i) => `k${i}`));
    const [first = '', ...others] = keys;
    for (const key of keys) for (const at of [1, 2]) cluster.put(at, key, 'same', 10);
    cluster.put(1, others[2] as string, 'under way', 20);
    cluster.world.node(2).fault = (operation) => (operation === 'write' ? Status.DISK_FULL : Status.OK);
    const page = cluster.scan(null, 100);
    expect(split(page.records).map((one) => keyOf(one))).toEqual([first, ...others.slice(0, 2)]);
    const answer = cluster.scan(page.next, 100);
    expect(answer.status).not.toBe(Status.OK);
    expect(answer.message).toContain('differ');
    cluster.world.node(2).fault = () => Status.OK;
    expect(split(cluster.scan(page.next, 100).records).length).toBe(3);
  });
  it('fails where too few replicas are up, and says how many it needs', () => {
    const cluster = new Cluster();
    cluster.down(2, 3);
    const answer = cluster.scan(null, 10);
    expect(answer.status).toBe(Status.UNAVAILABLE);
    expect(answer.message).toContain('QUORUM needs 2 of 3 replicas; 1 are up');
  });
});
