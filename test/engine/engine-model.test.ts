import { describe, expect, it } from 'vitest';
import { testSeed } from '../seed.ts';
import { ModelRun } from './engine-model.ts';

describe('the engine against a Map', () => {
  it('agrees over random operations, shapes, restarts and power cuts', async () => {
    const seed = testSeed();
    console.log(`engine model: seed ${seed}`);
    let operations = 0;
    const counts: Record<string, number> = {};
    for (let i = 0; i < 8; i++) {
      const run = new ModelRun((seed + i) >>> 0);
      await run.run(3000);
      operations += run.operations;
      for (const [what, count] of Object.entries(run.counts)) counts[what] = (counts[what] ?? 0) + count;
    }
    console.log(`engine model: ${JSON.stringify(counts)}`);
    expect(operations).toBeGreaterThanOrEqual(24_000);
  });
});
