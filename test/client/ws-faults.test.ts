/** The client over WebSocket against a node that drops, delays, lies and closes. */
import { afterEach, describe, expect, it } from 'vitest';
import { deadlineIn, ManualClock, systemClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { type Client, type ConnectOptions, connect } from '../../src/client/index.ts';
import { type KvLink, KvOp } from '../../src/client/kv.ts';
import { nodePlatform } from '../../src/client/platform-node.ts';
import { WsLink } from '../../src/client/ws-link.ts';
import { FakeWsServer, type Trick } from './fake-ws-server.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
async function serverOf(limits: Readonly<Record<string, number>> = {}): Promise<FakeWsServer> {
  const server = await FakeWsServer.start(limits);
  cleanups.push(() => server.stop());
  return server;
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
const silence: Trick = () => undefined;
const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString();
const codeOf = async (call: Promise<unknown>): Promise<unknown> =>
  await call.then(
    () => 'done',
    (error: { readonly code?: string; readonly sent?: boolean }) =>
      error.sent === undefined ? error.code : `${error.code} sent: ${error.sent}`,
  );
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

describe('the client over WebSocket', () => {
  it('sends what is asked for in one turn in one message, and what its answers lead to in the next', async () => {
    const server = await serverOf();
    const client = await clientOf([server]);
    await client.get('first');
    const line = async (n: number): Promise<void> => {
      await client.put(`key ${n}`, `value ${n}`);
      expect(text(await client.get(`key ${n}`))).toBe(`value ${n}`);
    };
    await Promise.all(range(100).map(line));
    expect(server.messages.map(({ length }) => length)).toEqual([1, 100, 100]);
    expect(server.connections).toBe(1);
  });

  it('keeps to the bounds that the server told', async () => {
    const server = await serverOf({ inFlightMax: 10, messageRequestsMax: 4 });
    const client = await clientOf([server]);
    await client.putMany(range(200).map((n) => ({ key: `key ${n}`, value: 'v' })));
    expect(server.items.size).toBe(200);
    expect(server.inFlightSeenMax).toBeLessThanOrEqual(10);
    expect(Math.max(...server.messages.map(({ length }) => length))).toBe(4);
  });

  it('keeps to the bytes of a message and of those in flight', async () => {
    const server = await serverOf({
      messageBytesMax: 23_000,
      inFlightBytesMax: 30_000,
      valueBytesMax: 15_000,
    });
    const client = await clientOf([server]);
    let bytes = 0;
    let bytesMax = 0;
    const count: Trick = (requests, fake, socket) => {
      const own = requests.reduce((sum, { value, key }) => sum + key.length + (value?.length ?? 0), 0);
      bytes += own;
      bytesMax = Math.max(bytesMax, bytes);
      setTimeout(() => {
        bytes -= own;
        fake.answer(requests, socket);
      }, 1);
    };
    server.tricks.push(...range(100).map(() => count));
    await client.putMany(range(50).map((n) => ({ key: `key ${n}`, value: new Uint8Array(9000) })));
    expect(bytesMax).toBeGreaterThan(20_000);
    expect(bytesMax).toBeLessThanOrEqual(30_000);
    expect(Math.max(...server.messages.map(({ length }) => length))).toBe(2);
    // What is too long for the connection goes over HTTP, which this server does not have.
    expect(await codeOf(client.put('key', new Uint8Array(15_001)))).toBe('UNSUPPORTED');
    expect(server.unknownPaths).toEqual(['/v1/kv/key']);
  });

  it('matches answers by id, in whatever order and grouping they come', async () => {
    const server = await serverOf();
    const client = await clientOf([server]);
    for (const n of range(20)) server.items.set(`${n}`, { value: Buffer.from(`value ${n}`), version: n + 1 });
    server.tricks.push((requests, fake, socket) => {
      for (const request of [...requests].reverse()) fake.answer([request], socket);
    });
    const values = await client.getMany(range(20).map(String));
    expect(values.map(text)).toEqual(range(20).map((n) => `value ${n}`));
  });

  it('tells of a lost connection that writes may have been done, and repeats what is safe to repeat', async () => {
    const server = await serverOf();
    const client = await clientOf([server]);
    await client.get('first');
    server.tricks.push((requests, fake) => {
      for (const request of requests) fake.apply(request);
      fake.cut();
    });
    const calls = [
      codeOf(client.put('put', 'value')),
      codeOf(client.put('once', 'value', { idempotencyKey: 'once' })),
      codeOf(client.get('get')),
      codeOf(client.delete('delete')),
    ];
    expect(await Promise.all(calls)).toEqual([
      'CONNECTION sent: true',
      'done',
      'done',
      'CONNECTION sent: true',
    ]);
    expect(server.requests.filter(({ key }) => key === 'put')).toHaveLength(1);
    expect(server.requests.filter(({ key }) => key === 'delete')).toHaveLength(1);
    const once = server.requests.filter(({ key }) => key === 'once');
    expect(once.map(({ idempotencyKey }) => idempotencyKey)).toEqual(['once', 'once']);
    expect(server.connections).toBe(2);
  });

  it('tells some of a batch as done and some as unknown where the connection breaks in the middle of the answers', async () => {
    const server = await serverOf();
    const client = await clientOf([server]);
    await client.get('first');
    server.tricks.push((requests, fake, socket) => {
      fake.answer(requests.slice(0, 3), socket);
      setTimeout(() => fake.cut(), 20);
    });
    const outcomes = await Promise.all(range(6).map((n) => codeOf(client.put(`key ${n}`, 'v'))));
    expect(outcomes).toEqual([...range(3).map(() => 'done'), ...range(3).map(() => 'CONNECTION sent: true')]);
  });

  it.each<readonly [name: string, trick: Trick]>([
    ['bytes that are no CBOR', (_, __, socket) => socket.send(Buffer.from('ff00ff', 'hex'), true)],
    ['a text message', (_, __, socket) => socket.send('hello', false)],
    ['an empty message', (_, __, socket) => socket.send(Buffer.alloc(0), true)],
    [
      'columns of different lengths',
      ([one], fake, socket) => fake.send(socket, { ids: [one?.id ?? 0], statuses: [0, 0] }),
    ],
    [
      'an answer for an id that nobody asked for',
      (_, fake, socket) => fake.send(socket, { ids: [77_777], statuses: [0] }),
    ],
    [
      'an array that declares more than there is',
      (_, __, socket) => socket.send(Buffer.from('a1636964739bffffffffffffffff', 'hex'), true),
    ],
    [
      'an answer twice',
      ([one], fake, socket) => fake.send(socket, { ids: [one?.id ?? 0, one?.id ?? 0], statuses: [7, 7] }),
    ],
  ])('gives a connection up that brings %s, and goes on with another', async (_, trick) => {
    const server = await serverOf();
    const client = await clientOf([server]);
    await client.get('first');
    server.tricks.push(trick);
    const [read, write] = await Promise.all([codeOf(client.get('key')), codeOf(client.put('key', 'v'))]);
    expect(read).toBe('done');
    // The one that was answered twice was answered before.
    expect(['CONNECTION sent: true', 'done']).toContain(write);
    await client.put('key', 'w');
    expect(text(await client.get('key'))).toBe('w');
    expect(server.connections).toBe(2);
  });

  it('lives through random bytes in place of answers', async () => {
    const random = new Random(99);
    const server = await serverOf();
    const client = await clientOf([server], { retries: 0 });
    for (const n of range(30)) {
      server.tricks.push((_, __, socket) => socket.send(random.bytes(1 + random.below(40)), true));
      expect(await codeOf(client.get(`key ${n}`))).toBe('CONNECTION sent: true');
      if (n % 10 === 0) expect(await codeOf(client.get('key'))).toBe('done');
      server.tricks.length = 0;
    }
  });

  it('passes over columns and limits that it does not know', async () => {
    const server = await serverOf({ newLimit: 5 });
    const client = await clientOf([server]);
    server.tricks.push(([one], fake, socket) => {
      const news = [{ a: [1, 'b', null, true] }];
      fake.send(socket, {
        ids: [one?.id ?? 0],
        statuses: [0],
        versions: [7],
        later: news,
        values: [Buffer.from('v')],
      });
    });
    expect(await client.getEntry('key')).toEqual({
      value: new TextEncoder().encode('v'),
      version: 7,
      ttl: null,
    });
  });

  it('gives a call up at its deadline or with its signal, sent or not, and keeps the connection', async () => {
    const server = await serverOf({ inFlightMax: 2 });
    const clock = new ManualClock(0);
    const client = await clientOf([server], { retries: 0, clock });
    await client.get('first');
    server.tricks.push(silence);
    const sent = codeOf(client.put('sent', 'v', { timeoutMs: 60 }));
    const abort = new AbortController();
    const waiting = client.put('waiting', 'v', { signal: abort.signal });
    const late = client.put('late', 'v', { timeoutMs: 40 });
    void late.catch(() => undefined);
    void waiting.catch(() => undefined);
    await expect.poll(() => server.requests.length).toBe(2);
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    clock.advanceMs(40);
    await expect(late).rejects.toThrow('nothing was done');
    clock.advanceMs(20 + limits.clientGraceMs);
    expect(await sent).toBe('TIMEOUT');
    expect(server.requests.map(({ key }) => key)).toEqual(['first', 'sent']);
    expect(server.requests[1]?.timeout).toBe(60);
    // Its answer comes after all, and is passed over; what waited for its place goes now.
    const [socket] = server.sockets;
    const next = client.get('next');
    if (socket !== undefined) server.answer(server.messages[1] ?? [], socket);
    expect(await next).toBeNull();
    expect(server.requests.map(({ key }) => key)).toEqual(['first', 'sent', 'next']);
    expect(server.connections).toBe(1);
  });

  it('does not send what was aborted in the same turn', async () => {
    const server = await serverOf();
    const client = await clientOf([server]);
    await client.get('first');
    const abort = new AbortController();
    const aborted = client.put('aborted', 'v', { signal: abort.signal });
    const other = client.put('other', 'v');
    abort.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    await other;
    expect(server.requests.map(({ key }) => key)).toEqual(['first', 'other']);
  });

  it('asks a server that is overloaded for less at a time', async () => {
    const server = await serverOf();
    const client = await clientOf([server], { timeoutMs: 20_000 });
    await client.get('first');
    const most = 40;
    server.tricks.push((requests, fake, socket) => {
      fake.answer(requests.slice(0, most), socket);
      fake.refuse(requests.slice(most), socket, 7);
    });
    const put = (name: string): Promise<unknown> =>
      client.putMany(range(100).map((n) => ({ key: `${name} ${n}`, value: 'v' })));
    await put('a');
    expect(server.inFlightSeenMax).toBe(100);
    server.inFlightSeenMax = 0;
    await put('b');
    expect(server.items.size).toBe(200);
    // The 41st was refused: half of that, and one more for each window of successes.
    expect(server.inFlightSeenMax).toBeGreaterThanOrEqual(most / 2);
    expect(server.inFlightSeenMax).toBeLessThanOrEqual(most);
  });

  it('refuses at once what it has no room for, and says that nothing was sent', async () => {
    const server = await serverOf({ inFlightMax: 2 });
    const clock = new ManualClock(0);
    const client = await clientOf([server], { retries: 0, clock });
    await client.get('first');
    server.tricks.push(silence);
    const value = new Uint8Array(1 << 20);
    const calls = range(70).map((n) => codeOf(client.put(`key ${n}`, value, { timeoutMs: 100 })));
    await expect.poll(() => server.requests.length).toBe(2);
    clock.advanceMs(100 + limits.clientGraceMs);
    const outcomes = await Promise.all(calls);
    expect(new Set(outcomes)).toEqual(new Set(['TIMEOUT', 'OVERLOADED']));
    expect(outcomes.indexOf('OVERLOADED')).toBe(63);
    expect(server.requests).toHaveLength(2);
  });

  it('makes a lost connection anew when the node is back, without being asked', async () => {
    const server = await serverOf();
    const client = await clientOf([server], { retries: 0 });
    await client.put('key', 'v');
    server.stop();
    await expect.poll(() => server.sockets.size).toBe(0);
    await expect.poll(() => codeOf(client.put('key', 'v'))).toBe('CONNECTION sent: false');
    await server.listen();
    await expect.poll(() => server.connections).toBe(2);
    expect(await codeOf(client.put('key', 'v'))).toBe('done');
  });

  it('finds out by heartbeats that nobody is there any more', async () => {
    const server = await serverOf();
    const random = new Random(3);
    const http: KvLink = { usable: true, send: () => expect.unreachable(), close: () => Promise.resolve() };
    const own = {
      platform: nodePlatform,
      clock: systemClock,
      random,
      tls: undefined,
      http,
      heartbeatMs: 1000,
    };
    const link = new WsLink(`ws://127.0.0.1:${server.port}/v1/ws`, own);
    cleanups.push(() => link.close());
    const get = { op: KvOp.GET, key: Buffer.from('key'), value: null, consistency: undefined } as const;
    const request = { ...get, version: undefined, ttl: undefined, idempotencyKey: undefined };
    await link.send(request, deadlineIn(systemClock, 5000), undefined, false);
    await expect.poll(() => server.heartbeats).toBeGreaterThan(0);
    // A server that does not know the op refuses it: that is a sign of life too.
    server.onHeartbeat = 3;
    const before = server.heartbeats;
    await expect.poll(() => server.heartbeats).toBeGreaterThan(before);
    expect(server.connections).toBe(1);
    server.onHeartbeat = 'silent';
    await expect.poll(() => server.connections).toBeGreaterThan(1);
  });

  it('rejects what is in flight and what waits when it is closed', async () => {
    const server = await serverOf({ inFlightMax: 2 });
    const client = await clientOf([server]);
    server.tricks.push(silence);
    const calls = range(3).map((n) => codeOf(client.put(`key ${n}`, 'v')));
    await expect.poll(() => server.requests.length).toBe(1);
    await client.close();
    expect(await Promise.all(calls)).toEqual(['CLOSED', 'CLOSED', 'CLOSED']);
    expect(await codeOf(client.get('key'))).toBe('CLOSED');
    await expect.poll(() => server.sockets.size).toBe(0);
  });

  it('has a class for each status of the protocol', async () => {
    const server = await serverOf();
    const client = await clientOf([server], { retries: 0 });
    const table: readonly (readonly [status: number, name: string])[] = [
      ...([
        [1, 'ProtocolError'],
        [2, 'VersionMismatchError'],
        [3, 'BadRequestError'],
      ] as const),
      ...([
        [4, 'KeyTooLargeError'],
        [5, 'ValueTooLargeError'],
        [6, 'RateLimitedError'],
      ] as const),
      ...([
        [7, 'OverloadedError'],
        [8, 'UnavailableError'],
        [9, 'TimeoutError'],
      ] as const),
      ...([
        [10, 'DiskFullError'],
        [11, 'VersionMismatchError'],
        [12, 'ServerError'],
      ] as const),
      ...([
        [13, 'ReadOnlyError'],
        [14, 'ShardDownError'],
        [99, 'ProtocolError'],
      ] as const),
    ];
    for (const [status, name] of table) {
      server.tricks.push((requests, fake, socket) => fake.refuse(requests, socket, status));
      await expect(client.put('key', 'value'), `status ${status}`).rejects.toMatchObject({ name });
    }
  });
});
