import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { testSeed } from '../seed.ts';
import { findDefect } from './find-defect.ts';
import { simulate } from './simulation.ts';

/** SIM_SEED=7 SIM_SEEDS=1 runs one seed again; `npm run sim` prints its history. */
const first = Number(process.env.SIM_SEED ?? testSeed() % 1_000_000_000);
const count = Number(process.env.SIM_SEEDS ?? 25);
/** Ten times what the rarer of these defects takes today. */
const SEEDS_MAX = 50;

describe(`simulated clusters under faults (seeds from ${first})`, () => {
  it('keep every promise, and are whole again when the faults have ended', async () => {
    let acknowledged = 0;
    for (let seed = first; seed < first + count; seed++) {
      const { violations, stats } = await simulate({ seed });
      expect(violations, `npm run sim -- --seed ${seed}`).toEqual([]);
      acknowledged += stats.acknowledged;
    }
    // Whoever acknowledges nothing breaks no promise either.
    expect(acknowledged).toBeGreaterThan(count * 10);
  });

  it('give the same history for the same seed, byte for byte', async () => {
    const one = await simulate({ seed: first, verbose: true });
    const other = await simulate({ seed: first, verbose: true });
    expect(other.history.lines()).toEqual(one.history.lines());
    expect(other.stats).toEqual(one.stats);
  });

  it('leave the limits of the store as they were', async () => {
    const before = { ...limits };
    await simulate({ seed: first });
    expect(limits).toEqual(before);
  });

  it.each(['deadlines-by-wall-clock', 'timeout-of-each-hop'] as const)(
    'are seen to fail with %s within some seeds, by a request that ends before its deadline',
    async (defect) => expect(await findDefect(defect, SEEDS_MAX)).toMatch(/^j: /),
  );
});
