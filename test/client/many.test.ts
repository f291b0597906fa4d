/** Many at once over HTTP: what shares a batch, what is repeated of one, and what of it is told as unknown. */
import { afterEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { type Client, type ConnectOptions, connect, PartialFailureError } from '../../src/client/index.ts';
import { FakeServer, refusal } from './fake-server.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
async function pair(options: Partial<ConnectOptions> = {}): Promise<{ server: FakeServer; client: Client }> {
  const server = await FakeServer.start();
  cleanups.push(() => server.stop());
  const own = { random: new Random(1), discover: false, timeoutMs: 30_000, ...options };
  const client = await connect({ nodes: [server.url], ...own });
  cleanups.push(() => client.close());
  return { server, client };
}
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString();
const entriesOf = (count: number): { key: string; value: string }[] =>
  range(count).map((n) => ({ key: `key ${n}`, value: `value ${n}` }));
/** `results` of a call that failed in part: codes of errors, types of the others. */
const codesOf = async (call: Promise<unknown>): Promise<unknown[]> => {
  const error = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(PartialFailureError);
  return (error as PartialFailureError<unknown>).results.map((result) =>
    result instanceof Error ? (result as { readonly code?: string }).code : typeof result,
  );
};

describe('many at once over HTTP', () => {
  it('go in batches, and come back in their order', async () => {
    const { server, client } = await pair();
    const entries = entriesOf(1000);
    const versions = await client.putMany(entries);
    expect(versions).toEqual(entries.map(({ key }) => server.items.get(key)?.version));
    expect((await client.getMany([...entries.map(({ key }) => key), 'absent'])).map(text)).toEqual([
      ...entries.map(({ value }) => value),
      null,
    ]);
    await client.deleteMany(entries.slice(1).map(({ key }) => key));
    expect([...server.items.keys()]).toEqual(['key 0']);
    expect(server.seen.every(({ path }) => path === '/v1/batch')).toBe(true);
    const sizes = server.batches.map(({ length }) => length);
    // 3,000 operations; a machine that stalls may split batches by their deadlines.
    expect(sizes.length).toBeLessThan(60);
    expect(Math.max(...sizes)).toBe(limits.clientBatchOpsMax);
  });

  it('have their own options, and otherwise those of the call', async () => {
    const { server, client } = await pair();
    const binary = Uint8Array.of(0xff, 0);
    await client.putMany(
      [
        { key: 'a', value: 'one' },
        { key: binary, value: Uint8Array.of(0, 255), ttl: 60.5, version: 0 },
      ],
      { consistency: 'ALL', ttl: 9, timeoutMs: 1500 },
    );
    const [[one, two] = []] = server.batches;
    const own = { key: Buffer.from('a'), value: Buffer.from('one') };
    expect(one).toEqual({ op: 'put', ...own, consistency: 'ALL', ttl: 9 });
    expect(two).toMatchObject({ key: Buffer.from(binary), ttl: 60.5, version: 0 });
    expect(Number(server.seen[0]?.headers['x-ringkv-timeout'])).toBeLessThanOrEqual(1500);
    const version = server.items.get('a')?.version ?? 0;
    await client.deleteMany(['b', { key: 'a', version }], { consistency: 'ONE' });
    expect(server.batches[1]).toMatchObject([{ op: 'delete', consistency: 'ONE' }, { version }]);
    expect(server.items.has('a')).toBe(false);
  });

  it('are requests of their own where they are large, alone, or have an idempotency key', async () => {
    const { server, client } = await pair();
    const large = new Uint8Array(limits.clientBatchValueBytesMax + 1);
    await client.putMany([
      { key: 'large', value: large },
      { key: 'once', value: 'b', idempotencyKey: 'key' },
      { key: 'small', value: 'c' },
    ]);
    expect(server.batches).toEqual([]);
    expect(server.seen.map(({ path }) => path).sort()).toEqual([
      ...['/v1/kv/large', '/v1/kv/once', '/v1/kv/small'],
    ]);
    expect(server.seen.find(({ path }) => path.endsWith('once'))?.headers['idempotency-key']).toBe('key');
    expect(server.items.get('large')?.value.length).toBe(large.length);
  });

  it('are asked for with room for their values, as far as these are known', async () => {
    const { server, client } = await pair();
    const value = Buffer.alloc(512 * 1024);
    for (const n of range(40)) server.items.set(`key ${n}`, { value, version: 1, ttl: null });
    const values = await client.getMany(range(40).map((n) => `key ${n}`));
    expect(values.map((one) => one?.length)).toEqual(range(40).map(() => value.length));
    const most = Math.max(...server.batches.map(({ length }) => length));
    expect(most * value.length).toBeLessThanOrEqual(limits.clientBatchReplyBytesMax);
  });

  it('fail one by one, and what may succeed later is repeated alone', async () => {
    const { server, client } = await pair();
    server.opTricks.set('key 1', [503, 'OVERLOADED']);
    server.opTricks.set('key 2', [503, 'UNAVAILABLE']);
    server.opTricks.set('key 3', [504, 'TIMEOUT']);
    server.opTricks.set('key 4', [507, 'DISK_FULL']);
    const entries = [...entriesOf(6), { key: 'key 5', value: 'x', version: 1 }];
    expect(await codesOf(client.putMany(entries))).toEqual([
      ...['number', 'number', 'UNAVAILABLE', 'TIMEOUT', 'DISK_FULL', 'number', 'VERSION_MISMATCH'],
    ]);
    // A write of which it is sure that nothing was done went once more, and no other.
    expect(server.seen.map(({ path }) => path)).toEqual(['/v1/batch', '/v1/kv/key%201']);
    server.opTricks.set('key 0', [503, 'UNAVAILABLE']);
    server.opTricks.set('key 1', [500, 'CORRUPTION']);
    expect(await codesOf(client.getMany(['key 0', 'key 1', 'key 5']))).toEqual([
      ...['object', 'CORRUPTION', 'object'],
    ]);
  });

  it('are told as unknown where a batch is lost, and repeated where that is safe', async () => {
    const { server, client } = await pair();
    server.tricks.push({ kind: 'cut', done: true });
    const results = await client
      .putMany(entriesOf(200))
      .catch((error: PartialFailureError<number>) => error.results);
    expect(results).toHaveLength(200);
    for (const result of results) expect(result).toMatchObject({ code: 'CONNECTION', sent: true });
    expect(server.batches).toHaveLength(1);
    expect(server.items.size).toBe(200);
    // What it knows of values lets reads share a batch.
    await client.getMany(entriesOf(20).map(({ key }) => key));
    const before = server.batches.length;
    // Two hundred reads that were lost together are one repeat for the budget, which has a hundred.
    server.tricks.push({ kind: 'cut', done: true });
    const values = await client.getMany(entriesOf(200).map(({ key }) => key));
    expect(values.map(text)).toEqual(entriesOf(200).map(({ value }) => value));
    expect(server.batches[before]?.length).toBe(200);
  });

  it('are repeated within the budget where a batch is refused as a whole', async () => {
    const { server, client } = await pair();
    server.tricks.push(refusal(503, 'OVERLOADED', { 'retry-after': '0' }));
    await client.putMany(entriesOf(50));
    expect(server.items.size).toBe(50);
    server.tricks.push(refusal(400, 'BAD_REQUEST'));
    expect(new Set(await codesOf(client.putMany(entriesOf(50))))).toEqual(new Set(['BAD_REQUEST']));
  });

  it('are told as unknown where the answer is none', async () => {
    const { server, client } = await pair();
    const bodies = ['', 'ff', 'a0', 'a16772657375 6c747380', 'a167726573756c7473820102'];
    for (const hex of bodies) {
      const body = Buffer.from(hex.replaceAll(' ', ''), 'hex').toString('latin1');
      server.tricks.push({ kind: 'answer', status: 200, body });
      expect(await codesOf(client.putMany(entriesOf(2))), hex).toEqual(['PROTOCOL', 'PROTOCOL']);
    }
  });

  it('end with their signal, which ends the request too', async () => {
    const { server, client } = await pair();
    server.tricks.push({ kind: 'hang' });
    const abort = new AbortController();
    const call = client.putMany(entriesOf(10), { signal: abort.signal });
    await expect.poll(() => server.seen.length).toBe(1);
    abort.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    await expect.poll(() => server.gone).toBe(1);
    expect(await client.getMany(['a', 'b'])).toEqual([null, null]);
  });

  it('end at their deadline, those that wait for others included', async () => {
    const { server, client } = await pair();
    for (const _ of range(limits.clientBatchesInFlightMax)) server.tricks.push({ kind: 'hang' });
    const count = limits.clientBatchOpsMax * limits.clientBatchesInFlightMax;
    let isOver = false;
    const long = codesOf(client.putMany(entriesOf(count))).finally(() => {
      isOver = true;
    });
    await expect.poll(() => server.seen.length).toBe(limits.clientBatchesInFlightMax);
    // The places are taken, and stay so for long.
    const results = await codesOf(client.putMany(entriesOf(10), { timeoutMs: 300 }));
    expect(results).toEqual(range(10).map(() => 'TIMEOUT'));
    expect([isOver, server.batches]).toEqual([false, []]);
    await client.close();
    expect(new Set(await long)).toEqual(new Set(['CLOSED']));
  });

  it('end with the client', async () => {
    const { server, client } = await pair();
    server.tricks.push({ kind: 'hang' });
    const call = codesOf(client.putMany(entriesOf(3)));
    await expect.poll(() => server.seen.length).toBe(1);
    await client.close();
    expect(await call).toEqual(['CLOSED', 'CLOSED', 'CLOSED']);
  });

  it('are refused where they are too many, or are none', async () => {
    const { client } = await pair();
    const keys = new Array<string>(limits.clientManyMax + 1).fill('key');
    await expect(client.getMany(keys)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    expect(await client.getMany([])).toEqual([]);
    const wrong = [{ key: 'a', value: 'x' }, { key: 'b' }, { key: '', value: 'x' }, { key: 5, value: 'x' }];
    expect(await codesOf(client.putMany(wrong as { key: string; value: string }[]))).toEqual([
      ...['number', 'BAD_REQUEST', 'BAD_REQUEST', 'BAD_REQUEST'],
    ]);
  });

  it('keep no more than so many bytes in progress, however many there are', async () => {
    const { server, client } = await pair();
    const value = new Uint8Array(limits.clientBatchValueBytesMax);
    let inFlight = 0;
    let most = 0;
    server.onWrite = async () => {
      inFlight += server.batches.at(-1)?.reduce((sum, op) => sum + (op.value?.length ?? 0), 0) ?? 0;
      most = Math.max(most, inFlight);
      await new Promise((done) => setImmediate(done));
      inFlight = 0;
    };
    await client.putMany(range(200).map((n) => ({ key: `key ${n}`, value })));
    expect(server.items.size).toBe(200);
    expect(Math.max(...server.batches.map((ops) => ops.length * value.length))).toBeLessThanOrEqual(
      limits.clientBatchBytesMax,
    );
    expect(most).toBeLessThanOrEqual(limits.clientBatchesInFlightMax * limits.clientBatchBytesMax);
  });
});
