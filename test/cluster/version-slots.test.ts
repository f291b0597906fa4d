import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Cluster } from './coordinator-calls.ts';

const { versionSlots } = limits;

describe('versions of the nodes of a cluster', () => {
  it('have a remainder for each node, also of those whose numbers have the same', () => {
    const numbers = [5, 5 + versionSlots, 5 + 3 * versionSlots];
    const cluster = new Cluster(numbers);
    const remainders = new Map<number, Set<number>>(numbers.map((number) => [number, new Set()]));
    const given = new Set<number>();
    for (let i = 0; i < 20; i++)
      for (const number of numbers) {
        const { status, version } = cluster.write('k', `${i}`, {}, number);
        expect(status).toBe(Status.OK);
        remainders.get(number)?.add(version % versionSlots);
        given.add(version);
      }
    const all = [...remainders.values()].flatMap((of) => [...of]);
    expect(all).toHaveLength(numbers.length);
    expect(new Set(all).size).toBe(numbers.length);
    expect(given.size).toBe(20 * numbers.length);
  });
});
