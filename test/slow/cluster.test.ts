import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { schemas } from '../front/openapi-document.ts';
import { Workplace } from './cli-process.ts';
import { eventually, getJson, missing, ProcessCluster, statusOf, Writer } from './cluster-processes.ts';

const TIMEOUT_MS = 240_000;
const DECOMMISSION = '/v1/cluster/decommission';
const REPAIR = '/v1/cluster/repair';
const change = (url: string, path: string): Promise<Response> =>
  fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
const seenAs = (cluster: ProcessCluster, nodeId: string, state: string): Promise<void> =>
  eventually(`${nodeId} is ${state}`, async () =>
    (await statusOf(cluster.members[0]?.url ?? '')).nodes.some(
      (one) => one.nodeId === nodeId && one.state === state,
    ),
  );

describe('a cluster of real processes', () => {
  const at = new Workplace();
  const cluster = new ProcessCluster(at);
  let writer: Writer | null = null;
  afterEach(async () => {
    await writer?.stop();
    await at.remove();
  });

  it(
    'loses no acknowledged write while nodes join, one dies and comes back, and one leaves',
    async () => {
      const first = await cluster.start('n1');
      writer = new Writer(
        () => cluster.members.filter(({ process }) => process.running).map(({ url }) => url),
        4,
      );
      await writer.more(100);
      const [second, third] = await Promise.all([cluster.start('n2'), cluster.start('n3')]);
      await cluster.settled(3);
      await writer.more(100);

      await cluster.kill(third);
      await writer.more(100);
      await seenAs(cluster, third.nodeId, 'down');
      const failedBefore = writer.failures.length;
      await writer.more(100);
      expect(writer.failures.slice(failedBefore)).toEqual([]);
      const [fourth] = await Promise.all([cluster.start('n4'), cluster.restart(third)]);
      await cluster.settled(4);

      await change(second.url, DECOMMISSION);
      cluster.members.splice(cluster.members.indexOf(second), 1);
      await cluster.settled(3);
      await writer.more(100);
      await writer.stop();

      expect(await missing(fourth.url, writer.acknowledged)).toEqual([]);
      await change(first.url, REPAIR);
      await cluster.identical([...writer.acknowledged.keys()].slice(-300));
    },
    TIMEOUT_MS,
  );
});

describe('a cluster of three real processes', () => {
  const at = new Workplace();
  const cluster = new ProcessCluster(at);
  let writer: Writer | null = null;
  beforeAll(async () => {
    await cluster.start('n1');
    await Promise.all([cluster.start('n2'), cluster.start('n3')]);
    await cluster.settled(3);
  }, TIMEOUT_MS);
  afterAll(async () => {
    await writer?.stop();
    await at.remove();
  });

  it(
    'lets one of several conditional writes win, and gives an idempotency key its first outcome at every node',
    async () => {
      const urls = cluster.members.map(({ url }) => url);
      const [one = ''] = urls;
      schemas.Cluster.parse(await statusOf(one));
      schemas.Ring.parse(await getJson(one, '/v1/cluster/ring'));
      schemas.KeyPlace.parse(await getJson(one, '/v1/cluster/key/none'));
      let won = 0;
      const count = async (url: string): Promise<void> => {
        for (let tries = 0; tries < 30; tries++) {
          const read = await fetch(`${url}/v1/kv/counter?consistency=SERIAL`);
          const held =
            read.status === 200 ? ((await read.json()) as { value: string; version: number }) : null;
          const value = held === null ? 0 : Number(Buffer.from(held.value, 'base64').toString());
          const answer = await fetch(`${url}/v1/kv/counter?version=${held?.version ?? 0}`, {
            method: 'PUT',
            body: String(value + 1),
            headers: { 'content-type': 'application/octet-stream' },
          });
          if (answer.status === 204) won++;
          else expect([409, 503, 504], await answer.text()).toContain(answer.status);
          // An unknown outcome would have to be settled before counting.
          if (answer.status >= 500) return;
        }
      };
      await Promise.all(urls.map(count));
      const end = await fetch(`${urls[0]}/v1/kv/counter?consistency=SERIAL`, {
        headers: { accept: 'application/octet-stream' },
      });
      expect(won).toBeGreaterThan(5);
      expect(Number(await end.text())).toBeGreaterThanOrEqual(won);

      const put = (url: string): Promise<Response> =>
        fetch(`${url}/v1/kv/once`, {
          method: 'PUT',
          body: 'x',
          headers: { 'content-type': 'application/octet-stream', 'idempotency-key': 'k' },
        });
      const tags: (string | null)[] = [];
      for (const url of urls) tags.push((await put(url)).headers.get('etag'));
      expect(new Set(tags).size).toBe(1);
    },
    TIMEOUT_MS,
  );

  it(
    'fills a new node in the place of one whose disk is lost',
    async () => {
      writer = new Writer(() => cluster.members.slice(0, 2).map(({ url }) => url), 4);
      await writer.more(200);
      const lost = cluster.members[2];
      if (lost === undefined) throw new Error('three nodes were started');
      await cluster.kill(lost);
      cluster.members.splice(2, 1);
      await seenAs(cluster, lost.nodeId, 'down');
      const fresh = await cluster.start('n4', '--replace', lost.nodeId);
      await cluster.settled(3);
      await writer.stop();
      expect(await missing(fresh.url, writer.acknowledged)).toEqual([]);
      await change(cluster.members[0]?.url ?? '', REPAIR);
      await cluster.identical([...writer.acknowledged.keys()].slice(0, 200));
    },
    TIMEOUT_MS,
  );
});
