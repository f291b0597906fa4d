/**
 * Evaluates the lines of `ringkv plan` over its inputs: which resource asks for how many servers, and which binds. Pure: the same
 * inputs give the same plan. docs/scale.md explains it.
 */
import { assert } from '../base/assert.ts';
import { ConfigurationError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { formatAmountBytes } from '../base/units.ts';
import { evaluate, namesOf } from './plan-formula.ts';
import { demands, LARGEST_DEMAND, type Line, type Resource, sections, type Unit } from './plan-lines.ts';

/** Where a value comes from: a flag, `ringkv bench` on this machine, a documented default, the code, a line above. */
export type Source = 'flag' | 'measured' | 'default' | 'code' | 'above';
export interface Input {
  readonly value: number;
  readonly unit: Unit;
  readonly source: Exclude<Source, 'above'>;
  readonly about: string;
}
export type Inputs = Readonly<Record<string, Input>>;

export interface Term {
  readonly name: string;
  readonly value: number;
  readonly unit: Unit;
  readonly source: Source;
}
export interface Result {
  readonly section: string;
  readonly name: string;
  readonly unit: Unit;
  readonly formula: string;
  readonly terms: readonly Term[];
  readonly value: number;
  readonly about: string;
}
export interface Estimate {
  readonly results: readonly Result[];
  readonly servers: number;
  /** The resource that asks for most servers. */
  readonly binds: Resource;
  readonly demands: readonly { readonly resource: Resource; readonly servers: number }[];
  /** Why it cannot be built so; empty where nothing is known against it. */
  readonly faults: readonly string[];
  /** What whoever builds it should know. */
  readonly warnings: readonly string[];
}

/** Throws ConfigurationError where a disk has no room for tables. */
export function estimate(inputs: Inputs): Estimate {
  const results: Result[] = [];
  const values = new Map<string, Term>();
  for (const [name, { source, unit, value }] of Object.entries(inputs))
    values.set(name, { name, value, unit, source });
  for (const { lines, title } of sections)
    for (const line of lines) {
      if (line.needs !== undefined && inputs[line.needs] === undefined) continue;
      const formula = formulaOf(line, values);
      const terms = namesOf(formula).map((name) => termOf(name, values));
      const value = evaluate(formula, (name) => termOf(name, values).value);
      const { about, name, unit } = line;
      results.push({ section: title, name, unit, formula, terms, value, about });
      values.set(name, { name, value, unit, source: 'above' });
      if (name === 'usableBytes' && value <= 0) throw new ConfigurationError(noRoom(values, value));
    }
  const asked = demandsOf(values);
  const binding = asked.reduce((most, one) => (one.servers > most.servers ? one : most));
  const servers = termOf('servers', values).value;
  return { results, servers, binds: binding.resource, demands: asked, ...judge(values) };
}

function termOf(name: string, values: ReadonlyMap<string, Term>): Term {
  const term = values.get(name);
  assert(term !== undefined, () => `plan: nothing is called ${name}`);
  return term;
}
/** With the demands that have lines in the place of LARGEST_DEMAND. */
function formulaOf({ formula }: Line, values: ReadonlyMap<string, Term>): string {
  const given = Object.values(demands).filter((name) => values.has(name));
  return formula.replace(`max(${LARGEST_DEMAND})`, `max(${given.join(', ')})`);
}
function demandsOf(values: ReadonlyMap<string, Term>): Estimate['demands'] {
  return (Object.entries(demands) as [Resource, string][])
    .filter(([, name]) => values.has(name))
    .map(([resource, name]) => ({ resource, servers: termOf(name, values).value }));
}

function noRoom(values: ReadonlyMap<string, Term>, usableBytes: number): string {
  const bytes = (name: string): string => formatAmountBytes(termOf(name, values).value);
  return (
    `--disk ${bytes('diskBytes')}: ${formatAmountBytes(usableBytes)} are left for tables of ${termOf('diskFill', values).value} of it, less ` +
    `${bytes('logBytes')} for the log, ${bytes('compactionBytes')} for compaction and ${bytes('hintBytes')} for hints`
  );
}

function judge(values: ReadonlyMap<string, Term>): Pick<Estimate, 'faults' | 'warnings'> {
  const value = (name: string): number => termOf(name, values).value;
  const faults: string[] = [];
  const warnings: string[] = [];
  const servers = value('servers');
  if (servers > limits.ringMembersMax)
    faults.push(`${servers} servers: a ring has at most ${limits.ringMembersMax} members`);
  const memory = value('serverMemoryBytes');
  if (memory > value('memoryBytes'))
    faults.push(
      `${formatAmountBytes(memory)} of memory for a node: a server has ${formatAmountBytes(value('memoryBytes'))}`,
    );
  if (value('vnodes') > limits.vnodesMax)
    warnings.push(
      `${value('vnodes')} vnodes would spread the load evenly, and a ring has at most ${limits.vnodesMax}`,
    );
  if (value('racks') < value('replicas'))
    warnings.push(
      `${value('replicas')} replicas in ${value('racks')} racks: a rack that is lost takes more than one copy of some objects`,
    );
  return { faults, warnings };
}

export interface GrowthRow {
  readonly year: number;
  readonly dataBytes: number;
  readonly qps: number;
  readonly servers: number;
  readonly binds: Resource;
  readonly faults: readonly string[];
}

/** Data and requests grow by `growth` each year; 0 is today. */
export function growthOf(inputs: Inputs, years: number): GrowthRow[] {
  const { dataBytes, growth, qps } = inputs;
  assert(dataBytes !== undefined && growth !== undefined && qps !== undefined, 'plan: inputs without growth');
  return Array.from({ length: years + 1 }, (_, year) => {
    const factor = (1 + growth.value) ** year;
    const grown = {
      dataBytes: { ...dataBytes, value: dataBytes.value * factor },
      qps: { ...qps, value: qps.value * factor },
    };
    const { binds, faults, servers } = estimate({ ...inputs, ...grown });
    return { year, dataBytes: grown.dataBytes.value, qps: grown.qps.value, servers, binds, faults };
  });
}
