/** `ringkv plan`: how many servers data and requests ask for, with every line of the arithmetic. docs/scale.md explains it. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { KiB, limits, MiB } from '../base/limits.ts';
import { parseAmountBytes } from '../base/units.ts';
import { packageVersion } from '../node/package-version.ts';
import { type BenchFigures, FIGURES_FILE } from './bench-figures.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { UsageError } from './failure.ts';
import { amount, fraction, integer, jsonFlag } from './flags.ts';
import type { Estimate, GrowthRow, Inputs } from './plan-estimate.ts';
import type { PlanFlags } from './plan-inputs.ts';

interface AllFlags extends PlanFlags {
  readonly bench?: string;
  readonly years?: number;
  readonly json?: true;
}

const RACKS_MAX = 1000;
const CORES_MAX = 1024;
const QPS_MAX = 1_000_000_000;
const YEARS_MAX = 20;
const GROWTH_MAX = 10;
const HEADROOM_MAX = 0.9;
const DISK_FILL_MIN = 0.1;
const DISK_FILL_MAX = 0.95;
const AMOUNT_MAX = Number.MAX_SAFE_INTEGER;
const PERCENT = 100;
const BITS_MIN = 1e6;
const BITS_MAX = 1e12;
const bitUnits: Readonly<Record<string, number>> = { Mbit: 1e6, Gbit: 1e9 };

/** 40%, or 20%/year, as a share. */
function percent(min: number, max: number): (text: string) => number {
  return (text) => {
    const match = /^([0-9]+(?:\.[0-9]+)?)%(?:\/year)?$/.exec(text);
    const value = match === null ? Number.NaN : Number(match[1]) / PERCENT;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(
        `Not a percentage such as 20%, from ${min * PERCENT}% to ${max * PERCENT}%.`,
      );
    return value;
  };
}
/** 10Gbit or 500Mbit, a second. */
function bits(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([MG]bit)(?:\/s)?$/.exec(text);
  const value = Number(match?.[1]) * (bitUnits[match?.[2] ?? ''] ?? Number.NaN);
  if (!(value >= BITS_MIN && value <= BITS_MAX))
    throw new InvalidArgumentError('Not a rate such as 10Gbit, from 1Mbit to 1000Gbit.');
  return value;
}

const option = <T>(flags: string, help: string, parse: (text: string) => T): Option =>
  new Option(flags, help).argParser(parse);

export function addPlan(program: Command, run: Run): void {
  const { memtableBytesMax, memtableBytesMin, replicasMax, shardsMax } = limits;
  const objectMax = limits.valueBytesCeiling + limits.keyBytesCeiling;
  const needed = [
    option('--data <amount>', 'keys and values, once, such as 100TB', amount(1, AMOUNT_MAX)),
    option('--object <size>', 'key and value of one object, such as 2KB', amount(2, objectMax)),
    option('--qps <n>', 'requests of clients a second', integer(1, QPS_MAX)),
  ];
  const optional = [
    option('--replicas <n>', 'copies of each object (default: 3)', integer(1, replicasMax)),
    option('--read-share <share>', 'GETs among the requests, from 0 to 1 (default: 0.5)', fraction),
    new Option('--consistency <level>', 'of GETs (default: QUORUM)').choices(['ONE', 'QUORUM', 'ALL']),
    option('--key <size>', 'key of an object (default: 16B)', amount(1, limits.keyBytesCeiling)),
    option('--disk <size>', 'disk of a server (default: 2TB)', amount(parseAmountBytes('1GB'), AMOUNT_MAX)),
    option(
      '--disk-fill <percent>',
      'how full it may become (default: 70%)',
      percent(DISK_FILL_MIN, DISK_FILL_MAX),
    ),
    option(
      '--disk-reads <n>',
      'random reads a second that it gives (default: no limit)',
      integer(1, QPS_MAX),
    ),
    option(
      '--server-qps <n>',
      'reads and writes a second of a server (default: by its processors)',
      integer(1, QPS_MAX),
    ),
    option('--cores <n>', 'cores of a server (default: of this machine)', integer(1, CORES_MAX)),
    option('--memory <size>', 'memory of a server (default: of this machine)', amount(64 * MiB, AMOUNT_MAX)),
    option('--network <rate>', 'link of a server (default: 1Gbit)', bits),
    option('--shards <n>', 'shard threads of a node', integer(1, shardsMax)),
    option('--memtable-bytes <size>', 'as the setting of a node', amount(memtableBytesMin, memtableBytesMax)),
    option('--block-cache-bytes <size>', 'as the setting of a node', amount(0, KiB * KiB * KiB * KiB)),
    option('--racks <n>', 'racks of equal size (default: as many as replicas)', integer(1, RACKS_MAX)),
    option(
      '--spare-servers <n>',
      'lost for good at a time, room for theirs (default: 1)',
      integer(0, RACKS_MAX),
    ),
    option(
      '--headroom <percent>',
      'of processors, disk and link kept free (default: 40%)',
      percent(0, HEADROOM_MAX),
    ),
    option(
      '--growth <percent>',
      'of data and requests, such as 20%/year (default: 0%)',
      percent(0, GROWTH_MAX),
    ),
    option('--years <n>', 'years in the table of growth (default: 5)', integer(0, YEARS_MAX)),
    option('--bench <file>', `figures of ringkv bench (default: ${FIGURES_FILE} where there is one)`, String),
  ];
  const command = program
    .command('plan')
    .summary('estimate servers, memory, disk and network')
    .description(
      'Estimates a cluster for data and requests, from figures that ringkv bench measured on this machine; without ' +
        'them from documented defaults, which are named. Each line of the arithmetic is shown with where its numbers come from.',
    );
  for (const one of needed) command.addOption(one.makeOptionMandatory());
  for (const one of optional) command.addOption(one);
  command
    .addOption(jsonFlag())
    .addHelpText(
      'after',
      '\nExamples:\n  ringkv plan --data 100TB --object 2KB --qps 100000 --replicas 3 --disk 2TB --server-qps 5000\n' +
        '  ringkv bench --value 2KB && ringkv plan --data 10TB --object 2KB --qps 20000 --growth 20%/year --json',
    )
    .action((flags: AllFlags) => run((context) => plan(flags, context)));
}

interface Whole {
  readonly inputs: Inputs;
  readonly answer: Estimate;
  readonly growth: readonly GrowthRow[];
  readonly figures: { readonly file: string; readonly measuredAt: string } | null;
  readonly warnings: readonly string[];
}

async function plan(flags: AllFlags, context: Context): Promise<ExitCodeValue> {
  check(flags);
  const { readFigures } = await import('./bench-files.ts');
  const { estimate, growthOf } = await import('./plan-estimate.ts');
  const { figureWarnings, inputsOf } = await import('./plan-inputs.ts');
  const { documented } = await import('./plan-defaults.ts');
  const file = flags.bench ?? FIGURES_FILE;
  const figures = readFigures(file);
  if (figures === null && flags.bench !== undefined)
    throw new UsageError(`--bench ${file}: there is no such file; ringkv bench --out ${file} makes it`);
  const inputs = inputsOf(flags, figures);
  const answer = estimate(inputs);
  const whole: Whole = {
    inputs,
    answer,
    growth: growthOf(inputs, flags.years ?? documented.years),
    figures: figures === null ? null : { file, measuredAt: figures.measuredAt },
    warnings: [...warningsOf(figures, flags, figureWarnings), ...answer.warnings],
  };
  if (flags.json === true) await context.stdout.line(JSON.stringify(asJson(whole), null, 2));
  else await print(whole, context);
  for (const fault of answer.faults) await context.stderr.line(`ringkv: this cannot be built: ${fault}`);
  return answer.faults.length === 0 ? ExitCode.OK : ExitCode.FAILED;
}

function check({ data, key, object }: AllFlags): void {
  if (object > data) throw new UsageError(`--object ${object} bytes: more than --data, ${data} bytes`);
  if (key !== undefined && key > object)
    throw new UsageError(`--key ${key} bytes: more than --object, ${object} bytes`);
}

function warningsOf(
  figures: BenchFigures | null,
  flags: AllFlags,
  ofFigures: (flags: PlanFlags, figures: BenchFigures, version: string) => string[],
): string[] {
  if (figures !== null) return ofFigures(flags, figures, packageVersion);
  return [
    `nothing was measured on this machine (there is no ${FIGURES_FILE}): processor time, disk and space are documented defaults of another machine, without compression; ringkv bench measures them`,
  ];
}

const asJson = ({ answer, figures, growth, inputs, warnings }: Whole): object => {
  const { binds, demands, faults, results, servers } = answer;
  return { servers, binds, demands, faults, warnings, figures, growth, inputs, lines: results };
};

async function print(
  { answer, figures, growth, inputs, warnings }: Whole,
  { stdout }: Context,
): Promise<void> {
  const { answerLines, growthLines, inputLines, LEGEND, resultLines } = await import('./plan-text.ts');
  const from = figures === null ? [] : [`figures: ${figures.file}, measured ${figures.measuredAt}`];
  const lines = [
    ...from,
    ...warnings.map((warning) => `warning: ${warning}`),
    ...(from.length + warnings.length > 0 ? [''] : []),
    LEGEND,
    '',
    ...inputLines(inputs),
    ...resultLines(answer.results),
    ...answerLines(answer),
    '',
    ...growthLines(growth),
  ];
  for (const line of lines) await stdout.line(line);
}
