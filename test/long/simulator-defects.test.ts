/** The simulator is believed because it finds what was planted in it: each defect within SEEDS_MAX seeds. */
import { describe, expect, it } from 'vitest';
import { DEFECTS } from '../sim/defects.ts';
import { findDefect } from '../sim/find-defect.ts';

/** Most take fewer than 20. */
const SEEDS_MAX = 1000;
const TIMEOUT_MS = 900_000;

describe('the simulator', () => {
  it.each(DEFECTS)(
    `finds the defect %s within ${SEEDS_MAX} seeds`,
    async (defect) => expect(await findDefect(defect, SEEDS_MAX)).not.toBe(''),
    TIMEOUT_MS,
  );
});
