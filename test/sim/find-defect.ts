/** Looks for a deliberate defect: the promise that the first seed which shows it breaks, '' where none up to `seedsMax` does. */
import { simulate } from './simulation.ts';
import type { SimulationOptions } from './simulation-result.ts';

export async function findDefect(
  defect: NonNullable<SimulationOptions['defect']>,
  seedsMax: number,
): Promise<string> {
  let found = '';
  let seed = 0;
  // From one seed on, so that a change that hides a defect is seen at once.
  while (found === '' && seed < seedsMax) {
    const { violations } = await simulate({ seed: ++seed, defect });
    found = violations[0]?.promise ?? '';
  }
  console.log(`${defect}: seed ${seed} breaks "${found}"`);
  return found;
}
