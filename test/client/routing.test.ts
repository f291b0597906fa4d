/** Which node is asked: by the ring map, by who is up, by hedging; and the bounds of repeats and second requests. */
import { afterEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { hashToken, token, vnodeOf } from '../../src/base/token.ts';
import { type Client, type ConnectOptions, connect } from '../../src/client/index.ts';
import { parseRing, type RingMap } from '../../src/client/ring-map.ts';
import { FakeWsServer, type Trick } from './fake-ws-server.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
const VNODES = 8;
const vnodeOfKey = (key: string): number => {
  hashToken(Buffer.from(key));
  return vnodeOf(token.hi, VNODES);
};
/** Vnode n belongs to node (n + shift) modulo the number of nodes, and then to the one after it. */
function ringOf(names: readonly string[], number: number, shift = 0): object {
  const ranges = range(VNODES).map((n) => ({
    first: n,
    last: n,
    nodes: [names[(n + shift) % names.length], names[(n + shift + 1) % names.length]],
  }));
  return { ring: number, vnodes: VNODES, replicas: 2, ranges };
}
async function cluster(count: number): Promise<FakeWsServer[]> {
  const servers = await Promise.all(range(count).map(() => FakeWsServer.start()));
  const names = servers.map((_, n) => `node ${n}`);
  for (const [n, server] of servers.entries()) {
    cleanups.push(() => server.stop());
    server.self = names[n] ?? '';
    server.ring = ringOf(names, 1);
  }
  return servers;
}
async function clientOf(
  servers: readonly FakeWsServer[],
  options: Partial<ConnectOptions> = {},
): Promise<Client> {
  const nodes = servers.map(({ url }) => url);
  // A busy machine takes longer than the default.
  const own = { transport: 'ws', random: new Random(1), timeoutMs: limits.requestTimeoutMsMax } as const;
  const client = await connect({ nodes, ...own, ...options });
  cleanups.push(() => client.close());
  return client;
}
const keysAt = (server: FakeWsServer | undefined): string[] =>
  (server?.requests ?? []).map(({ key }) => key).filter((key) => !key.startsWith('first'));
const keys = range(60).map((n) => `key ${n}`);
/** Until calls go where the map says: a key of the last node to the last node. */
async function mapped(client: Client, servers: readonly FakeWsServer[]): Promise<void> {
  const last = servers.length - 1;
  const probe = range(1000)
    .map((n) => `first ${n}`)
    .find((key) => vnodeOfKey(key) % servers.length === last);
  await expect
    .poll(async () => {
      await client.get(probe ?? '');
      return servers[last]?.requests.length;
    })
    .toBeGreaterThan(0);
}

describe('the client of several nodes', () => {
  it('asks the owner of a key, hashed as the server does', async () => {
    const servers = await cluster(3);
    const client = await clientOf(servers);
    await mapped(client, servers);
    await client.putMany(keys.map((key) => ({ key, value: 'v' })));
    for (const [n, server] of servers.entries()) {
      const own = keys.filter((key) => vnodeOfKey(key) % 3 === n);
      expect(own.length).toBeGreaterThan(5);
      expect(keysAt(server).sort()).toEqual(own.sort());
    }
  });

  it('asks one node for all where it is told so', async () => {
    const servers = await cluster(3);
    const client = await clientOf(servers, { routing: 'any' });
    await client.putMany(keys.map((key) => ({ key, value: 'v' })));
    expect(servers.map((server) => keysAt(server).length)).toEqual([60, 0, 0]);
    expect(servers[0]?.ringsServed).toBe(0);
  });

  it('asks the next holder where the owner is down, and fetches the ring anew', async () => {
    const servers = await cluster(3);
    const client = await clientOf(servers);
    await mapped(client, servers);
    await client.getMany(keys);
    servers[1]?.stop();
    const before = servers.map((server) => keysAt(server).length);
    await client.putMany(keys.map((key) => ({ key, value: 'v', idempotencyKey: key })));
    const later = servers.map((server, n) => keysAt(server).slice(before[n]));
    expect(later[1]).toEqual([]);
    // Vnodes of node 1 have their second replica at node 2.
    expect(keys.filter((key) => vnodeOfKey(key) % 3 === 1 && !later[2]?.includes(key))).toEqual([]);
    const names = ['node 0', 'node 1', 'node 2'];
    for (const server of servers) server.ring = ringOf(names, 2, 2);
    const owned = keys.find((key) => (vnodeOfKey(key) + 2) % 3 === 0 && vnodeOfKey(key) % 3 === 1) ?? '';
    expect(owned).not.toBe('');
    await expect
      .poll(
        async () => {
          const seen = keysAt(servers[0]).length;
          await client.get(owned);
          return keysAt(servers[0]).length - seen;
        },
        { timeout: 20_000, interval: 100 },
      )
      .toBe(1);
  });

  it('does not begin at a node that is known to be down', async () => {
    const servers = await cluster(2);
    const client = await clientOf(servers, { retries: 0 });
    await mapped(client, servers);
    servers[1]?.stop();
    const owned = keys.filter((key) => vnodeOfKey(key) % 2 === 1);
    const outcomeOf = (key: string): Promise<string> =>
      client.put(key, 'v').then(
        () => 'done',
        () => 'failed',
      );
    // Before the ring map comes anew, which leaves the node out: at most one call is lost to find out.
    const outcomes: string[] = [];
    await expect
      .poll(
        async () => {
          outcomes.push(await outcomeOf(owned[0] ?? ''));
          return outcomes.at(-1);
        },
        { interval: 1 },
      )
      .toBe('done');
    expect(outcomes.length).toBeLessThanOrEqual(2);
    expect(new Set(await Promise.all(owned.map(outcomeOf)))).toEqual(new Set(['done']));
  });

  it('goes on without a map, with a ring that makes no sense, and with an older one', async () => {
    const servers = await cluster(2);
    for (const server of servers) server.ring = { ring: 1, vnodes: 3, ranges: [] };
    const client = await clientOf(servers);
    await client.get('first');
    await expect.poll(() => servers.map(({ ringsServed }) => ringsServed)).toEqual([1, 1]);
    expect(await client.getMany(keys)).toEqual(keys.map(() => null));
    expect(servers.map((server) => keysAt(server).length)).toEqual([60, 0]);
  });

  it('refuses rings that make no sense', () => {
    const whole = { ring: 1, vnodes: 4, ranges: [{ first: 0, last: 3, nodes: ['a'] }] };
    const parse = (ring: unknown): unknown =>
      parseRing(Buffer.from(JSON.stringify(ring)), (id) => (id === 'a' ? 1 : undefined));
    expect(parse(whole)).toMatchObject({ ring: 1 });
    expect((parse(whole) as RingMap<number>).nodesOf(0)).toEqual([1]);
    const [one] = whole.ranges;
    const wrong = [
      null,
      {},
      { ...whole, ring: 'x' },
      { ...whole, vnodes: 3 },
      { ...whole, vnodes: 1 << 20 },
      { ...whole, ranges: [] },
      { ...whole, ranges: [{ ...one, first: 1 }] },
      { ...whole, ranges: [{ ...one, last: 2 }] },
      { ...whole, ranges: [{ ...one, last: -1 }] },
      { ...whole, ranges: [{ ...one, nodes: 'a' }] },
      { ...whole, ranges: [one, { first: 3, last: 3, nodes: [] }] },
    ];
    for (const ring of wrong) expect(() => parse(ring), JSON.stringify(ring)).toThrow(/ring of the cluster/);
  });

  it('asks a second node for a read that takes long, and takes the first answer', async () => {
    const servers = await cluster(2);
    const clock = new ManualClock(0);
    const client = await clientOf(servers, { routing: 'any', hedge: { afterMs: 20, share: 0.5 }, clock });
    // A write: a read that connects slowly would ask a second node, and which node is next would be another one.
    await client.put('first', 'v');
    for (const server of servers) server.items.set('key', { value: Buffer.from('v'), version: 7 });
    servers[0]?.tricks.push(() => undefined);
    expect(await client.getEntry('key')).toMatchObject({ version: 7 });
    expect(servers.map((server) => keysAt(server).length)).toEqual([1, 1]);
    // Never a write.
    servers[0]?.tricks.push(() => undefined);
    const write = expect(client.put('key', 'w', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'TIMEOUT',
    });
    await expect.poll(() => keysAt(servers[0]).length).toBe(2);
    // A read that began later has asked its second node by now.
    servers[0]?.tricks.push(() => undefined);
    await client.get('first again');
    expect(servers[0]?.tricks).toEqual([]);
    clock.advanceMs(100 + limits.clientGraceMs);
    await write;
    expect(servers.map((server) => keysAt(server).length)).toEqual([2, 1]);
  });

  it('asks second nodes for no more than the share that it was given', async () => {
    const servers = await cluster(2);
    const client = await clientOf(servers, { routing: 'any', hedge: { afterMs: 1, share: 0.1 } });
    await client.get('first');
    const slow: Trick = (requests, fake, socket) => {
      setTimeout(() => fake.answer(requests, socket), 30);
    };
    for (const server of servers) server.tricks.push(...range(1000).map(() => slow));
    for (const _ of range(5)) await client.getMany(keys.slice(0, 40));
    // Ten at first, and one for each ten reads.
    expect(keysAt(servers[1]).length).toBeGreaterThan(5);
    expect(keysAt(servers[1]).length).toBeLessThanOrEqual(10 + 20);
  });

  it('does not repeat more calls than its budget allows', async () => {
    const servers = await cluster(1);
    const client = await clientOf(servers, { retries: 10, timeoutMs: 30_000 });
    const down: Trick = (requests, fake, socket) => fake.refuse(requests, socket, 6);
    servers[0]?.tricks.push(...range(2000).map(() => down));
    const calls = range(100).map((n) => client.put(`key ${n}`, 'v').catch((error: unknown) => error));
    for (const outcome of await Promise.all(calls)) expect(outcome).toMatchObject({ code: 'RATE_LIMITED' });
    expect(servers[0]?.requests.length).toBe(100 + 100);
  });
});
