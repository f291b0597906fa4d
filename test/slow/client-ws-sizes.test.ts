/** The client over WebSocket connections that take short messages alone: those that came late at a front end of many. */
import { afterEach, describe, expect, it } from 'vitest';
import { MiB } from '../../src/base/limits.ts';
import { type Client, connect } from '../../src/client/index.ts';
import { nextSize, sizesOf } from '../../src/front/ws-sizes.ts';
import { type Served, serve } from '../front/harness.ts';
import { eventually, WsClient } from '../front/ws-client.ts';

const VALUE = 256 * 1024;
const SMALL = 24 * 1024;
/** So little that a few connections have long messages. */
const UNFINISHED = 16 * MiB;

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A front end whose next connections are told 24 KiB, and a client with one of them. */
async function late(): Promise<{ served: Served; client: Client }> {
  const served = await serve({ maxValueBytes: VALUE, wsUnfinishedBytesMax: UNFINISHED });
  cleanups.push(() => served.close());
  const sizes = sizesOf(1024, VALUE, UNFINISHED);
  for (let size = nextSize(sizes); size !== null && size !== sizes.at(-1); size = nextSize(sizes)) {
    size.connections++;
    const early = await WsClient.connect(served.front.port);
    cleanups.push(() => early.close());
  }
  const next = await WsClient.connect(served.front.port);
  expect(next.limits.valueBytesMax).toBe(SMALL);
  await next.close();
  const client = await connect({
    nodes: [`http://127.0.0.1:${served.front.port}`],
    transport: 'ws',
    discover: false,
    retries: 0,
  });
  cleanups.push(() => client.close());
  return { served, client };
}
/** Puts that were answered: over HTTP, and over WebSocket. */
async function puts(served: Served): Promise<{ http: number; ws: number }> {
  const { text } = await served.call('GET', '/metrics');
  const sum = (name: string): number =>
    [...text.matchAll(new RegExp(`^${name}\\{[^}]*"put"[^}]*\\} (\\d+)$`, 'gm'))].reduce(
      (all, [, count]) => all + Number(count),
      0,
    );
  return { http: sum('ringkv_http_requests_total'), ws: sum('ringkv_ws_requests_total') };
}
const same = (got: Uint8Array | null, put: Uint8Array): boolean =>
  got !== null && Buffer.compare(got, put) === 0;
const bytes = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill);

describe('a client on a WebSocket connection of short messages', () => {
  it('puts longer values over HTTP by itself, and all else over the connection', async () => {
    const { served, client } = await late();
    // The first call of all: nobody knows yet what the connection takes.
    const version = await client.put('long', bytes(SMALL + 1, 1));
    const entry = await client.getEntry('long');
    expect([entry?.version, entry?.value.length, entry?.ttl]).toEqual([version, SMALL + 1, null]);
    await client.put('longest', bytes(VALUE, 2), { ttl: 60 });
    expect((await client.getEntry('longest'))?.ttl).toBe(60);
    await client.put('short', bytes(SMALL, 3));
    expect(await puts(served)).toEqual({ http: 2, ws: 1 });
    expect(same(await client.get('longest'), bytes(VALUE, 2))).toBe(true);
    expect(same(await client.get('short'), bytes(SMALL, 3))).toBe(true);
  });

  it('gives them their conditions and idempotency keys, and says what the server says', async () => {
    const { client } = await late();
    const value = bytes(VALUE, 4);
    const first = await client.put('k', value, { version: 0 });
    await expect(client.put('k', value, { version: 0 })).rejects.toMatchObject({
      code: 'VERSION_MISMATCH',
      version: first,
    });
    const once = { version: first, idempotencyKey: 'once' };
    const second = await client.put('k', value, once);
    expect(second).toBeGreaterThan(first);
    // The limit of the server, not that of the connection.
    await expect(client.put('k', bytes(VALUE + 1, 5))).rejects.toMatchObject({
      code: 'VALUE_TOO_LARGE',
      message: expect.stringContaining(String(VALUE)) as string,
    });
    await expect(client.put('k', bytes(8 * MiB + 1, 5))).rejects.toThrow('no server takes more than');
  });

  it('puts many of all lengths at once', async () => {
    const { served, client } = await late();
    const entries = Array.from({ length: 60 }, (_, n) => ({
      key: `key ${n}`,
      value: bytes((n % 6) * 12_000, n),
    }));
    await client.putMany(entries);
    const got = await client.getMany(entries.map(({ key }) => key));
    expect(entries.filter(({ value }, n) => !same(got[n] ?? null, value))).toEqual([]);
    // Three of six lengths are above 24 KiB: not one of these went over the connection.
    expect((await puts(served)).ws).toBe(30);
  });

  it('ends them when the call is given up, or the client is closed', async () => {
    const { served, client } = await late();
    served.client.held = [];
    const given = new AbortController();
    const first = client.put('a', bytes(VALUE, 6), { signal: given.signal });
    const second = client.put('b', bytes(VALUE, 7));
    const outcomes = Promise.allSettled([first, second]);
    await eventually('both are at the shards', () => served.client.held?.length === 2);
    given.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    await client.close();
    await expect(second).rejects.toMatchObject({ code: 'CLOSED' });
    await outcomes;
    served.client.release();
  });
});
