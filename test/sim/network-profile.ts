/** How good the network of a simulation is when nothing is done to it. */
import type { Random } from '../../src/base/random.ts';
import { CALM, type NetworkProfile } from './sim-network.ts';

const SECOND_US = 1_000_000;

export function networkOf(random: Random): NetworkProfile {
  const isCalm = random.chance(0.2);
  if (isCalm) return CALM;
  return {
    delayUsMin: 100,
    delayUsMean: random.pick([300, 5000, 50_000]),
    lossChance: random.pick([0, 0, 0.01, 0.1]),
    duplicateChance: random.pick([0, 0.01, 0.1]),
    stragglerChance: random.pick([0, 0.01, 0.05]),
    stragglerUsMax: random.pick([100_000, 2 * SECOND_US]),
  };
}
