/** Where random tests take their seed from: the system, or what a run that failed has printed. */
import { systemSeed } from '../src/base/random.ts';

/**
 * A new seed each time, or RINGKV_TEST_SEED: `RINGKV_TEST_SEED=7 npx vitest run test/ipc` runs everything there from seed 7.
 * Every test prints its seed, at once or where it fails.
 */
export function testSeed(): number {
  const given = process.env.RINGKV_TEST_SEED;
  if (given === undefined) return systemSeed();
  const seed = Number(given);
  if (!Number.isSafeInteger(seed) || seed < 0 || seed > 0xffff_ffff)
    throw new RangeError(`RINGKV_TEST_SEED=${given}: not a whole number from 0 to ${0xffff_ffff}`);
  return seed;
}
