/** The end of a run in the terminal. */
import Table from 'cli-table3';
import { summaryOf } from '../latencies.ts';
import type { RunOutcome } from '../run.ts';
import { type Criterion, isSaturated, passes } from '../verdict.ts';
import { OPERATIONS } from '../workload.ts';
import type { Comparison } from './document.ts';

const plain = { head: [], border: [] };
const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
const ms = (value: number | undefined): string => (value ?? 0).toFixed(2);

export function textOf(outcome: RunOutcome, criteria: readonly Criterion[]): string {
  const { options, load, rate, calibration, nodeCpuUs, ownCpuUs, marks } = outcome;
  const { scenario } = options;
  const lines = [`${scenario.name}: ${scenario.title}`];
  if (calibration !== null)
    lines.push(
      `closed loop before: ${whole(calibration.ok / calibration.seconds)}/s, p99 ${ms(summaryOf(calibration.latencies.service).ms['99'])} ms`,
    );
  lines.push(
    `offered ${whole(rate)}/s, answered well ${whole(load.ok / load.seconds)}/s for ${load.seconds.toFixed(0)} s` +
      (load.givenUp > 0 ? `; ${whole(load.givenUp)} waited too long and were never sent` : '') +
      (isSaturated(outcome) ? '. SATURATED: the store decided the rate' : ''),
  );
  const latencies = new Table({
    head: ['latency, ms', 'requests', 'p50', 'p90', 'p99', 'p99.9', 'p99.99', 'max'],
    style: plain,
  });
  const row = (name: string, histogram: Parameters<typeof summaryOf>[0]): void => {
    const { count, ms: by, maxMs } = summaryOf(histogram);
    latencies.push([
      name,
      whole(count),
      ms(by['50']),
      ms(by['90']),
      ms(by['99']),
      ms(by['99.9']),
      ms(by['99.99']),
      ms(maxMs),
    ]);
  };
  row('all, from when due', load.latencies.response);
  OPERATIONS.forEach((name, at) => {
    const own = load.latencies.byOperation[at] ?? null;
    if (own !== null) row(name, own);
  });
  row('all, from when sent', load.latencies.service);
  lines.push(latencies.toString());
  const events = Object.entries(marks.totals).map(([kind, count]) => `${kind}: ${whole(count)}`);
  lines.push(
    `meanwhile ${events.length === 0 ? 'no flush and no compaction' : events.join(', ')}` +
      (nodeCpuUs === null
        ? ''
        : `; ${nodeCpuUs.toFixed(1)} us of processor time of the nodes for a request`) +
      `; ${ownCpuUs.toFixed(1)} us of this program's; the generator itself late by ${load.ownLateMs.toFixed(1)} ms at most`,
  );
  const verdict = new Table({ head: ['', 'criterion', 'limit', 'found'], style: plain });
  for (const { pass, what, limit, found } of criteria)
    verdict.push([pass ? 'PASS' : 'FAIL', what, limit, found]);
  lines.push(verdict.toString(), `${scenario.name}: ${passes(criteria) ? 'PASS' : 'FAIL'}`);
  return lines.join('\n');
}

export function comparisonText(rows: readonly Comparison[]): string {
  const table = new Table({
    head: [
      'store',
      'closed loop /s',
      'RingKV / it',
      'offered /s',
      'p50 ms',
      'p99 ms',
      'p99.9 ms',
      'CPU us a request',
    ],
    style: plain,
  });
  for (const { name, closedLoopPerSecond, ratio, offeredPerSecond, p50Ms, p99Ms, p999Ms, cpuUs } of rows)
    table.push([
      name,
      closedLoopPerSecond === null ? '' : whole(closedLoopPerSecond),
      ratio === null ? '' : ratio.toFixed(2),
      whole(offeredPerSecond),
      ms(p50Ms),
      ms(p99Ms),
      ms(p999Ms),
      cpuUs === null ? '' : cpuUs.toFixed(1),
    ]);
  return table.toString();
}
