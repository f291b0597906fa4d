import { afterAll, beforeAll, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { DELETE, GET, PUT, WsClient } from '../front/ws-client.ts';
import { testSeed } from '../seed.ts';
import { Workplace } from './cli-process.ts';
import { eventually, ProcessCluster, statusOf } from './cluster-processes.ts';

const TIMEOUT_MS = 240_000;
const ONE = 1;
const QUORUM = 2;
const ALL = 3;
const SERIAL = 4;
const at = new Workplace();
const cluster = new ProcessCluster(at);
const clients: WsClient[] = [];
const seed = testSeed();
const portOf = (url: string): number => Number(new URL(url).port);

beforeAll(async () => {
  await cluster.start('n1');
  await Promise.all([cluster.start('n2'), cluster.start('n3')]);
  await cluster.settled(3);
  for (const { url } of cluster.members) clients.push(await WsClient.connect(portOf(url)));
}, TIMEOUT_MS);
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await at.remove();
});
const bytes = (text: string): Buffer => Buffer.from(text);

it(
  `serves each level of consistency over WebSocket at every node (seed ${seed})`,
  async () => {
    const random = new Random(seed);
    const [first, second, third] = clients as [WsClient, WsClient, WsClient];
    const keys = Array.from({ length: 64 }, (_, index) => bytes(`ws-${index}`));
    for (const [write, read] of [
      [QUORUM, QUORUM],
      [ALL, ONE],
      [SERIAL, SERIAL],
    ] as const) {
      const values = keys.map(() => bytes(`${write} ${random.below(1e9)}`));
      const puts = await first.request({ ops: PUT, keys, values, consistency: write, sloppy: false });
      expect(puts.filter(({ status }) => status !== 0)).toEqual([]);
      for (const client of [second, third]) {
        const gets = await client.request({ ops: GET, keys, consistency: read });
        expect(gets.map(({ value }) => value?.toString())).toEqual(values.map((value) => value.toString()));
        expect(gets.map(({ version }) => version)).toEqual(puts.map(({ version }) => version));
      }
    }
    const gone = await third.request({ ops: DELETE, keys, consistency: keys.map(() => ALL) });
    expect(gone.filter(({ status }) => status !== 0)).toEqual([]);
    const after = await second.request({ ops: GET, keys });
    expect(after.every(({ status }) => status === 1)).toBe(true);

    // Conditional writes of all nodes at once: one wins at most, and those whose ballots met may not know.
    const races = await Promise.all(
      clients.map((client, index) => client.put('race', `of ${index}`, { versions: 0 })),
    );
    const held = await first.get('race', { consistency: SERIAL });
    const winners = races.flatMap(({ status }, index) => (status === 0 ? [index] : []));
    expect(winners.length).toBeLessThanOrEqual(1);
    for (const index of winners) expect(held.value?.toString()).toBe(`of ${index}`);
    for (const { status } of races) expect([0, 2, 8, 9]).toContain(status);
    expect(held.status).toBe(0);
    expect(await second.put('race', 'late', { versions: 0 })).toMatchObject({
      status: 2,
      version: held.version,
    });

    // An idempotency key has its first outcome at every node.
    const once = [];
    for (const client of clients)
      once.push((await client.put('once', 'x', { idempotencyKeys: ['k'] })).version);
    expect(new Set(once).size).toBe(1);
  },
  TIMEOUT_MS,
);

it(
  'says with one node down what was needed, and tells of stand-ins',
  async () => {
    const [first] = clients as [WsClient];
    const lost = cluster.members[2];
    if (lost === undefined) throw new Error('three nodes were started');
    await cluster.kill(lost);
    await eventually('it is called down', async () => {
      const { nodes } = await statusOf(cluster.members[0]?.url ?? '');
      return nodes.some(({ nodeId, state }) => nodeId === lost.nodeId && state === 'down');
    });
    const quorum = await first.put('after', 'x', { consistency: QUORUM, sloppy: false });
    expect(quorum).toMatchObject({ status: 0, sloppy: false });
    const all = await first.put('after', 'y', { consistency: ALL, sloppy: false });
    expect(all.status).toBe(8);
    expect(all.message).toMatch(/3/);
  },
  TIMEOUT_MS,
);
