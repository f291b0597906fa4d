/** PASS or FAIL: what a run promised, and what came of it. */
import type { IdleOutcome } from './idle/idle-connections.ts';
import { summaryOf } from './latencies.ts';
import { loadLimits } from './limits.ts';
import type { RunOutcome } from './run.ts';

export interface Criterion {
  readonly what: string;
  readonly limit: string;
  readonly found: string;
  readonly pass: boolean;
}

const percent = (share: number): string => `${(100 * share).toFixed(2)}%`;
const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
const KILL_RATE_SHARE = 0.9;
/** Of the interval in which the first growth of caches is over. */
const HALF = 0.5;
const KIB = 2 ** 10;
const MIB = 2 ** 20;
/** Where half of the requests wait so long, they wait for others. */
const PILED_UP_MS = 1000;

export function judge(outcome: RunOutcome): Criterion[] {
  const { options, load, rate, verified } = outcome;
  const { slo } = options.scenario;
  const p99 = summaryOf(load.latencies.response).ms['99'] ?? 0;
  const okShare = load.due === 0 ? 0 : load.ok / load.due;
  const failedShare = load.due === 0 ? 1 : load.failed / load.due;
  const criteria: Criterion[] = [
    {
      what: 'p99 latency, from when a request was due',
      limit: `below ${slo.p99Ms} ms`,
      found: `${p99.toFixed(2)} ms`,
      pass: load.ok > 0 && p99 < slo.p99Ms,
    },
    {
      what: 'answered well, of what was offered',
      limit: `at least ${percent(slo.answeredShareMin)} of ${whole(rate)}/s`,
      found: `${percent(okShare)}, ${whole(load.ok / Math.max(1e-9, load.seconds))}/s`,
      pass: okShare >= slo.answeredShareMin,
    },
    {
      what: 'failed requests',
      limit: slo.failedShareMax === 0 ? 'none' : `at most ${percent(slo.failedShareMax)}`,
      found: `${whole(load.failed)}${failuresText(load.failures)}`,
      pass: failedShare <= slo.failedShareMax,
    },
    {
      what: 'wrong answers: lost, stale, damaged',
      limit: 'none',
      found: `${whole(load.wrong + (verified?.wrong ?? 0))} of ${whole(load.exactReads + (verified?.exactReads ?? 0))} reads that are known exactly`,
      pass: load.wrong === 0 && (verified?.wrong ?? 0) === 0,
    },
  ];
  if (verified !== null)
    criteria.push({
      what: 'every key read once behind the load',
      limit: 'all as last acknowledged',
      found: `${whole(verified.ok)} right, ${whole(verified.failed)} not${failuresText(verified.failures)}`,
      pass: verified.failed === 0 && verified.ok > 0,
    });
  if (outcome.idle !== null) criteria.push(...idleOf(outcome.idle));
  if (slo.needsCompaction) criteria.push(compactionOf(outcome));
  if (slo.recoverySecondsMax !== null) criteria.push(recoveryOf(outcome, slo.recoverySecondsMax));
  // Of nodes at --url nobody here knows the memory.
  if (slo.memoryGrowthShareMax !== null && options.urls.length === 0)
    criteria.push(memoryOf(outcome, slo.memoryGrowthShareMax));
  return criteria;
}

export const passes = (criteria: readonly Criterion[]): boolean => criteria.every(({ pass }) => pass);

/** Whether requests piled up: the store, not the rate, decided what was answered. */
export function isSaturated({ load }: RunOutcome): boolean {
  return load.givenUp > 0 || (summaryOf(load.latencies.response).ms['50'] ?? 0) >= PILED_UP_MS;
}

function failuresText(failures: Readonly<Record<string, number>>): string {
  const all = Object.entries(failures).map(([name, count]) => `${name}: ${whole(count)}`);
  return all.length === 0 ? '' : ` (${all.join(', ')})`;
}

function idleOf(idle: IdleOutcome): Criterion[] {
  const { webSockets, http, dropped, reasons, answered, bytesEach } = idle;
  const count = webSockets + http;
  const criteria: Criterion[] = [
    {
      what: 'idle connections that were dropped',
      limit: `none of ${whole(webSockets)} WebSocket and ${whole(http)} HTTP`,
      found: `${whole(dropped)}${failuresText(reasons)}`,
      pass: dropped === 0 && count > 0,
    },
    {
      what: 'idle connections that answer in the end',
      limit: `all ${whole(count)}`,
      found: whole(answered),
      pass: answered === count,
    },
  ];
  if (bytesEach !== null)
    criteria.push({
      what: "the nodes' memory for an idle connection",
      limit: `at most ${(loadLimits.idleBytesMax / KIB).toFixed(0)} KiB`,
      found: `${(bytesEach / KIB).toFixed(1)} KiB`,
      pass: bytesEach <= loadLimits.idleBytesMax,
    });
  return criteria;
}

function compactionOf({ marks }: RunOutcome): Criterion {
  const flushes = marks.totals.flush ?? 0;
  const compactions = marks.totals.compaction ?? 0;
  return {
    what: 'flushes and compactions while it counted',
    limit: 'at least one of each',
    found: `${whole(flushes)} and ${whole(compactions)}`,
    pass: flushes > 0 && compactions > 0,
  };
}

/** From the kill to the first interval that is as good as before, with none after it that is not. */
export function recoverySeconds(outcome: RunOutcome): number | null {
  const { marks, series, rate, intervalMs } = outcome;
  const killed = marks.marks.find(({ kind }) => kind === 'node killed');
  if (killed === undefined || !marks.marks.some(({ kind }) => kind === 'node serves')) return null;
  const started = marks.marks.find(({ kind }) => kind === 'node started')?.second ?? Number.POSITIVE_INFINITY;
  // What happens when it comes back is not the failure's.
  const between = series.filter(
    ({ second }) => second - intervalMs / 1000 > killed.second && second < started,
  );
  const poor = between.filter(({ okPerSecond }) => okPerSecond < KILL_RATE_SHARE * rate).at(-1);
  if (between.length === 0 || (poor !== undefined && poor === between.at(-1))) return null;
  return poor === undefined ? 0 : poor.second - killed.second;
}
function recoveryOf(outcome: RunOutcome, secondsMax: number): Criterion {
  const seconds = recoverySeconds(outcome);
  return {
    what: `from the kill until ${percent(KILL_RATE_SHARE)} of the rate is answered again`,
    limit: `at most ${secondsMax} s`,
    found: seconds === null ? 'not, or the node was not killed and started' : `${seconds.toFixed(1)} s`,
    pass: seconds !== null && seconds <= secondsMax,
  };
}

/** The most of the last quarter beside the most of the third one. */
function memoryOf({ marks, options }: RunOutcome, shareMax: number): Criterion {
  const { seconds } = options.scenario;
  const most = (from: number, to: number): number =>
    Math.max(
      0,
      ...marks.memory
        .filter(({ second }) => second >= from * seconds && second < to * seconds)
        .map(({ rssBytes }) => rssBytes),
    );
  const before = most(HALF, 0.75);
  const after = most(0.75, 1);
  const growth = before === 0 ? Number.NaN : after / before - 1;
  return {
    what: 'growth of resident memory from the third quarter to the last',
    limit: `at most ${percent(shareMax)}`,
    found: Number.isNaN(growth)
      ? 'not known'
      : `${percent(growth)}, ${(before / MIB).toFixed(0)} to ${(after / MIB).toFixed(0)} MiB`,
    pass: growth <= shareMax,
  };
}
