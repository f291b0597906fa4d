/** `ringkv bench`: what this machine and its disk give to a node, measured on an embedded store, for a person and for `ringkv plan`. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { limits, MiB } from '../base/limits.ts';
import { recordBytes } from '../base/record.ts';
import { parseAmountBytes } from '../base/units.ts';
import { resolveConfig } from '../node/config.ts';
import { readConfigFile } from '../node/config-file.ts';
import type { NodeConfig } from '../node/contract.ts';
import { packageVersion } from '../node/package-version.ts';
import { FIGURES_FILE, FIGURES_VERSION } from './bench-figures.ts';
import type { Context, Run } from './context.ts';
import { ExitCode, type ExitCodeValue } from './exit-codes.ts';
import { CommandError, InterruptedError, UsageError } from './failure.ts';
import { amount, fraction, integer, jsonFlag } from './flags.ts';
import { startProgress } from './progress.ts';

interface BenchFlags {
  readonly value: number;
  readonly seconds: number;
  readonly directory: string;
  readonly inFlight: number;
  readonly dataMax: number;
  readonly compressible: number;
  readonly shards?: string;
  readonly out: string;
  readonly json?: true;
}

const SECONDS_DEFAULT = 10;
const SECONDS_MAX = 3600;
const IN_FLIGHT_DEFAULT = 256;
const COMPRESSIBLE_DEFAULT = 0.5;
const DATA_MAX_BYTES_MIN = 16 * MiB;
const DATA_MAX_BYTES_MAX = parseAmountBytes('100TB');
/** Of --data-max: what is overwritten, what compactions are about to write, and the log's segments come on top. */
const ROOM_FACTOR = 3;

function wholeSeconds(text: string): number {
  const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value > 0 && value <= SECONDS_MAX))
    throw new InvalidArgumentError(`Not a number of seconds above 0 and up to ${SECONDS_MAX}.`);
  return value;
}

export function addBench(program: Command, run: Run): void {
  program
    .command('bench')
    .summary('measure what this machine and disk give')
    .description(
      'Opens an embedded store in a directory of its own and measures the syncs of the disk, durable puts with the flushes ' +
        'and compactions that they lead to, gets from memory and from tables, bytes on disk and memory. Prints a table and ' +
        'writes the figures to a file that ringkv plan reads. Settings come from the configuration file and RINGKV_*.',
    )
    .addOption(
      new Option('--value <size>', 'bytes of a value, such as 2KB')
        .argParser(amount(1, limits.valueBytesCeiling))
        .default(2000, '2KB'),
    )
    .addOption(
      new Option('--seconds <n>', 'how long each load lasts')
        .argParser(wholeSeconds)
        .default(SECONDS_DEFAULT),
    )
    .addOption(
      new Option(
        '--directory <dir>',
        'where the store is made, and removed again: on the disk that will be used',
      ).default('.'),
    )
    .addOption(
      new Option('--in-flight <n>', 'operations at one time')
        .argParser(integer(1, limits.requestsInFlightMax))
        .default(IN_FLIGHT_DEFAULT),
    )
    .addOption(
      new Option('--data-max <size>', 'objects to put before the first are overwritten')
        .argParser(amount(DATA_MAX_BYTES_MIN, DATA_MAX_BYTES_MAX))
        .default(4_000_000_000, '4GB'),
    )
    .addOption(
      new Option('--compressible <share>', 'share of each value that compression can take away')
        .argParser(fraction)
        .default(COMPRESSIBLE_DEFAULT),
    )
    .addOption(new Option('--shards <n>', 'shard threads (default: the setting shards)'))
    .addOption(new Option('--out <file>', 'file for the figures').default(FIGURES_FILE))
    .addOption(jsonFlag())
    .addHelpText(
      'after',
      '\nExamples:\n  ringkv bench\n  ringkv bench --value 2KB --seconds 30 --directory /var/lib --out disk-a.json',
    )
    .action((flags: BenchFlags) => run((context) => bench(flags, context)));
}

async function bench(flags: BenchFlags, context: Context): Promise<ExitCodeValue> {
  const { makeBenchDirectory, removeBenchDirectory, writeFigures } = await import('./bench-files.ts');
  const { BenchRun, KEY_BYTES, PHASES } = await import('./bench-run.ts');
  const { machineFigures } = await import('./bench-machine.ts');
  const { figureLines } = await import('./bench-text.ts');
  const { compressible, inFlight, seconds, value: valueBytes } = flags;
  const config = configOf(flags, context);
  const objectsMax = Math.max(1, Math.floor(flags.dataMax / recordBytes(KEY_BYTES, valueBytes)));
  // Watched from before there is a directory to be removed.
  if (context.interrupted.aborted) throw new InterruptedError();
  const directory = makeBenchDirectory(flags.directory);
  const progress = startProgress('measuring', PHASES, context);
  try {
    checkRoom(directory, config, flags, context);
    const store = { ...config, data: `${directory}/data` };
    const plan = { directory, config: store, valueBytes, compressible, inFlight, seconds, objectsMax };
    const measuredAt = new Date(context.clock.nowMs()).toISOString();
    const measured = await new BenchRun(plan, context, (phases) => progress.update(phases, 0)).run();
    progress.stop();
    const figures = {
      format: FIGURES_VERSION as typeof FIGURES_VERSION,
      ...{ ringkv: packageVersion, measuredAt, machine: machineFigures() },
      ...measured,
    };
    writeFigures(flags.out, figures);
    if (flags.json === true) await context.stdout.line(JSON.stringify(figures, null, 2));
    else {
      for (const line of figureLines(figures)) await context.stdout.line(line);
      await context.stdout.line(`\nwritten to ${flags.out}: ringkv plan --bench ${flags.out} reads it`);
    }
    return ExitCode.OK;
  } finally {
    progress.stop();
    removeBenchDirectory(directory);
  }
}

function configOf({ shards, value }: BenchFlags, { environment }: Context): NodeConfig {
  const flags = { 'in-memory': 'false', ...(shards === undefined ? {} : { shards }) };
  const file = readConfigFile(undefined, environment);
  const { config } = resolveConfig({ flags, environment, file });
  if (value > config.maxValueBytes)
    throw new UsageError(
      `--value ${value} bytes: the limit is ${config.maxValueBytes} (the setting max-value-bytes)`,
    );
  return config;
}

function checkRoom(
  directory: string,
  { memtableBytes, shards }: NodeConfig,
  { dataMax }: BenchFlags,
  { fileSystem }: Context,
): void {
  const needed = ROOM_FACTOR * dataMax + shards * limits.memtableSlots * memtableBytes;
  const free = fileSystem.freeBytes(directory);
  if (free < needed)
    throw new CommandError(
      `${directory}: ${free} bytes are free and ${needed} may be needed: lower --data-max (${dataMax} bytes), or name another --directory`,
      ExitCode.DATA,
    );
}
