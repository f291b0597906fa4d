import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';
import { HandoffModel } from './handoff-model.ts';

const ROUNDS = 60;
const STEPS = 60;
const seed = testSeed();

describe(`hints from their disk to their targets (seed ${seed})`, () => {
  it.each([
    ['arrive, or their vnodes are marked for repair over every crash', false],
    ['also where power cuts tear writes, bits flip and files cannot be read', true],
  ])('%s', async (_, hasDamage) => {
    const sums = { crashes: 0, marked: 0, delivered: 0, refused: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const model = new HandoffModel(new Random(seed + round), hasDamage);
      for (let step = 0; step < STEPS; step++) await model.step();
      await model.check(`seed ${seed}, round ${round}`);
      for (const what of ['crashes', 'marked', 'delivered', 'refused'] as const)
        sums[what] += model.done[what];
    }
    expect(sums.crashes).toBeGreaterThan(ROUNDS);
    expect(sums.marked).toBeGreaterThan(ROUNDS / 2);
    expect(sums.delivered).toBeGreaterThan(ROUNDS * 10);
    expect(sums.refused).toBeGreaterThan(ROUNDS);
    // Were nearly all of the 64 vnodes marked in each round, nothing would be seen of what is lost.
    if (!hasDamage) expect(sums.marked).toBeLessThan(ROUNDS * 24);
  });
});
