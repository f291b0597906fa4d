import { expect, it } from 'vitest';
import { testSeed } from '../seed.ts';
import { expectDeathsSeen, measureScale } from './gossip-scale.ts';

const seed = testSeed();

it(`150 nodes learn of nearly all deaths within 10 s and of joins within 5 s and accuse nobody wrongly, seed ${seed}`, async () => {
  const figures = await measureScale(seed, 150, 60_000);
  expect(figures.wholeMs).toBeGreaterThan(0);
  expect(figures.wrongDowns).toBe(0);
  expectDeathsSeen(figures.deathsMs);
  expect(Math.min(...figures.joinsMs)).toBeGreaterThan(0);
  expect(Math.max(...figures.joinsMs)).toBeLessThanOrEqual(5000);
  // Some 440 bytes; the bound leaves room for news of a suspicion and its refutation.
  expect(figures.bytesPerNodePerSecond).toBeLessThan(2000);
});
