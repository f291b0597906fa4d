/** What is measured of a growing node, and what the compaction strategy promises of it. Pure. */
import { scalingOf } from '../../src/engine/compaction-levels.ts';

/** Counters of a node since it was started, from its metrics page: sums over its shards. */
export type Counters = Readonly<Record<string, number>>;

export const KINDS = ['get-uniform', 'get-zipfian', 'put-uniform', 'put-zipfian'] as const;
export type Kind = (typeof KINDS)[number];
export const isGet = (kind: Kind): boolean => kind.startsWith('get');

/** One measurement of one kind of request. */
export interface Cost {
  readonly requests: number;
  readonly perSecond: number;
  /** Processor time of a request: all threads but those that compact. */
  readonly cpuUs: number;
  /** Of compactions that went on meanwhile. */
  readonly lowCpuUs: number;
  /** Lookups that no memtable answered, and for each of them: tables asked, frames read from files, and their bytes. */
  readonly tableShare: number;
  readonly tablesAsked: number;
  readonly reads: number;
  readonly readBytes: number;
}

/** Of keys that were put until a step was reached, flushes and compactions that followed included. */
export interface Fill {
  readonly puts: number;
  readonly cpuUs: number;
  readonly lowCpuUs: number;
  readonly settled: boolean;
}

export interface Shape {
  readonly tables: number;
  /** The most that a shard had so far. */
  readonly levels: number;
  /** Most tables over one token. */
  readonly overlap: number;
  readonly tableBytes: number;
  readonly tableRecords: number;
}

export interface Step {
  readonly keys: number;
  readonly fill: Fill;
  readonly shape: Shape;
  /** Medians of the node that grows over those of the one that stayed at the first step, measured by turns. */
  readonly costs: Readonly<Record<Kind, { readonly own: Cost; readonly ratio: number }>>;
  /** Bytes given to files for each byte of keys and values that was put, from the beginning on; log, flushes and compactions. */
  readonly writeAmplification: number;
  /** How often a byte of a table was written, flush included. */
  readonly tableWrites: number;
  /** Records in tables for each key, and bytes of tables for each byte of keys and values that live. */
  readonly recordsPerKey: number;
  readonly bytesPerByte: number;
}

export const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
};

const per = (total: number, count: number): number => (count === 0 ? 0 : total / count);
const rise = (before: Counters, after: Counters, name: string): number =>
  (after[name] ?? 0) - (before[name] ?? 0);

/** What `requests` reads did to tables between two looks at the counters. */
export function tableReadsOf(
  before: Counters,
  after: Counters,
  requests: number,
): Omit<Cost, 'requests' | 'perSecond' | 'cpuUs' | 'lowCpuUs'> {
  const lookups = rise(before, after, 'table_lookups');
  return {
    tableShare: Math.min(1, per(lookups, requests)),
    tablesAsked: per(rise(before, after, 'tables_asked'), lookups),
    reads: per(rise(before, after, 'table_reads'), lookups),
    readBytes: per(rise(before, after, 'table_read_bytes'), lookups),
  };
}

/** The highest value of a metric over the shards of a node. */
export function shardsMost(metrics: string, name: string): number {
  const values = metrics.matchAll(new RegExp(`^ringkv_shard_${name}\\{[^}]*\\} (\\S+)$`, 'gm'));
  return Math.max(0, ...[...values].map(([, value]) => Number(value)));
}

/** `now`: counters of a node whose shards have seen `keys` different keys of `liveBytes` in all. */
export function amplificationOf(
  now: Counters,
  keys: number,
  liveBytes: number,
): Pick<Step, 'writeAmplification' | 'tableWrites' | 'recordsPerKey' | 'bytesPerByte'> {
  const value = (name: string): number => now[name] ?? 0;
  const tables = value('flush_bytes_written') + value('compaction_bytes_written');
  return {
    writeAmplification: per(value('wal_bytes_written') + tables, value('appended_bytes')),
    tableWrites: per(tables, value('flush_bytes_written')),
    recordsPerKey: per(value('table_records'), keys),
    bytesPerByte: per(value('table_bytes'), liveBytes),
  };
}

export interface CompactionPromise {
  readonly overlapMax: number;
  readonly tableWritesMax: number;
  readonly recordsPerKeyMax: number;
}

/** Tables that were just flushed and not merged yet, over one token: both of limits.flushesMax, and one whose merge goes on. */
export const JUST_FLUSHED = 3;
/**
 * By compaction-strategy.ts, with compaction keeping up. n levels of fanout f, and t tables that set off a merge: n(t - 1) tables
 * and those just flushed over one token. A byte is written n times when tiered, once for each level; about n * f / 2 when levelled.
 * Of overwritten keys a level holds t - 1 runs, each 1/f of the level above: at most (t - 1) * f / (f - 1) records for a key. A merge
 * that has ended late, and what is merged for garbage, is one more.
 */
export function promiseOf(dial: number, levels: number): CompactionPromise {
  const { fanout, threshold } = scalingOf(dial);
  const isLevelled = dial < 0;
  return {
    overlapMax: levels * (threshold - 1) + JUST_FLUSHED,
    tableWritesMax: isLevelled ? 1 + (levels * fanout) / 2 : levels + 1,
    recordsPerKeyMax: ((threshold - 1) * fanout) / (fanout - 1),
  };
}

export interface Criterion {
  readonly what: string;
  readonly limit: string;
  readonly found: string;
  readonly pass: boolean;
}

/** The verdict over all steps but the first, which is compared with itself. */
export function judgeGrowth(steps: readonly Step[], dial: number, tolerance: number): Criterion[] {
  const criteria: Criterion[] = [];
  const add = (what: string, found: number, most: number): void => {
    criteria.push({
      what,
      limit: `at most ${most.toFixed(2)}`,
      found: found.toFixed(2),
      pass: found <= most,
    });
  };
  for (const { keys, costs, shape, tableWrites, recordsPerKey, fill } of steps) {
    const at = `${keys.toLocaleString('en-US')} keys`;
    for (const kind of KINDS)
      add(`${at}: cost of ${kind}, to the first step`, costs[kind].ratio, 1 + tolerance);
    const promised = promiseOf(dial, shape.levels);
    add(`${at}: tables over one token`, shape.overlap, promised.overlapMax);
    add(`${at}: tables asked by a get`, costs['get-uniform'].own.tablesAsked, promised.overlapMax);
    add(`${at}: writes of a byte of a table`, tableWrites, promised.tableWritesMax);
    add(`${at}: records in tables for a key`, recordsPerKey, promised.recordsPerKeyMax);
    criteria.push({
      what: `${at}: compactions came to an end`,
      limit: 'yes',
      found: fill.settled ? 'yes' : 'no',
      pass: fill.settled,
    });
  }
  return criteria;
}
