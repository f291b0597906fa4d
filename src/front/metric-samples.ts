/** Samples of the metrics page, and how a histogram becomes some. */
import { BUCKETS_MS } from './metrics.ts';

export type MetricType = 'counter' | 'gauge' | 'histogram';
export type Labels = Readonly<Record<string, string | number>>;
export interface Sample {
  readonly labels: Labels;
  readonly value: number;
  readonly metricName?: string;
}
/** A metric and what it is. */
export interface Family {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** `countIn` gives how many are in the bucket of BUCKETS_MS with an index. None where there is none. */
export function histogramSamples(
  name: string,
  labels: Labels,
  countIn: (bucket: number) => number,
  sumMs: number,
): Sample[] {
  const bounds = [...BUCKETS_MS, Number.POSITIVE_INFINITY];
  const counts = bounds.map((_, index) => countIn(index));
  if (counts.every((one) => one === 0)) return [];
  let count = 0;
  const buckets = bounds.map((bound, index) => {
    count += counts[index] as number;
    const le = Number.isFinite(bound) ? String(bound / 1000) : '+Inf';
    return { labels: { ...labels, le }, value: count, metricName: `${name}_bucket` };
  });
  const sum = { labels, value: sumMs / 1000, metricName: `${name}_sum` };
  return [...buckets, sum, { labels, value: count, metricName: `${name}_count` }];
}

const READ_SOURCES = { memtables: 'memtables', recordCache: 'record_cache', missed: 'shard' };
/** Of figures as in LocalReads (src/shard/contract.ts), which a coordinator sends too. */
export function readSamples(reads: object, labels: Labels): Sample[] {
  const figures = new Map(Object.entries(reads));
  return Object.entries(READ_SOURCES).map(([field, from]) => ({
    labels: { ...labels, from },
    value: Number(figures.get(field) ?? 0),
  }));
}
