/**
 * Runs simulations: `npm run sim -- --seed 7` replays one and prints its history; `--seeds 1000` runs so many from --seed on;
 * `--minutes 10` hunts from a seed of the system's. `--defect NAME` plants a defect, and is content when it is found; `--hot` gives every seed hot keys,
 * `--network connections` machines that exchange bytes over connections, `--network messages` ones that exchange messages alone: the seed decides else.
 * Ends with status 1 where a promise of the store was broken, and prints how to replay that.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { systemSeed } from '../../src/base/random.ts';
import { CONNECTION_DEFECTS, type ConnectionDefect, isConnectionDefect } from './connection-defects.ts';
import type { NetworkKind } from './connection-plan.ts';
import { DEFECTS, type Defect, isDefect } from './defects.ts';
import { simulate } from './simulation.ts';
import type { SimulationResult } from './simulation-result.ts';

const VIOLATIONS_SHOWN_MAX = 5;
const FAILURES_SHOWN_MAX = 10;

/** What is the same for all seeds of a run. */
interface Profile {
  readonly defect: Defect | ConnectionDefect | null;
  readonly hot: boolean;
  /** null: as the seed says. */
  readonly network: NetworkKind | null;
}

interface Report {
  readonly seed: number;
  readonly failure: string;
  readonly stats: SimulationResult['stats'] | null;
}

async function judge(seed: number, profile: Profile): Promise<Report> {
  try {
    const { violations, stats } = await simulate({ seed, ...profile });
    const [first] = violations;
    return {
      seed,
      stats,
      failure: first === undefined ? '' : `${first.promise} (${first.key}): ${first.what}`,
    };
  } catch (error) {
    return { seed, stats: null, failure: (error as Error).stack ?? String(error) };
  }
}

/** A thread that simulates the seeds it is sent. */
function serve(): void {
  const profile = workerData as Profile;
  parentPort?.on('message', (seed: number) => {
    void judge(seed, profile).then((report) => parentPort?.postMessage(report));
  });
}

async function replay(seed: number, profile: Profile, verbose: boolean, all: boolean): Promise<boolean> {
  const { violations, history, setting, stats } = await simulate({ seed, ...profile, verbose });
  const [first] = violations;
  console.log(`seed ${seed}: ${setting}`);
  console.log(history.lines(all || first === undefined || first.key === '' ? null : first.key).join('\n'));
  console.log(`history ${history.hash()}, ${JSON.stringify(stats)}`);
  for (const { promise, key, what } of violations.slice(0, VIOLATIONS_SHOWN_MAX))
    console.log(`BROKEN  ${promise}\n        ${key}: ${what}`);
  console.log(first === undefined ? 'all promises were kept' : `${violations.length} promises were broken`);
  return first === undefined;
}

async function hunt(first: number, count: number, endMs: number, profile: Profile): Promise<boolean> {
  const { defect, hot, network } = profile;
  const failures: Report[] = [];
  let next = 0;
  let done = 0;
  const sums = { events: 0, operations: 0, acknowledged: 0, rings: 0, undecided: 0 };
  let slowestMs = 0;
  let slowestReadMs = 0;
  const startMs = Date.now();
  const isOver = (): boolean =>
    next >= count || Date.now() >= endMs || failures.length >= (defect === null ? FAILURES_SHOWN_MAX : 1);
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: profile });
      const give = (): void => {
        if (isOver()) void worker.terminate().then(() => resolve());
        else worker.postMessage(first + next++);
      };
      worker.on('error', reject);
      worker.on('message', (report: Report) => {
        done++;
        if (report.stats !== null) {
          for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += report.stats[name];
          slowestMs = Math.max(slowestMs, report.stats.convergedMs);
          slowestReadMs = Math.max(slowestReadMs, report.stats.slowestHotReadMs);
        }
        if (report.failure !== '') {
          failures.push(report);
          console.log(`seed ${report.seed}: ${report.failure}`);
        }
        if (done % 100 === 0) console.log(`${done} simulations, ${failures.length} with a broken promise`);
        give();
      });
      give();
    });
  await Promise.all(Array.from({ length: Math.min(count, availableParallelism()) }, work));
  const seconds = (Date.now() - startMs) / 1000;
  console.log(
    `${done} simulations from seed ${first} in ${seconds.toFixed(0)} s: ${sums.operations} operations, ${sums.acknowledged} of them ` +
      `acknowledged, ${sums.events} events, ${sums.rings} rings, ${sums.undecided} keys too concurrent to be judged; at most ${(slowestMs / 1000).toFixed(1)} s until all was whole again, and ${slowestReadMs.toFixed(1)} ms for a read of a hot key after that; ` +
      `${failures.length} simulations with a broken promise`,
  );
  const [example] = failures;
  const flag =
    (defect === null ? '' : ` --defect ${defect}`) +
    (hot ? ' --hot' : '') +
    (network === null ? '' : ` --network ${network}`);
  if (example !== undefined) console.log(`replay: npm run sim -- --seed ${example.seed}${flag}`);
  return failures.length === 0;
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      seeds: { type: 'string' },
      minutes: { type: 'string' },
      defect: { type: 'string' },
      network: { type: 'string' },
      hot: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
      all: { type: 'boolean', default: false },
    },
  });
  const number = (name: 'seed' | 'seeds' | 'minutes'): number | null => {
    const text = values[name];
    if (text === undefined) return null;
    const value = Number(text);
    if (Number.isFinite(value) && value >= 0 && (name === 'minutes' || Number.isInteger(value))) return value;
    throw new Error(`--${name} ${text}: it must be a number from 0 on`);
  };
  const defect = values.defect ?? null;
  if (defect !== null && !isDefect(defect) && !isConnectionDefect(defect))
    throw new Error(
      `--defect ${defect}: it must be one of ${[...DEFECTS, ...CONNECTION_DEFECTS].join(', ')}`,
    );
  const network = values.network ?? null;
  if (network !== null && network !== 'messages' && network !== 'connections')
    throw new Error(`--network ${network}: it must be messages or connections`);
  const profile = { defect, hot: values.hot, network } as const;
  const seed = number('seed');
  const seeds = number('seeds');
  const minutes = number('minutes');
  let isGood: boolean;
  if (seeds === null && minutes === null)
    isGood = await replay(seed ?? systemSeed(), profile, values.verbose, values.all);
  else
    isGood = await hunt(
      seed ?? systemSeed(),
      seeds ?? Number.POSITIVE_INFINITY,
      minutes === null ? Number.POSITIVE_INFINITY : Date.now() + minutes * 60_000,
      profile,
    );
  // A defect has to be found.
  return defect === null ? isGood : !isGood;
}

process.on('unhandledRejection', (error) => {
  console.error(error);
  process.exit(2);
});
if (isMainThread) {
  try {
    process.exitCode = (await main()) ? 0 : 1;
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 2;
  }
} else serve();
