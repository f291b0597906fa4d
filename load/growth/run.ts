/**
 * Two nodes: one stays at the keys of the first step, the other one grows. At each step both are measured by turns, so that what
 * else the machine does falls on both; gets after flushes and compactions have ended, puts with them.
 */
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { NodeProcess } from '../target/node-process.ts';
import { keyText } from '../transports/transport.ts';
import {
  amplificationOf,
  type Cost,
  type Fill,
  isGet,
  KINDS,
  type Kind,
  median,
  type Shape,
  type Step,
} from './figures.ts';
import { NodeLoad } from './node-load.ts';
import type { GrowthOptions } from './options.ts';

/** Of records with their heads, before compression: what compactions write before they delete, and the log. */
const ROOM_FACTOR = 1.5;
const RECORD_HEAD_BYTES = 40;
const ROOM_BESIDE_BYTES = 2 ** 31;
const KEY_BYTES = keyText(0).length;

export interface Measured {
  readonly kind: Kind;
  readonly own: readonly Cost[];
  readonly reference: readonly Cost[];
}

/** Throws where the disk has no room for the last step. */
export function checkRoom({ steps, valueBytes, directory }: GrowthOptions): void {
  const keys = (steps[0] ?? 0) + (steps.at(-1) ?? 0);
  const wanted = keys * (valueBytes + KEY_BYTES + RECORD_HEAD_BYTES) * ROOM_FACTOR + ROOM_BESIDE_BYTES;
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  if (free < wanted)
    throw new Error(
      `${directory} has ${gb(free)} free; ${keys} keys of ${valueBytes} bytes may take ${gb(wanted)}`,
    );
}

/** Removes what it made, however it ends. */
export async function runGrowth(
  options: GrowthOptions,
  signal: AbortSignal,
  tell: (text: string) => void,
): Promise<Step[]> {
  checkRoom(options);
  const directory = mkdtempSync(join(options.directory, 'ringkv-growth-'));
  const settings = Object.entries(options.settings).flatMap(([name, value]) => [`--${name}`, value]);
  const nodes = ['grows', 'stays'].map(
    (name) => new NodeProcess(name, 0, ['--data', join(directory, name), ...settings]),
  );
  try {
    for (const node of nodes) await node.start(signal);
    const [grows, stays] = nodes.map((node) => new NodeLoad(node, options, signal)) as [NodeLoad, NodeLoad];
    tell(`the reference: ${options.steps[0]} keys`);
    await stays.grow(options.steps[0] as number);
    const steps: Step[] = [];
    for (const keys of options.steps) steps.push(await step(options, keys, grows, stays, tell));
    return steps;
  } finally {
    await Promise.all(nodes.map((node) => node.stop()));
    rmSync(directory, { recursive: true, force: true });
  }
}

async function step(
  options: GrowthOptions,
  keys: number,
  grows: NodeLoad,
  stays: NodeLoad,
  tell: (text: string) => void,
): Promise<Step> {
  tell(`${keys} keys: filling`);
  const { times, puts, settled } = await grows.grow(keys);
  const fill: Fill = { puts, settled, cpuUs: times.normalUs / puts, lowCpuUs: times.lowUs / puts };
  const costs: Partial<Record<Kind, { own: Cost; ratio: number }>> = {};
  for (const gets of [true, false])
    for (const { kind, own, reference } of await measureKinds(options, gets, grows, stays, tell))
      costs[kind] = { own: medianCost(own), ratio: ratioOf(own, reference) };
  // Of what puts left over all levels, when it was merged.
  const ended = (await grows.settle()) && (await stays.settle());
  const counters = await grows.counters();
  const shape: Shape = {
    tables: counters.tables ?? 0,
    levels: grows.levelsMost,
    overlap: grows.overlap,
    tableBytes: counters.table_bytes ?? 0,
    tableRecords: counters.table_records ?? 0,
  };
  return {
    keys,
    fill: { ...fill, settled: settled && ended },
    shape,
    costs: costs as Step['costs'],
    ...amplificationOf(counters, keys, keys * (options.valueBytes + KEY_BYTES)),
  };
}

async function measureKinds(
  { rounds }: GrowthOptions,
  gets: boolean,
  grows: NodeLoad,
  stays: NodeLoad,
  tell: (text: string) => void,
): Promise<Measured[]> {
  const kinds = KINDS.filter((kind) => isGet(kind) === gets);
  const measured = kinds.map((kind) => ({ kind, own: [] as Cost[], reference: [] as Cost[] }));
  for (let round = 0; round < rounds; round++)
    for (const { kind, own, reference } of measured) {
      const turns: [NodeLoad, Cost[]][] = [
        [grows, own],
        [stays, reference],
      ];
      if (round % 2 === 1) turns.reverse();
      // Other kinds of request have left the caches full of other blocks.
      for (const [node, into] of turns) into.push(await node.measure(kind, gets));
      const us = (costs: readonly Cost[]): string => (costs.at(-1)?.cpuUs ?? 0).toFixed(1);
      tell(`${grows.keys} keys: ${kind} ${us(own)} us, at ${stays.keys} keys ${us(reference)} us`);
    }
  return measured;
}

/** Of measurements that were made by turns, pair by pair. */
export const ratioOf = (own: readonly Cost[], reference: readonly Cost[]): number =>
  median(own.map(({ cpuUs }, at) => cpuUs / (reference[at]?.cpuUs ?? Number.NaN)));

export function medianCost(costs: readonly Cost[]): Cost {
  const of = (field: keyof Cost): number => median(costs.map((cost) => cost[field]));
  return {
    requests: of('requests'),
    perSecond: of('perSecond'),
    cpuUs: of('cpuUs'),
    lowCpuUs: of('lowCpuUs'),
    tableShare: of('tableShare'),
    tablesAsked: of('tablesAsked'),
    reads: of('reads'),
    readBytes: of('readBytes'),
  };
}
