import { describe, expect, it } from 'vitest';
import { countChanges, crashAt } from '../engine/engine-crash.ts';
import { testSeed } from '../seed.ts';

describe('a crash of the engine', () => {
  it('at every single call that changes the disk loses nothing and brings nothing back', async () => {
    const seed = testSeed();
    console.log(`engine crash: seed ${seed}`);
    const changes = await countChanges(seed, 150);
    // 50 commits, each a write and a sync; with flushes and compactions it is 190 to 280, by the seed.
    expect(changes).toBeGreaterThan(100);
    for (let change = 0; change < changes - 5; change++) await crashAt(change, seed, 150, 3);
  });
});
