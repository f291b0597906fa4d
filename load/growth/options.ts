/** `npm run load:growth -- ...`: flags, each refused with its value and limit where it is wrong. */
import { tmpdir } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { systemSeed } from '../../src/base/random.ts';
import { formatSizeBytes, parseSizeBytes } from '../../src/base/units.ts';
import { configOfOptions } from '../../src/node/config.ts';
import { loadLimits } from '../limits.ts';
import type { TransportName } from '../transports/transport.ts';

export interface GrowthOptions {
  /** Keys at each step, rising; the first step is what the others are compared with. */
  readonly steps: readonly number[];
  readonly valueBytes: number;
  readonly transport: TransportName;
  readonly inFlight: number;
  /** Of one measurement, and of the warm-up before the first of a kind. */
  readonly seconds: number;
  readonly rounds: number;
  /** How much dearer than at the first step a request may be. */
  readonly tolerance: number;
  readonly settings: Readonly<Record<string, string>>;
  readonly dial: number;
  readonly directory: string;
  readonly seed: number;
  readonly json: string;
}
interface Flags {
  readonly steps: number[];
  readonly valueBytes: number;
  readonly transport: TransportName;
  readonly inFlight: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly tolerance: number;
  readonly set: Record<string, string>;
  readonly directory: string;
  readonly seed?: number;
  readonly json: string;
}

export const STEPS_MAX = 16;
const KEYS_MIN = 1000;
const MILLION = 1_000_000;
const IN_FLIGHT = 256;
const SECONDS = 4;
const SECONDS_MAX = 600;
const ROUNDS = 3;
const ROUNDS_MAX = 99;

function whole(what: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(`${JSON.stringify(text)} is not ${what} from ${min} to ${max}`);
    return value;
  };
}
/** `1M,2M,500k`. */
function steps(text: string): number[] {
  const all = text.split(',').map((one) => {
    const [, digits, unit] = /^(\d+(?:\.\d+)?)([kM]?)$/.exec(one) ?? [];
    const keys = Number(digits) * (unit === 'M' ? MILLION : unit === 'k' ? MILLION / 1000 : 1);
    if (!(Number.isInteger(keys) && keys >= KEYS_MIN && keys <= loadLimits.keysMax))
      throw new InvalidArgumentError(
        `${JSON.stringify(one)} is no number of keys from ${KEYS_MIN} to ${loadLimits.keysMax}, such as 500k or 2M`,
      );
    return keys;
  });
  if (all.length > STEPS_MAX)
    throw new InvalidArgumentError(`${all.length} steps; the limit is ${STEPS_MAX}`);
  if (all.some((keys, at) => at > 0 && keys <= (all[at - 1] as number)))
    throw new InvalidArgumentError(`${text}: each step must have more keys than the one before`);
  return all;
}
function bytes(text: string): number {
  let value: number;
  try {
    value = parseSizeBytes(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  const { valueBytesMin, valueBytesMax } = loadLimits;
  if (value < valueBytesMin || value > valueBytesMax)
    throw new InvalidArgumentError(
      `${text} lies outside of ${formatSizeBytes(valueBytesMin)} to ${formatSizeBytes(valueBytesMax)}`,
    );
  return value;
}
function percent(text: string): number {
  const value = Number(/^(\d+(?:\.\d+)?)%$/.exec(text)?.[1]);
  if (!(value >= 0 && value <= 1000)) throw new InvalidArgumentError(`${text} is not from 0% to 1000%`);
  return value / 100;
}
function setting(text: string, before: Record<string, string>): Record<string, string> {
  const [, name, value] = /^([a-z][a-z-]*)=(.+)$/.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new InvalidArgumentError(`${JSON.stringify(text)} is not NAME=VALUE, such as shards=2`);
  return { ...before, [name]: value };
}

/** Throws a CommanderError for wrong use, and after --help. */
export function readGrowthOptions(args: readonly string[]): GrowthOptions {
  const program = new Command('npm run load:growth --')
    .description(
      'Fills one node step by step and measures at each what requests cost and what reads, writes and space are amplified by.\n' +
        'Ends with 0 where costs stay flat and amplification is what the compaction dial promises, with 1 where not.',
    )
    .option(
      '--steps <keys>',
      'keys at each step, such as 500k,1M',
      steps,
      [1, 2, 5].map((m) => m * MILLION),
    )
    .option('--value-bytes <size>', 'bytes of a value, half of which a compressor can take away', bytes, 2048)
    .addOption(
      new Option('--transport <name>', 'how requests come')
        .choices(['ws', 'http-raw', 'http-json'])
        .default('ws'),
    )
    .option(
      '--in-flight <n>',
      'requests on their way at a time',
      whole('a number', 1, loadLimits.inFlightMax),
      IN_FLIGHT,
    )
    .option('--seconds <n>', 'of each measurement', whole('seconds', 1, SECONDS_MAX), SECONDS)
    .option(
      '--rounds <n>',
      'measurements of each kind, of which the median counts',
      whole('a number', 1, ROUNDS_MAX),
      ROUNDS,
    )
    .option('--tolerance <percent>', 'how much dearer than at the first step a request may be', percent, 0.2)
    .option('--set <name=value>', 'setting of the nodes, more than once', setting, {})
    .option('--directory <path>', 'where the data directories are made', tmpdir())
    .option('--seed <n>', 'of keys and values', whole('a number', 0, 2 ** 31 - 1))
    .option('--json <file>', 'where the figures go', 'growth.json')
    .exitOverride();
  program.parse(args, { from: 'user' });
  const { set, seed, ...rest } = program.opts<Flags>();
  const dial = Number(set['compaction-dial'] ?? configOfOptions({}).compactionDial);
  return { ...rest, settings: set, seed: seed ?? systemSeed() >>> 1, dial };
}
