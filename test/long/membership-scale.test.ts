import { expect, it } from 'vitest';
import { expectDeathsSeen, measureScale } from '../cluster/gossip-scale.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
/** Long enough for ten full rounds of probes and of exchanged checksums at each node; of docs/scale.md: 180,000. */
const QUIET_MS = Number(process.env.SCALE_QUIET_MS ?? 30_000);
/** 1% of a link of 1 Gbit/s. */
const BYTES_PER_SECOND_MAX = 1_250_000;

it(`1,000 nodes learn of nearly all deaths within 10 s and of joins within 5 s and accuse nobody wrongly, seed ${seed}`, async () => {
  const figures = await measureScale(seed, 1000, QUIET_MS);
  console.log(JSON.stringify(figures));
  expect(figures.wholeMs).toBeGreaterThan(0);
  expect(figures.wrongDowns).toBe(0);
  expectDeathsSeen(figures.deathsMs);
  expect(Math.min(...figures.joinsMs)).toBeGreaterThan(0);
  expect(Math.max(...figures.joinsMs)).toBeLessThanOrEqual(5000);
  expect(figures.bytesPerNodePerSecond).toBeLessThan(BYTES_PER_SECOND_MAX);
});
