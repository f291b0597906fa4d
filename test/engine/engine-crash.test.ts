import { describe, expect, it } from 'vitest';
import { testSeed } from '../seed.ts';
import { countChanges, crashAt } from './engine-crash.ts';

describe('a crash of the engine', () => {
  it('at calls all over a run of writes, flushes and compactions loses nothing and brings nothing back', async () => {
    const seed = testSeed();
    console.log(`engine crash: seed ${seed}`);
    const changes = await countChanges(seed, 150);
    // 50 commits, each a write and a sync; with flushes and compactions it is 190 to 280, by the seed.
    expect(changes).toBeGreaterThan(100);
    // Every call: test/slow/engine-crash.test.ts.
    const stride = 13;
    for (let change = seed % stride; change < changes - 5; change += stride)
      await crashAt(change, seed, 150, 2);
  });
});
