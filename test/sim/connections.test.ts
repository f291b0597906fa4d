import { describe, expect, it } from 'vitest';
import { testSeed } from '../seed.ts';
import { simulate } from './simulation.ts';

/** SIM_SEED=7 SIM_SEEDS=1 runs one seed again; `npm run sim -- --network connections` prints its history. */
const first = Number(process.env.SIM_SEED ?? testSeed() % 1_000_000_000);
const count = Number(process.env.SIM_SEEDS ?? 5);
const network = 'connections';

describe(`simulated clusters whose connections and addresses fail (seeds from ${first})`, () => {
  it('keep every promise, and all members have each other when the faults have ended', async () => {
    let acknowledged = 0;
    for (let seed = first; seed < first + count; seed++) {
      const { violations, stats } = await simulate({ seed, network });
      expect(violations, `npm run sim -- --seed ${seed} --network ${network}`).toEqual([]);
      acknowledged += stats.acknowledged;
    }
    expect(acknowledged).toBeGreaterThan(count * 5);
  });

  it('give the same history for the same seed, byte for byte', async () => {
    const one = await simulate({ seed: first, network, verbose: true });
    const other = await simulate({ seed: first, network, verbose: true });
    expect(other.history.lines()).toEqual(one.history.lines());
    expect(other.stats).toEqual(one.stats);
  });

  it('are seen to fail where the transport takes nodes of any cluster', async () => {
    const { violations } = await simulate({ seed: 1, defect: 'any-cluster-will-do' });
    expect(violations.map(({ promise }) => promise)).toContain(
      'k: nothing of another cluster gets past the hello',
    );
  });
});
