/** The report as one HTML file: nothing is loaded from anywhere, and no script runs. */
import type { SeriesPoint } from '../latencies.ts';
import type { Mark } from '../marks.ts';
import {
  type Chart,
  type ChartMark,
  escapeHtml,
  type Line,
  legendOf,
  linearAxis,
  logarithmicAxis,
  ninesAxis,
  ninesOf,
  svgOf,
} from './chart.ts';
import type { LoadReport, ScenarioReport } from './document.ts';

const STYLE = `
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#f4f6f8;--line:#d5dbe1;--dim:#5b6672;--pass:#00734d;--fail:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ec;--paper:#15181c;--soft:#1e2329;--line:#343b43;--dim:#9aa5b1;--pass:#4fc391;--fail:#ff8a80}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:960px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;border-top:1px solid var(--line);padding-top:1.5rem;margin-top:2.5rem}h3{font-size:1rem;margin-bottom:.2rem}
table{border-collapse:collapse;width:100%;margin:.8rem 0;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--line);padding:.3rem .5rem;text-align:left}td.n,th.n{text-align:right}
.scroll{overflow-x:auto}.pass{color:var(--pass);font-weight:600}.fail{color:var(--fail);font-weight:600}.dim{color:var(--dim)}
svg{width:100%;height:auto;background:var(--soft);border-radius:6px}
.grid{stroke:var(--line);stroke-width:1}.tick,.label{fill:var(--dim);font-size:11px}
.mark{stroke-width:1.5;opacity:.75}.flush{stroke:#56b4e9}.compaction{stroke:#e69f00}.node{stroke:var(--fail);stroke-width:2.5}
.legend{margin:.2rem 0 1rem;font-size:.85rem}.legend span{margin-right:1rem;white-space:nowrap}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border-radius:2px}
pre{background:var(--soft);padding:.8rem;overflow-x:auto;border-radius:6px;font-size:.8rem}
`;

const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
const ms = (value: number | undefined): string => (value ?? 0).toFixed(2);
const verdict = (pass: boolean): string =>
  `<span class="${pass ? 'pass' : 'fail'}">${pass ? 'PASS' : 'FAIL'}</span>`;
const MS_LEAST = 0.01;
const GIB = 2 ** 30;
const MIB = 2 ** 20;

export function htmlOf(report: LoadReport): string {
  const { machine, begun, pass, scenarios } = report;
  const rows = scenarios.map(
    (one) =>
      `<tr><td>${verdict(one.pass)}</td><td><a href="#${escapeHtml(one.name)}">${escapeHtml(one.name)}</a></td><td>${escapeHtml(one.title)}</td><td class="n">${whole(one.offeredPerSecond)}</td><td class="n">${whole(one.answeredPerSecond)}</td><td class="n">${ms(one.latencies[0]?.summary.ms['99'])}</td></tr>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>RingKV load: ${pass ? 'PASS' : 'FAIL'}</title><style>${STYLE}</style></head><body>
<h1>RingKV under load: ${verdict(pass)}</h1>
<p class="dim">${escapeHtml(begun)} · ${escapeHtml(machine.cpu)}, ${machine.cores} cores, ${(machine.memoryBytes / GIB).toFixed(0)} GiB · ${escapeHtml(machine.system)} · Node.js ${escapeHtml(machine.node)}. The generator shares these cores with the nodes.</p>
<div class="scroll"><table><thead><tr><th></th><th>scenario</th><th></th><th class="n">offered/s</th><th class="n">answered/s</th><th class="n">p99 ms</th></tr></thead><tbody>
${rows.join('\n')}
</tbody></table></div>
${comparisonSection(report)}
${scenarios.map(sectionOf).join('\n')}
</body></html>
`;
}

/** Where other stores were measured beside it. */
function comparisonSection({ comparison, scenarios }: LoadReport): string {
  if (comparison.length === 0) return '';
  const number = (value: number | null, digits: number): string =>
    `<td class="n">${value === null ? '' : value.toFixed(digits)}</td>`;
  const rows = comparison.map(
    ({ name, closedLoopPerSecond, ratio, offeredPerSecond, p50Ms, p99Ms, p999Ms, cpuUs }) =>
      `<tr><td>${escapeHtml(name)}</td>${number(closedLoopPerSecond, 0)}${number(ratio, 2)}${number(offeredPerSecond, 0)}${number(p50Ms, 2)}${number(p99Ms, 2)}${number(p999Ms, 2)}${number(cpuUs, 1)}</tr>`,
  );
  const lines: Line[] = scenarios.map(({ name, latencies }, color) => ({
    name,
    color,
    points: (latencies[0]?.curve ?? []).map(
      ({ percentile, ms: y }) => [ninesOf(percentile), Math.max(MS_LEAST, y)] as const,
    ),
  }));
  const chart = percentileChart('Latency by percentile, from when requests were due', lines);
  return `<h2 id="comparison">Side by side</h2>
<div class="scroll"><table><thead><tr><th>store</th><th class="n">closed loop /s</th><th class="n">RingKV / it</th><th class="n">offered /s</th><th class="n">p50 ms</th><th class="n">p99 ms</th><th class="n">p99.9 ms</th><th class="n">CPU us</th></tr></thead><tbody>
${rows.join('\n')}
</tbody></table></div>
<h3>${escapeHtml(chart.title)}</h3>
${svgOf(chart)}
${legendOf(lines)}`;
}

function sectionOf(one: ScenarioReport): string {
  const criteria = one.criteria.map(
    ({ pass, what, limit, found }) =>
      `<tr><td>${verdict(pass)}</td><td>${escapeHtml(what)}</td><td>${escapeHtml(limit)}</td><td>${escapeHtml(found)}</td></tr>`,
  );
  const latencies = one.latencies.map(({ name, summary }) => {
    const cells = ['50', '90', '99', '99.9', '99.99'].map((p) => `<td class="n">${ms(summary.ms[p])}</td>`);
    return `<tr><td>${escapeHtml(name)}</td><td class="n">${whole(summary.count)}</td>${cells.join('')}<td class="n">${ms(summary.maxMs)}</td></tr>`;
  });
  const charts = [percentiles(one), throughput(one), overTime(one), ...memory(one)].map(
    (chart) => `<h3>${escapeHtml(chart.title)}</h3>\n${svgOf(chart)}\n${legendOf(chart.lines)}`,
  );
  return `<h2 id="${escapeHtml(one.name)}">${escapeHtml(one.name)}: ${verdict(one.pass)}</h2>
<p>${escapeHtml(one.title)}. Offered ${whole(one.offeredPerSecond)}/s, answered well ${whole(one.answeredPerSecond)}/s${one.saturated ? ': <b>saturated</b>, the store decided the rate' : ''}.</p>
<div class="scroll"><table><thead><tr><th></th><th>criterion</th><th>limit</th><th>found</th></tr></thead><tbody>
${criteria.join('\n')}
</tbody></table></div>
<div class="scroll"><table><thead><tr><th>latency, ms</th><th class="n">requests</th><th class="n">p50</th><th class="n">p90</th><th class="n">p99</th><th class="n">p99.9</th><th class="n">p99.99</th><th class="n">max</th></tr></thead><tbody>
${latencies.join('\n')}
</tbody></table></div>
${charts.join('\n')}
<p class="dim">Marks: ${markSummary(one.marks)}${one.marksDropped > 0 ? `, and ${whole(one.marksDropped)} more` : ''}.</p>
<details><summary>Settings and counts</summary><pre>${escapeHtml(JSON.stringify({ options: one.options, counts: one.counts, failures: one.failures }, null, 2))}</pre></details>`;
}

function markSummary(marks: readonly Mark[]): string {
  const sums = new Map<string, number>();
  for (const { kind, count } of marks) sums.set(kind, (sums.get(kind) ?? 0) + count);
  if (sums.size === 0) return 'none';
  return [...sums].map(([kind, count]) => `${escapeHtml(kind)} ${whole(count)}`).join(', ');
}

function percentiles(one: ScenarioReport): Chart {
  const lines: Line[] = one.latencies.map(({ name, curve }, color) => ({
    name,
    color,
    dashed: name.includes('when sent'),
    points: curve.map(({ percentile, ms: y }) => [ninesOf(percentile), Math.max(MS_LEAST, y)] as const),
  }));
  return percentileChart('Latency by percentile', lines);
}
function percentileChart(title: string, lines: readonly Line[]): Chart {
  const all = lines.flatMap(({ points }) => points);
  return {
    title,
    x: ninesAxis('percentile', Math.max(1, ...all.map(([x]) => x))),
    y: logarithmicAxis('ms', Math.min(1, ...all.map(([, y]) => y)), Math.max(1, ...all.map(([, y]) => y))),
    lines,
    marks: [],
  };
}

const seconds = (series: readonly SeriesPoint[]): number => series.at(-1)?.second ?? 1;
const marksOf = ({ marks }: ScenarioReport): ChartMark[] =>
  marks
    .filter(({ second }) => second >= 0)
    .map(({ second, kind, node, count }) => ({
      x: second,
      text: `${kind}${count > 1 ? ` (${count})` : ''}, ${node}, at ${second.toFixed(1)} s`,
      className: kind.split(' ')[0] ?? '',
    }));

function throughput(one: ScenarioReport): Chart {
  const { series, offeredPerSecond } = one;
  const line = (name: string, color: number, pick: (point: SeriesPoint) => number): Line => ({
    name,
    color,
    points: series.map((point) => [point.second, pick(point)] as const),
  });
  const end = seconds(series);
  const lines: Line[] = [
    line('answered well', 0, ({ okPerSecond }) => okPerSecond),
    line('failed', 1, ({ failedPerSecond }) => failedPerSecond),
    line('never sent', 3, ({ givenUpPerSecond }) => givenUpPerSecond),
    {
      name: 'offered',
      color: 6,
      dashed: true,
      points: [
        [0, offeredPerSecond],
        [end, offeredPerSecond],
      ],
    },
  ];
  const most = Math.max(1, ...lines.flatMap(({ points }) => points.map(([, y]) => y)));
  return {
    title: 'Requests a second',
    x: linearAxis('seconds', end),
    y: linearAxis('requests a second', most, whole),
    lines,
    marks: marksOf(one),
  };
}

function overTime(one: ScenarioReport): Chart {
  const { series } = one;
  const line = (name: string, color: number, pick: (point: SeriesPoint) => number): Line => ({
    name,
    color,
    points: series.map((point) => [point.second, Math.max(MS_LEAST, pick(point))] as const),
  });
  const lines = [
    line('p50', 2, ({ p50Ms }) => p50Ms),
    line('p99', 0, ({ p99Ms }) => p99Ms),
    line('max', 6, ({ maxMs }) => maxMs),
  ];
  const all = lines.flatMap(({ points }) => points.map(([, y]) => y));
  return {
    title: 'Latency over time, from when requests were due',
    x: linearAxis('seconds', seconds(series)),
    y: logarithmicAxis('ms', Math.min(1, ...all), Math.max(1, ...all)),
    lines,
    marks: marksOf(one),
  };
}

function memory(one: ScenarioReport): Chart[] {
  const counted = one.memory.filter(({ second }) => second >= 0);
  const nodes = [...new Set(counted.map(({ node }) => node))];
  if (nodes.length === 0) return [];
  const lines: Line[] = nodes.map((node, color) => ({
    name: node,
    color,
    points: counted
      .filter((point) => point.node === node)
      .map(({ second, rssBytes }) => [second, rssBytes / MIB] as const),
  }));
  const most = Math.max(1, ...counted.map(({ rssBytes }) => rssBytes / MIB));
  const end = Math.max(seconds(one.series), ...counted.map(({ second }) => second));
  return [
    {
      title: 'Resident memory of the nodes',
      x: linearAxis('seconds', end),
      y: linearAxis('MiB', most, whole),
      lines,
      marks: marksOf(one),
    },
  ];
}
