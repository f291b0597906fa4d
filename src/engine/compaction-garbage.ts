/**
 * Tables worth writing again for what would go from them: records that have expired, and tombstones that hide
 * nothing any more. Pure. The rules by which records go: the head of merge-rules.ts.
 *
 * Every plan from here makes progress, so the same table cannot come up for ever: it takes at least one expired
 * record's value or at least the oldest tombstone, whose hidden records are then in the job or nowhere. Except where the
 * tombstones lie in vnodes with a lower horizon than the highest, which is what is known here: the compactor puts tables
 * off that come out of such a plan as they went in.
 */

import { recordsOf } from './compaction-levels.ts';
import type { TableMeta } from './contract.ts';
import { rangesOverlap } from './token-range.ts';

/** Share of a plan's records that must be expected to go, tombstones with what they hide. */
export const GARBAGE_FRACTION_MIN = 0.25;
/**
 * Share of a table's records that must have expired. Above a half: an idempotency outcome beside every write is
 * half of the records and few of the bytes.
 */
export const EXPIRED_FRACTION_MIN = 0.6;

export interface GarbageState {
  readonly tables: readonly TableMeta[];
  readonly busy: ReadonlySet<number>;
  readonly nowMs: number;
  readonly gcGraceMs: number;
  /** As CompactionState.purgeBefore. */
  readonly purgeBefore: number;
  readonly memoryVersionMin: number;
}
/** What decides whether something is garbage. */
export type GarbageAge = Pick<GarbageState, 'nowMs' | 'gcGraceMs' | 'purgeBefore'>;
export interface GarbagePlan {
  readonly inputs: readonly TableMeta[];
  readonly reason: string;
}

/** How much of [low, high] lies at or below `at`, as if it were evenly filled. */
function fractionBelow(low: number, high: number, at: number): number {
  if (at < low) return 0;
  return high <= low ? 1 : Math.min(1, (at - low) / (high - low));
}

/** Records of a table that are likely to have expired. */
export function expiredEstimate(table: TableMeta, nowMs: number): number {
  if (table.expiring === 0) return 0;
  return table.expiring * fractionBelow(table.expiresMsMin, table.expiresMsMax, nowMs);
}

/** Tombstones of a table that are likely to be older than gc_grace and below the horizon. */
export function oldTombstonesEstimate(table: TableMeta, age: GarbageAge): number {
  if (table.tombstones === 0) return 0;
  const { nowMs, gcGraceMs, purgeBefore } = age;
  // Versions are whole numbers, and what has the horizon's own stays.
  const newestOld = Math.min((nowMs - gcGraceMs) * 1000, purgeBefore - 1);
  return table.tombstones * fractionBelow(table.tombstoneVersionMin, table.versionMax, newestOld);
}

/** Whether a table by itself has enough garbage to look further. */
export function hasGarbage(table: TableMeta, age: GarbageAge): boolean {
  if (expiredEstimate(table, age.nowMs) / table.records >= EXPIRED_FRACTION_MIN) return true;
  // Each tombstone takes the record that it hides with it, where that is in the job.
  return (2 * oldTombstonesEstimate(table, age)) / table.records >= GARBAGE_FRACTION_MIN;
}

/** What to write again for the sake of a table that has garbage, or null where that would not make it go. */
export function garbagePlan(table: TableMeta, state: GarbageState): GarbagePlan | null {
  const { nowMs } = state;
  const expired = expiredEstimate(table, nowMs);
  if (expired / table.records >= EXPIRED_FRACTION_MIN)
    return {
      inputs: [table],
      reason: `about ${percent(expired, table.records)} of its records have expired`,
    };
  const old = oldTombstonesEstimate(table, state);
  const oldest = table.tombstoneVersionMin;
  if (state.memoryVersionMin <= oldest) return null;
  const hidden = state.tables.filter(
    (other) =>
      other.number !== table.number && other.versionMin <= oldest && rangesOverlap(other.range, table.range),
  );
  if (hidden.some(({ number }) => state.busy.has(number))) return null;
  const inputs = [table, ...hidden];
  const records = recordsOf(inputs);
  const gone = (hidden.length === 0 ? old : 2 * old) + expired;
  if (gone / records < GARBAGE_FRACTION_MIN) return null;
  return {
    inputs,
    reason: `about ${percent(old, table.records)} of its records are tombstones older than gc_grace`,
  };
}

const percent = (part: number, whole: number): string => `${Math.round((100 * part) / whole)}%`;
