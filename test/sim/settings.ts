/** What a seed makes of the network and of the clients of a simulation. */
import type { Random } from '../../src/base/random.ts';
import { CLIENTS_FOR } from './defect-settings.ts';
import type { Defect } from './defects.ts';
import { KEY_KINDS, type KeyKind } from './plans.ts';
import { CALM, type NetworkProfile } from './sim-network.ts';
import type { WorkloadOptions } from './workload.ts';

const SECOND_US = 1_000_000;
/** Of the seeds. */
export const HOT_CHANCE = 0.3;

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

export function clientsOf(random: Random, defect: Defect | null): WorkloadOptions {
  return {
    clients: random.between(2, 6),
    operations: random.pick([100, 250, 400]),
    keysPerKind: random.pick([1, 2]),
    kinds: kindsOf(random, defect),
    thinkUsMean: random.pick([2000, 20_000, 100_000]),
    restChance: random.pick([0.02, 0.1]),
    restUsMean: random.pick([1, 5]) * SECOND_US,
    deadlineMs: random.pick([300, 1000, 5000]),
    readPercent: 45,
    serialPercent: 50,
    serialReadPercent: 40,
    onceChance: 0.4,
    sharesSeen: false,
    ...(defect === null ? {} : CLIENTS_FOR[defect]),
  };
}

/**
 * Many clients at one key or two, so that reads at QUORUM, plain writes and conditional writes that overtake each other all meet.
 * Most conditional writes have an idempotency key: of others that were overtaken the outcome is mostly unknown, and what is unknown
 * may be found.
 */
export function hotClientsOf(random: Random): WorkloadOptions {
  return {
    clients: random.between(6, 12),
    operations: random.pick([250, 400]),
    keysPerKind: 1,
    kinds: random.pick<readonly KeyKind[]>([['mixed'], ['mixed'], ['mixed', 'quorum']]),
    thinkUsMean: random.pick([500, 5000, 20_000]),
    restChance: random.pick([0.02, 0.1]),
    restUsMean: random.pick([1, 5]) * SECOND_US,
    deadlineMs: random.pick([300, 1000, 5000]),
    readPercent: 70,
    serialPercent: 40,
    serialReadPercent: 10,
    onceChance: 0.7,
    sharesSeen: true,
  };
}

function kindsOf(random: Random, defect: Defect | null): readonly KeyKind[] {
  if (defect !== null) return KEY_KINDS;
  const kinds = KEY_KINDS.filter(() => random.chance(0.6));
  return kinds.length === 0 ? KEY_KINDS : kinds;
}
