/** A front end over WebSocket at its bounds, and in the middle of things. */
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits, MiB } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Op } from '../../src/shard/contract.ts';
import { closed, figure, type Served, serve } from '../front/harness.ts';
import {
  BINARY,
  CLOSE,
  encode,
  eventually,
  frame,
  GET,
  HANDSHAKE,
  PUT,
  RawWs,
  WsClient,
} from '../front/ws-client.ts';

const BIG = Buffer.alloc(64 * 1024, 0xab);

/** More than the systems between keep. */
const asksFor = (count: number): { ids: number[]; ops: number[]; keys: string[] } => ({
  ids: Array.from({ length: count }, (_, id) => id),
  ops: Array.from({ length: count }, () => GET),
  keys: Array.from({ length: count }, () => 'big'),
});

describe('a connection that is closed in the middle of a message', () => {
  it('has nothing carried out of what stands behind', async () => {
    const served = await serve({ wsAnswersBytesMax: MiB });
    served.client.memory.set('big', BIG);
    const raw = await RawWs.connect(served.front.port);
    const gets = asksFor(600);
    const message = {
      ids: [...gets.ids, 9999],
      ops: [...gets.ops, PUT],
      keys: [...gets.keys, 'behind'],
      values: [...gets.ids.map(() => null), Buffer.from('x')],
    };
    await raw.send(frame(BINARY, encode(message)));
    await eventually('it is closed', async () => (await closed(served, 'unread')) === 1);
    expect(served.client.sent.filter(({ op }) => op === Op.PUT)).toEqual([]);
    raw.destroy();
    await served.close();
  });
});

describe('what a closed connection had not read', () => {
  it('counts with that of the others until its socket is gone', async () => {
    const clock = new ManualClock(1_000_000);
    // More than what one of two keeps, and less than both do.
    const served = await serve({ clock, wsAnswersBytesMax: limits.wsPausedBytes + 2 * MiB });
    served.client.memory.set('big', BIG);
    const unread = async (): Promise<RawWs> => {
      const raw = await RawWs.connect(served.front.port);
      await raw.send(frame(BINARY, encode(asksFor(600))));
      return raw;
    };
    const first = await unread();
    await eventually(
      'it is paused',
      async () => (await figure(served, 'ringkv_ws_connections_paused')) === 1,
    );
    await first.send(frame(CLOSE, Buffer.from([0x03, 0xe8])));
    await eventually(
      'it is closing',
      async () => (await figure(served, 'ringkv_ws_connections_closing')) === 1,
    );
    expect(await figure(served, 'ringkv_ws_answers_bytes')).toBe(0);
    const second = await unread();
    await eventually('there is no room for both', async () => (await closed(served, 'unread')) === 1);
    second.destroy();
    clock.advanceMs(limits.wsClosingMs);
    await eventually(
      'it counts no more',
      async () => (await figure(served, 'ringkv_ws_connections_closing')) === 0,
    );
    const third = await unread();
    await eventually(
      'it is paused',
      async () => (await figure(served, 'ringkv_ws_connections_paused')) === 1,
    );
    expect(await closed(served, 'unread')).toBe(1);
    for (const raw of [first, third]) raw.destroy();
    await served.close();
  });
});

describe('bytes in flight', () => {
  it('may be as many as is told, and no byte more', async () => {
    const half = limits.wsInFlightBytesMax / 2;
    const served = await serve({ maxValueBytes: half });
    const client = await WsClient.connect(served.front.port);
    served.client.held = [];
    const waiting = ['a', 'b'].map((key) => client.put(key, Buffer.alloc(half - 1)));
    await eventually('two are at the shards', () => served.client.held?.length === 2);
    expect(await client.get('c')).toMatchObject({
      status: Status.OVERLOADED,
      message: `requests of ${2 * half + 1} bytes in flight; the limit is ${2 * half} a connection; nothing was done`,
    });
    served.client.release();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([0, 0]);
    await client.close();
    await served.close();
  });
});

describe('idempotency keys', () => {
  it('of a message are each for its own request', async () => {
    const served = await serve();
    const client = await WsClient.connect(served.front.port);
    const keys = ['one', null, 'three'];
    await client.request({
      ops: PUT,
      keys: ['a', 'b', 'c'],
      values: ['1', '2', '3'].map((value) => Buffer.from(value)),
      idempotencyKeys: keys,
    });
    const sent = served.client.sent.map(({ idempotencyKey }) => Buffer.from(idempotencyKey).toString());
    expect(sent).toEqual(keys.map((key) => key ?? ''));
    await client.close();
    await served.close();
  });
});

describe('the seconds of requests', () => {
  it('are from the message to the answer', async () => {
    const clock = new ManualClock(1_000_000);
    const served = await serve({ clock });
    const client = await WsClient.connect(served.front.port);
    served.client.held = [];
    const waiting = client.put('a', 'x', { timeouts: 30_000 });
    await eventually('it is at the shard', () => served.client.held?.length === 1);
    clock.advanceMs(2500);
    served.client.release();
    await waiting;
    expect(await figure(served, 'ringkv_ws_request_seconds_sum', ',op="put"')).toBe(2.5);
    await client.close();
    await served.close();
  });
});

describe('an upgrade', () => {
  const answerTo = async (served: Served, path: string): Promise<string> => {
    const head = `${HANDSHAKE.join('\r\n').replace('/v1/ws', path)}\r\n\r\n`;
    const { seen } = await served.talk([head], (text) => text.includes('\r\n\r\n'));
    return seen.slice(0, seen.indexOf('\r\n'));
  };
  it('of another path is none, whatever size of connections has room', async () => {
    const served = await serve({ wsUnfinishedBytesMax: 20 * MiB });
    const told: unknown[] = [];
    const clients: WsClient[] = [];
    // Until connections are of the smallest size.
    while (told.at(-1) !== 24 * 1024) {
      for (const path of ['/v1/wsx', '/v2/ws', '/v1/ws/'])
        expect(await answerTo(served, path)).not.toContain(' 101 ');
      const client = await WsClient.connect(served.front.port);
      clients.push(client);
      told.push(client.limits.valueBytesMax);
    }
    expect(new Set(told).size).toBeGreaterThan(1);
    for (const path of ['/v1/wsx', '/v2/ws']) expect(await answerTo(served, path)).not.toContain(' 101 ');
    expect(await answerTo(served, '/v1/ws')).toContain(' 101 ');
    for (const client of clients) await client.close();
    await served.close();
  });
  it('of a socket that is there before is refused while the node stops', async () => {
    const served = await serve();
    const client = await WsClient.connect(served.front.port);
    served.client.held = [];
    const waiting = client.put('last', 'word');
    await eventually('it is at the shard', () => served.client.held?.length === 1);
    const socket = connect(served.front.port, '127.0.0.1');
    const seen: Buffer[] = [];
    socket.on('data', (chunk) => seen.push(chunk));
    socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await eventually('it is served', () => Buffer.concat(seen).includes('HTTP/1.1 200'));
    const closing = served.front.close(30_000);
    socket.write(`${HANDSHAKE.join('\r\n')}\r\n\r\n`);
    await eventually('it is refused', () => Buffer.concat(seen).includes('HTTP/1.1 503'));
    expect(Buffer.concat(seen).includes('the node is stopping')).toBe(true);
    served.client.release();
    expect((await waiting).status).toBe(Status.OK);
    await closing;
    socket.destroy();
  });
});

describe('connections that come and go', () => {
  it('leave those between them in the list: each is told that the node goes', async () => {
    const served = await serve();
    const clients: WsClient[] = [];
    for (let n = 0; n < 5; n++) clients.push(await WsClient.connect(served.front.port));
    const [first, second, third, fourth, last] = clients as [
      WsClient,
      WsClient,
      WsClient,
      WsClient,
      WsClient,
    ];
    for (const gone of [first, last, second]) {
      const open = await figure(served, 'ringkv_ws_connections');
      await gone.close();
      await eventually(
        'it is gone',
        async () => (await figure(served, 'ringkv_ws_connections')) === open - 1,
      );
    }
    const raw = await RawWs.connect(served.front.port);
    raw.destroy();
    await eventually('it is lost', async () => (await closed(served, 'lost')) === 1);
    expect(await closed(served, 'client')).toBe(3);
    await served.front.close(1000);
    expect(await Promise.all([third.closed, fourth.closed])).toMatchObject([{ code: 1001 }, { code: 1001 }]);
  });
});
