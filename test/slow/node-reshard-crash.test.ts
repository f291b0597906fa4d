import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { cutEveryReshardCall } from '../node/reshard-harness.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();

describe(`a change of the number of shards, with engines and tables (seed ${seed})`, () => {
  it('leaves the old layout or the new one, whole, after a power cut at every call', async () => {
    const { cuts, layouts } = await cutEveryReshardCall(new Random(seed), 0, 1);
    expect(cuts).toBeGreaterThan(150);
    expect(layouts).toEqual([2, 3]);
  });
});
