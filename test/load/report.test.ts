import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type MergedResult, mergeResults, noCounts, type PhaseCounts } from '../../load/generator/tally.ts';
import { Latencies, type SeriesPoint, summaryOf } from '../../load/latencies.ts';
import { type CounterSource, countersOf, type Mark, MarkRecorder } from '../../load/marks.ts';
import { linearAxis, logarithmicAxis, ninesAxis, ninesOf, placeOf, svgOf } from '../../load/report/chart.ts';
import { loadReport, scenarioReport } from '../../load/report/document.ts';
import { htmlOf } from '../../load/report/html.ts';
import { comparisonText, textOf } from '../../load/report/table.ts';
import type { RunOutcome } from '../../load/run.ts';
import { type Scenario, type Slo, scenarios } from '../../load/scenarios.ts';
import { type Criterion, isSaturated, judge, passes, recoverySeconds } from '../../load/verdict.ts';
import { Operation } from '../../load/workload.ts';

const slo = scenarios.find(({ name }) => name === 'slo') as Scenario;

/** 1,000 requests: all in `ms`, but the slowest 2% in `slowMs`. */
function latenciesOf(ms: number, slowMs: number): Latencies {
  const latencies = new Latencies();
  for (let i = 0; i < 1000; i++) {
    const us = 1000 * (i < 980 ? ms : slowMs);
    latencies.record(i % 2 === 0 ? Operation.READ : Operation.UPDATE, us, us / 2);
  }
  return latencies;
}
function resultOf(
  counts: Partial<PhaseCounts>,
  latencies: Latencies,
  failures: Record<string, number> = {},
): MergedResult {
  return mergeResults([
    {
      ...noCounts(),
      due: 1000,
      ok: 1000,
      seconds: 10,
      exactReads: 400,
      ...counts,
      failures,
      latencies: latencies.encode(),
    },
  ]);
}
const second = (at: number, okPerSecond = 100): SeriesPoint => ({
  second: at,
  okPerSecond,
  failedPerSecond: 0,
  givenUpPerSecond: 0,
  p50Ms: 1,
  p99Ms: 2,
  maxMs: 3,
});
function outcomeOf(
  more: Partial<RunOutcome> = {},
  limits: Partial<Slo> = {},
  marks: readonly Mark[] = [],
): RunOutcome {
  const recorder = new MarkRecorder([], 1000);
  for (const mark of marks) {
    recorder.marks.push(mark);
    recorder.totals[mark.kind] = (recorder.totals[mark.kind] ?? 0) + mark.count;
  }
  return {
    options: {
      scenario: { ...slo, seconds: 10, slo: { ...slo.slo, ...limits } },
      transport: 'http-raw',
      arrivals: 'constant',
      inFlight: 10,
      generators: 1,
      giveUpMs: 10_000,
      seed: 1,
      urls: [],
      filled: false,
      peer: null,
      parent: '',
    },
    rate: 100,
    calibration: null,
    preloadSeconds: 1,
    load: resultOf({}, latenciesOf(1, 5)),
    verified: resultOf({ ok: 50, due: 50 }, latenciesOf(1, 1)),
    intervalMs: 1000,
    series: Array.from({ length: 10 }, (_, at) => second(at + 1)),
    marks: recorder,
    idle: null,
    nodeCpuUs: 33.3,
    ownCpuUs: 11.1,
    ...more,
  };
}
const failed = (outcome: RunOutcome): string[] =>
  judge(outcome)
    .filter(({ pass }) => !pass)
    .map(({ what }) => what.split(',')[0]?.split(':')[0] ?? '');

describe('the verdict', () => {
  it('passes where everything is within the SLO', () => {
    const criteria = judge(outcomeOf());
    expect(criteria.filter(({ pass }) => !pass)).toEqual([]);
    expect(passes(criteria)).toBe(true);
  });
  it('the p99 counts from when requests were due, and must be below the limit', () => {
    expect(failed(outcomeOf({ load: resultOf({}, latenciesOf(1, 11)) }))).toEqual(['p99 latency']);
    expect(failed(outcomeOf({ load: resultOf({}, latenciesOf(1, 11)) }, { p99Ms: 20 }))).toEqual([]);
    // Half of it is service time: 8 ms after they were sent, 16 ms after they were due.
    expect(failed(outcomeOf({ load: resultOf({}, latenciesOf(1, 16)) }))).toEqual(['p99 latency']);
  });
  it('fails where too little of what was offered was answered, whatever the p99 is', () => {
    const load = resultOf({ ok: 970, givenUp: 30 }, latenciesOf(1, 5));
    expect(failed(outcomeOf({ load }))).toEqual(['answered well']);
    expect(isSaturated(outcomeOf({ load }))).toBe(true);
    expect(isSaturated(outcomeOf())).toBe(false);
    expect(failed(outcomeOf({ load: resultOf({ due: 0, ok: 0 }, new Latencies()) }))).toContain(
      'answered well',
    );
  });
  it('fails at one failed request, or where there are more than nodes that die explain', () => {
    const load = resultOf({ ok: 999, failed: 1 }, latenciesOf(1, 5), { '503 OVERLOADED': 1 });
    expect(failed(outcomeOf({ load }))).toEqual(['failed requests']);
    expect(failed(outcomeOf({ load }, { failedShareMax: 0.01 }))).toEqual([]);
    expect(judge(outcomeOf({ load }))[2]?.found).toContain('503 OVERLOADED: 1');
  });
  it('fails at one wrong answer, in the load or behind it', () => {
    expect(failed(outcomeOf({ load: resultOf({ wrong: 1 }, latenciesOf(1, 5)) }))).toEqual(['wrong answers']);
    const verified = resultOf({ ok: 49, failed: 1, wrong: 1 }, latenciesOf(1, 1));
    expect(failed(outcomeOf({ verified }))).toEqual(['wrong answers', 'every key read once behind the load']);
  });
  it('a run for compactions fails where there were none', () => {
    const flush: Mark = { second: 1, kind: 'flush', node: 'n1', count: 3 };
    const limits = { needsCompaction: true };
    expect(failed(outcomeOf({}, limits, [flush]))).toEqual(['flushes and compactions while it counted']);
    expect(failed(outcomeOf({}, limits, [flush, { ...flush, kind: 'compaction', count: 1 }]))).toEqual([]);
  });
  it('recovery counts from the kill to the end of the last poor interval', () => {
    const mark = (kind: Mark['kind'], at: number): Mark => ({ second: at, kind, node: 'n3', count: 1 });
    const marks = [mark('node killed', 2.5), mark('node started', 8), mark('node serves', 9)];
    const poor = (...poorAt: number[]): RunOutcome =>
      outcomeOf(
        { series: Array.from({ length: 10 }, (_, at) => second(at + 1, poorAt.includes(at + 1) ? 50 : 100)) },
        { recoverySecondsMax: 2 },
        marks,
      );
    expect(recoverySeconds(poor())).toBe(0);
    expect(recoverySeconds(poor(3, 4))).toBeCloseTo(1.5);
    expect(recoverySeconds(poor(3, 4, 6))).toBeCloseTo(3.5);
    // Until it came back, and when it did: not the failure's.
    expect(recoverySeconds(poor(9))).toBe(0);
    expect(failed(poor(3, 4))).toEqual([]);
    expect(failed(poor(3, 4, 6)).length).toBe(1);
    // Poor until the end, never killed, never back.
    expect(recoverySeconds(poor(4, 5, 6, 7))).toBeNull();
    expect(failed(outcomeOf({}, { recoverySecondsMax: 2 })).length).toBe(1);
    expect(failed(outcomeOf({}, { recoverySecondsMax: 2 }, marks.slice(0, 2))).length).toBe(1);
  });
  it('memory may not grow from the third quarter to the last', () => {
    const grown = (bytes: number): RunOutcome => {
      const outcome = outcomeOf({}, { memoryGrowthShareMax: 0.1 });
      for (let at = 0; at < 10; at++)
        outcome.marks.memory.push({ second: at, node: 'n1', rssBytes: at < 8 ? 1000 : bytes });
      return outcome;
    };
    expect(failed(grown(1090))).toEqual([]);
    expect(failed(grown(1110)).length).toBe(1);
    expect(failed(outcomeOf({}, { memoryGrowthShareMax: 0.1 })).length).toBe(1);
  });
});

describe('event marks', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('counters are summed over shards; a scrape that lacks a shard is none', () => {
    const text = [
      'ringkv_shard_up{shard="0"} 1',
      'ringkv_shard_up{shard="1"} 1',
      'ringkv_shard_flushes{shard="0"} 3',
      'ringkv_shard_flushes{shard="1"} 4',
      'ringkv_http_connections{frontend="0"} 9',
    ].join('\n');
    expect(countersOf(text)).toEqual({ up: 2, flushes: 7 });
    expect(countersOf(text.replace('up{shard="1"} 1', 'up{shard="1"} 0'))).toBeNull();
  });
  it('each rise is a mark with its count; a node that is away or counts from 0 again is none', async () => {
    const scrapes = [
      { flushes: 5 },
      { flushes: 5 },
      { flushes: 8, compactions: 1 },
      null,
      { flushes: 2 },
      { flushes: 3, compactions: 1 },
    ];
    let at = 0;
    const source: CounterSource = {
      name: 'n1',
      read: () => Promise.resolve(scrapes[at++] ?? null),
      pid: () => null,
    };
    const recorder = new MarkRecorder([source], 1000);
    recorder.start(performance.timeOrigin + performance.now());
    await vi.advanceTimersByTimeAsync(2000);
    expect(at).toBeGreaterThan(scrapes.length);
    await recorder.stop();
    expect(recorder.marks.map(({ kind, count }) => `${kind} ${count}`)).toEqual([
      'flush 3',
      'compaction 1',
      'flush 1',
      'compaction 1',
    ]);
    expect(recorder.totals).toEqual({ flush: 4, compaction: 2 });
    // Nothing after the end.
    const polls = at;
    await vi.advanceTimersByTimeAsync(2000);
    expect(at).toBe(polls);
  });
});

describe('the report', () => {
  const evil = '<img src=x onerror=alert(1)>&"\'';
  const outcome = outcomeOf(
    { load: resultOf({ ok: 990, failed: 10 }, latenciesOf(1, 50), { [evil]: 10 }) },
    {},
    [
      { second: 2.5, kind: 'flush', node: 'n1', count: 2 },
      { second: 5, kind: 'node killed', node: evil, count: 1 },
      { second: -1, kind: 'flush', node: 'n1', count: 1 },
    ],
  );
  const criteria: Criterion[] = judge(outcome);
  const report = loadReport('2026-01-01T00:00:00.000Z', [scenarioReport(outcome, criteria)]);
  const html = htmlOf(report);

  it('is one file: nothing is loaded, no script runs, and no text becomes markup', () => {
    expect(html).not.toMatch(/<script|<link|<img|<iframe|@import|url\(/i);
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:\/\//);
    expect(html).toContain('&lt;img src=x');
    expect([...html.matchAll(/<svg /g)].length).toBe([...html.matchAll(/<\/svg>/g)].length);
    for (const tag of ['table', 'tr', 'section', 'details', 'pre'])
      expect([...html.matchAll(new RegExp(`<${tag}[ >]`, 'g'))].length).toBe(
        [...html.matchAll(new RegExp(`</${tag}>`, 'g'))].length,
      );
  });
  it('shows the verdict, each criterion, percentiles and marks', () => {
    expect(html).toContain('FAIL');
    for (const { what } of criteria) expect(html).toContain(what.split("'")[0]);
    expect(html).toContain('Latency by percentile');
    expect(html).toContain('Requests a second');
    // In both charts over time, not in that of percentiles; what was before counting is not drawn.
    expect([...html.matchAll(/class="mark flush"/g)].length).toBe(2);
    expect([...html.matchAll(/class="mark node"/g)].length).toBe(2);
    expect(html).toContain('<title>flush (2), n1, at 2.5 s</title>');
  });
  it('the JSON has what the table shows, and histograms that can be put together again', () => {
    const [one] = report.scenarios;
    const p99 = one?.latencies[0]?.summary.ms['99'] ?? 0;
    expect(p99).toBeCloseTo(50, 0);
    expect(summaryOf(new Latencies(one?.histograms).response).ms['99']).toBe(p99);
    const text = textOf(outcome, criteria);
    expect(text).toContain(p99.toFixed(2));
    expect(text).toContain('slo: FAIL');
    expect(report.pass).toBe(false);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(loadReport('', []).pass).toBe(false);
  });
  it('other stores stand beside RingKV, and whether they pass is theirs', () => {
    const named = (
      name: string,
      peer: 'etcd' | null,
      perSecond: number,
      ms: number,
    ): ReturnType<typeof scenarioReport> => {
      const made = outcomeOf({
        load: resultOf({}, latenciesOf(1, ms)),
        calibration: resultOf({ ok: perSecond * 10 }, latenciesOf(1, 1)),
      });
      const own = {
        ...made,
        options: { ...made.options, peer, scenario: { ...made.options.scenario, name } },
      };
      return scenarioReport(own, judge(own));
    };
    const compared = loadReport('', [named('ringkv-ws', null, 300, 5), named('etcd', 'etcd', 100, 50)], true);
    expect(compared.pass).toBe(true);
    expect(compared.comparison.map(({ name, ratio }) => [name, ratio])).toEqual([
      ['ringkv-ws', 1],
      ['etcd', 3],
    ]);
    const page = htmlOf(compared);
    expect(page).toContain('id="comparison"');
    expect(page).toContain('<td class="n">3.00</td>');
    expect(comparisonText(compared.comparison)).toContain('3.00');
    expect(html).not.toContain('id="comparison"');
    // Without RingKV there is nothing to compare with.
    const alone = loadReport('', [named('etcd', 'etcd', 100, 5)], true);
    expect(alone.pass).toBe(false);
    expect(alone.comparison[0]?.ratio).toBeNull();
  });
  it('a mark stands where its second is', () => {
    const svg = svgOf({
      title: 't',
      x: linearAxis('s', 10),
      y: linearAxis('n', 100),
      lines: [
        {
          name: 'a',
          color: 0,
          points: [
            [0, 0],
            [10, 100],
          ],
        },
      ],
      marks: [{ x: 5, text: 'half', className: 'flush' }],
    });
    const [, from, to] = /points="([\d.]+),[\d.]+ ([\d.]+),/.exec(svg) ?? [];
    const [, mark] = /class="mark flush" x1="([\d.]+)"/.exec(svg) ?? [];
    expect(Number(mark)).toBeCloseTo((Number(from) + Number(to)) / 2, 0);
    // Upwards is more.
    const [, low, high] = /points="[\d.]+,([\d.]+) [\d.]+,([\d.]+)"/.exec(svg) ?? [];
    expect(Number(low)).toBeGreaterThan(Number(high));
  });
  it('axes have round ticks that cover what is shown', () => {
    expect(linearAxis('', 95).ticks.map(({ at }) => at)).toEqual([0, 20, 40, 60, 80, 100]);
    expect(linearAxis('', 0.3).ticks.at(-1)?.at).toBeGreaterThanOrEqual(0.3);
    expect(linearAxis('', 0).max).toBeGreaterThan(0);
    expect(logarithmicAxis('', 0.2, 300).ticks.map(({ text }) => text)).toEqual([
      '0.1',
      '1',
      '10',
      '100',
      '1000',
    ]);
    expect(ninesAxis('', 3.2).ticks.map(({ text }) => text)).toEqual(['0%', '90%', '99%', '99.9%', '99.99%']);
    const axis = logarithmicAxis('', 1, 100);
    expect([
      placeOf(axis, 1),
      placeOf(axis, 10),
      placeOf(axis, 100),
      placeOf(axis, 1e9),
      placeOf(axis, 0),
    ]).toEqual([0, 0.5, 1, 1, 0]);
    expect([ninesOf(90), ninesOf(99), ninesOf(0)].map((value) => Math.round(value * 1e6) / 1e6)).toEqual([
      1, 2, 0,
    ]);
  });
});
