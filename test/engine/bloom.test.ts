import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { bloomAdd, bloomBytes, bloomHashes, bloomMayContain } from '../../src/engine/bloom.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();

/** Tokens of one filter page: they share their upper bits, as those of a large table do. */
function tokensOf(random: Random, count: number, hiSpread: number): [number, number][] {
  const base = random.uint32() & 0xfff0_0000;
  return Array.from({ length: count }, () => [(base + random.below(hiSpread)) >>> 0, random.uint32()]);
}

describe('a bloom filter', () => {
  for (const bitsPerKey of [1, 4, 10, 16])
    for (const hiSpread of [1, 16, 2 ** 20])
      it(`passes as many absent tokens as theory says at ${bitsPerKey} bits, upper bits of ${hiSpread} kinds (seed ${seed})`, () => {
        const random = new Random(seed);
        const hashes = bloomHashes(bitsPerKey);
        const keys = 3276;
        let passed = 0;
        const PROBES = 40_000;
        for (let page = 0; page < 5; page++) {
          const tokens = tokensOf(random, 2 * keys, hiSpread);
          const bytes = new Uint8Array(bloomBytes(keys, bitsPerKey));
          const bits = 8 * bytes.length;
          for (const [hi, lo] of tokens.slice(0, keys)) bloomAdd(bytes, 0, bits, hashes, hi, lo);
          for (const [hi, lo] of tokens.slice(0, keys))
            if (!bloomMayContain(bytes, 0, bits, hashes, hi, lo)) expect.fail(`${hi}:${lo} was added`);
          const base = (tokens[0]?.[0] ?? 0) & 0xfff0_0000;
          for (let i = 0; i < PROBES / 5; i++)
            if (
              bloomMayContain(bytes, 0, bits, hashes, (base + random.below(hiSpread)) >>> 0, random.uint32())
            )
              passed++;
        }
        const theory = (1 - Math.exp(-hashes / bitsPerKey)) ** hashes;
        const rate = passed / PROBES;
        const deviation = Math.sqrt((theory * (1 - theory)) / PROBES);
        // Double hashing on a page this small costs a few per cent of the rate.
        expect(rate).toBeLessThan(1.15 * theory + 5 * deviation);
        expect(rate).toBeGreaterThan(0.85 * theory - 5 * deviation);
      });
});
