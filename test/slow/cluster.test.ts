import { afterEach, describe, expect, it } from 'vitest';
import { schemas } from '../front/openapi-document.ts';
import { Workplace } from './cli-process.ts';
import { eventually, getJson, missing, ProcessCluster, statusOf, Writer } from './cluster-processes.ts';

const TIMEOUT_MS = 240_000;
const place = (): { readonly at: Workplace; readonly cluster: ProcessCluster } => {
  const at = new Workplace();
  places.push(at);
  return { at, cluster: new ProcessCluster(at) };
};
const places: Workplace[] = [];
const writers: Writer[] = [];
const newWriter = (urls: () => readonly string[], lines: number): Writer => {
  const writer = new Writer(urls, lines);
  writers.push(writer);
  return writer;
};
afterEach(async () => {
  for (const one of writers.splice(0)) await one.stop();
  for (const one of places.splice(0)) await one.remove();
});

describe('a cluster of real processes', () => {
  it(
    'loses no acknowledged write while nodes join, one dies and comes back, and one leaves',
    async () => {
      const { cluster } = place();
      const first = await cluster.start('n1');
      const writer = newWriter(
        () => cluster.members.filter(({ process }) => process.running).map(({ url }) => url),
        4,
      );
      await writer.more(100);
      const second = await cluster.start('n2');
      await cluster.settled(2);
      const third = await cluster.start('n3');
      await cluster.settled(3);
      await writer.more(200);

      await cluster.kill(third);
      await writer.more(100);
      await eventually('the dead node is called down', async () =>
        (await statusOf(first.url)).nodes.some(
          ({ nodeId, state }) => nodeId === third.nodeId && state === 'down',
        ),
      );
      const failedBefore = writer.failures.length;
      await writer.more(200);
      expect(writer.failures.slice(failedBefore)).toEqual([]);
      await cluster.restart(third);
      await cluster.settled(3);

      const fourth = await cluster.start('n4');
      await cluster.settled(4);
      await fetch(`${second.url}/v1/cluster/decommission`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{}',
      });
      cluster.members.splice(cluster.members.indexOf(second), 1);
      await cluster.settled(3);
      await writer.more(100);
      await writer.stop();

      expect(await missing(fourth.url, writer.acknowledged)).toEqual([]);
      await fetch(`${first.url}/v1/cluster/repair`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{}',
      });
      await cluster.identical([...writer.acknowledged.keys()].slice(-300));
    },
    TIMEOUT_MS,
  );

  it(
    'lets one of several conditional writes win, and gives an idempotency key its first outcome at every node',
    async () => {
      const { cluster } = place();
      for (const name of ['n1', 'n2', 'n3']) await cluster.start(name);
      await cluster.settled(3);
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
      const { cluster } = place();
      for (const name of ['n1', 'n2', 'n3']) await cluster.start(name);
      await cluster.settled(3);
      const writer = newWriter(() => cluster.members.slice(0, 2).map(({ url }) => url), 4);
      await writer.more(300);
      const lost = cluster.members[2];
      if (lost === undefined) throw new Error('three nodes were started');
      await cluster.kill(lost);
      cluster.members.splice(2, 1);
      await eventually('the lost node is called down', async () =>
        (await statusOf(cluster.members[0]?.url ?? '')).nodes.some(
          ({ nodeId, state }) => nodeId === lost.nodeId && state === 'down',
        ),
      );
      const fresh = await cluster.start('n4', '--replace', lost.nodeId);
      await cluster.settled(3);
      await writer.stop();
      expect(await missing(fresh.url, writer.acknowledged)).toEqual([]);
      const [first] = cluster.members;
      await fetch(`${first?.url}/v1/cluster/repair`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{}',
      });
      await cluster.identical([...writer.acknowledged.keys()].slice(0, 200));
    },
    TIMEOUT_MS,
  );
});
