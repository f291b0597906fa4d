/** A run as JSON: for other programs, for the HTML report, and as a baseline. */
import { arch, cpus, platform, totalmem } from 'node:os';
import type { IdleOutcome } from '../idle/idle-connections.ts';
import {
  type CurvePoint,
  correctedForOmission,
  curveOf,
  type EncodedLatencies,
  type SeriesPoint,
  type Summary,
  summaryOf,
} from '../latencies.ts';
import type { Mark, MemoryPoint } from '../marks.ts';
import type { RunOutcome } from '../run.ts';
import type { RunOptions } from '../run-options.ts';
import { type Criterion, isSaturated, passes } from '../verdict.ts';
import { OPERATIONS, type OperationName } from '../workload.ts';

export const REPORT_FORMAT = 1;

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
}
export const thisMachine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: cpus().length,
  memoryBytes: totalmem(),
  system: `${platform()} ${arch()}`,
  node: process.version,
});

export interface LatencyEntry {
  readonly name: string;
  readonly summary: Summary;
  readonly curve: readonly CurvePoint[];
}
export interface ScenarioReport {
  readonly name: string;
  readonly title: string;
  readonly pass: boolean;
  readonly criteria: readonly Criterion[];
  readonly options: RunOptions;
  readonly offeredPerSecond: number;
  readonly answeredPerSecond: number;
  readonly closedLoopPerSecond: number | null;
  /** The same loop's latencies, with what it did not send while it waited. */
  readonly closedLoopCorrected: Summary | null;
  readonly saturated: boolean;
  readonly counts: Readonly<Record<string, number>>;
  readonly failures: Readonly<Record<string, number>>;
  readonly latencies: readonly LatencyEntry[];
  readonly series: readonly SeriesPoint[];
  readonly marks: readonly Mark[];
  readonly marksDropped: number;
  readonly memory: readonly MemoryPoint[];
  readonly idle: IdleOutcome | null;
  readonly nodeCpuUs: number | null;
  readonly ownCpuUs: number;
  /** HdrHistograms, compressed, in base64: of microseconds. */
  readonly histograms: EncodedLatencies;
}
export interface LoadReport {
  readonly format: number;
  readonly begun: string;
  readonly machine: Machine;
  readonly pass: boolean;
  readonly scenarios: readonly ScenarioReport[];
  /** RingKV, the first scenario, beside each other store. */
  readonly comparison: readonly Comparison[];
}
export interface Comparison {
  readonly name: string;
  readonly closedLoopPerSecond: number | null;
  readonly offeredPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly cpuUs: number | null;
  /** RingKV's closed loop over this one's; null where one is not known. */
  readonly ratio: number | null;
}
export function comparisonOf(scenarios: readonly ScenarioReport[]): Comparison[] {
  const own = scenarios.find(({ options }) => options.peer === null)?.closedLoopPerSecond ?? null;
  return scenarios.map((one) => {
    const ms = one.latencies[0]?.summary.ms ?? {};
    const { closedLoopPerSecond: closed } = one;
    return {
      name: one.name,
      closedLoopPerSecond: closed,
      offeredPerSecond: one.offeredPerSecond,
      p50Ms: ms['50'] ?? 0,
      p99Ms: ms['99'] ?? 0,
      p999Ms: ms['99.9'] ?? 0,
      cpuUs: one.nodeCpuUs,
      ratio: own === null || closed === null || closed === 0 ? null : own / closed,
    };
  });
}

export function scenarioReport(outcome: RunOutcome, criteria: readonly Criterion[]): ScenarioReport {
  const { options, load, calibration, rate, series, marks, nodeCpuUs, ownCpuUs, verified, idle } = outcome;
  const { latencies, failures, ...counts } = load;
  const entry = (name: string, histogram: Parameters<typeof summaryOf>[0]): LatencyEntry => ({
    name,
    summary: summaryOf(histogram),
    curve: curveOf(histogram),
  });
  const byOperation = OPERATIONS.flatMap((name: OperationName, at) => {
    const own = latencies.byOperation[at] ?? null;
    return own === null ? [] : [entry(name, own)];
  });
  return {
    name: options.scenario.name,
    title: options.scenario.title,
    pass: passes(criteria),
    criteria,
    options,
    offeredPerSecond: rate,
    answeredPerSecond: load.ok / load.seconds,
    closedLoopPerSecond: calibration === null ? null : calibration.ok / calibration.seconds,
    closedLoopCorrected: calibration === null ? null : correctedSummary(calibration, options.inFlight),
    saturated: isSaturated(outcome),
    counts: { ...counts, verifiedRight: verified?.ok ?? 0, verifiedWrong: verified?.wrong ?? 0 },
    failures,
    latencies: [
      entry('all, from when due', latencies.response),
      ...byOperation,
      entry('all, from when sent', latencies.service),
    ],
    series,
    marks: marks.marks,
    marksDropped: marks.dropped,
    memory: marks.memory,
    idle,
    nodeCpuUs,
    ownCpuUs,
    histograms: latencies.encode(),
  };
}

/** Each connection of a closed loop would have sent a request each `inFlight` over the rate. */
function correctedSummary(calibration: NonNullable<RunOutcome['calibration']>, inFlight: number): Summary {
  const expectedUs = (1e6 * inFlight * calibration.seconds) / Math.max(1, calibration.ok);
  return summaryOf(correctedForOmission(calibration.latencies.service, expectedUs));
}

export function loadReport(
  begun: string,
  scenarios: readonly ScenarioReport[],
  compared = false,
): LoadReport {
  // Whether others are within the SLO is theirs.
  const own = scenarios.filter(({ options }) => options.peer === null);
  const pass = own.length > 0 && own.every((one) => one.pass);
  return {
    format: REPORT_FORMAT,
    begun,
    machine: thisMachine(),
    pass,
    scenarios,
    comparison: compared ? comparisonOf(scenarios) : [],
  };
}
