/**
 * The load suite: `npm run load -- --help`, docs/load.md. Runs scenarios one after another; ends with 0 where all are within their
 * SLO, 1 where one is not or could not be run, 2 after wrong use, 130 and 143 after a signal.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommanderError } from 'commander';
import { type Invocation, readCommandLine } from './command-line.ts';
import { isInstalled, programOf } from './peers/peer-process.ts';
import { watcherOf } from './progress.ts';
import { loadReport, type ScenarioReport, scenarioReport } from './report/document.ts';
import { htmlOf } from './report/html.ts';
import { comparisonText, textOf } from './report/table.ts';
import { InterruptedError, runScenario } from './run.ts';
import { scenarios } from './scenarios.ts';
import { judge } from './verdict.ts';

const EXIT_FAILED = 1;
const EXIT_WRONG_USE = 2;
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

function invocation(): Invocation | null {
  try {
    const read = readCommandLine(process.argv.slice(2));
    if (read === null)
      for (const { name, title } of scenarios) process.stdout.write(`${name.padEnd(18)}${title}\n`);
    return read;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_WRONG_USE;
    return null;
  }
}

async function run({ runs, out, quiet, peers }: Invocation): Promise<void> {
  const interrupt = new AbortController();
  for (const [name, code] of Object.entries(SIGNAL_CODES))
    process.on(name, () => {
      process.exitCode = code;
      interrupt.abort();
    });
  mkdirSync(out, { recursive: true });
  const begun = new Date().toISOString();
  const reports: ScenarioReport[] = [];
  const watcher = watcherOf(process.stderr, quiet);
  let failed = false;
  for (const options of runs) {
    if (options.peer !== null && !isInstalled(options.peer)) {
      process.stderr.write(`${options.peer}: SKIPPED: ${programOf(options.peer)} is not installed\n`);
      continue;
    }
    process.stderr.write(`${options.scenario.name}: ${options.scenario.title} (seed ${options.seed})\n`);
    try {
      const outcome = await runScenario(options, watcher, interrupt.signal);
      watcher.end();
      const criteria = judge(outcome);
      process.stdout.write(`${textOf(outcome, criteria)}\n`);
      reports.push(scenarioReport(outcome, criteria));
    } catch (error) {
      watcher.end();
      if (error instanceof InterruptedError || interrupt.signal.aborted) break;
      failed = true;
      process.stderr.write(`${options.scenario.name}: FAIL: ${(error as Error).message}\n`);
    }
  }
  if (reports.length > 0) {
    const report = loadReport(begun, reports, peers);
    writeFileSync(join(out, 'report.json'), `${JSON.stringify(report, null, 1)}\n`);
    writeFileSync(join(out, 'report.html'), htmlOf(report));
    if (peers) process.stdout.write(`${comparisonText(report.comparison)}\n`);
    process.stdout.write(`report: ${join(out, 'report.html')} and report.json\n`);
    failed ||= !report.pass;
  }
  if (failed && !interrupt.signal.aborted) process.exitCode = EXIT_FAILED;
}

// The reader of the output has gone (`npm run load | head`): the report is written all the same.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
const asked = invocation();
if (asked !== null) await run(asked);
