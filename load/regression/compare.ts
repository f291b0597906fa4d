/**
 * Two reports of `npm run load -- --peers`, an older one and one of today, compared by ratios: how RingKV stands to each other store
 * measured beside it. Machines and their load differ from run to run; both sides of a ratio had the same.
 */
import { z } from 'zod';

const number = z.number().nonnegative();
/** What of report.json is needed here. */
const reportSchema = z.object({
  format: z.literal(1),
  comparison: z
    .array(
      z.object({
        name: z.string(),
        closedLoopPerSecond: number.nullable(),
        p99Ms: number,
        cpuUs: number.nullable(),
        ratio: number.nullable(),
      }),
    )
    .min(2, { error: 'not a report of npm run load -- --peers: it compares nothing' }),
});
export type RegressionReport = z.infer<typeof reportSchema>;

/** Throws where it is no report. `name` is for the message. */
export function readReport(name: string, text: string): RegressionReport {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} is no JSON: ${(error as Error).message}`);
  }
  const parsed = reportSchema.safeParse(json);
  if (!parsed.success)
    throw new Error(
      `${name}: ${parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')}`,
    );
  return parsed.data;
}

export interface Regression {
  readonly peer: string;
  readonly what: string;
  readonly before: number;
  readonly now: number;
  /** Of `now` to `before`, so that less than 1 is worse. */
  readonly change: number;
  readonly pass: boolean;
}

/**
 * For each store that is in both: RingKV's rate over its, and its processor time over RingKV's. Worse by more than `tolerance`
 * (0.2: a fifth) is no pass. Throws where the two have no other store in common, or RingKV went another way.
 */
export function compareReports(
  before: RegressionReport,
  now: RegressionReport,
  tolerance: number,
): Regression[] {
  const [ownBefore, ...peersBefore] = before.comparison;
  const [ownNow, ...peersNow] = now.comparison;
  if (ownBefore?.name !== ownNow?.name)
    throw new Error(`one report is of ${ownBefore?.name}, the other of ${ownNow?.name}`);
  const rows: Regression[] = [];
  const add = (peer: string, what: string, old: number | null, fresh: number | null): void => {
    if (old === null || fresh === null || old === 0) return;
    const change = fresh / old;
    rows.push({ peer, what, before: old, now: fresh, change, pass: change >= 1 - tolerance });
  };
  const cpu = (peer: number | null, own: number | null | undefined): number | null =>
    peer === null || own === null || own === undefined || own === 0 ? null : peer / own;
  for (const old of peersBefore) {
    const fresh = peersNow.find(({ name }) => name === old.name);
    if (fresh === undefined) continue;
    add(old.name, 'requests a second, RingKV / it', old.ratio, fresh.ratio);
    add(
      old.name,
      'processor time of a request, it / RingKV',
      cpu(old.cpuUs, ownBefore?.cpuUs),
      cpu(fresh.cpuUs, ownNow?.cpuUs),
    );
  }
  if (rows.length === 0) throw new Error('the two reports have no other store in common');
  return rows;
}
