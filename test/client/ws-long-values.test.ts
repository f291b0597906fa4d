/** Values that are too long for the WebSocket connection, and a node that answers over HTTP when the test says so. */
import { afterEach, expect, it } from 'vitest';
import { deadlineIn, systemClock } from '../../src/base/clock.ts';
import { limits, MiB } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { type KvAnswer, type KvLink, KvOp, type KvRequest } from '../../src/client/kv.ts';
import { nodePlatform } from '../../src/client/platform-node.ts';
import { WsLink } from '../../src/client/ws-link.ts';
import { FakeWsServer } from './fake-ws-server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
const ANSWER: KvAnswer = { found: true, version: 1, ttl: null, value: null };
const putOf = (value: Uint8Array): KvRequest => ({
  ...{ op: KvOp.PUT, key: Buffer.from('key'), value, consistency: undefined },
  ...{ version: undefined, ttl: undefined, idempotencyKey: undefined },
});

it('the client has no more bytes on their way over HTTP than may wait for the connection, and takes more when some have gone', async () => {
  const server = await FakeWsServer.start({ valueBytesMax: 1000 });
  cleanups.push(() => server.stop());
  const ends: (() => void)[] = [];
  const http: KvLink = {
    usable: true,
    send: () => new Promise((resolve) => ends.push(() => resolve(ANSWER))),
    close: () => Promise.resolve(),
  };
  const own = { platform: nodePlatform, clock: systemClock, random: new Random(4), tls: undefined, http };
  const link = new WsLink(`ws://127.0.0.1:${server.port}/v1/ws`, own);
  cleanups.push(() => link.close());
  const put = (): Promise<unknown> =>
    link.send(putOf(value), deadlineMs, undefined, false).then(
      () => 'done',
      (error: { readonly code?: string }) => error.code,
    );
  const value = new Uint8Array(MiB);
  const deadlineMs = deadlineIn(systemClock, 60_000);
  const first = put();
  await expect.poll(() => ends.length).toBe(1);
  const all = Array.from({ length: limits.clientQueueBytesMax / MiB - 2 }, put);
  await expect.poll(() => ends.length).toBe(all.length + 1);
  expect(await put()).toBe('OVERLOADED');
  ends.shift()?.();
  expect(await first).toBe('done');
  const next = put();
  await expect.poll(() => ends.length).toBe(all.length + 1);
  for (const end of ends.splice(0)) end();
  expect(new Set(await Promise.all([...all, next]))).toEqual(new Set(['done']));
});
