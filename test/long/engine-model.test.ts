import { describe, expect, it } from 'vitest';
import { ModelRun } from '../engine/engine-model.ts';
import { testSeed } from '../seed.ts';

/** Of docs/reliability.md, to hunt: 1,000,000 and more. */
const OPERATIONS = Number(process.env.MODEL_OPERATIONS ?? 300_000);
/** Many shapes are better than long runs: a run is four and more lives. */
const OPERATIONS_PER_RUN = 10_000;

describe('the engine against a Map', () => {
  it(`agrees over ${OPERATIONS} random operations in ever new shapes`, async () => {
    const seed = testSeed();
    console.log(`engine model: seed ${seed}`);
    const counts: Record<string, number> = {};
    let operations = 0;
    for (let i = 0; operations < OPERATIONS; i++) {
      const run = new ModelRun((seed + i) >>> 0);
      await run.run(OPERATIONS_PER_RUN);
      operations += run.operations;
      for (const [what, count] of Object.entries(run.counts)) counts[what] = (counts[what] ?? 0) + count;
    }
    console.log(`engine model: ${operations} operations, ${JSON.stringify(counts)}`);
    for (const what of [
      'power cut',
      'clean restart',
      'snapshot',
      'compact all',
      'lost some in doubt',
      'scan',
      'found in record cache',
    ])
      expect(counts[what], what).toBeGreaterThan(OPERATIONS / 20_000);
  }, 1_800_000);
});
