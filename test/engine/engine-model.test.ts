import { describe, expect, it } from 'vitest';
import { testSeed } from '../seed.ts';
import { ModelRun } from './engine-model.ts';

describe('the engine against a Map', () => {
  it('agrees over random operations, shapes, restarts and power cuts', async () => {
    const seed = testSeed();
    console.log(`engine model: seed ${seed}`);
    let operations = 0;
    for (let i = 0; i < 8; i++) {
      const run = new ModelRun((seed + i) >>> 0);
      await run.run(3000);
      operations += run.operations;
    }
    expect(operations).toBeGreaterThanOrEqual(24_000);
  });
});
