/**
 * Before a release: `npm run load:regression`. Measures, and compares with load/regression/baseline.json. Ends with 0 where nothing is worse,
 * 1 where something is, 2 after wrong use or where nothing can be compared, 130 and 143 after a signal. `--rebaseline RUNS` measures
 * a new baseline instead. docs/load.md.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { systemSeed } from '../../src/base/random.ts';
import { thisMachine } from '../report/document.ts';
import { contests } from './contests.ts';
import { type MeasureOptions, measureRun, type RunFigures } from './measure.ts';
import { type Baseline, baselineOf, compareRatios, type Ratios, readBaseline } from './ratios.ts';

const EXIT_WORSE = 1;
const EXIT_WRONG_USE = 2;
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
/** From dist/load/regression to the sources: a baseline belongs to the repository, not to a build. */
const BASELINE = fileURLToPath(new URL('../../../load/regression/baseline.json', import.meta.url));
const ROUNDS = 5;
const RUNS_MAX = 50;
const ROUNDS_MAX = 99;

interface Flags {
  readonly baseline: string;
  readonly rebaseline?: number;
  readonly rounds: number;
  readonly only: readonly string[];
  readonly directory: string;
  readonly seed?: number;
}

function number(what: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!(value >= min && value <= max) || !Number.isInteger(value))
      throw new InvalidArgumentError(`${JSON.stringify(text)} is not ${what} from ${min} to ${max}`);
    return value;
  };
}
function names(text: string): string[] {
  for (const name of text.split(','))
    if (!contests.some((one) => one.name === name))
      throw new InvalidArgumentError(
        `${JSON.stringify(name)} is none of ${contests.map((one) => one.name).join(', ')}`,
      );
  return text.split(',');
}

function readFlags(args: readonly string[]): Flags | null {
  const program = new Command('npm run load:regression --')
    .description(
      'Measures what requests cost beside a bare uWebSockets.js server, by turns, and compares the ratios with the baseline.',
    )
    .option('--baseline <file>', 'ratios to compare with', BASELINE)
    .option(
      '--rebaseline <runs>',
      'measure so many times and write the baseline',
      number('runs', 1, RUNS_MAX),
    )
    .option('--rounds <n>', 'of a run', number('rounds', 1, ROUNDS_MAX), ROUNDS)
    .option('--only <names>', 'some of the contests, separated by commas', names, [])
    .option('--directory <path>', 'where the data directories are made', tmpdir())
    .option('--seed <n>', 'of keys and values', number('a number', 0, 2 ** 31 - 1))
    .exitOverride();
  try {
    program.parse(args, { from: 'user' });
    return program.opts<Flags>();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_WRONG_USE;
    return null;
  }
}

function show(baseline: Baseline, { ratios, figures }: RunFigures): boolean {
  const head = ['', 'contest', 'us a request', 'bare, us', 'ratio', 'baseline', 'change', 'at least'];
  const table = new Table({ head, style: { head: [], border: [] } });
  const rows = compareRatios(baseline, ratios);
  for (const { pass, name, now, before, change, least } of rows) {
    const figure = figures[name];
    table.push([
      pass ? 'PASS' : 'FAIL',
      contests.find((one) => one.name === name)?.what ?? name,
      figure?.cpuUs.toFixed(2) ?? '',
      figure?.bareCpuUs.toFixed(2) ?? '',
      now.toFixed(3),
      before.toFixed(3),
      change.toFixed(2),
      least.toFixed(2),
    ]);
  }
  process.stdout.write(`${table.toString()}\n`);
  return rows.every(({ pass }) => pass);
}

/** Those that are looked at: a run of some contests says nothing about the others. */
const limitedTo = (baseline: Baseline, only: readonly string[]): Baseline => ({
  ...baseline,
  contests: Object.fromEntries(
    Object.entries(baseline.contests).filter(([name]) => only.length === 0 || only.includes(name)),
  ),
});

async function main(flags: Flags): Promise<void> {
  const { rounds, only, directory, rebaseline, baseline: path } = flags;
  const interrupt = new AbortController();
  for (const [name, code] of Object.entries(SIGNAL_CODES))
    process.on(name, () => {
      process.exitCode = code;
      interrupt.abort();
    });
  const tell = (text: string): void => void process.stderr.write(`${text}\n`);
  const options: MeasureOptions = {
    ...{ rounds, only, directory },
    seed: flags.seed ?? systemSeed() >>> 1,
  };
  try {
    if (rebaseline !== undefined) {
      if (only.length > 0) throw new Error('--only with --rebaseline: a baseline has all contests');
      const runs: Ratios[] = [];
      while (runs.length < rebaseline) {
        tell(`run ${runs.length + 1} of ${rebaseline}`);
        runs.push((await measureRun(options, interrupt.signal, tell)).ratios);
      }
      const fresh = baselineOf(runs, thisMachine(), new Date().toISOString());
      writeFileSync(path, `${JSON.stringify(fresh, null, 2)}\n`);
      tell(`written to ${path}`);
      return;
    }
    const baseline = limitedTo(readBaseline(path, readFileSync(path, 'utf8')), only);
    const { cpu, cores, node } = baseline.machine;
    const here = thisMachine();
    if (cpu !== here.cpu || cores !== here.cores || node !== here.node)
      tell(
        `the baseline is of ${cores} x ${cpu}, Node.js ${node}; this is ${here.cores} x ${here.cpu}, ${here.node}: better measure one here first`,
      );
    const isGood = show(baseline, await measureRun(options, interrupt.signal, tell));
    process.stdout.write(`regression: ${isGood ? 'PASS' : 'FAIL'}\n`);
    if (!isGood) process.exitCode = EXIT_WORSE;
  } catch (error) {
    if (interrupt.signal.aborted) return;
    tell((error as Error).message);
    process.exitCode = EXIT_WRONG_USE;
  }
}

const flags = readFlags(process.argv.slice(2));
if (flags !== null) await main(flags);
