import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { recordBytes } from '../../src/base/record.ts';
import { type Estimate, estimate, growthOf, type Input, type Inputs } from '../../src/cli/plan-estimate.ts';
import { evaluate, namesOf } from '../../src/cli/plan-formula.ts';
import { figureWarnings, inputsOf, type PlanFlags } from '../../src/cli/plan-inputs.ts';
import { sections } from '../../src/cli/plan-lines.ts';
import { numbersOf } from '../../src/cli/plan-text.ts';
import { wireBytesOf } from '../../src/cli/plan-wire.ts';
import { FRAME_HEADER_BYTES } from '../../src/peer/frame.ts';
import { testSeed } from '../seed.ts';
import { sampleFigures } from './bench-sample.ts';

const seed = testSeed();
console.log(`plan: seed ${seed}`);
const TB = 1e12;
const premises: PlanFlags = {
  ...{ data: 100 * TB, object: 2000, qps: 100_000, replicas: 3 },
  ...{ disk: 2 * TB, serverQps: 5000, readShare: 0.5 },
};
const planOf = (flags: PlanFlags, figures = sampleFigures()): Estimate => estimate(inputsOf(flags, figures));
const lineOf = ({ results }: Estimate, name: string): number => {
  const found = results.find((result) => result.name === name);
  if (found === undefined) throw new Error(`there is no line ${name}`);
  return found.value;
};

describe('a formula', () => {
  it.each([
    ['1 + 2 * 3', 7],
    ['(1 + 2) * 3', 9],
    ['10 - 4 - 3', 3],
    ['24 / 4 / 2', 3],
    ['2 * (3 - 1) / 4', 1],
    ['max(1, 7, 3) - min(4, 2)', 5],
    ['ceil(7 / 2)', 4],
    ['ceil(6 / 2)', 3],
    ['ceil((0.1 + 0.2) * 10)', 3],
    ['ceil(3.0001)', 4],
    ['log(64) / log(4)', 3],
    ['pow2(1024)', 1024],
    ['pow2(1025)', 2048],
    ['pow2(0)', 1],
  ])('%s is %d', (formula, expected) => {
    expect(evaluate(formula, () => Number.NaN)).toBeCloseTo(expected, 9);
  });

  it('agrees with the rules of arithmetic for any expression', () => {
    const { expression } = fc.letrec<{ expression: string }>((tie) => ({
      expression: fc.oneof(
        { maxDepth: 5, withCrossShrink: true },
        fc.integer({ min: 1, max: 999 }).map(String),
        fc
          .tuple(tie('expression'), fc.constantFrom('+', '-', '*', '/'), tie('expression'))
          .map(([a, operator, b]) => `(${a} ${operator} ${b})`),
        fc
          .tuple(tie('expression'), fc.constantFrom('+', '-', '*', '/'), tie('expression'))
          .map(([a, operator, b]) => `${a} ${operator} ${b}`),
      ),
    }));
    fc.assert(
      fc.property(expression, (text) => {
        const expected = new Function(`return ${text}`)() as number;
        fc.pre(Number.isFinite(expected));
        expect(evaluate(text, () => Number.NaN)).toBe(expected);
      }),
      { seed },
    );
  });

  it('names its values once, and no functions', () => {
    expect(namesOf('ceil(dataBytes / objectBytes) + max(dataBytes, 2)')).toEqual([
      'dataBytes',
      'objectBytes',
    ]);
  });

  it.each(['', '1 +', '(1', '1)', '1 2', 'root(2)', '1 / 0', '#', 'ceil()'])('%j is refused', (formula) => {
    expect(() => evaluate(formula, () => 1)).toThrow('plan: ');
  });
});

describe('the estimate of 150 servers', () => {
  it('follows from 2 TB and 5,000 reads and writes a server', () => {
    const plan = planOf(premises);
    expect(lineOf(plan, 'records')).toBe(50_000_000_000);
    expect(lineOf(plan, 'copiesBytes')).toBe(300 * TB);
    expect(lineOf(plan, 'premiseDiskServers')).toBe(150);
    // 100,000 requests: half of them GETs of two replicas, half PUTs to three.
    expect(lineOf(plan, 'replicaReadsPerSecond')).toBe(100_000);
    expect(lineOf(plan, 'replicaWritesPerSecond')).toBe(150_000);
    expect(lineOf(plan, 'premiseRequestServers')).toBe(50);
    expect(lineOf(plan, 'premiseServers')).toBe(150);
    expect(lineOf(plan, 'premiseQps')).toBe(300_000);
  });

  it('turns into one of requests where there are more of them', () => {
    const plan = planOf({ ...premises, qps: 400_000 });
    expect(lineOf(plan, 'premiseRequestServers')).toBe(200);
    expect(lineOf(plan, 'premiseServers')).toBe(200);
  });

  it('is not the whole of it: heads, room for compaction and the loss of servers ask for more', () => {
    const plan = planOf(premises, sampleFigures({ bytesPerObject: 2100 }));
    expect(plan.servers).toBeGreaterThan(150);
    expect(plan.binds).toBe('disk');
  });
});

describe('a plan', () => {
  it('comes to what a calculation by hand gives', () => {
    const flags = { ...premises, growth: 0, racks: 3, headroom: 0.4, diskFill: 0.7, cores: 8, shards: 8 };
    const figures = sampleFigures();
    const plan = planOf(flags, figures);
    const record = recordBytes(16, 1984);
    const storedPerByte = figures.space.bytesPerObject / recordBytes(16, 2000);
    const stored = 50e9 * 3 * record * storedPerByte;
    expect(lineOf(plan, 'storedBytes')).toBeCloseTo(stored, -3);
    const segments = 8 * 3 * 64 * 2 ** 20;
    const merging = 2 * 32 * 4 * 64 * 2 ** 20;
    const usable = 2 * TB * 0.7 - segments - merging - limits.hintBytesTotalMax;
    expect(lineOf(plan, 'usableBytes')).toBeCloseTo(usable, -3);
    expect(lineOf(plan, 'diskServers')).toBe(Math.ceil(stored / usable) + 1);
    expect(lineOf(plan, 'requestServers')).toBe(Math.ceil((250_000 / 5000) * 1.5));
    const perShard = figures.space.tableBytes / figures.settings.shards;
    const more = Math.log(usable / 8 / perShard) / Math.log(4);
    const rewritten = more * storedPerByte;
    expect(lineOf(plan, 'rewrittenPerByte')).toBeCloseTo(rewritten, 9);
    const us =
      (100_000 * 268 * figures.put.cpuUsSettled) / 17.4 +
      100_000 * (figures.getTables.cpuUs - figures.getMemory.cpuUs) +
      ((150_000 * record * rewritten) / 2 ** 20) * (figures.space.compactionCpuUsPerMiB ?? 0);
    expect(lineOf(plan, 'processorServers')).toBe(Math.ceil((us / (8e6 * 0.6)) * 1.5));
    const written = 150_000 * 2000 * ((figures.put.writtenPerByte ?? 0) + rewritten);
    expect(lineOf(plan, 'diskWriteBytesPerSecond')).toBeCloseTo(written, 0);
    expect(lineOf(plan, 'diskWriteServers')).toBe(
      Math.ceil((written / (figures.disk.bytesPerSecond * 0.6)) * 1.5),
    );
    expect(plan.servers).toBe(3 * Math.ceil(Math.max(...plan.demands.map(({ servers }) => servers)) / 3));
    const each = (50e9 * 3) / plan.servers;
    expect(lineOf(plan, 'streamSeconds')).toBeCloseTo(
      (each * record) / limits.repairBytesPerSecondDefault,
      3,
    );
  });

  it('never counts fewer bytes written than were measured, on however small a server', () => {
    const figures = sampleFigures();
    const plan = planOf(premises, { ...figures, space: { ...figures.space, tableBytes: 1e14 } });
    expect(lineOf(plan, 'rewrittenPerByte')).toBe(0);
    expect(lineOf(plan, 'diskWriteBytesPerSecond')).toBe(150_000 * 2000 * (figures.put.writtenPerByte ?? 0));
  });

  it('shows formulas and numbers that give its results', () => {
    const inputs = inputsOf({ ...premises, diskReads: 10_000 }, sampleFigures());
    const plan = estimate(inputs);
    expect(plan.results).toHaveLength(sections.reduce((sum, { lines }) => sum + lines.length, 0));
    const known = new Map(Object.entries(inputs).map(([name, { value }]) => [name, value]));
    for (const { formula, name, terms, value } of plan.results) {
      for (const term of terms) expect(term.value, `${name}: ${term.name}`).toBe(known.get(term.name));
      // An evaluator of its own: the expression as JavaScript has it.
      const scope = { ceil: Math.ceil, max: Math.max, min: Math.min, log: Math.log };
      const pow2 = (x: number): number => 2 ** Math.ceil(Math.log2(x));
      const names = [...Object.keys(scope), 'pow2', ...terms.map((term) => term.name)];
      const values = [...Object.values(scope), pow2, ...terms.map((term) => term.value)];
      expect(value, name).toBeCloseTo(new Function(...names, `return ${formula}`)(...values) as number, 6);
      known.set(name, value);
    }
  });

  it('marks each number with where it comes from', () => {
    const { results } = planOf(premises);
    const shown = (name: string): string => numbersOf(results.find((one) => one.name === name) as never);
    expect(shown('premiseDiskServers')).toBe('ceil(300 TB / 2 TB*)');
    expect(shown('replicaWritesPerSecond')).toBe('100,000/s* x (1 - 50%*) x 3*');
    expect(shown('requestUsPerSecond')).toBe('100,000/s* x 268 us? x 20 us~ / 17.4 us?');
  });

  it('leaves out what is not given, and counts disk reads where a limit is', () => {
    const { serverQps: _, ...open } = premises;
    const plan = planOf(open);
    expect(plan.results.map(({ name }) => name)).not.toContain('requestServers');
    expect(plan.demands.map(({ resource }) => resource)).not.toContain('requests');
    const slow = planOf({ ...open, diskReads: 100 });
    expect(slow.binds).toBe('disk reads');
    expect(lineOf(slow, 'diskReadServers')).toBe(Math.ceil(((100_000 * 3) / (100 * 0.6)) * 1.5));
  });

  it.each([
    ['disk', { qps: 10 }],
    ['requests', { serverQps: 100 }],
    ['processors', { cores: 1, data: 1 * TB }],
    ['network', { network: 1e7, data: 1 * TB, cores: 64 }],
    ['replicas', { data: 1e9, qps: 1 }],
  ] as const)('names %s where that binds', (resource, flags) => {
    const plan = planOf({ ...premises, ...flags });
    expect(plan.binds).toBe(resource);
    const asked = plan.demands.find((demand) => demand.resource === resource)?.servers ?? 0;
    for (const demand of plan.demands) expect(asked).toBeGreaterThanOrEqual(demand.servers);
    expect(plan.servers).toBeGreaterThanOrEqual(asked);
    expect(plan.servers).toBeLessThan(asked + 3);
  });

  it('says what stands against it', () => {
    expect(planOf({ ...premises, data: 5000 * TB }).faults.join()).toContain('at most 2048 members');
    expect(planOf({ ...premises, memory: 512e6 }).faults.join()).toContain('a server has 512 MB');
    expect(planOf({ ...premises, racks: 2 }).warnings.join()).toContain('3 replicas in 2 racks');
    expect(planOf(premises).faults).toEqual([]);
    expect(planOf(premises).warnings).toEqual([]);
    expect(() => planOf({ ...premises, disk: 30e9 })).toThrow(ConfigurationError);
    expect(() => planOf({ ...premises, disk: 30e9 })).toThrow('--disk 30 GB');
  });

  it('warns of figures that are not for these objects, or not whole', () => {
    const version = sampleFigures().ringkv;
    expect(figureWarnings(premises, sampleFigures(), version)).toEqual([]);
    expect(figureWarnings({ ...premises, object: 4000 }, sampleFigures(), version).join()).toContain(
      '--value 3984',
    );
    expect(figureWarnings(premises, sampleFigures({ isSettled: false }), version)).toHaveLength(1);
    expect(figureWarnings(premises, sampleFigures({ writtenPerByte: null }), version)).toHaveLength(1);
    expect(figureWarnings(premises, sampleFigures(), '9.9.9')).toHaveLength(1);
  });

  it('takes a documented default where a figure is missing, and calls it one', () => {
    const inputs = inputsOf(premises, sampleFigures({ writtenPerByte: null }));
    expect(inputs.writtenPerByte?.source).toBe('default');
    expect(inputs.putCpuUs?.source).toBe('measured');
    expect(inputs.diskBytes?.source).toBe('flag');
    expect(inputs.recordBytes?.source).toBe('code');
    const bare = inputsOf(premises, null);
    expect(Object.values(bare).some(({ source }) => source === 'measured')).toBe(false);
    expect(bare.storedPerByte?.value).toBeGreaterThanOrEqual(1);
  });
});

describe('a plan grows with what it is for:', () => {
  const flagsOf: fc.Arbitrary<PlanFlags> = fc.record({
    data: fc.double({ min: 1e9, max: 1e15, noNaN: true }).map(Math.round),
    object: fc.integer({ min: 100, max: 1_000_000 }),
    qps: fc.integer({ min: 1, max: 10_000_000 }),
    replicas: fc.integer({ min: 1, max: 9 }),
    readShare: fc.double({ min: 0, max: 1, noNaN: true }),
    disk: fc.integer({ min: 100_000_000_000, max: 20_000_000_000_000 }),
    serverQps: fc.integer({ min: 10, max: 1_000_000 }),
    racks: fc.integer({ min: 1, max: 12 }),
    headroom: fc.double({ min: 0, max: 0.9, noNaN: true }),
    diskFill: fc.double({ min: 0.5, max: 0.95, noNaN: true }),
    growth: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  const asked = (flags: PlanFlags): readonly number[] => planOf(flags).demands.map(({ servers }) => servers);
  /** With `more` nothing asks for fewer servers than before. */
  const never = (more: (flags: PlanFlags, factor: number) => PlanFlags): void => {
    fc.assert(
      fc.property(flagsOf, fc.double({ min: 1, max: 50, noNaN: true }), (flags, factor) => {
        const before = asked(flags);
        asked(more(flags, factor)).forEach((servers, at) => {
          expect(servers).toBeGreaterThanOrEqual(before[at] as number);
        });
      }),
      { seed, numRuns: 200 },
    );
  };

  it('more data never asks for fewer servers', () => never((f, by) => ({ ...f, data: f.data * by })));
  it('more requests neither', () => never((f, by) => ({ ...f, qps: f.qps * by })));
  it('nor more replicas', () =>
    never((f, by) => ({ ...f, replicas: Math.min(9, (f.replicas ?? 3) + Math.floor(by)) })));
  it('nor more headroom', () => never((f, by) => ({ ...f, headroom: 1 - (1 - (f.headroom ?? 0)) / by })));
  it('nor slower servers', () => never((f, by) => ({ ...f, serverQps: (f.serverQps ?? 1) / by })));
  it('nor a narrower link', () => never((f, by) => ({ ...f, network: 1e9 / by })));
  it('nor more servers that may be lost', () => never((f, by) => ({ ...f, spareServers: Math.floor(by) })));
  it('a larger disk never asks for more servers by disk', () => {
    fc.assert(
      fc.property(flagsOf, fc.double({ min: 1, max: 50, noNaN: true }), (flags, factor) => {
        const [before] = asked(flags);
        const [after] = asked({ ...flags, disk: (flags.disk ?? TB) * factor });
        expect(after).toBeLessThanOrEqual(before as number);
      }),
      { seed },
    );
  });
  it('no year of growth has fewer servers than the one before, and the first is today', () => {
    fc.assert(
      fc.property(flagsOf, (flags) => {
        const inputs = inputsOf(flags, sampleFigures());
        const rows = growthOf(inputs, 4);
        expect(rows.map(({ year }) => year)).toEqual([0, 1, 2, 3, 4]);
        expect(rows[0]?.servers).toBe(estimate(inputs).servers);
        for (const [at, { servers }] of rows.entries())
          if (at > 0) expect(servers).toBeGreaterThanOrEqual(rows[at - 1]?.servers as number);
      }),
      { seed, numRuns: 50 },
    );
  });
  it('and growth of 20% a year is that', () => {
    const rows = growthOf(inputsOf({ ...premises, growth: 0.2 }, sampleFigures()), 2);
    expect(rows.map(({ dataBytes }) => dataBytes / TB)).toEqual([100, 120, expect.closeTo(144, 9)]);
    expect(rows.map(({ qps }) => Math.round(qps))).toEqual([100_000, 120_000, 144_000]);
  });

  it('every server holds all copies together, whatever the numbers', () => {
    fc.assert(
      fc.property(flagsOf, (flags) => {
        const plan = planOf(flags);
        const usable = lineOf(plan, 'usableBytes');
        expect(lineOf(plan, 'serverStoredBytes')).toBeLessThanOrEqual(usable);
        expect(lineOf(plan, 'serverRecords') * plan.servers).toBeCloseTo(
          lineOf(plan, 'records') * (flags.replicas ?? 0),
          -3,
        );
        expect(plan.servers % (flags.racks ?? 1)).toBe(0);
        expect(plan.servers).toBeGreaterThanOrEqual(flags.replicas ?? 0);
      }),
      { seed },
    );
  });
});

describe('bytes between nodes', () => {
  // docs/performance.md, three nodes beside three of etcd: keys of 16 bytes, values of 2 KiB.
  const measured = { keyBytes: 16, valueBytes: 2048, replicas: 3, readReplicas: 2, isReplica: true };
  const GET_BYTES = 132;
  const PUT_BYTES = 4330;

  it('are those that were measured, but for frames that messages share', () => {
    const { get, put } = wireBytesOf(measured);
    // A request and an answer for each other replica, each of which may have saved the head of its frame.
    const messages = { get: 2, put: 4 };
    expect(get).toBeGreaterThanOrEqual(GET_BYTES);
    expect(get - messages.get * FRAME_HEADER_BYTES).toBeLessThanOrEqual(GET_BYTES);
    expect(put).toBeGreaterThanOrEqual(PUT_BYTES);
    expect(put - messages.put * FRAME_HEADER_BYTES).toBeLessThanOrEqual(PUT_BYTES);
    const page = readFileSync(new URL('../../docs/scale.md', import.meta.url), 'utf8');
    const said = (bytes: number): string => bytes.toLocaleString('en-US');
    expect(page).toContain(
      `${said(get)} and ${said(put)} bytes: measured were ${said(GET_BYTES)} and ${said(PUT_BYTES)}`,
    );
  });

  it('grow by one whole record where the coordinator holds none', () => {
    const record = recordBytes(16, 2048);
    const own = wireBytesOf(measured);
    const other = wireBytesOf({ ...measured, isReplica: false });
    expect(other.get - own.get).toBeGreaterThan(record);
    expect(other.put / own.put).toBeCloseTo(3 / 2, 9);
    expect(wireBytesOf({ ...measured, readReplicas: 1 }).get).toBe(0);
  });

  it('follow the size of values for PUT alone where the coordinator is a replica', () => {
    const large = wireBytesOf({ ...measured, valueBytes: 10_240 });
    expect(large.get).toBe(wireBytesOf(measured).get);
    expect(large.put - wireBytesOf(measured).put).toBe(2 * 8192);
  });
});

describe('the inputs of a plan', () => {
  it('are all used', () => {
    const inputs: Inputs = inputsOf({ ...premises, diskReads: 1, growth: 0.1 }, sampleFigures());
    const used = new Set(estimate(inputs).results.flatMap(({ terms }) => terms.map(({ name }) => name)));
    // Growth makes the other years; the key's length is in the record's; memory and replicas are what it is held against.
    const elsewhere = new Set(['growth', 'keyBytes', 'memoryBytes']);
    expect(Object.keys(inputs).filter((name) => !used.has(name) && !elsewhere.has(name))).toEqual([]);
    for (const { about, value } of Object.values(inputs) as Input[]) {
      expect(about).not.toBe('');
      expect(Number.isFinite(value)).toBe(true);
    }
  });
});
