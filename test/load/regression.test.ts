import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contests } from '../../load/regression/contests.ts';
import {
  type Baseline,
  baselineOf,
  compareRatios,
  lowerQuartile,
  readBaseline,
  TOLERANCE_MIN,
} from '../../load/regression/ratios.ts';

const MACHINE = { cpu: 'a processor', cores: 2, memoryBytes: 1e9, system: 'linux x64', node: 'v20.0.0' };
const AT = '2026-01-01T00:00:00.000Z';
const baseline = (runs: readonly Record<string, number>[]): Baseline => baselineOf(runs, MACHINE, AT);

describe('the regression check', () => {
  it('takes medians of runs, and as much tolerance as they lay apart', () => {
    const { contests: made, runs } = baseline([
      { get: 0.5, put: 0.2 },
      { get: 0.4, put: 0.201 },
      { get: 0.51, put: 0.199 },
    ]);
    expect(runs).toBe(3);
    expect(made.get).toEqual({ ratio: 0.5, tolerance: 0.3, ratios: [0.5, 0.4, 0.51] });
    expect(made.put?.tolerance).toBe(TOLERANCE_MIN);
  });

  it('takes of many measurements one that little disturbed', () => {
    expect(lowerQuartile([9, 30, 8, 8.5, 14, 13, 12, 40])).toBe(9);
    expect(lowerQuartile([5])).toBe(5);
  });

  it('fails what fell below its tolerance, and nothing else', () => {
    const before = baseline([{ get: 0.5, put: 0.2 }]);
    const verdict = (get: number, put: number): string =>
      compareRatios(before, { get, put })
        .map(({ name, pass }) => `${name} ${pass}`)
        .join(', ');
    expect(verdict(0.5, 0.2)).toBe('get true, put true');
    expect(verdict(0.476, 0.9)).toBe('get true, put true');
    expect(verdict(0.474, 0.2)).toBe('get false, put true');
    expect(verdict(0.5, 0.1)).toBe('get true, put false');
  });

  it('does not pass where a contest is missing on either side', () => {
    const before = baseline([{ get: 0.5, put: 0.2 }]);
    expect(() => compareRatios(before, { get: 0.5 })).toThrow('put: not in both');
    expect(() => compareRatios(before, { get: 0.5, put: 0.2, scan: 1 })).toThrow('scan: not in both');
  });

  it('refuses what is no baseline, with its name', () => {
    const one = baseline([{ get: 0.5 }]);
    expect(readBaseline('b.json', JSON.stringify(one))).toEqual(one);
    expect(() => readBaseline('b.json', '{')).toThrow('b.json is no JSON');
    expect(() => readBaseline('b.json', JSON.stringify({ ...one, format: 1 }))).toThrow('b.json: format');
    expect(() => readBaseline('b.json', JSON.stringify({ ...one, contests: { get: { ratio: 0 } } }))).toThrow(
      'contests.get.ratio',
    );
  });

  it('has a baseline in the repository for every contest', () => {
    const path = resolve(import.meta.dirname, '../../load/regression/baseline.json');
    const stored = readBaseline(path, readFileSync(path, 'utf8'));
    expect(Object.keys(stored.contests).sort()).toEqual(contests.map(({ name }) => name).sort());
    expect(stored.runs).toBeGreaterThanOrEqual(3);
  });
});
