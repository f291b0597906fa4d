/** The nodes of a cluster that nobody named: learnt, used, followed where they move, and dropped when they leave. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Clock, deadlineIn, systemClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { type Client, type ConnectOptions, connect } from '../../src/client/index.ts';
import { parseMembership } from '../../src/client/ring-map.ts';
import { FakeWsServer } from './fake-ws-server.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
const VNODES = 16;

interface Told {
  readonly nodeId: string;
  readonly url: string;
  readonly address: string;
  readonly member: boolean;
  readonly state: string;
}
const told = (server: FakeWsServer, changes: Partial<Told> = {}): Told => ({
  nodeId: server.self,
  url: server.url,
  address: '127.0.0.1:1',
  member: true,
  state: 'up',
  ...changes,
});
/** All tell the same of the cluster, and share its vnodes. */
function tell(servers: readonly FakeWsServer[], ring: number, nodes: readonly Told[]): void {
  // Also those that are to be left alone have vnodes: who takes them in asks them.
  const ids = nodes.map(({ nodeId }) => nodeId);
  const ranges = range(VNODES).map((n) => ({ first: n, last: n, nodes: [ids[n % ids.length]] }));
  for (const server of servers) {
    server.cluster = { clusterId: 'cluster', ring, nodes };
    server.ring = { ring, vnodes: VNODES, replicas: 1, ranges };
  }
}
async function serversOf(count: number, first = 0): Promise<FakeWsServer[]> {
  const servers = await Promise.all(range(count).map(() => FakeWsServer.start()));
  for (const [n, server] of servers.entries()) {
    cleanups.push(() => server.stop());
    server.self = `node ${first + n}`;
  }
  return servers;
}
/** A clock that can be put forward: members are fetched anew when they have grown old. */
let skewMs = 0;
const clock: Clock = { ...systemClock, monotonicMs: () => deadlineIn(systemClock, skewMs) };
const grownOld = (): void => {
  skewMs += limits.clientRingAgeMs;
};
async function clientOf(nodes: readonly string[], options: Partial<ConnectOptions> = {}): Promise<Client> {
  const own = { random: new Random(1), timeoutMs: 30_000, transport: 'ws', clock } as const;
  const client = await connect({ nodes, ...own, ...options });
  cleanups.push(() => client.close());
  return client;
}
const keys = range(64).map((n) => `key ${n}`);
/** Which servers are asked for these keys, by index. */
async function asked(client: Client, servers: readonly FakeWsServer[]): Promise<number[]> {
  const before = servers.map(({ requests }) => requests.length);
  await client.getMany(keys);
  return range(servers.length).filter((n) => (servers[n]?.requests.length ?? 0) > (before[n] ?? 0));
}
const PATIENCE = { timeout: 40_000, interval: 50 };

describe('a client of one node of a cluster', () => {
  it('learns the others, and asks each for its own keys', async () => {
    const servers = await serversOf(3);
    tell(
      servers,
      5,
      servers.map((server) => told(server)),
    );
    const client = await clientOf([servers[0]?.url ?? '']);
    await expect.poll(() => asked(client, servers), PATIENCE).toEqual([0, 1, 2]);
    servers[0]?.stop();
    // It goes on without the one that was named.
    await expect
      .poll(() => client.put('key', 'v', { idempotencyKey: 'once' }), PATIENCE)
      .toBeTypeOf('number');
  });

  it('does not, where it is told so', async () => {
    const servers = await serversOf(2);
    tell(
      servers,
      5,
      servers.map((server) => told(server)),
    );
    const client = await clientOf([servers[0]?.url ?? ''], { discover: false });
    await client.getMany(keys);
    expect(await asked(client, servers)).toEqual([0]);
    expect([servers[0]?.clustersServed, servers[1]?.clustersServed]).toEqual([0, 0]);
    await expect(
      clientOf(['http://127.0.0.1:1'], { discover: 1 as unknown as boolean }),
    ).rejects.toMatchObject({
      code: 'BAD_REQUEST',
    });
  });

  it('takes in nobody who is no member, says to be another, is of another cluster, or cannot be reached', async () => {
    const [one, left, draining, impostor, foreign, good] = (await serversOf(6)) as [
      FakeWsServer,
      ...FakeWsServer[],
    ];
    const all = [one, left, draining, impostor, foreign, good] as FakeWsServer[];
    const nodes = [
      told(one),
      told(left as FakeWsServer, { member: false, state: 'left' }),
      told(draining as FakeWsServer, { state: 'draining' }),
      told(impostor as FakeWsServer, { nodeId: 'somebody else' }),
      told(foreign as FakeWsServer),
      told(one, { nodeId: 'nowhere', url: 'http://127.0.0.1:1' }),
      told(one, { nodeId: 'secret', url: `https://127.0.0.1:${left?.port}` }),
      told(one, { nodeId: 'wrong', url: 'http://user@127.0.0.1:5/?x' }),
      told(one, { nodeId: 'none', url: '' }),
      told(good as FakeWsServer),
    ];
    tell(all, 5, nodes);
    if (foreign !== undefined) foreign.cluster = { ...foreign.cluster, clusterId: 'another cluster' };
    const client = await clientOf([one.url]);
    await expect.poll(() => asked(client, all), PATIENCE).toEqual([0, 5]);
    expect(all.slice(1, 5).map(({ requests }) => requests.length)).toEqual([0, 0, 0, 0]);
  });

  it('follows a node that moves, drops one that leaves, and learns one that joins', async () => {
    const servers = await serversOf(3);
    const [one, two, three] = servers as [FakeWsServer, FakeWsServer, FakeWsServer];
    const [moved] = (await serversOf(1, 1)) as [FakeWsServer];
    const all = [one, two, three, moved];
    tell(all, 5, [told(one), told(two)]);
    const client = await clientOf([one.url]);
    await expect.poll(() => asked(client, all), PATIENCE).toEqual([0, 1]);
    // Node 1 is at another address now; something still answers at the old one.
    tell(all, 5, [told(one), told(moved)]);
    grownOld();
    await expect.poll(() => asked(client, all).catch(() => []), PATIENCE).toEqual([0, 3]);
    // It leaves, and node 2 has come.
    tell(all, 6, [told(one), told(moved, { member: false, state: 'left' }), told(three)]);
    grownOld();
    await expect.poll(() => asked(client, all).catch(() => []), PATIENCE).toEqual([0, 2]);
    // What an older view says changes nothing.
    tell([one], 4, [told(one)]);
    grownOld();
    const { clustersServed } = one;
    await client.get('key').catch(() => null);
    await expect
      .poll(async () => {
        await client.get('key').catch(() => null);
        return one.clustersServed;
      }, PATIENCE)
      .toBeGreaterThan(clustersServed);
    await expect.poll(() => asked(client, all), PATIENCE).toEqual([0, 2]);
  });

  it('asks a named node that has left only where no other is', async () => {
    const servers = await serversOf(2);
    const [one, two] = servers as [FakeWsServer, FakeWsServer];
    tell(servers, 5, [told(one, { member: false, state: 'left' }), told(two)]);
    const client = await clientOf([one.url, two.url]);
    await expect.poll(() => asked(client, servers), PATIENCE).toEqual([1]);
    two.stop();
    await expect.poll(() => asked(client, servers).catch(() => []), PATIENCE).toEqual([0]);
  });

  it('asks changes of the cluster of named nodes alone', async () => {
    const servers = await serversOf(2);
    tell(
      servers,
      5,
      servers.map((server) => told(server)),
    );
    const [one, two] = servers as [FakeWsServer, FakeWsServer];
    const client = await clientOf([one.url], { transport: 'http' });
    await expect
      .poll(async () => {
        await client.get('key').catch(() => null);
        return two.clustersServed;
      }, PATIENCE)
      .toBeGreaterThan(0);
    one.stop();
    // Also when it is known to be down, and the other is not.
    for (const _ of range(3))
      await expect(client.clusterChange({ do: 'drain' })).rejects.toMatchObject({ code: 'CONNECTION' });
    expect(two.unknownPaths.filter((path) => path.includes('drain'))).toEqual([]);
  });

  it('does not take a node twice that was named by another of its names', async () => {
    const servers = await serversOf(2);
    const [one, two] = servers as [FakeWsServer, FakeWsServer];
    tell(servers, 5, [told(one), told(two)]);
    const client = await clientOf([one.url.replace('127.0.0.1', 'localhost')]);
    await expect.poll(() => asked(client, servers), PATIENCE).toEqual([0, 1]);
    expect(one.connections).toBe(1);
  });
});

describe('where a member is reached', () => {
  const urlOf = (url: string, address: string): string | undefined => {
    const node = { nodeId: 'a', url, address, member: true, state: 'up' };
    return parseMembership(Buffer.from(JSON.stringify({ self: 'a', nodes: [node] }))).members[0]?.url;
  };
  it('is what it tells, or the host of its peer address where it listens everywhere', () => {
    expect(urlOf('http://10.0.0.1:8080', '10.0.0.2:9080')).toBe('http://10.0.0.1:8080');
    expect(urlOf('http://0.0.0.0:8080', '10.0.0.2:9080')).toBe('http://10.0.0.2:8080');
    expect(urlOf('http://[::]:8080', '[fd00::1]:9080')).toBe('http://[fd00::1]:8080');
    expect(urlOf('http://0.0.0.0:8080', '0.0.0.0:9080')).toBe('');
    expect(urlOf('', '10.0.0.2:9080')).toBe('');
    expect(urlOf('nowhere', '')).toBe('');
  });
});
