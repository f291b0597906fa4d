/** The simulation of connections is believed because it finds what was planted in the transport: each defect that has been found within SEEDS_MAX seeds. */
import { describe, expect, it } from 'vitest';
import { FOUND_CONNECTION_DEFECTS } from '../sim/connection-defects.ts';
import { findDefect } from '../sim/find-defect.ts';

/** Above what the rarest takes, as chance has it. */
const SEEDS_MAX = 100;
const TIMEOUT_MS = 900_000;

describe('the simulation of connections', () => {
  it.each(FOUND_CONNECTION_DEFECTS)(
    `finds the defect %s within ${SEEDS_MAX} seeds`,
    async (defect) => expect(await findDefect(defect, SEEDS_MAX)).not.toBe(''),
    TIMEOUT_MS,
  );
});
