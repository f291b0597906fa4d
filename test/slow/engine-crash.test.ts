import { describe, expect, it } from 'vitest';
import { systemSeed } from '../../src/base/random.ts';
import { countChanges, crashAt } from '../engine/engine-crash.ts';

describe('a crash of the engine', () => {
  it('at every single call that changes the disk loses nothing and brings nothing back', async () => {
    const seed = systemSeed();
    console.log(`engine crash: seed ${seed}`);
    const changes = await countChanges(seed, 150);
    expect(changes).toBeGreaterThan(200);
    for (let change = 0; change < changes - 5; change++) await crashAt(change, seed, 150, 3);
  });
});
