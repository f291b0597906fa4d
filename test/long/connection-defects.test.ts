/** The simulation of connections is believed because it finds what was planted in the transport: each defect that has been found within SEEDS_MAX seeds. */
import { describe, expect, it } from 'vitest';
import { FOUND_CONNECTION_DEFECTS } from '../sim/connection-defects.ts';
import { simulate } from '../sim/simulation.ts';

/** Above what the rarest takes, as chance has it. */
const SEEDS_MAX = 100;
const TIMEOUT_MS = 900_000;

describe('the simulation of connections', () => {
  it.each(FOUND_CONNECTION_DEFECTS)(
    `finds the defect %s within ${SEEDS_MAX} seeds`,
    async (defect) => {
      let found = '';
      let seed = 0;
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
