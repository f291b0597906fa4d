/**
 * Before a release: `npm run load:regression -- BASELINE.json [load-report/report.json] [--tolerance 20%]`. Ends with 0 where nothing is
 * worse, 1 where something is, 2 where there is nothing to compare.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { compareReports, readReport } from './compare.ts';

const EXIT_WORSE = 1;
const EXIT_WRONG_USE = 2;
const REPORT_DEFAULT = 'load-report/report.json';

function tolerance(text: string): number {
  const value = Number(/^(\d+(?:\.\d+)?)%$/.exec(text)?.[1]);
  if (!(value >= 0 && value < 100)) throw new Error(`--tolerance ${text} is not from 0% to below 100%`);
  return value / 100;
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { tolerance: { type: 'string', default: '20%' } },
  });
  const [baseline, report = REPORT_DEFAULT, ...more] = positionals;
  if (baseline === undefined || more.length > 0)
    throw new Error('two reports of npm run load -- --peers: the older one, and the one of today');
  const read = (name: string): ReturnType<typeof readReport> => readReport(name, readFileSync(name, 'utf8'));
  const rows = compareReports(read(baseline), read(report), tolerance(values.tolerance));
  const table = new Table({
    head: ['', 'beside', 'ratio', 'before', 'now', 'change'],
    style: { head: [], border: [] },
  });
  for (const { pass, peer, what, before, now, change } of rows)
    table.push([pass ? 'PASS' : 'FAIL', peer, what, before.toFixed(2), now.toFixed(2), change.toFixed(2)]);
  process.stdout.write(`${table.toString()}\n`);
  if (rows.some(({ pass }) => !pass)) process.exitCode = EXIT_WORSE;
}

try {
  main();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = EXIT_WRONG_USE;
}
