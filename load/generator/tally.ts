/** What one generator thread counts in one phase, and how the threads' counts become one. */
import { type EncodedLatencies, Latencies, mergeLatencies } from '../latencies.ts';
import { loadLimits } from '../limits.ts';

export interface PhaseCounts {
  /** Requests that were due in the counted time, or were sent where nothing is due. */
  due: number;
  /** Of these: answered as they should, also with "absent". */
  ok: number;
  absent: number;
  failed: number;
  /** Waited too long for a connection and were never sent. */
  givenUp: number;
  /** Sent more than a millisecond after they were due. */
  late: number;
  /** Reads that had to give one certain value, and records of scans. */
  exactReads: number;
  scannedRecords: number;
  /** Reads that gave what they must not, in counted time or not: never right. */
  wrong: number;
  doubtfulKeys: number;
  /** The most that this thread's own timer came late: the generator's own part of latencies. */
  ownLateMs: number;
  seconds: number;
}
export interface PhaseResult extends PhaseCounts {
  readonly failures: Readonly<Record<string, number>>;
  readonly latencies: EncodedLatencies;
}
export interface MergedResult extends PhaseCounts {
  readonly failures: Readonly<Record<string, number>>;
  readonly latencies: Latencies;
}

export const noCounts = (): PhaseCounts => ({
  due: 0,
  ok: 0,
  absent: 0,
  failed: 0,
  givenUp: 0,
  late: 0,
  exactReads: 0,
  scannedRecords: 0,
  wrong: 0,
  doubtfulKeys: 0,
  ownLateMs: 0,
  seconds: 0,
});

export function countFailure(failures: Record<string, number>, name: string): void {
  const known = name in failures || Object.keys(failures).length < loadLimits.failureNamesMax;
  const counted = known ? name : 'other';
  failures[counted] = (failures[counted] ?? 0) + 1;
}

const GREATEST: ReadonlySet<keyof PhaseCounts> = new Set(['ownLateMs', 'seconds']);

/** Counts add up; times are those of the slowest thread. */
export function mergeResults(parts: readonly PhaseResult[]): MergedResult {
  const counts = noCounts();
  const failures: Record<string, number> = {};
  for (const part of parts) {
    for (const name of Object.keys(counts) as (keyof PhaseCounts)[])
      counts[name] = GREATEST.has(name) ? Math.max(counts[name], part[name]) : counts[name] + part[name];
    for (const [name, count] of Object.entries(part.failures)) failures[name] = (failures[name] ?? 0) + count;
  }
  return {
    ...counts,
    failures,
    latencies: mergeLatencies(parts.map(({ latencies }) => new Latencies(latencies))),
  };
}
