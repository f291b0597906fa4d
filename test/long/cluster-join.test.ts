/** `ringkv join` at running nodes, as real processes: what it does, what it refuses, and kills on the way. */
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../load/target/free-port.ts';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';
import { type Ended, type Process, urlOf, Workplace } from '../slow/cli-process.ts';
import {
  type ClusterMember,
  eventually,
  missing,
  ProcessCluster,
  statusOf,
  Writer,
} from '../slow/cluster-processes.ts';

const TIMEOUT_MS = 240_000;
const seed = testSeed();
let place: Workplace;
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.remove());

interface Lone {
  readonly process: Process;
  readonly url: string;
  readonly peer: string;
  readonly nodeId: string;
}
async function startAlone(data: string, ...flags: string[]): Promise<Lone> {
  const own = [
    '--port',
    '0',
    '--peer-port',
    '0',
    '--data',
    place.path(data),
    '--rack',
    data,
    '--vnodes',
    '64',
  ];
  const process = place.start('serve', ...own, ...flags);
  const url = await urlOf(process);
  const { self, nodes } = await statusOf(url);
  return { process, url, peer: nodes[0]?.address ?? '', nodeId: self };
}
/** A busy machine takes longer than the default of 5 s. */
const join = (...flags: readonly string[]): Promise<Ended> => place.run('join', '--timeout', '30s', ...flags);
const put = (url: string, key: string, value: string): Promise<Response> =>
  fetch(`${url}/v1/kv/${key}`, {
    method: 'PUT',
    body: value,
    headers: { 'content-type': 'application/octet-stream' },
  });
interface Probed {
  readonly status: number;
  readonly text: string;
}
/** Over a connection of its own. */
async function probe(url: string, path: string, init: RequestInit = {}): Promise<Probed> {
  const answer = await fetch(`${url}${path}`, { ...init, headers: { ...init.headers, connection: 'close' } });
  return { status: answer.status, text: await answer.text() };
}
const WHY = 'this node is about to join another cluster';
/** What a node answers from when no front end of it is ready; null where one was before the last answer had come. */
async function answersWhileHeld(url: string): Promise<readonly Probed[] | null> {
  // Of two front ends each answers some of these connections.
  await eventually('no front end is ready', async () => {
    const probes = Array.from({ length: 8 }, () => probe(url, '/readyz'));
    return (await Promise.all(probes)).every(({ status, text }) => status === 503 && text.includes(WHY));
  });
  const json = { method: 'POST', headers: { 'content-type': 'application/json' } };
  const body = JSON.stringify({ ops: [{ op: 'get', key: 'key' }] });
  const answers = await Promise.all([
    probe(url, '/healthz'),
    probe(url, '/v1/cluster'),
    probe(url, '/v1/batch', { ...json, body }),
    probe(url, '/v1/kv/key'),
    probe(url, '/v1/kv/key', {
      method: 'PUT',
      body: 'v',
      headers: { 'content-type': 'application/octet-stream' },
    }),
    probe(url, '/v1/kv/key', { method: 'DELETE' }),
    probe(url, '/v1/scan'),
  ]);
  return (await probe(url, '/readyz')).status === 503 ? answers : null;
}
const addressOf = (server: Server): string => `127.0.0.1:${(server.address() as { port: number }).port}`;
const membersAt = async (url: string): Promise<number> =>
  (await statusOf(url)).nodes.filter(({ member }) => member).length;

describe(`ringkv join at a running node, seed ${seed},`, () => {
  it(
    'takes it into the cluster while that is written to, without a restart, and for good',
    async () => {
      const cluster = new ProcessCluster(place);
      const first = await cluster.start('n1');
      const lone = await startAlone('n2');
      const writer = new Writer(() => [first.url], 4);
      try {
        await writer.more(200);
        const { code, out, err } = await join(first.peer, '--url', lone.url, '--wait');
        // Where a step takes a while it says what it waits for, and nothing else.
        expect({ code, err: err.replaceAll(/^ringkv: waits: .*\n/gm, '') }).toEqual({ code: 0, err: '' });
        expect(out).toBe('join is done\n');
        const { nodes, change, self, clusterId } = await statusOf(lone.url);
        expect(self).toBe(lone.nodeId);
        expect(change).toBe(null);
        expect(nodes.filter(({ member }) => member).length).toBe(2);
        expect(clusterId).toBe((await statusOf(first.url)).clusterId);
        await writer.more(100);
      } finally {
        await writer.stop();
      }
      expect(lone.process.running).toBe(true);
      expect(await missing(lone.url, writer.acknowledged)).toEqual([]);
      await cluster.identical([...writer.acknowledged.keys()].slice(0, 50));

      const again = await join(first.peer, '--url', lone.url);
      expect([again.code, again.err]).toEqual([2, expect.stringMatching(/knows a cluster of 2 nodes/)]);
      // It needs no seeds any more, however often it is started.
      const member: ClusterMember = { ...lone, name: 'n2' };
      cluster.members.push(member);
      for (let i = 0; i < 2; i++) {
        member.process.kill('SIGTERM');
        expect((await member.process.ended).code).toBe(0);
        await cluster.restart(member);
        await cluster.settled(2);
      }
      expect(await missing(member.url, writer.acknowledged)).toEqual([]);
    },
    TIMEOUT_MS,
  );

  it(
    'is refused with what speaks against it, and the node serves on as it was',
    async () => {
      const first = await startAlone('n1');
      const other = await startAlone('other', '--cluster-name', 'other');
      const wider = await startAlone('wider', '--vnodes', '128');
      const lone = await startAlone('n2');
      const closed = `127.0.0.1:${await freePort()}`;
      const refusals: readonly (readonly [seed: string, code: number, says: RegExp])[] = [
        ['nowhere', 2, /"nowhere" is no address: use host:port/],
        ['127.0.0.1:0', 2, /"127.0.0.1:0" is no address/],
        [closed, 3, new RegExp(`within 3000 ms: ${closed} \\(.*ECONNREFUSED`)],
        [lone.peer, 3, /this node itself/],
        [other.peer, 3, /of cluster "other"/],
        [wider.peer, 2, /the cluster has 128 vnodes, and this data directory was made for 64/],
      ];
      for (const [address, code, says] of refusals) {
        const ended = await join(address, '--url', lone.url);
        expect([ended.code, ended.err], address).toEqual([code, expect.stringMatching(says)]);
        expect((await fetch(`${lone.url}/v1/kv/key`)).status, `after ${address}`).toBe(404);
      }
      expect((await put(lone.url, 'key', 'value')).status).toBe(204);
      expect((await fetch(`${lone.url}/v1/kv/key`, { method: 'DELETE' })).status).toBe(204);
      for (const last of ['deleted', 'value']) {
        if (last === 'value') expect((await put(lone.url, 'key', last)).status).toBe(204);
        const ended = await join(first.peer, '--url', lone.url, '--wait');
        expect([ended.code, ended.err], last).toEqual([
          2,
          expect.stringMatching(/holds a record of the key "key"/),
        ]);
      }
      const got = await fetch(`${lone.url}/v1/kv/key`, { headers: { accept: 'application/octet-stream' } });
      expect(await got.text()).toBe('value');
      expect([await membersAt(lone.url), await membersAt(first.url)]).toEqual([1, 1]);
      const inMemory = await place.serve('--in-memory', '--peer-port', '0', '--vnodes', '64');
      const forgetful = await join(first.peer, '--url', inMemory.url);
      expect([forgetful.code, forgetful.err]).toEqual([2, expect.stringMatching(/in-memory/)]);
    },
    TIMEOUT_MS,
  );

  it(
    'says why it serves nobody while it asks its seeds, to clients and to probes, and serves again when they were silent',
    async () => {
      const silent = createServer();
      await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done));
      const lone = await startAlone('n1', '--frontends', '2');
      let seen: readonly Probed[] | null = null;
      try {
        // It asks for 3 s. What was seen says nothing where they had passed before all had answered.
        for (let round = 0; round < 10 && seen === null; round++) {
          const asked = place.run('join', addressOf(silent), '--url', lone.url);
          seen = await answersWhileHeld(lone.url);
          expect((await asked).code).toBe(3);
          expect((await probe(lone.url, '/readyz')).status).toBe(200);
        }
      } finally {
        silent.close();
      }
      const [health, status, batch, ...data] = seen ?? [];
      expect([health?.status, status?.status]).toEqual([200, 200]);
      const error = { code: 'UNAVAILABLE', message: `${WHY}; nothing was done` };
      expect(JSON.parse(batch?.text ?? '')).toEqual({ results: [{ status: 503, error }] });
      for (const answer of data) expect([answer.status, JSON.parse(answer.text)]).toEqual([503, { error }]);
      expect(data.length).toBe(4);
      expect((await put(lone.url, 'key', 'value')).status).toBe(204);
    },
    TIMEOUT_MS,
  );

  it(
    'leaves a node that is alone, or one that joins by itself, wherever the node is killed',
    async () => {
      const random = new Random(seed);
      const first = await startAlone('n1');
      for (let i = 0; i < 10; i++) expect((await put(first.url, `key-${i}`, `value ${i}`)).status).toBe(204);
      let outcomes = '';
      for (let round = 0; round < 4; round++) {
        const data = `killed-${round}`;
        const before = await startAlone(data);
        const asked = fetch(`${before.url}/v1/cluster/join`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ seeds: [first.peer] }),
        }).catch(() => null);
        await new Promise((done) => setTimeout(done, random.below(400)));
        before.process.kill('SIGKILL');
        await before.process.ended;
        const acknowledged = (await asked)?.status === 200;
        // Not by startAlone: it may have no ring for a moment.
        const own = ['--port', '0', '--peer-port', '0', '--data', place.path(data), '--rack', data];
        const after = place.start('serve', ...own, '--vnodes', '64');
        const url = await urlOf(after);
        const isAlone = (await statusOf(url)).clusterId !== (await statusOf(first.url)).clusterId;
        outcomes += isAlone ? 'alone ' : 'joins ';
        if (acknowledged) expect(isAlone, outcomes).toBe(false);
        if (isAlone) {
          expect(await membersAt(url)).toBe(1);
          const { code, err } = await join(first.peer, '--url', url);
          expect(code, err).toBe(0);
        }
        await eventually(`member ${round + 2}, ${outcomes}`, async () => {
          const { nodes, change } = await statusOf(url);
          return change === null && nodes.filter(({ member }) => member).length === round + 2;
        });
        for (let i = 0; i < 10; i++) {
          const got = await fetch(`${url}/v1/kv/key-${i}`, {
            headers: { accept: 'application/octet-stream' },
          });
          expect([got.status, await got.text()]).toEqual([200, `value ${i}`]);
        }
      }
    },
    TIMEOUT_MS,
  );
});
