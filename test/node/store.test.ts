import { describe, expect, it } from 'vitest';
import { MANUAL_MONOTONIC_MS, ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Store } from '../../src/node/store.ts';
import { Op } from '../../src/shard/contract.ts';
import { FakeClient, tokenOf } from './fake-client.ts';

const START_MS = 1_700_000_000_000;
let closed = 0;
function setUp(
  shards = 3,
  slotsMax = 64,
): {
  client: FakeClient;
  store: Store;
  clock: ManualClock;
} {
  const client = new FakeClient(shards, slotsMax);
  const clock = new ManualClock(START_MS);
  const onClose = (): Promise<void> => {
    closed++;
    return Promise.resolve();
  };
  const store = new Store({ client, clock, maxKeyBytes: 16, maxValueBytes: 100, onClose });
  return { client, store, clock };
}
const text = (bytes: Uint8Array | null | undefined): string | null | undefined =>
  bytes ? Buffer.from(bytes).toString() : bytes;
async function keysOf(entries: AsyncIterable<{ readonly key: Uint8Array }>): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of entries) keys.push(text(key) ?? '');
  return keys;
}
const byToken = (keys: readonly string[]): string[] => [...keys].sort((a, b) => tokenOf(a) - tokenOf(b));

describe('the embedded store', () => {
  it('gives back what was put, as bytes of the caller, and null for what is not there', async () => {
    const { store } = setUp();
    const version = await store.put('key', 'value', { ttl: 60 });
    const got = await store.get(new TextEncoder().encode('key'));
    await store.get('key');
    expect(text(got)).toBe('value');
    expect(got?.buffer).toBeInstanceOf(ArrayBuffer);
    const entry = { value: new TextEncoder().encode('value'), version, expiresMs: START_MS + 60_000 };
    expect(await store.getEntry('key')).toEqual(entry);
    await store.delete('key');
    expect(await store.get('key')).toBeNull();
    expect(await store.getEntry('key')).toBeNull();
  });

  it('answers reads from shared memory without a request', async () => {
    const { client, store } = setUp();
    client.memory.set('here', new TextEncoder().encode('value'));
    client.memory.set('gone', null);
    expect(text(store.getSync('here'))).toBe('value');
    expect([store.getSync('gone'), store.getSync('unknown')]).toEqual([null, undefined]);
    expect(text(await store.get('here'))).toBe('value');
    expect((await store.getEntry('here'))?.version).toBe(7);
    expect(await store.get('gone')).toBeNull();
    expect(client.sent).toEqual([]);
  });

  it('writes on a condition, and tells the current version where it does not hold', async () => {
    const { store } = setUp();
    const version = await store.put('key', 'a', { version: 0 });
    await expect(store.put('key', 'b', { version: 0 })).rejects.toMatchObject({
      code: 'VERSION_MISMATCH',
      version,
    });
    await expect(store.delete('key', { version: version - 1 })).rejects.toMatchObject({ version });
    await store.put('key', 'c', { version });
    expect(text(await store.get('key'))).toBe('c');
  });

  it('carries no option of one request into the next', async () => {
    const { client, store } = setUp();
    await store.put('key', 'a', { version: 0, ttl: 5 });
    await store.put('key', 'b');
    await store.get('key');
    expect(client.sent[1]).toMatchObject({ condition: 0, version: 0, expiresMs: 0 });
    expect(client.sent[2]).toMatchObject({
      op: Op.GET,
      value: new Uint8Array(0),
      deadlineMs: MANUAL_MONOTONIC_MS + 5000,
    });
  });

  it('gives each request a deadline of the monotonic clock, however the wall clock is set', async () => {
    const { client, store, clock } = setUp(1);
    for (const jumpMs of [600_000, -1_200_000]) {
      clock.jumpMs(jumpMs);
      await store.put('key', 'a');
      await store.flush();
    }
    expect(client.sent.map(({ deadlineMs }) => deadlineMs - MANUAL_MONOTONIC_MS)).toEqual([
      limits.requestTimeoutMsDefault,
      limits.administrationMsMax,
      limits.requestTimeoutMsDefault,
      limits.administrationMsMax,
    ]);
  });

  it('refuses wrong keys, values and options, and says which limit', async () => {
    const { client, store } = setUp();
    await expect(store.get('')).rejects.toThrow('a key has at least 1 byte');
    await expect(store.put('k'.repeat(17), '')).rejects.toThrow('a key of 17 bytes; the limit is 16');
    await expect(store.put('k', 'v'.repeat(101))).rejects.toThrow('a value of 101 bytes; the limit is 100');
    await expect(store.put('k', '', { ttl: 0 })).rejects.toThrow('ttl 0 lies outside');
    await expect(store.put('k', '', { version: 1.5 })).rejects.toThrow('version 1.5');
    await expect(keysOf(store.scan({ limit: Number.NaN }))).rejects.toThrow('limit NaN');
    expect(client.sent).toEqual([]);
  });

  it('rejects at once where all slots are taken, and goes on when they are free again', async () => {
    const { store } = setUp(1, 4);
    const first = Array.from({ length: 4 }, (_, i) => store.put(`key ${i}`, 'v'));
    await expect(store.put('key 4', 'v')).rejects.toMatchObject({ code: 'OVERLOADED' });
    await Promise.all(first);
    await store.put('key 4', 'v');
  });

  it('runs a batch with one result for each operation, in order', async () => {
    const { store } = setUp();
    await store.put('b', 'old');
    const results = await store.batch([
      { op: 'put', key: 'a', value: '1' },
      { op: 'get', key: 'b' },
      { op: 'put', key: 'b', value: '2', options: { version: 5 } },
      { op: 'get', key: 'none' },
    ]);
    expect(results.map((result) => result.error?.code ?? null)).toEqual([
      null,
      null,
      'VERSION_MISMATCH',
      null,
    ]);
    expect(results[1]).toMatchObject({ value: new TextEncoder().encode('old') });
    expect(results[3]).toEqual({ error: null, version: 0, value: null });
    const tooMany = Array.from({ length: 1001 }, () => ({ op: 'get', key: 'a' }) as const);
    await expect(store.batch(tooMany)).rejects.toThrow('a batch of 1001 operations; the limit is 1000');
  });

  it('scans all shards in order of tokens, through empty pages, with prefix, limit and without values', async () => {
    const { store } = setUp();
    const keys = Array.from({ length: 50 }, (_, i) => `${i % 5 === 0 ? 'p' : 'q'}${i}`);
    await Promise.all(keys.map((key) => store.put(key, `value of ${key}`)));
    expect(await keysOf(store.scan())).toEqual(byToken(keys));
    expect(await keysOf(store.scan({ limit: 7 }))).toEqual(byToken(keys).slice(0, 7));
    expect(await keysOf(store.scan({ limit: 0 }))).toEqual([]);
    expect(await keysOf(store.scan({ prefix: 'p' }))).toEqual(byToken(keys.filter((key) => key[0] === 'p')));
    for await (const { key, value } of store.scan()) expect(text(value)).toBe(`value of ${text(key)}`);
    for await (const { value } of store.scan({ values: false })) expect(value).toHaveLength(0);
  });

  it('scans a snapshot as it was, and releases it in every shard', async () => {
    const { client, store } = setUp();
    await store.put('a', '1');
    const snapshot = await store.snapshot();
    await store.put('b', '2');
    await store.delete('a');
    expect(await keysOf(snapshot.scan())).toEqual(['a']);
    expect(client.snapshots.size).toBe(3);
    await snapshot.close();
    await snapshot.close();
    expect(client.snapshots.size).toBe(0);
    expect(() => snapshot.scan()).toThrow('the snapshot is closed');
  });

  it('keeps no part of a snapshot that a shard refused', async () => {
    const { client, store } = setUp();
    client.failure = { op: Op.SNAPSHOT, shard: 1, status: Status.OVERLOADED };
    await expect(store.snapshot()).rejects.toMatchObject({ code: 'OVERLOADED', message: 'as told' });
    expect(client.snapshots.size).toBe(0);
  });

  it('asks every shard for counters, verification, flush and compaction', async () => {
    const { client, store } = setUp(2);
    const answers = (op: number): unknown[] => [0, 1].map((shard) => ({ op, shard }));
    expect(await store.stats()).toEqual(answers(Op.STATS));
    expect(await store.verify()).toEqual(answers(Op.VERIFY));
    await store.flush();
    await store.compact();
    expect(client.sent.slice(4).map(({ op, shard }) => [op, shard])).toEqual([
      [Op.FLUSH, 0],
      [Op.FLUSH, 1],
      [Op.COMPACT, 0],
      [Op.COMPACT, 1],
    ]);
  });

  it('rejects what is in flight when it closes, and everything after', async () => {
    const { store } = setUp();
    const before = closed;
    const flying = store.put('key', 'value');
    const end = store.close();
    expect(store.close()).toBe(end);
    await expect(flying).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await end;
    expect(closed).toBe(before + 1);
    await expect(store.get('key')).rejects.toMatchObject({ code: 'CLOSED' });
    expect(() => store.getSync('key')).toThrow('the store is closed');
  });
});
