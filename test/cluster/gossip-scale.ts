import { expect } from 'vitest';
import { GossipNetwork, type LivenessEvent } from './gossip-network.ts';

/** Of as many joins at once, and then as many deaths. */
const ROUNDS = 5;
const AT_ONCE = 2;
const SEEN_MS_MAX = 20_000;
const addressOf = (number: number): string =>
  `10.${number >> 16}.${(number >> 8) & 255}.${number & 255}:9080`;

export interface ScaleFigures {
  readonly nodes: number;
  readonly wholeMs: number;
  /** By the quiet minutes, sent by each node. */
  readonly bytesPerNodePerSecond: number;
  readonly messagesPerNodePerSecond: number;
  readonly deathsMs: readonly number[];
  readonly joinsMs: readonly number[];
  /** Calls of a running node as down, by any. */
  readonly wrongDowns: number;
  readonly suspicions: number;
}

/** 1 in some 9,000 deaths is probed so late by chance that it takes longer than 10 s; of ten deaths two never are. */
const LATE_MS = 10_000;
export function expectDeathsSeen(deathsMs: readonly number[]): void {
  expect(Math.min(...deathsMs)).toBeGreaterThan(0);
  expect(deathsMs.filter((ms) => ms > LATE_MS).length).toBeLessThanOrEqual(1);
}

/** How long it takes until all running nodes see each of these so; -1 for those that some do not. */
async function msUntilAllSee(
  network: GossipNetwork,
  numbers: readonly number[],
  liveness: 'up' | 'down',
): Promise<number[]> {
  const startMs = network.nowMs;
  const seenMs = new Map<number, number>();
  const look = (): boolean => {
    for (const number of numbers)
      if (!seenMs.has(number) && network.allSee(number, liveness))
        seenMs.set(number, network.nowMs - startMs);
    return seenMs.size === numbers.length;
  };
  await network.until(look, SEEN_MS_MAX);
  return numbers.map((number) => seenMs.get(number) ?? -1);
}

/** A cluster of `count` nodes with the facts that nodes tell, at 1% loss and 1-50 ms: quiet minutes, deaths, joins. */
export async function measureScale(seed: number, count: number, quietMs: number): Promise<ScaleFigures> {
  const dead = new Set<number>();
  let wrongDowns = 0;
  let suspicions = 0;
  const onEvent = ({ node, liveness }: LivenessEvent): void => {
    if (dead.has(node)) return;
    if (liveness === 'down') wrongDowns++;
    if (liveness === 'suspect') suspicions++;
  };
  const network = new GossipNetwork({ seed, lossChance: 0.01, onEvent });
  const seeds = [addressOf(1), addressOf(2), addressOf(3)];
  const join = (number: number): void => {
    const facts = new Map<string, string | number>([
      ['url', `http://${addressOf(number)}`],
      ['ring', 1],
      ['nodeId', number.toString(16).padStart(32, '0')],
    ]);
    network.start({ number, address: addressOf(number), seeds, facts });
  };
  for (let number = 1; number <= count; number++) join(number);
  const wholeMs = await network.until(() => network.isWhole, 60_000, 500);
  // What is left of the news of the start.
  await network.advance(10_000);

  const { bytes, messages } = network;
  await network.advance(quietMs);
  const perNodeSecond = (quietMs / 1000) * count;
  const bytesPerNodePerSecond = (network.bytes - bytes) / perNodeSecond;
  const messagesPerNodePerSecond = (network.messages - messages) / perNodeSecond;

  const deathsMs: number[] = [];
  const joinsMs: number[] = [];
  let last = count;
  for (let round = 0; round < ROUNDS; round++) {
    const joined = Array.from({ length: AT_ONCE }, () => ++last);
    for (const number of joined) join(number);
    joinsMs.push(...(await msUntilAllSee(network, joined, 'up')));
    const victims = new Set(joined.map(() => network.random.between(4, count)));
    for (const victim of victims) {
      const node = network.nodes.get(victim);
      dead.add(victim);
      if (node === undefined) victims.delete(victim);
      else network.kill(node);
    }
    deathsMs.push(...(await msUntilAllSee(network, [...victims], 'down')));
  }
  return {
    nodes: count,
    wholeMs,
    bytesPerNodePerSecond,
    messagesPerNodePerSecond,
    deathsMs,
    joinsMs,
    wrongDowns,
    suspicions,
  };
}
