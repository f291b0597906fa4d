/** A plan for a person: inputs with where they come from, each line with its formula, its numbers and its result, and the answer. */
import { formatAmountBytes } from '../base/units.ts';
import type { Estimate, GrowthRow, Inputs, Result, Source } from './plan-estimate.ts';
import { tokensOf } from './plan-formula.ts';
import type { Unit } from './plan-lines.ts';
import { tableOf } from './text-table.ts';

const DIGITS = 4;
const PERCENT = 100;
const [MINUTE, HOUR, DAY] = [60, 3600, 86_400];

function number(value: number): string {
  if (Number.isInteger(value)) return value.toLocaleString('en-US');
  return Number(value.toPrecision(DIGITS)).toLocaleString('en-US', { maximumFractionDigits: DIGITS });
}
function duration(seconds: number): string {
  if (seconds >= DAY) return `${number(seconds / DAY)} days`;
  if (seconds >= HOUR) return `${number(seconds / HOUR)} hours`;
  return seconds >= MINUTE ? `${number(seconds / MINUTE)} minutes` : `${number(seconds)} s`;
}

export function shown(value: number, unit: Unit): string {
  switch (unit) {
    case 'bytes':
      return formatAmountBytes(value);
    case 'bytes/s':
      return `${formatAmountBytes(value)}/s`;
    case 'bits/s':
      return `${formatAmountBytes(value).replace('B', 'bit')}/s`;
    case 'share':
      return `${number(value * PERCENT)}%`;
    case '/s':
      return `${number(value)}/s`;
    case 'us':
    case 'us/s':
    case 'ms':
      return `${number(value)} ${unit}`;
    case 'seconds':
      return duration(value);
    default:
      return number(value);
  }
}

const marks: Readonly<Record<Source, string>> = {
  flag: '*',
  measured: '~',
  default: '?',
  code: '',
  above: '',
};

/** The formula with its values in place of their names, each marked with where it comes from. */
export function numbersOf({ formula, terms }: Result): string {
  const values = new Map(terms.map((term) => [term.name, term]));
  let text = '';
  for (const token of tokensOf(formula)) {
    const term = values.get(token);
    const said = term === undefined ? token : `${shown(term.value, term.unit)}${marks[term.source]}`;
    if (/^[-+*/]$/.test(token)) text += ` ${token === '*' ? 'x' : token} `;
    else text += token === ',' ? ', ' : said;
  }
  return text;
}

export function inputLines(inputs: Inputs): string[] {
  const rows = Object.entries(inputs).map(([name, { about, source, unit, value }]) => [
    name,
    `${shown(value, unit)}${marks[source]}`,
    source,
    about,
  ]);
  return tableOf([['INPUT', 'VALUE', 'FROM', 'WHAT'], ...rows]);
}

export function resultLines(results: readonly Result[]): string[] {
  const lines: string[] = [];
  let section = '';
  for (const result of results) {
    if (result.section !== section) lines.push('', `${result.section}.`, '');
    section = result.section;
    lines.push(
      `  ${result.name}: ${result.about}`,
      `    = ${result.formula}`,
      `    = ${numbersOf(result)}`,
      `    = ${shown(result.value, result.unit)}`,
    );
  }
  return lines;
}

export function answerLines({ binds, demands, servers }: Estimate): string[] {
  return [
    '',
    `${number(servers)} servers: ${binds} binds.`,
    '',
    ...tableOf([
      ['RESOURCE', 'SERVERS'],
      ...demands.map(({ resource, servers: asked }) => [resource, number(asked)]),
    ]),
  ];
}

export function growthLines(rows: readonly GrowthRow[]): string[] {
  return tableOf([
    ['YEAR', 'DATA', 'REQUESTS', 'SERVERS', 'BINDS', 'AGAINST IT'],
    ...rows.map(({ binds, dataBytes, faults, qps, servers, year }) => [
      String(year),
      formatAmountBytes(dataBytes),
      `${number(Math.round(qps))}/s`,
      number(servers),
      binds,
      faults.join('; '),
    ]),
  ]);
}

export const LEGEND =
  '* a flag, ~ measured on this machine by ringkv bench, ? a documented default; without a mark: code, or a line above';
