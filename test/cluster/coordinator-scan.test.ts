import { describe, expect, it } from 'vitest';
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
  it('fails where too few replicas are up, and says how many it needs', () => {
    const cluster = new Cluster();
    cluster.down(2, 3);
    const answer = cluster.scan(null, 10);
    expect(answer.status).toBe(Status.UNAVAILABLE);
    expect(answer.message).toContain('QUORUM needs 2 of 3 replicas; 1 are up');
  });
});
