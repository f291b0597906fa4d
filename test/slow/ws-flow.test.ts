import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { closed, figure, serve } from '../front/harness.ts';
import {
  answersOf,
  BINARY,
  CLOSE,
  encode,
  eventually,
  frame,
  GET,
  PUT,
  RawWs,
  type WsAnswer,
  WsClient,
} from '../front/ws-client.ts';

const MiB = 2 ** 20;
const BIG = Buffer.alloc(64 * 1024, 0xab);

/** A message of `count` gets of one key. */
const gets = (count: number, key: string, firstId = 0): Buffer =>
  encode({
    ids: Array.from({ length: count }, (_, index) => firstId + index),
    ops: GET,
    keys: Array.from({ length: count }, () => key),
  });
/** The answers in frames that a server sent. */
function answersIn(bytes: Buffer): WsAnswer[] {
  const answers: WsAnswer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const short = (bytes[at + 1] as number) & 0x7f;
    const long = short === 127;
    const length =
      short < 126 ? short : long ? Number(bytes.readBigUInt64BE(at + 2)) : bytes.readUInt16BE(at + 2);
    const start = at + 2 + (short < 126 ? 0 : long ? 8 : 2);
    if (((bytes[at] as number) & 15) === BINARY)
      answers.push(...answersOf(bytes.subarray(start, start + length)));
    at = start + length;
  }
  return answers;
}
const count = (answers: readonly WsAnswer[], status: number): number =>
  answers.filter((answer) => answer.status === status).length;

describe('a client that never reads', () => {
  it('and floods is paused, then closed, and costs no more memory than is told', async () => {
    const served = await serve();
    served.client.memory.set('big', BIG);
    const raw = await RawWs.connect(served.front.port);
    const message = frame(BINARY, gets(limits.wsBatchRequestsMax, 'big'));
    const before = process.memoryUsage().rss;
    let most = 0;
    let sent = 0;
    for (; raw.isOpen && sent < 20_000; sent++) {
      await raw.send(message);
      if (sent % 50 === 0) most = Math.max(most, process.memoryUsage().rss - before);
    }
    expect(raw.isOpen, `still open after ${sent} messages`).toBe(false);
    await eventually(
      'its bytes are let go',
      async () => (await figure(served, 'ringkv_ws_answers_bytes')) === 0,
    );
    expect(await closed(served, 'unread')).toBe(1);
    expect(await figure(served, 'ringkv_ws_connections')).toBe(0);
    expect(await figure(served, 'ringkv_ws_connections_paused')).toBe(0);
    // The limit, twice while uWebSockets.js grows its buffer, and what the test itself and the collector hold.
    expect(most).toBeLessThan(2 * limits.wsBufferedBytesMax + 96 * MiB);
    const other = await WsClient.connect(served.front.port);
    expect((await other.get('big')).value?.equals(BIG)).toBe(true);
    await other.close();
    await served.close();
  });

  it('gets what it had asked for up to the limit, and OVERLOADED beyond, once it reads', async () => {
    const served = await serve({}, 4096);
    const setup = await WsClient.connect(served.front.port);
    await setup.put('big', BIG);
    served.client.held = [];
    const raw = await RawWs.connect(served.front.port);
    const asked = limits.wsInFlightMax;
    await raw.send(frame(BINARY, gets(asked, 'big')));
    await eventually('all are at the shards', () => served.client.held?.length === asked);
    served.client.release();
    await eventually(
      'it is paused',
      async () => (await figure(served, 'ringkv_ws_connections_paused')) === 1,
    );
    // While it is paused a request is refused, and not carried out.
    const carriedOut = served.client.sent.length;
    await raw.send(frame(BINARY, encode({ ids: [9999], ops: PUT, keys: ['p'], values: [Buffer.from('x')] })));
    raw.read();
    const late = encode({ ids: [9999], statuses: [Status.OVERLOADED] }).subarray(1);
    await eventually('the last is answered', () => raw.seen.subarray(-4096).includes(late));
    const answers = answersIn(raw.seen);
    expect(answers).toHaveLength(asked + 1);
    expect(count(answers, Status.OK)).toBeGreaterThan(limits.wsPausedBytes / BIG.length);
    expect(count(answers, Status.OK)).toBeLessThan(asked);
    expect(count(answers, Status.OK) + count(answers, Status.OVERLOADED)).toBe(asked + 1);
    expect(served.client.sent.length).toBe(carriedOut);
    expect(answers.find(({ id }) => id === 9999)?.message).toContain(
      `more than ${limits.wsPausedBytes} bytes`,
    );
    // It reads: it is served again.
    await eventually(
      'it is paused no more',
      async () => (await figure(served, 'ringkv_ws_connections_paused')) === 0,
    );
    await raw.send(
      frame(BINARY, encode({ ids: [10_000], ops: PUT, keys: ['p'], values: [Buffer.from('x')] })),
    );
    await eventually('it writes', () => served.client.itemOf('p') !== undefined);
    raw.destroy();
    await setup.close();
    await served.close();
  });

  it('but asks for little is closed when a period is over, and not before', async () => {
    const clock = new ManualClock(1_000_000);
    const served = await serve({ clock });
    served.client.memory.set('big', BIG);
    const never = await RawWs.connect(served.front.port);
    await never.send(frame(BINARY, gets(500, 'big')));
    await eventually(
      'it is paused',
      async () => (await figure(served, 'ringkv_ws_connections_paused')) === 1,
    );
    expect(await closed(served, 'unread')).toBe(0);
    clock.advanceMs(limits.wsDrainPeriodMs);
    await eventually('it is closed', async () => (await closed(served, 'unread')) === 1);
    expect(await figure(served, 'ringkv_ws_answers_bytes')).toBe(0);
    never.destroy();
    await served.close();
  });
});

describe('a connection', () => {
  it('has so many requests in flight, and OVERLOADED for the next, which is not carried out', async () => {
    const served = await serve({}, 4096);
    const client = await WsClient.connect(served.front.port);
    served.client.held = [];
    const max = client.limits.inFlightMax as number;
    const keys = Array.from({ length: max }, (_, index) => Buffer.from(`k${index}`));
    const waiting = client.request({ ops: GET, keys });
    await eventually('they are at the shards', () => served.client.held?.length === max);
    const refused = await client.put('one more', 'x');
    expect(refused).toMatchObject({
      status: 7,
      message: `${max} requests of this connection are in flight; the limit is ${max}; nothing was done`,
    });
    const other = await WsClient.connect(served.front.port);
    const others = other.put('of another', 'y');
    await eventually('another connection goes on', () => served.client.held?.length === max + 1);
    served.client.release();
    expect((await waiting).every(({ status }) => status === Status.NOT_FOUND)).toBe(true);
    expect((await others).status).toBe(0);
    expect((await client.put('one more', 'x')).status).toBe(0);
    for (const one of [client, other]) await one.close();
    await served.close();
  });

  it('has so many bytes in flight', async () => {
    const served = await serve({ maxValueBytes: 8 * MiB }, 4096);
    const client = await WsClient.connect(served.front.port);
    served.client.held = [];
    const value = Buffer.alloc(6 * MiB);
    const waiting = [client.put('a', value), client.put('b', value)];
    await eventually('two are at the shards', () => served.client.held?.length === 2);
    const refused = await client.put('c', value);
    expect(refused.status).toBe(7);
    expect(refused.message).toContain(
      `the limit is ${limits.wsInFlightBytesMax} a connection; nothing was done`,
    );
    const small = client.put('d', 'small');
    await eventually('a small one is', () => served.client.held?.length === 3);
    served.client.release();
    expect((await Promise.all([...waiting, small])).map(({ status }) => status)).toEqual([0, 0, 0]);
    expect((await client.put('c', value)).status).toBe(0);
    await client.close();
    await served.close();
  });

  it('that is gone lets its requests end without it', async () => {
    const served = await serve();
    for (const leave of ['close frame', 'half close', 'reset'] as const) {
      const raw = await RawWs.connect(served.front.port);
      served.client.held = [];
      const put = encode({ ids: [1], ops: PUT, keys: [leave], values: [Buffer.from('done')] });
      await raw.send(frame(BINARY, put));
      await eventually('it is at the shard', () => served.client.held?.length === 1);
      if (leave === 'close frame') await raw.send(frame(CLOSE, Buffer.from([0x03, 0xe8])));
      else if (leave === 'half close') raw.socket.end();
      else raw.socket.resetAndDestroy();
      await eventually(
        `it is gone by ${leave}`,
        async () => (await figure(served, 'ringkv_ws_connections')) === 0,
      );
      expect(await figure(served, 'ringkv_ws_requests_in_flight')).toBe(1);
      served.client.release();
      await eventually('it ends', async () => (await figure(served, 'ringkv_ws_requests_in_flight')) === 0);
      expect(served.client.itemOf(leave)).toBeDefined();
      raw.destroy();
    }
    expect(await figure(served, 'ringkv_ws_requests_aborted_total')).toBe(3);
    await served.close();
  });

  it('that sends bytes and nothing whole is closed; one that answers pings is not', async () => {
    const clock = new ManualClock(1_000_000);
    const served = await serve({ clock });
    const quiet = await RawWs.connect(served.front.port);
    const unfinished = await RawWs.connect(served.front.port);
    await unfinished.send(frame(BINARY, gets(10, 'k')).subarray(0, 50));
    clock.advanceMs(limits.wsSilenceMs);
    await quiet.send(frame(9, Buffer.from('alive')));
    quiet.read();
    await eventually('the ping is heard', () => quiet.seen.includes(Buffer.from('alive')));
    clock.advanceMs(1000);
    const all = await unfinished.readAll();
    expect(all.toString('latin1')).toContain(`no whole message and no pong in ${limits.wsSilenceMs} ms`);
    expect(all.includes(Buffer.from([0x03, 0xf0]))).toBe(true);
    expect(await closed(served, 'silent')).toBe(1);
    expect(quiet.isOpen).toBe(true);
    quiet.destroy();
    await served.close();
  });
});

describe('many connections', () => {
  it('a thousand write and read, each its own, and none is left behind', async () => {
    const served = await serve({}, 4096);
    const connections = 1000;
    const clients: WsClient[] = [];
    for (let batch = 0; batch < connections; batch += 50)
      clients.push(
        ...(await Promise.all(Array.from({ length: 50 }, () => WsClient.connect(served.front.port)))),
      );
    expect(await figure(served, 'ringkv_ws_connections')).toBe(connections);
    const wrong: number[] = [];
    await Promise.all(
      clients.map(async (client, index) => {
        const keys = [0, 1, 2].map((part) => Buffer.from(`key-${index}-${part}`));
        const values = [0, 1, 2].map((part) => Buffer.from(`value ${index} ${part}`));
        const put = await client.request({ ops: PUT, keys, values });
        const got = await client.request({ ops: GET, keys });
        const whole =
          put.every(({ status }) => status === 0) &&
          got.every(({ value }, part) => value?.equals(values[part] as Buffer) === true);
        if (!whole) wrong.push(index);
      }),
    );
    expect(wrong).toEqual([]);
    await Promise.all(clients.map((client) => client.close()));
    await eventually('all are gone', async () => (await figure(served, 'ringkv_ws_connections')) === 0);
    expect(await figure(served, 'ringkv_ws_answers_bytes')).toBe(0);
    await served.close();
  });
});
