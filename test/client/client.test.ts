import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { type Client, type ConnectOptions, connect } from '../../src/client/index.ts';
import { Budget, backoffMs } from '../../src/client/retry.ts';
import { FakeServer, refusal } from './fake-server.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
async function serverOf(): Promise<FakeServer> {
  const server = await FakeServer.start();
  cleanups.push(() => server.stop());
  return server;
}
async function clientOf(nodes: readonly string[], options: Partial<ConnectOptions> = {}): Promise<Client> {
  // A busy machine takes longer than the default.
  const own = { random: new Random(1), discover: false, timeoutMs: limits.requestTimeoutMsMax };
  const client = await connect({ nodes, ...own, ...options });
  cleanups.push(() => client.close());
  return client;
}
async function pair(options: Partial<ConnectOptions> = {}): Promise<{ server: FakeServer; client: Client }> {
  const server = await serverOf();
  return { server, client: await clientOf([server.url], options) };
}
/** A URL at which nothing listens. */
async function deadUrl(): Promise<string> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return `http://127.0.0.1:${port}`;
}
const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString();

describe('the client', () => {
  it('gives back the bytes that were put, under keys of any bytes', async () => {
    const { server, client } = await pair();
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    const keys = [all, '.', '..', 'a/b?c#d%20', ' ', 'schlüssel', Uint8Array.of(0)];
    for (const [at, key] of keys.entries()) await client.put(key, Uint8Array.of(at, 0, 255, 10, 13));
    for (const [at, key] of keys.entries())
      expect(await client.get(key)).toEqual(Uint8Array.of(at, 0, 255, 10, 13));
    expect(server.items.size).toBe(keys.length);
    expect(server.items.has(Buffer.from(all).toString('latin1'))).toBe(true);
    expect(server.seen.map(({ path }) => path)).not.toContain('/v1/kv/..');
  });

  it('tells versions and times to live, and null for what is not there', async () => {
    const { server, client } = await pair();
    expect(await client.get('key')).toBeNull();
    const version = await client.put('key', 'value', { ttl: 60 });
    expect(await client.getEntry('key')).toEqual({
      value: new TextEncoder().encode('value'),
      version,
      ttl: 60,
    });
    await client.put('empty', '');
    expect(await client.getEntry('empty')).toMatchObject({ value: new Uint8Array(0), ttl: null });
    await client.delete('key');
    expect(await client.get('key')).toBeNull();
    expect(server.items.has('key')).toBe(false);
  });

  it('writes on a condition, and tells the current version where it does not hold', async () => {
    const { client } = await pair();
    const version = await client.put('key', 'a', { version: 0 });
    await expect(client.put('key', 'b', { version: 0 })).rejects.toMatchObject({
      code: 'VERSION_MISMATCH',
      version,
    });
    await expect(client.delete('key', { version: version + 1 })).rejects.toMatchObject({ version });
    await client.put('key', 'c', { version });
    expect(text(await client.get('key'))).toBe('c');
  });

  it('sends what the caller asks for, and nothing of the call before', async () => {
    const { server, client } = await pair();
    await client.put('key', 'a', {
      consistency: 'ALL',
      ttl: 5,
      version: 0,
      idempotencyKey: 'once',
      timeoutMs: 1500,
    });
    await client.put('key', 'b');
    expect(Object.fromEntries(server.seen[0]?.query ?? [])).toEqual({
      consistency: 'ALL',
      ttl: '5',
      version: '0',
    });
    expect(server.seen[0]?.headers).toMatchObject({ 'idempotency-key': 'once' });
    expect(Number(server.seen[0]?.headers['x-ringkv-timeout'])).toBeGreaterThan(1000);
    expect(Number(server.seen[0]?.headers['x-ringkv-timeout'])).toBeLessThanOrEqual(1500);
    expect(Object.fromEntries(server.seen[1]?.query ?? [])).toEqual({});
    expect(server.seen[1]?.headers['idempotency-key']).toBeUndefined();
  });

  it('keeps JSON values, and says where a value is none', async () => {
    const { client } = await pair();
    await client.putJson('key', { name: 'Ada', tags: [1, null] });
    expect(await client.getJson('key')).toEqual({ name: 'Ada', tags: [1, null] });
    expect(await client.getJson('absent')).toBeUndefined();
    await client.put('key', '{');
    await expect(client.getJson('key')).rejects.toMatchObject({ code: 'PROTOCOL' });
    await expect(client.putJson('key', undefined)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });

  it('scans all pages in order, with a prefix of any bytes and a limit', async () => {
    const { server, client } = await pair();
    for (let n = 0; n < 10; n++) await client.put(`a${n}`, `value ${n}`);
    await client.put(Uint8Array.of(0xff, 1), 'binary', { ttl: 9 });
    const keysOf = async (options: Parameters<Client['scan']>[0]): Promise<string[]> => {
      const keys: string[] = [];
      for await (const { key } of client.scan(options)) keys.push(Buffer.from(key).toString('latin1'));
      return keys;
    };
    expect(await keysOf({})).toEqual([...server.items.keys()].sort());
    expect(await keysOf({ prefix: 'a' })).toHaveLength(10);
    expect(await keysOf({ prefix: Uint8Array.of(0xff) })).toEqual(['\xff\x01']);
    expect(await keysOf({ prefix: 'none' })).toEqual([]);
    expect(await keysOf({ limit: 4 })).toEqual(['a0', 'a1', 'a2', 'a3']);
    expect(await keysOf({ limit: 0 })).toEqual([]);
    const entries: unknown[] = [];
    for await (const entry of client.scan({ prefix: Uint8Array.of(0xff), values: true })) entries.push(entry);
    const version = server.items.get('\xff\x01')?.version;
    expect(entries).toEqual([
      { key: Uint8Array.of(0xff, 1), value: new TextEncoder().encode('binary'), version, ttl: 9 },
    ]);
  });

  it('refuses pages that make no sense, and a scan that does not move', async () => {
    const { server, client } = await pair();
    const bodies = [
      '{',
      '[]',
      '{}',
      '{"entries":[{}]}',
      '{"entries":[{"key":"a"}]}',
      '{"entries":[],"cursor":5}',
    ];
    bodies.push('{"entries":[{"keyBase64":"?","version":1}]}', '{"entries":[3]}');
    for (const body of bodies) {
      server.tricks.push({ kind: 'answer', status: 200, body });
      await expect(client.scan().next(), body).rejects.toMatchObject({ code: 'PROTOCOL' });
    }
    const still = { kind: 'answer', status: 200, body: '{"entries":[],"cursor":"same"}' } as const;
    server.tricks.push(still, still);
    await expect(client.scan().next()).rejects.toMatchObject({ code: 'PROTOCOL' });
  });

  it('has a class for each code of the error table', async () => {
    const { server, client } = await pair({ retries: 0 });
    const table: readonly (readonly [status: number, code: string, name: string])[] = [
      [400, 'BAD_REQUEST', 'BadRequestError'],
      [404, 'NOT_FOUND', 'UnsupportedError'],
      [405, 'METHOD_NOT_ALLOWED', 'UnsupportedError'],
      [409, 'VERSION_MISMATCH', 'VersionMismatchError'],
      [412, 'PRECONDITION_FAILED', 'VersionMismatchError'],
      [413, 'KEY_TOO_LARGE', 'KeyTooLargeError'],
      [413, 'VALUE_TOO_LARGE', 'ValueTooLargeError'],
      [415, 'UNSUPPORTED_MEDIA_TYPE', 'UnsupportedError'],
      [429, 'RATE_LIMITED', 'RateLimitedError'],
      [503, 'OVERLOADED', 'OverloadedError'],
      [503, 'UNAVAILABLE', 'UnavailableError'],
      [503, 'READ_ONLY', 'ReadOnlyError'],
      [503, 'SHARD_DOWN', 'ShardDownError'],
      [504, 'TIMEOUT', 'TimeoutError'],
      [507, 'DISK_FULL', 'DiskFullError'],
      [500, 'CORRUPTION', 'ServerError'],
      [500, 'INTERNAL', 'ServerError'],
      [500, 'SURPRISE', 'ProtocolError'],
    ];
    for (const [status, code, name] of table) {
      server.tricks.push(refusal(status, code));
      await expect(client.put('key', 'value'), code).rejects.toMatchObject({ name });
    }
  });

  it('does not take the answers of another server for RingKV', async () => {
    const { server, client } = await pair();
    for (const body of ['<html>Not Found</html>', '', '{"error":"gone"}', 'null']) {
      server.tricks.push({ kind: 'answer', status: 404, body });
      await expect(client.get('key'), body).rejects.toMatchObject({ code: 'PROTOCOL' });
    }
    server.tricks.push({ kind: 'answer', status: 200, body: 'value', headers: { etag: 'W/"x"' } });
    await expect(client.get('key')).rejects.toMatchObject({ code: 'PROTOCOL' });
    server.tricks.push({ kind: 'answer', status: 204, body: '' });
    await expect(client.put('key', 'value')).rejects.toMatchObject({ code: 'PROTOCOL' });
  });

  it('gives a call up at its deadline, and when its signal says so', async () => {
    const { server, client } = await pair();
    server.tricks.push({ kind: 'hang' }, { kind: 'hang' });
    await expect(client.get('key', { timeoutMs: 50 })).rejects.toMatchObject({ code: 'TIMEOUT' });
    const abort = new AbortController();
    const call = client.get('key', { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    await expect(client.get('key', { signal: abort.signal })).rejects.toThrow('enough');
  });

  it('refuses options that it cannot keep', async () => {
    const wrong: Partial<ConnectOptions>[] = [
      { nodes: [] },
      { nodes: ['127.0.0.1:8080'] },
      { nodes: ['ftp://127.0.0.1'] },
      { nodes: ['http://127.0.0.1/?a=1'] },
      { connections: 0 },
      { retries: -1 },
      { timeoutMs: 0 },
      { timeoutMs: 60_000 },
      { transport: 'tcp' as 'http' },
    ];
    for (const one of wrong)
      await expect(
        connect({ nodes: ['http://127.0.0.1:1'], ...one }),
        JSON.stringify(one),
      ).rejects.toMatchObject({
        code: 'BAD_REQUEST',
      });
    const { client } = await pair();
    await expect(client.get('key', { timeoutMs: 1.5 })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(client.put('', 'value')).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(client.scan({ limit: -1 }).next()).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });
});

describe('a call of the client that fails', () => {
  it('is repeated where the server says that nothing was done', async () => {
    const { server, client } = await pair();
    server.tricks.push(refusal(503, 'OVERLOADED'), refusal(429, 'RATE_LIMITED'));
    await client.put('key', 'value');
    expect(server.seen).toHaveLength(3);
    expect(server.items.size).toBe(1);
  });

  it('is repeated so often and no more', async () => {
    const { server, client } = await pair({ retries: 2 });
    for (let n = 0; n < 5; n++) server.tricks.push(refusal(503, 'OVERLOADED'));
    await expect(client.put('key', 'value')).rejects.toMatchObject({ code: 'OVERLOADED' });
    expect(server.seen).toHaveLength(3);
  });

  it('is not repeated where a write may have been done', async () => {
    const { server, client } = await pair();
    const losses = [
      { kind: 'cut', done: true },
      refusal(504, 'TIMEOUT'),
      refusal(503, 'UNAVAILABLE'),
    ] as const;
    for (const loss of losses) {
      server.tricks.push(loss);
      await expect(client.put('key', 'value')).rejects.toThrow();
    }
    server.tricks.push({ kind: 'cut', done: true });
    await expect(client.delete('key')).rejects.toMatchObject({ code: 'CONNECTION', sent: true });
    expect(server.seen).toHaveLength(4);
  });

  it('is repeated all the same where an idempotency key makes that safe, and where it only reads', async () => {
    const { server, client } = await pair();
    server.tricks.push({ kind: 'cut', done: true }, refusal(504, 'TIMEOUT'));
    await client.put('key', 'value', { idempotencyKey: 'once' });
    expect(server.seen.map(({ headers }) => headers['idempotency-key'])).toEqual(['once', 'once', 'once']);
    server.tricks.push({ kind: 'cut', done: false }, refusal(503, 'UNAVAILABLE'));
    expect(text(await client.get('key'))).toBe('value');
  });

  it('is not repeated where repeating cannot help', async () => {
    const { server, client } = await pair();
    for (const code of ['BAD_REQUEST', 'DISK_FULL', 'READ_ONLY']) {
      server.tricks.push(refusal(400, code));
      await expect(client.get('key')).rejects.toMatchObject({ code });
    }
    expect(server.seen).toHaveLength(3);
  });

  it('goes to the next node, and later calls go there at once', async () => {
    const server = await serverOf();
    const client = await clientOf([await deadUrl(), await deadUrl(), server.url]);
    await client.put('key', 'value');
    await client.put('key', 'value');
    expect(server.seen.filter(({ path }) => path.startsWith('/v1/kv/'))).toHaveLength(2);
  });

  it('says that nothing was sent where nobody listens', async () => {
    const client = await clientOf([await deadUrl()], { retries: 1 });
    await expect(client.put('key', 'value')).rejects.toMatchObject({ code: 'CONNECTION', sent: false });
  });

  it('ends with the client', async () => {
    const { server, client } = await pair();
    server.tricks.push({ kind: 'hang' });
    const call = client.get('key');
    await expect.poll(() => server.seen.length).toBe(1);
    await Promise.all([client.close(), expect(call).rejects.toMatchObject({ code: 'CLOSED' })]);
    await expect(client.get('key')).rejects.toMatchObject({ code: 'CLOSED' });
  });

  it('waits longer each time, with jitter, and not less than the server asks', () => {
    const random = new Random(7);
    const waits = (attempt: number): number[] =>
      Array.from({ length: 200 }, () => backoffMs(attempt, 0, random));
    expect(Math.max(...waits(0))).toBeLessThanOrEqual(20);
    expect(Math.max(...waits(4))).toBeGreaterThan(160);
    expect(Math.min(...waits(4))).toBeLessThan(40);
    expect(Math.max(...waits(50))).toBeLessThanOrEqual(2000);
    expect(backoffMs(0, 3000, random)).toBe(3000);
  });

  it('is not repeated when too many others are', () => {
    const budget = new Budget(100, 0.1);
    for (let n = 0; n < 100; n++) expect(budget.take()).toBe(true);
    expect(budget.take()).toBe(false);
    for (let n = 0; n < 11; n++) budget.add();
    expect(budget.take()).toBe(true);
    expect(budget.take()).toBe(false);
  });
});
