import { describe, expect, it } from 'vitest';
import { testSeed } from '../seed.ts';
import { runHintModel } from './hint-log-model.ts';

const ROUNDS = 120;
const seed = testSeed();

describe(`a hint log beside what it owes (seed ${seed})`, () => {
  it.each([
    ['with faults, crashes and power cuts loses nothing that it acknowledged, unless it says so', false],
    ['with flipped bits as well loses what they hit, and says so', true],
  ])('%s', async (_, hasDamage) => {
    const done = await runHintModel(seed, ROUNDS, hasDamage);
    // The rarest comes some 60 times in 120 rounds.
    for (const what of ['delivered', 'expired', 'restarts', 'cuts', 'unreadable'])
      expect(done[what], what).toBeGreaterThan(ROUNDS / 20);
  });
});
