/** The client against a real node, mostly over WebSocket, and against a cluster of three of which one is killed. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { type Client, connect, PartialFailureError } from '../../src/client/index.ts';
import { testSeed } from '../seed.ts';
import { urlOf, Workplace } from './cli-process.ts';
import { type ClusterMember, ProcessCluster } from './cluster-processes.ts';

const TIMEOUT_MS = 240_000;
let place: Workplace;
let client: Client | null = null;
const others: Client[] = [];
beforeEach(() => {
  place = new Workplace();
});
afterEach(async () => {
  await client?.close();
  for (const other of others.splice(0)) await other.close();
  client = null;
  await place.remove();
});
const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString();
const serve = async (): Promise<string> =>
  await urlOf(place.start('serve', '--port', '0', '--data', place.path('data')));

describe('the client over WebSocket', () => {
  it(
    'does what the client over HTTP does, on a real node',
    async () => {
      const url = await serve();
      client = await connect({ nodes: [url], transport: 'ws' });
      const http = await connect({ nodes: [url] });
      try {
        const version = await client.put('key', 'value', { ttl: 60, consistency: 'ALL' });
        expect(await http.getEntry('key')).toEqual({ ...(await client.getEntry('key')), version, ttl: 60 });
        expect(await client.get('absent')).toBeNull();
        await expect(client.put('key', 'b', { version: 1 })).rejects.toMatchObject({
          code: 'VERSION_MISMATCH',
          version,
        });
        const next = await client.put('key', 'c', { version, idempotencyKey: 'once' });
        expect(await client.put('key', 'c', { version, idempotencyKey: 'once' })).toBe(next);
        expect(text(await http.get('key'))).toBe('c');
        await client.delete('key');
        expect(await http.get('key')).toBeNull();
        await client.putJson('json', { a: [1] });
        expect(await client.getJson('json')).toEqual({ a: [1] });
        await expect(client.put('key', new Uint8Array((1 << 20) + 1))).rejects.toMatchObject({
          code: 'VALUE_TOO_LARGE',
        });
        await expect(client.put('k'.repeat(2000), 'v')).rejects.toMatchObject({ code: 'KEY_TOO_LARGE' });
        await expect(client.put('key', 'v', { ttl: -1 })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
        const keys: (string | null)[] = [];
        for await (const entry of client.scan({ values: true })) keys.push(text(entry.value));
        expect(keys).toEqual(['{"a":[1]}']);
      } finally {
        await http.close();
      }
    },
    TIMEOUT_MS,
  );

  it.each(['ws', 'http'] as const)(
    'puts and gets many at once over %s, more than the server takes at a time, values of all sizes',
    async (transport) => {
      const seed = testSeed();
      console.log(`seed ${seed}`);
      const random = new Random(seed);
      client = await connect({ nodes: [await serve()], transport, timeoutMs: 30_000 });
      const entries = Array.from({ length: 5000 }, (_, n) => ({
        key: `key ${n}`,
        value: random.bytes(random.below(200)),
      }));
      const versions = await client.putMany(entries);
      expect(new Set(versions).size).toBeGreaterThan(1);
      expect(await client.getMany(entries.map(({ key }) => key))).toEqual(entries.map(({ value }) => value));

      // 60 MiB of values: far beyond what the server keeps for a reader.
      const large = Array.from({ length: 60 }, (_, n) => ({
        key: `large ${n}`,
        value: random.bytes(1 << 20),
        // A connection that a busy machine breaks is not what this is about.
        idempotencyKey: `large ${n}`,
      }));
      await client.putMany(large);
      const got = await client.getMany(large.map(({ key }) => key));
      for (const [n, value] of got.entries())
        expect(Buffer.compare(value ?? Buffer.alloc(0), large[n]?.value ?? Buffer.alloc(0))).toBe(0);

      const failed = await client
        .putMany([
          { key: 'good', value: 'a' },
          { key: '', value: 'b' },
          { key: 'key 1', value: 'c', version: 0 },
        ])
        .catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(PartialFailureError);
      const { results } = failed as PartialFailureError<number>;
      expect(results[0]).toBeTypeOf('number');
      expect(results.slice(1)).toMatchObject([{ code: 'BAD_REQUEST' }, { code: 'VERSION_MISMATCH' }]);
      await client.putMany([{ key: 'timed', value: 'x', ttl: 60.5 }]);
      const { ttl } = (await client.getEntry('timed')) ?? {};
      expect(ttl).toBeGreaterThan(0);
      expect(ttl).toBeLessThanOrEqual(61);
      const keys = entries.map(({ key }) => key);
      await client.deleteMany([...keys.slice(1), { key: 'key 0', version: versions[0] ?? 0 }]);
      expect(await client.getMany(keys)).toEqual(keys.map(() => null));
    },
    TIMEOUT_MS,
  );

  it(
    'loses no acknowledged write when a node of three is killed, and finds those that live within its bounds',
    async () => {
      const cluster = new ProcessCluster(place);
      for (const name of ['n1', 'n2', 'n3']) await cluster.start(name);
      await cluster.settled(3);
      const nodes = cluster.members.map(({ url }) => url);
      const own = await connect({ nodes, transport: 'ws', hedge: {} });
      client = own;
      // One that knows a single node, which will be killed, has learnt the others by then.
      const lone = await connect({ nodes: nodes.slice(0, 1), transport: 'ws', timeoutMs: 30_000 });
      others.push(lone);
      await expect
        .poll(
          async () => {
            await lone.getMany(Array.from({ length: 64 }, (_, n) => `lone ${n}`));
            const pages = await Promise.all(
              nodes.map(async (url) => await (await fetch(`${url}/metrics`)).text()),
            );
            return pages.map((page) => /^ringkv_ws_requests_total\{[^}]*op="get"[^}]*\} [1-9]/m.test(page));
          },
          { timeout: 60_000 },
        )
        .toEqual([true, true, true]);
      const acknowledged = new Map<string, string>();
      const failures: unknown[] = [];
      let isStopped = false;
      const line = async (n: number): Promise<void> => {
        for (let i = 0; !isStopped; i++) {
          const key = `line ${n} ${i}`;
          // An idempotency key makes a write that may have been done safe to repeat.
          const options = n % 2 === 0 ? {} : { idempotencyKey: key };
          try {
            await own.put(key, `value ${n} ${i}`, options);
            acknowledged.set(key, `value ${n} ${i}`);
            if ((await own.get(key)) === null) failures.push(new Error(`${key} is gone`));
          } catch (error) {
            failures.push(error);
          }
        }
      };
      const more = async (count: number): Promise<void> => {
        const wanted = acknowledged.size + count;
        await expect.poll(() => acknowledged.size, { timeout: 60_000 }).toBeGreaterThan(wanted);
      };
      const lines = Array.from({ length: 16 }, (_, n) => line(n));
      let seenAtKill = 0;
      try {
        await more(300);
        expect(failures).toEqual([]);
        seenAtKill = failures.length;
        await cluster.kill(cluster.members[0] as ClusterMember);
        await more(1000);
        await lone.put('lone', 'value', { idempotencyKey: 'lone' });
        expect(text(await own.get('lone'))).toBe('value');
      } finally {
        isStopped = true;
        await Promise.all(lines);
      }
      // What was in flight at the killed node without an idempotency key is told as unknown, once for each line at most.
      expect(failures.length - seenAtKill).toBeLessThanOrEqual(16);
      for (const error of failures)
        expect(['CONNECTION', 'UNAVAILABLE', 'TIMEOUT']).toContain((error as { code?: string }).code);
      const entries = [...acknowledged];
      const values = await own.getMany(entries.map(([key]) => key));
      expect(values.map(text)).toEqual(entries.map(([, value]) => value));
    },
    TIMEOUT_MS,
  );
});
