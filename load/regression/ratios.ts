/**
 * Ratios of today beside those of the baseline. A ratio is the processor time of a request at the bare server over that of the same
 * request at RingKV, both measured in the same minute: less is worse, and how fast the machine is, or how busy, cancels out.
 */
import { z } from 'zod';
import { median } from '../growth/figures.ts';

export const BASELINE_FORMAT = 2;
/** What no baseline of few runs is trusted to show. */
export const TOLERANCE_MIN = 0.05;
/** Of the largest distance of a run from the median of all. */
const TOLERANCE_FACTOR = 1.5;

const positive = z.number().positive();
const baselineSchema = z.strictObject({
  format: z.literal(BASELINE_FORMAT),
  measuredAt: z.iso.datetime(),
  machine: z.strictObject({
    cpu: z.string(),
    cores: z.int().positive(),
    memoryBytes: positive,
    system: z.string(),
    node: z.string(),
  }),
  /** Whole runs that the ratios are medians of. */
  runs: z.int().positive(),
  contests: z.record(
    z.string(),
    z.strictObject({
      ratio: positive,
      /** Share of the ratio by which a run may be below it. */
      tolerance: z.number().min(0).max(1),
      /** Of each run, for whoever wants to know how far they lay apart. */
      ratios: z.array(positive).min(1),
    }),
  ),
});
export type Baseline = z.infer<typeof baselineSchema>;

/** Throws where it is none. `name` is for the message. */
export function readBaseline(name: string, text: string): Baseline {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} is no JSON: ${(error as Error).message}`);
  }
  const parsed = baselineSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new Error(`${name}: ${issues.join('; ')}`);
}

/** Ratios of one run by contest. */
export type Ratios = Readonly<Record<string, number>>;

/** Medians of several runs, each with as much tolerance as its own runs lay apart. */
export function baselineOf(
  runs: readonly Ratios[],
  machine: Baseline['machine'],
  measuredAt: string,
): Baseline {
  const names = Object.keys(runs[0] ?? {});
  const contests = Object.fromEntries(
    names.map((name) => {
      const ratios = runs.map((run) => run[name] ?? Number.NaN);
      const ratio = median(ratios);
      const farthest = Math.max(...ratios.map((one) => Math.abs(one / ratio - 1)));
      const tolerance = Math.max(TOLERANCE_MIN, Math.ceil(farthest * TOLERANCE_FACTOR * 100) / 100);
      return [name, { ratio, tolerance: Math.min(1, tolerance), ratios }];
    }),
  );
  return { format: BASELINE_FORMAT, measuredAt, machine, runs: runs.length, contests };
}

/**
 * What else a machine does only adds to what a request costs there: a quarter of the measurements, the least disturbed, lies
 * below this.
 */
export function lowerQuartile(costs: readonly number[]): number {
  const sorted = [...costs].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 4)] ?? Number.NaN;
}

export interface Row {
  readonly name: string;
  readonly before: number;
  readonly now: number;
  /** Of `now` to `before`: less than 1 is worse. */
  readonly change: number;
  readonly least: number;
  readonly pass: boolean;
}

/** Throws where a contest is missing on one side: a check that leaves something out has not passed. */
export function compareRatios(baseline: Baseline, now: Ratios): Row[] {
  const missing = [
    ...Object.keys(baseline.contests).filter((name) => now[name] === undefined),
    ...Object.keys(now).filter((name) => baseline.contests[name] === undefined),
  ];
  if (missing.length > 0)
    throw new Error(
      `${missing.join(', ')}: not in both, the baseline and what was measured; measure a new baseline`,
    );
  return Object.entries(baseline.contests).map(([name, { ratio, tolerance }]) => {
    const fresh = now[name] as number;
    const change = fresh / ratio;
    return { name, before: ratio, now: fresh, change, least: 1 - tolerance, pass: change >= 1 - tolerance };
  });
}
