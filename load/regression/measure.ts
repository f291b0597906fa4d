/** One whole run: all contests by turns with the bare servers, several rounds, medians. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CostMeter, type Requests } from '../cost/cost-meter.ts';
import { NodeProcess } from '../target/node-process.ts';
import type { StoreProcess } from '../target/target.ts';
import type { TransportName } from '../transports/transport.ts';
import { BareProcess } from './bare-process.ts';
import {
  BARE,
  CONNECTIONS,
  type Contest,
  contests,
  FILL_IN_FLIGHT,
  KEYS,
  NODES,
  PARTS,
  REQUESTS,
  SETTINGS,
  VALUE_BYTES,
} from './contests.ts';
import { lowerQuartile, type Ratios } from './ratios.ts';

/** V8 compiles what is hot in the first requests: they count nowhere. */
const WARM_UP_ROUNDS = 1;

export interface MeasureOptions {
  readonly rounds: number;
  readonly directory: string;
  readonly seed: number;
  /** Of the contests; all where it is empty. */
  readonly only: readonly string[];
}
/** Processor time of a request, microseconds. */
export interface ContestFigures {
  readonly cpuUs: number;
  readonly bareCpuUs: number;
}
export interface RunFigures {
  readonly ratios: Ratios;
  readonly figures: Readonly<Record<string, ContestFigures>>;
}

/** Removes what it made, however it ends. */
export async function measureRun(
  options: MeasureOptions,
  signal: AbortSignal,
  tell: (text: string) => void,
): Promise<RunFigures> {
  const directory = mkdtempSync(join(options.directory, 'ringkv-regression-'));
  const nodes = new Map<string, StoreProcess>();
  const bare = new Map<string, BareProcess>();
  try {
    for (const name of NODES) {
      const node = new NodeProcess(name, 0, ['--data', join(directory, name), ...SETTINGS[name]]);
      nodes.set(name, node);
      await node.start(signal);
    }
    for (const name of BARE) {
      const server = new BareProcess(name);
      bare.set(name, server);
      await server.start();
    }
    const servers = new Map([...nodes, ...bare]);
    const meterOf = (server: string, transport: TransportName): CostMeter =>
      new CostMeter(
        servers.get(server) as StoreProcess,
        {
          transport,
          inFlight: transport === 'ws' ? FILL_IN_FLIGHT : CONNECTIONS,
          valueBytes: VALUE_BYTES,
          seed: options.seed,
        },
        signal,
      );
    tell('filling');
    for (const name of NODES) await meterOf(name, 'ws').fill(0, KEYS[name]);
    await meterOf('bare-raw', 'http-raw').fill(0, KEYS.memory);
    await meterOf('bare-json', 'http-json').fill(0, KEYS.memory);
    return await rounds(options, meterOf, tell);
  } finally {
    await Promise.all([...nodes.values(), ...bare.values()].map((one) => one.stop()));
    rmSync(directory, { recursive: true, force: true });
  }
}

async function rounds(
  { rounds: count, only }: MeasureOptions,
  meterOf: (server: string, transport: TransportName) => CostMeter,
  tell: (text: string) => void,
): Promise<RunFigures> {
  const chosen = contests.filter(({ name }) => only.length === 0 || only.includes(name));
  const meters = chosen.map((contest) => {
    const { node, transport, bare } = contest;
    const own = meterOf(node, transport);
    const beside = meterOf(bare, bare === 'bare-json' ? 'http-json' : 'http-raw');
    return { contest, own, beside, ownUs: [] as number[], bareUs: [] as number[] };
  });
  for (let round = -WARM_UP_ROUNDS; round < count; round++)
    for (const { contest, own, beside, ownUs, bareUs } of meters) {
      const turns: [CostMeter, number, number[]][] = [
        [own, KEYS[contest.node], ownUs],
        [beside, KEYS.memory, bareUs],
      ];
      if (round % 2 === 1) turns.reverse();
      for (const [meter, keys, into] of turns) {
        const us = await costsOf(meter, contest, keys);
        if (round >= 0) into.push(...us);
      }
      if (round < 0) continue;
      tell(
        `${round + 1}/${count} ${contest.name}: ${ownUs.at(-1)?.toFixed(2)} us, bare ${bareUs.at(-1)?.toFixed(2)} us`,
      );
    }
  const ratios: Record<string, number> = {};
  const figures: Record<string, ContestFigures> = {};
  for (const { contest, ownUs, bareUs } of meters) {
    const [cpuUs, bareCpuUs] = [lowerQuartile(ownUs), lowerQuartile(bareUs)];
    ratios[contest.name] = bareCpuUs / cpuUs;
    figures[contest.name] = { cpuUs, bareCpuUs };
  }
  return { ratios, figures };
}

async function costsOf(meter: CostMeter, { operation }: Contest, keys: number): Promise<number[]> {
  const requests: Requests = { mix: { [operation]: 1 }, keys: { distribution: 'uniform' } };
  const parts = await meter.measureParts(requests, keys, PARTS, REQUESTS);
  return parts.map((part) => part.times.normalUs / part.requests);
}
