/**
 * Limits of the store as a simulation sets them, by chance: what takes hours there takes seconds here, and what is rare
 * there for want of room is common here. They belong to the thread: one simulation at a time.
 *
 * What relations they must keep is said beside each; src/base/limits.ts checks its own only when it loads.
 */
import { limits } from '../../src/base/limits.ts';
import type { Random } from '../../src/base/random.ts';

type Limits = { -readonly [Name in keyof typeof limits]: number };
const settable: Limits = limits;
const defaults: Readonly<Limits> = { ...limits };

/** How far any clock of a simulation may be off: either nothing is purged, or clocks differ by less than the margins below. */
export interface Knobs {
  readonly gcGraceMs: number;
  readonly skewMsMax: number;
  /** How far two clocks are ever apart: with what they drift between two jumps. */
  readonly apartMsMax: number;
  readonly purges: boolean;
  /** What died so long ago may be gone from some replicas. */
  readonly forgottenMs: number;
}

const NEVER_MS = 864_000_000;
const GC_GRACE_MS_MIN = 7000;
/** Of one target. */
const HINT_BYTES_FEW = 300;
/** Clocks run 0.5% too fast or too slow at most, for a minute. */
const DRIFT_MS_MAX = 300;

/**
 * `mustPurge`: and early, so that purging too early shows soon. `fewHints`: so that what a replica missed stays missed
 * until somebody reads or repairs.
 */
export function turnKnobs(random: Random, mustPurge: boolean, fewHints: boolean): Knobs {
  Object.assign(settable, defaults);
  settable.hintSegmentBytes = random.pick([300, 2000, defaults.hintSegmentBytes]);
  // A few hints, beyond which vnodes are marked for repair.
  if (random.chance(0.15) || fewHints) settable.hintBytesMax = fewHints ? HINT_BYTES_FEW : 1500;
  settable.treeSliceRecords = random.pick([1, 10, defaults.treeSliceRecords]);
  // Trees that take one job, or many.
  settable.treeHeadsBytes = random.pick([200, defaults.treeHeadsBytes]);
  settable.treePartBytes = random.pick([300, defaults.treePartBytes]);
  settable.repairPageRecordsMax = random.pick([2, 20, defaults.repairPageRecordsMax]);
  settable.readRepairPerMille = random.pick([0, 20, 500]);
  settable.versionCeilingUs = random.pick([200_000, defaults.versionCeilingUs]);
  settable.repairSaveMs = 2000;
  settable.repairAliveMs = 3000;
  settable.repairRetryIntervalMs = 15_000;
  settable.pullRetryMsMax = 5000;
  settable.joinRetryMsMax = 5000;
  const purges = mustPurge || random.chance(0.6);
  const skewMsMax = random.pick([0, 500, purges ? 900 : 100_000]);
  const apartMsMax = 2 * (skewMsMax + DRIFT_MS_MAX);
  if (!purges) return { gcGraceMs: NEVER_MS, skewMsMax, apartMsMax, purges, forgottenMs: NEVER_MS };
  // Above repairAliveMs, which a crash hides.
  settable.hintAgeMsMax = 8000;
  settable.hintSegmentAgeMs = 500;
  // Above hintSegmentAgeMs, what two clocks differ by, and the longest time that a message is under way.
  settable.repairHorizonMarginMs = 7500;
  // Above what two clocks differ by, and well below gc_grace.
  settable.repairCutoffMarginMs = 2500;
  const gcGraceMs = mustPurge ? GC_GRACE_MS_MIN : random.pick([GC_GRACE_MS_MIN, 12_000]);
  const forgottenMs = gcGraceMs - settable.repairCutoffMarginMs - apartMsMax;
  return { gcGraceMs, skewMsMax, apartMsMax, purges, forgottenMs };
}

/** Everything as the store has it. */
export function resetKnobs(): void {
  Object.assign(settable, defaults);
}
