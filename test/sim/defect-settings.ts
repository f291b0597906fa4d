/** How a simulation is set up so that a deliberate defect shows within some tens of seeds, and not by rare chance alone. */
import type { Defect } from './defects.ts';
import type { FaultName } from './nemesis.ts';
import type { WorkloadOptions } from './workload.ts';

/** Without these a defect does nothing. */
export const FAULTS_FOR: { readonly [Name in Defect]: readonly FaultName[] } = {
  'skip-fsync': ['crash', 'blackout'],
  'hint-counts-as-home': ['partition', 'crash'],
  'drop-read-repair': ['crash', 'partition', 'lossy-link'],
  'purge-early': ['partition', 'crash', 'compact'],
  'ignore-promise': ['lossy-link', 'slow-link'],
  'deadlines-by-wall-clock': ['clock'],
  'timeout-of-each-hop': ['slow-link'],
  'deadlines-told-as-times': ['restart', 'crash'],
  'writers-say-yes': [],
  'writers-say-nothing': [],
  'shown-forgotten': ['lossy-link', 'slow-link'],
};

/**
 * What clients do where a defect shows only then. Read repair left out: by what one node holds of a write whose coordinator
 * died, and another does not, when both are read before anybody writes anew.
 */
export const CLIENTS_FOR: { readonly [Name in Defect]?: Partial<WorkloadOptions> } = {
  'drop-read-repair': {
    kinds: ['quorum'],
    keysPerKind: 5,
    readPercent: 85,
    operations: 400,
    thinkUsMean: 100_000,
  },
};

/** Hints and repairs would soon bring to a replica what it missed, and with that hide these. */
export const LASTING_GAPS: ReadonlySet<Defect> = new Set(['drop-read-repair', 'purge-early']);

/** These show only where requests for one key meet all the time. */
export const OF_HOT_KEYS: ReadonlySet<Defect> = new Set([
  'writers-say-yes',
  'writers-say-nothing',
  'shown-forgotten',
]);
