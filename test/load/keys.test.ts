import { describe, expect, it } from 'vitest';
import { chooserOf, ScrambledZipfian, SkewedLatest } from '../../load/keys/choosers.ts';
import {
  fnvHash64Modulo,
  SCRAMBLED_ITEMS,
  SCRAMBLED_ZETA,
  THETA,
  Zipfian,
  zetaOf,
} from '../../load/keys/zipfian.ts';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';

const DRAWS = 200_000;
/** Beyond this many standard deviations it is no chance: 210 shares are judged, each wrong at one seed in 5 * 10^8. */
const SIGMAS = 6;

const counted = (draws: number, next: () => number): Map<number, number> => {
  const counts = new Map<number, number>();
  for (let i = 0; i < draws; i++) {
    const key = next();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
};
function expectShare(count: number, draws: number, share: number, what: string): void {
  const sigma = Math.sqrt(draws * share * (1 - share));
  expect(Math.abs(count - draws * share), `${what}: ${count} of ${draws}, ${share} expected`).toBeLessThan(
    SIGMAS * sigma,
  );
}

/** By BigInt, straight from the definition. */
function fnvByDefinition(value: bigint): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let octet = 0n; octet < 8n; octet++)
    hash = ((hash ^ ((value >> (8n * octet)) & 0xffn)) * 1099511628211n) & 0xffffffffffffffffn;
  const signed = BigInt.asIntN(64, hash);
  return signed < 0n ? -signed : signed;
}

describe('keys of a load', () => {
  it('the hash that scatters them is the one by which YCSB names its first two records', () => {
    // user6284781860667377211 and user8517097267634966620.
    for (const modulus of [1000, 65_521, 2 ** 26]) {
      expect(fnvHash64Modulo(0, modulus)).toBe(Number(6284781860667377211n % BigInt(modulus)));
      expect(fnvHash64Modulo(1, modulus)).toBe(Number(8517097267634966620n % BigInt(modulus)));
    }
  });

  it('the hash is what 64-bit arithmetic gives, for any value up to the number of scrambled items', () => {
    const seed = testSeed();
    const random = new Random(seed);
    for (let i = 0; i < 2000; i++) {
      const value = i < 10 ? SCRAMBLED_ITEMS - i : Math.floor((random.uint32() / 2 ** 32) * SCRAMBLED_ITEMS);
      const modulus = random.between(1, 2 ** 26);
      expect(fnvHash64Modulo(value, modulus), `seed ${seed}, ${value} modulo ${modulus}`).toBe(
        Number(fnvByDefinition(BigInt(value)) % BigInt(modulus)),
      );
    }
  });

  it('the zeta of ten billion items is what the sum comes to', () => {
    // Euler-Maclaurin from the millionth term on.
    const from = 1_000_000;
    const power = 1 - THETA;
    const rest = (SCRAMBLED_ITEMS ** power - from ** power) / power;
    const ends = (SCRAMBLED_ITEMS ** -THETA - from ** -THETA) / 2;
    expect(zetaOf(0, from, THETA) + rest + ends).toBeCloseTo(SCRAMBLED_ZETA, 6);
  });

  it('zipfian ranks come as often as 1/i^0.99 says', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const items = 1000;
    const zeta = zetaOf(0, items, THETA);
    const zipfian = new Zipfian(items);
    // The sums are off by up to 1.6% by the method itself: enough draws that chance adds no 0.4%.
    const draws = 5 * DRAWS;
    const counts = counted(draws, () => zipfian.next(random));
    const upTo = (rank: number): number =>
      [...counts].filter(([key]) => key < rank).reduce((sum, [, count]) => sum + count, 0);
    // The method is exact for the first two.
    expectShare(counts.get(0) ?? 0, draws, 1 / zeta, `seed ${seed}, rank 1`);
    expectShare(counts.get(1) ?? 0, draws, 1 / 2 ** THETA / zeta, `seed ${seed}, rank 2`);
    // For the others it keeps the sums, within 2% of all.
    for (const rank of [5, 10, 50, 100, 500])
      expect(
        Math.abs(upTo(rank) / draws - zetaOf(0, rank, THETA) / zeta),
        `seed ${seed}, up to ${rank}`,
      ).toBeLessThan(0.02);
    expect(Math.min(...counts.keys()), `seed ${seed}`).toBe(0);
    expect(Math.max(...counts.keys()), `seed ${seed}`).toBeLessThan(items);
  });

  it('zeta grows with the items to what it would be from the start', () => {
    const grown = new Zipfian(10);
    for (let items = 11; items <= 500; items += 7) grown.grow(items);
    grown.grow(500);
    const fresh = new Zipfian(500);
    const [a, b] = [new Random(3), new Random(3)];
    for (let i = 0; i < 1000; i++) expect(grown.next(a)).toBe(fresh.next(b));
    expect(new Zipfian(1).next(new Random(4))).toBe(0);
  });

  it('the most popular scrambled key has one request in 26.5, and is where its hash puts it', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const records = 100_000;
    const chooser = new ScrambledZipfian(records);
    const counts = counted(DRAWS, () => chooser.next(random, records));
    const hottest = fnvHash64Modulo(0, records);
    const second = fnvHash64Modulo(1, records);
    // Others that fall on the same key add less than the tolerance.
    expectShare(counts.get(hottest) ?? 0, DRAWS, 1 / SCRAMBLED_ZETA, `seed ${seed}, hottest`);
    expectShare(counts.get(second) ?? 0, DRAWS, 1 / 2 ** THETA / SCRAMBLED_ZETA, `seed ${seed}, second`);
    const order = [...counts].sort(([, a], [, b]) => b - a).map(([key]) => key);
    expect(order.slice(0, 2), `seed ${seed}`).toEqual([hottest, second]);
    // Scattered: each tenth of the keys gets its part.
    for (let tenth = 0; tenth < 10; tenth++) {
      const inside = order.filter((key) => Math.floor((key * 10) / records) === tenth).length;
      expect(inside / order.length, `seed ${seed}, tenth ${tenth}`).toBeGreaterThan(0.09);
    }
  });

  it('inserts do not change which scrambled keys are popular, and none is chosen that is not there', () => {
    const seed = testSeed();
    const chooser = chooserOf({ distribution: 'zipfian' }, 1000, 1000);
    const random = new Random(seed);
    // The first two of 1400 have 2.7% and 2.2%: 10 standard deviations apart.
    const before = counted(DRAWS, () => chooser.next(random, 1000));
    const after = counted(DRAWS, () => chooser.next(random, 1400));
    expect(Math.max(...before.keys()), `seed ${seed}`).toBeLessThan(1000);
    expect(Math.max(...after.keys()), `seed ${seed}`).toBeGreaterThanOrEqual(1000);
    const top = (counts: Map<number, number>): number[] =>
      [...counts]
        .filter(([key]) => key < 1000)
        .sort(([, a], [, b]) => b - a)
        .slice(0, 3)
        .map(([key]) => key);
    expect(top(after), `seed ${seed}`).toEqual(top(before));
  });

  it('latest: the newest record is the most popular, also when newer ones come', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const chooser = new SkewedLatest(1000);
    for (const settled of [1000, 1001, 1500]) {
      const counts = counted(DRAWS / 4, () => chooser.next(random, settled));
      const zeta = zetaOf(0, settled, THETA);
      expectShare(counts.get(settled - 1) ?? 0, DRAWS / 4, 1 / zeta, `seed ${seed}, of ${settled}`);
      expectShare(
        counts.get(settled - 2) ?? 0,
        DRAWS / 4,
        1 / 2 ** THETA / zeta,
        `seed ${seed}, of ${settled}`,
      );
      expect(Math.min(...counts.keys()), `seed ${seed}`).toBeGreaterThanOrEqual(0);
    }
  });

  it('uniform: each key alike; hotspot: the hot ones get their share and the others the rest', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const uniform = chooserOf({ distribution: 'uniform' }, 100, 0);
    const even = counted(DRAWS, () => uniform.next(random, 100));
    for (let key = 0; key < 100; key++)
      expectShare(even.get(key) ?? 0, DRAWS, 0.01, `seed ${seed}, key ${key}`);
    const hotspot = chooserOf({ distribution: 'hotspot', hotKeys: 2, hotShare: 0.5 }, 100, 0);
    const hot = counted(DRAWS, () => hotspot.next(random, 100));
    expectShare(hot.get(0) ?? 0, DRAWS, 0.25, `seed ${seed}, hot`);
    expectShare(hot.get(1) ?? 0, DRAWS, 0.25, `seed ${seed}, hot`);
    for (let key = 2; key < 100; key++)
      expectShare(hot.get(key) ?? 0, DRAWS, 0.5 / 98, `seed ${seed}, key ${key}`);
  });
});
