import { afterEach, describe, expect, it } from 'vitest';
import type { DrainAnswer } from '../../src/cluster/administration.ts';
import { schemas } from '../front/openapi-document.ts';
import { Workplace } from './cli-process.ts';
import { eventually, ProcessCluster, statusOf, Writer } from './cluster-processes.ts';

const TIMEOUT_MS = 240_000;
const places: Workplace[] = [];
const writers: Writer[] = [];
afterEach(async () => {
  for (const one of writers.splice(0)) await one.stop();
  for (const one of places.splice(0)) await one.remove();
});

async function drain(url: string): Promise<DrainAnswer> {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${url}/v1/cluster/drain`, { method: 'POST', headers, body: '{}' });
  expect(answer.status).toBe(200);
  return schemas.ClusterChanged.parse(await answer.json()) as DrainAnswer;
}

async function threeNodes() {
  const at = new Workplace();
  places.push(at);
  const cluster = new ProcessCluster(at);
  const first = await cluster.start('n1');
  await cluster.start('n2');
  const third = await cluster.start('n3');
  await cluster.settled(3);
  return { cluster, first, third };
}

describe('a drain in a cluster of real processes', () => {
  it(
    'names what stays for a node that is away, and hands it out when that is back',
    async () => {
      const { cluster, first, third } = await threeNodes();
      await cluster.kill(third);
      await eventually('the dead node is called down', async () =>
        (await statusOf(first.url)).nodes.some(
          ({ nodeId, state }) => nodeId === third.nodeId && state === 'down',
        ),
      );
      const writer = new Writer(() => [first.url], 4);
      writers.push(writer);
      await writer.more(200);
      await writer.stop();
      const hintBytes = async (): Promise<number> =>
        (await statusOf(first.url)).nodes.find(({ nodeId }) => nodeId === third.nodeId)?.hintBytes ?? 0;
      await eventually('hints are kept', async () => (await hintBytes()) > 0);

      const away = await drain(first.url);
      expect(away.hintBytes).toBe(0);
      expect(away.warnings).toHaveLength(1);
      expect(away.warnings[0]).toContain(`hints for node ${third.nodeId} stay here`);
      expect((await fetch(`${first.url}/v1/kv/k`)).status).toBe(503);

      // Over a restart of the stand-in: what it keeps, it keeps on disk.
      await cluster.kill(first);
      await cluster.restart(first);
      await cluster.restart(third);
      const counted = async (name: string): Promise<number> => {
        const text = await (await fetch(`${first.url}/metrics`)).text();
        return Number(new RegExp(`^ringkv_${name}_total(?:{[^}]*})? (\\d+)$`, 'm').exec(text)?.[1]);
      };
      expect(await counted('hints_expired')).toBe(0);
      await cluster.settled(3);
      await eventually('a drain has nothing left', async () => {
        const { warnings } = await drain(first.url);
        return warnings.length === 0;
      });
      expect(await hintBytes()).toBe(0);
      expect(await counted('hints_replayed')).toBeGreaterThan(0);
      expect(await counted('hints_replayed_bytes')).toBeGreaterThan(await counted('hints_replayed'));
      for (const name of ['peer_calls_answered', 'peer_sent_bytes', 'peer_received_bytes'])
        expect(await counted(name), name).toBeGreaterThan(0);
      await cluster.identical([...writer.acknowledged.keys()].slice(-50));
    },
    TIMEOUT_MS,
  );
});

describe('a node that is told to end while a replica of what it acknowledged hangs', () => {
  it(
    'keeps hints for that before it ends, and hands them out when both are back',
    async () => {
      const { cluster, first, third } = await threeNodes();
      third.process.kill('SIGSTOP');
      const writer = new Writer(() => [first.url], 4);
      writers.push(writer);
      await writer.more(100);
      await writer.stop();
      first.process.kill('SIGTERM');
      expect((await first.process.ended).code).toBe(0);
      // What it was sent meanwhile it never took.
      await cluster.kill(third);
      await cluster.restart(first);
      await cluster.restart(third);
      await cluster.settled(3);
      await cluster.identical([...writer.acknowledged.keys()]);
    },
    TIMEOUT_MS,
  );
});
