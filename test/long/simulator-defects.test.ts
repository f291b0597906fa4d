/** The simulator is believed because it finds what was planted in it: each defect within SEEDS_MAX seeds. */
import { describe, expect, it } from 'vitest';
import { DEFECTS } from '../sim/defects.ts';
import { simulate } from '../sim/simulation.ts';

/** Most take fewer than 20; the rarest, promises that a read does not ask for, takes some hundreds. */
const SEEDS_MAX = 1000;
const TIMEOUT_MS = 900_000;

describe('the simulator', () => {
  it.each(DEFECTS)(
    `finds the defect %s within ${SEEDS_MAX} seeds`,
    async (defect) => {
      let found = '';
      let seed = 0;
      // From one seed on, so that a change that hides a defect is seen at once.
      while (found === '' && seed < SEEDS_MAX) {
        const { violations } = await simulate({ seed: ++seed, defect });
        found = violations[0]?.promise ?? '';
      }
      console.log(`${defect}: seed ${seed} breaks "${found}"`);
      expect(found).not.toBe('');
    },
    TIMEOUT_MS,
  );
});
