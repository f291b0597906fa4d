/**
 * `npm run load:growth -- [--steps 1M,2M,5M,10M,20M]`: what requests cost as one node's data grows, and amplification against what the
 * compaction dial promises. docs/load.md. Ends with 0, 1 where a criterion is missed, 2 after wrong use, 130 and 143 after a signal.
 */
import { writeFileSync } from 'node:fs';
import Table from 'cli-table3';
import { CommanderError } from 'commander';
import { thisMachine } from '../report/document.ts';
import { isGet, judgeGrowth, KINDS, promiseOf, type Step } from './figures.ts';
import { type GrowthOptions, readGrowthOptions } from './options.ts';
import { runGrowth } from './run.ts';

const EXIT_FAILED = 1;
const EXIT_WRONG_USE = 2;
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
const style = { head: [], border: [] };
const GB = 1e9;

function optionsOf(args: readonly string[]): GrowthOptions | null {
  try {
    return readGrowthOptions(args);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_WRONG_USE;
    return null;
  }
}

function show(steps: readonly Step[], { dial, tolerance }: GrowthOptions): boolean {
  const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
  const costs = new Table({
    head: ['keys', ...KINDS.map((kind) => `${kind}, us (ratio)`), 'put of a new key, us + compaction'],
    style,
  });
  const reads = new Table({
    head: ['keys', 'get', 'of tables', 'tables asked', 'reads', 'bytes read', 'reads a second'],
    style,
  });
  const space = new Table({
    head: [
      'keys',
      'tables, GB',
      'levels',
      'overlap (promised)',
      'write amplification',
      'writes in tables (promised)',
      'records a key (promised)',
      'bytes a live byte',
    ],
    style,
  });
  for (const one of steps) {
    const { keys, fill, shape } = one;
    const at = whole(keys);
    const cost = KINDS.map((kind) => {
      const { own, ratio } = one.costs[kind];
      return `${own.cpuUs.toFixed(1)} (${ratio.toFixed(2)})`;
    });
    costs.push([at, ...cost, `${fill.cpuUs.toFixed(1)} + ${fill.lowCpuUs.toFixed(1)}`]);
    for (const kind of KINDS.filter(isGet)) {
      const { own } = one.costs[kind];
      reads.push([
        at,
        kind,
        own.tableShare.toFixed(2),
        own.tablesAsked.toFixed(2),
        own.reads.toFixed(2),
        whole(own.readBytes),
        whole(own.perSecond),
      ]);
    }
    const promised = promiseOf(dial, shape.levels);
    space.push([
      at,
      (shape.tableBytes / GB).toFixed(2),
      shape.levels,
      `${shape.overlap} (${promised.overlapMax})`,
      one.writeAmplification.toFixed(2),
      `${one.tableWrites.toFixed(2)} (${promised.tableWritesMax.toFixed(1)})`,
      `${one.recordsPerKey.toFixed(2)} (${promised.recordsPerKeyMax.toFixed(1)})`,
      one.bytesPerByte.toFixed(2),
    ]);
  }
  const verdict = new Table({ head: ['', 'criterion', 'limit', 'found'], style });
  const criteria = judgeGrowth(steps, dial, tolerance);
  for (const { pass, what, limit, found } of criteria)
    verdict.push([pass ? 'PASS' : 'FAIL', what, limit, found]);
  const pass = criteria.every((one) => one.pass);
  for (const table of [costs, reads, space, verdict]) process.stdout.write(`${table.toString()}\n`);
  process.stdout.write(`growth: ${pass ? 'PASS' : 'FAIL'}\n`);
  return pass;
}

async function main(options: GrowthOptions): Promise<void> {
  const interrupt = new AbortController();
  for (const [name, code] of Object.entries(SIGNAL_CODES))
    process.on(name, () => {
      process.exitCode = code;
      interrupt.abort();
    });
  try {
    const steps = await runGrowth(options, interrupt.signal, (text) => process.stderr.write(`${text}\n`));
    writeFileSync(options.json, `${JSON.stringify({ machine: thisMachine(), options, steps }, null, 1)}\n`);
    if (!show(steps, options)) process.exitCode = EXIT_FAILED;
  } catch (error) {
    if (interrupt.signal.aborted) return;
    process.stderr.write(`growth: FAIL: ${(error as Error).message}\n`);
    process.exitCode = EXIT_FAILED;
  }
}

const options = optionsOf(process.argv.slice(2));
if (options !== null) await main(options);
