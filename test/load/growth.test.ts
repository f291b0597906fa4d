import { CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import {
  amplificationOf,
  type Cost,
  judgeGrowth,
  KINDS,
  median,
  promiseOf,
  type Step,
  shardsMost,
  tableReadsOf,
} from '../../load/growth/figures.ts';
import { readGrowthOptions } from '../../load/growth/options.ts';
import { ratioOf } from '../../load/growth/run.ts';
import { configOfOptions } from '../../src/node/config.ts';

const COST: Cost = {
  requests: 1000,
  perSecond: 1000,
  cpuUs: 10,
  lowCpuUs: 0,
  tableShare: 1,
  tablesAsked: 2,
  reads: 1,
  readBytes: 8000,
};
const costsAt = (ratio: number): Step['costs'] =>
  Object.fromEntries(KINDS.map((kind) => [kind, { own: COST, ratio }])) as Step['costs'];
const STEP: Step = {
  keys: 2000,
  fill: { puts: 1000, cpuUs: 10, lowCpuUs: 5, settled: true },
  shape: { tables: 9, levels: 4, overlap: 4, tableBytes: 1e6, tableRecords: 2100 },
  costs: costsAt(1),
  writeAmplification: 4,
  tableWrites: 4,
  recordsPerKey: 1.05,
  bytesPerByte: 0.6,
};
const failed = (steps: readonly Step[], dial = 0): string[] =>
  judgeGrowth(steps, dial, 0.2)
    .filter(({ pass }) => !pass)
    .map(({ what }) => what.replace(/^[\d,]+ keys: /, ''));

describe('what the compaction dial promises', () => {
  it('is what the strategy says of levels, fanout and threshold', () => {
    // Dial 0: fanout and threshold 2.
    expect(promiseOf(0, 5)).toEqual({ overlapMax: 8, tableWritesMax: 6, recordsPerKeyMax: 2 });
    // Tiered: more tables, no more writes.
    expect(promiseOf(2, 3)).toEqual({ overlapMax: 12, tableWritesMax: 4, recordsPerKeyMax: 4 });
    // Levelled: one table a level, more writes.
    expect(promiseOf(-8, 3)).toMatchObject({ overlapMax: 6, tableWritesMax: 16 });
    expect(promiseOf(-8, 3).recordsPerKeyMax).toBeCloseTo(10 / 9);
  });
});

describe('the verdict over a growing node', () => {
  it('passes what is flat and as promised', () => {
    expect(failed([STEP])).toEqual([]);
  });
  it('fails each of what is not, at any step', () => {
    const at = (more: Partial<Step>): string[] => failed([STEP, { ...STEP, ...more }]);
    expect(at({ costs: { ...costsAt(1), 'put-zipfian': { own: COST, ratio: 1.21 } } })).toEqual([
      'cost of put-zipfian, to the first step',
    ]);
    expect(at({ shape: { ...STEP.shape, overlap: 8 } })).toEqual(['tables over one token']);
    const asked = { own: { ...COST, tablesAsked: 7.5 }, ratio: 1 };
    expect(at({ costs: { ...costsAt(1), 'get-uniform': asked } })).toEqual(['tables asked by a get']);
    expect(at({ tableWrites: 5.1 })).toEqual(['writes of a byte of a table']);
    expect(at({ recordsPerKey: 2.1 })).toEqual(['records in tables for a key']);
    expect(at({ fill: { ...STEP.fill, settled: false } })).toEqual(['compactions came to an end']);
  });
});

describe('figures of a growing node', () => {
  it('are taken from the counters of its shards', () => {
    const before = { table_lookups: 100, tables_asked: 150, table_reads: 10, table_read_bytes: 1000 };
    const after = { table_lookups: 200, tables_asked: 450, table_reads: 60, table_read_bytes: 401_000 };
    expect(tableReadsOf(before, after, 125)).toEqual({
      tableShare: 0.8,
      tablesAsked: 3,
      reads: 0.5,
      readBytes: 4000,
    });
    expect(tableReadsOf(before, before, 10)).toMatchObject({ tableShare: 0, tablesAsked: 0 });
    const now = {
      appended_bytes: 1000,
      wal_bytes_written: 1100,
      flush_bytes_written: 600,
      compaction_bytes_written: 1200,
      table_records: 11,
      table_bytes: 500,
    };
    expect(amplificationOf(now, 10, 1000)).toEqual({
      writeAmplification: 2.9,
      tableWrites: 3,
      recordsPerKey: 1.1,
      bytesPerByte: 0.5,
    });
    const page = 'ringkv_shard_tables_overlap{shard="0"} 3\nringkv_shard_tables_overlap{shard="1"} 5\n';
    expect(shardsMost(page, 'tables_overlap')).toBe(5);
    expect(shardsMost(page, 'tables')).toBe(0);
  });
  it('are compared pair by pair, as they were measured', () => {
    const costs = (...us: number[]): Cost[] => us.map((cpuUs) => ({ ...COST, cpuUs }));
    // The machine was slow in the second round: both were.
    expect(ratioOf(costs(10, 30, 11), costs(10, 29, 10))).toBeCloseTo(30 / 29);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });
});

describe('npm run load:growth', () => {
  const read = (...args: string[]): ReturnType<typeof readGrowthOptions> => readGrowthOptions(args);
  const refused = (...args: string[]): string => {
    const write = process.stderr.write.bind(process.stderr);
    process.stderr.write = () => true;
    try {
      read(...args);
    } catch (error) {
      if (error instanceof CommanderError) return error.message;
      throw error;
    } finally {
      process.stderr.write = write;
    }
    return '';
  };
  it('takes steps in thousands and millions, and settings of the node', () => {
    const { steps, settings, dial, tolerance } = read(
      ...['--steps', '500k,1M,2.5M', '--set', 'compaction-dial=-4', '--set', 'shards=1'],
    );
    expect(steps).toEqual([500_000, 1_000_000, 2_500_000]);
    expect(settings).toEqual({ 'compaction-dial': '-4', shards: '1' });
    expect([dial, tolerance]).toEqual([-4, 0.2]);
  });
  it('judges nodes without a setting of the dial by the dial that they have', () => {
    expect(read('--steps', '500k').dial).toBe(configOfOptions({}).compactionDial);
    expect(configOfOptions({}).compactionDial).toBeGreaterThan(0);
  });
  it('refuses what it cannot do, with value and limit', () => {
    expect(refused('--steps', '2M,1M')).toContain('each step must have more keys');
    expect(refused('--steps', '10')).toContain('from 1000');
    expect(refused('--steps', '99M')).toContain('33554432');
    expect(refused('--value-bytes', '8')).toContain('64');
    expect(refused('--tolerance', '0.2')).toContain('%');
    expect(refused('--set', 'shards')).toContain('NAME=VALUE');
    expect(refused('more')).toContain('too many arguments');
  });
});
