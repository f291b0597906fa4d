import { describe, expect, it } from 'vitest';
import { runHintModel } from '../replica/hint-log-model.ts';
import { testSeed } from '../seed.ts';

const ROUNDS = Number(process.env.HINT_ROUNDS ?? 1500);
const TIMEOUT_MS = 600_000;
const seed = testSeed();

describe(`a hint log beside what it owes, for long (seed ${seed})`, () => {
  it.each([false, true])(
    'loses nothing in silence, with flipped bits: %s',
    async (hasDamage) => {
      const done = await runHintModel(seed, ROUNDS, hasDamage);
      expect(done.cuts).toBeGreaterThan(ROUNDS);
    },
    TIMEOUT_MS,
  );
});
