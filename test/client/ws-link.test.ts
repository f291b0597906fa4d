/** One WebSocket of the client through its life: opened, silent, lost, made anew and closed. */
import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { webSocketUrl } from '../../src/client/ws-link.ts';
import { type FakeSocket, getOf, LIMITS, LinkWorld, putOf } from './ws-link-world.ts';

let world: LinkWorld;
beforeEach(() => {
  vi.useFakeTimers();
  world = new LinkWorld();
});
afterEach(async () => {
  await world.link.close();
  await world.pass(0);
  // Nothing is left that could wake the process or keep it alive.
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});
const SMALL = new Uint8Array(1);
const keysOf = (socket: FakeSocket): string[] =>
  socket.sent.flatMap(({ keys }) => keys.map((key) => key.toString()));

describe('a WebSocket of the client', () => {
  it('is usable until it fails, and again when it is open', async () => {
    expect(world.link.usable).toBe(true);
    const outcome = world.send(getOf('a'));
    expect(world.link.usable).toBe(true);
    world.socket.closed();
    await world.pass(0);
    expect([world.link.usable, outcome.error?.sent]).toEqual([false, false]);
    await world.pass(limits.clientReconnectMsMin);
    expect([world.sockets.length, world.link.usable]).toEqual([2, false]);
    world.socket.open();
    expect(world.link.usable).toBe(true);
    world.socket.closed();
    expect(world.link.usable).toBe(false);
  });

  it('is tried again after waits that grow, and are short again once it was open', async () => {
    world.send(getOf('a'));
    for (let failures = 0; failures < 8; failures++) {
      world.socket.closed();
      const wait = world.waits.at(-1) as number;
      expect(wait).toBe(Math.min(limits.clientReconnectMsMax, limits.clientReconnectMsMin * 2 ** failures));
      // Nobody makes it be tried before.
      world.send(getOf('b'));
      await world.pass(wait - 1);
      expect(world.sockets).toHaveLength(failures + 1);
      await world.pass(1);
      expect(world.sockets).toHaveLength(failures + 2);
    }
    world.socket.open();
    world.socket.closed();
    expect(world.waits.at(-1)).toBe(limits.clientReconnectMsMin);
  });

  it('is given up where no limits come in time, and what waited was not sent', async () => {
    const outcome = world.send(getOf('a'));
    const { socket } = world;
    await world.pass(limits.clientConnectMs - 1);
    expect([outcome.error, socket.closes]).toEqual([null, 0]);
    await world.pass(1);
    expect(outcome.error).toMatchObject({ code: 'CONNECTION', sent: false });
    expect(socket.closes).toBe(1);
  });
  it('has as long as it likes once they came', async () => {
    const socket = await world.opened();
    await world.pass(limits.clientConnectMs);
    expect(socket.closes).toBe(0);
    expect(world.link.usable).toBe(true);
  });

  it('that was given up is heard no more, whatever comes of it', async () => {
    const first = await world.opened();
    first.data('a text');
    expect([world.link.usable, first.closes]).toEqual([false, 1]);
    first.open();
    expect(world.link.usable).toBe(false);
    await world.pass(limits.clientReconnectMsMin);
    const second = world.socket;
    second.open();
    const outcome = world.send(getOf('b'));
    await world.pass(0);
    first.closed();
    first.data('a text');
    expect([world.link.usable, second.closes, world.sockets.length]).toEqual([true, 0, 2]);
    expect([keysOf(first), keysOf(second)]).toEqual([['first'], ['b']]);
    second.answer(0, 1);
    await world.pass(0);
    expect(outcome.answer).not.toBeNull();
  });

  it('takes nothing to a connection that is lost', async () => {
    const socket = await world.opened();
    const lost = world.send(getOf('lost'));
    socket.closed(1001, 'the node is stopping');
    const kept = world.send(getOf('kept'));
    await world.pass(0);
    expect([lost.error?.code, lost.error?.sent, lost.error?.message]).toEqual([
      'CONNECTION',
      false,
      'ws://node/v1/ws: the connection was lost (code 1001, the node is stopping); the request was not sent',
    ]);
    expect([keysOf(socket), kept.error]).toEqual([['first'], null]);
    await world.pass(limits.clientReconnectMsMin);
    world.socket.open();
    await world.pass(0);
    expect(keysOf(world.socket)).toEqual(['kept']);
  });

  it.each<readonly [string, (socket: FakeSocket) => void]>([
    ['a first message without limits', (socket) => socket.message({ ids: [], statuses: [] })],
    ['a limit of nothing', (socket) => socket.open({ ...LIMITS, inFlightMax: 0 })],
    [
      'a message that is too long',
      (socket) => socket.data(new ArrayBuffer(limits.clientMessageBytesMax + 1)),
    ],
  ])('is given up over %s', async (_, come) => {
    const outcome = world.send(getOf('a'));
    come(world.socket);
    await world.pass(0);
    expect([world.link.usable, world.socket.closes, outcome.error?.code]).toEqual([false, 1, 'CONNECTION']);
  });
  it('takes the documented defaults for limits that a server does not tell', async () => {
    const socket = await world.opened({ keyBytesMax: 1 });
    for (let n = 0; n < limits.wsInFlightMax; n++) world.send(getOf(`${n}`));
    await world.pass(0);
    expect(socket.sent.slice(1).map(({ ids }) => ids.length)).toEqual([limits.wsInFlightMax - 1]);
  });

  it('ends what it holds when it is closed, and takes no more', async () => {
    const socket = await world.opened({ ...LIMITS, inFlightMax: 2 });
    const [sent, waiting] = [world.send(getOf('sent')), world.send(getOf('waiting'))];
    await world.pass(0);
    await world.link.close();
    const late = world.send(getOf('late'));
    await world.pass(0);
    expect([sent, waiting, late].map(({ error }) => error?.code)).toEqual(['CLOSED', 'CLOSED', 'CLOSED']);
    expect([socket.closes, world.sockets.length]).toEqual([1, 1]);
    expect(vi.getTimerCount()).toBe(0);
    await world.pass(limits.clientReconnectMsMax);
    expect(world.sockets).toHaveLength(1);
  });
});

describe('a request', () => {
  it('with a signal that has ended is rejected with its reason, and one that is refused leaves no listener', async () => {
    const reason = new Error('enough');
    expect(world.send(getOf('a'), 1e9, AbortSignal.abort(reason))).toEqual({ answer: null, error: null });
    await world.pass(0);
    expect(world.sockets).toHaveLength(0);
    const { signal } = new AbortController();
    const value = new Uint8Array(limits.valueBytesCeiling);
    const count = limits.clientQueueBytesMax / value.length;
    const calls = Array.from({ length: count }, () => world.send(putOf('', value), 1e9, signal));
    const refused = world.send(getOf('a'), 1e9, signal);
    await world.pass(0);
    expect(refused.error?.code).toBe('OVERLOADED');
    expect(getEventListeners(signal, 'abort')).toHaveLength(count);
    world.socket.closed();
    await world.pass(0);
    expect(calls.map(({ error }) => error?.code)).toEqual(calls.map(() => 'CONNECTION'));
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });

  it('has a value of at most what any server takes', async () => {
    const fits = world.send(putOf('a', new Uint8Array(limits.valueBytesCeiling)));
    const long = world.send(putOf('a', new Uint8Array(limits.valueBytesCeiling + 1)));
    await world.pass(0);
    expect([fits.error, long.error?.code]).toEqual([null, 'VALUE_TOO_LARGE']);
  });

  it('that goes over HTTP keeps its deadline, its signal and its company', async () => {
    await world.opened({ ...LIMITS, valueBytesMax: 10 });
    const { signal } = new AbortController();
    const request = putOf('a', new Uint8Array(11));
    const outcome = world.send(request, 1234, signal, true);
    await world.pass(0);
    expect(world.byHttp.map(({ args }) => args)).toEqual([[request, world.now + 1234, signal, true]]);
    world.byHttp[0]?.end({ found: true, version: 5, ttl: null, value: null });
    await world.pass(0);
    expect(outcome.answer?.version).toBe(5);
  });

  it('tells the server how long it has, in whole milliseconds and one at least', async () => {
    const socket = await world.opened();
    world.send(getOf('a'), 0.25);
    world.send(getOf('b'), 1500.5);
    await world.pass(0);
    expect(socket.sent.at(-1)?.timeouts).toEqual([1, 1501]);
  });

  it('is ended by its deadline though it is the only one in flight, and breaks the connection when it is very late', async () => {
    const socket = await world.opened();
    const outcome = world.send(getOf('a'), 100);
    await world.pass(0);
    await world.pass(100 + limits.clientGraceMs + limits.clientSweepMs);
    expect(outcome.error?.code).toBe('TIMEOUT');
    expect(socket.closes).toBe(0);
    // Far less than the next heartbeat takes to be missed.
    await world.pass(limits.clientStuckMs);
    await world.pass(limits.clientSweepMs);
    expect([socket.closes, world.link.usable]).toEqual([1, false]);
  });
});

describe('an answer', () => {
  it('brings version, ttl and value of a get, and the current version where a condition does not hold', async () => {
    const socket = await world.opened();
    const get = world.send(getOf('a'));
    await world.pass(0);
    socket.answer(1, 0, { versions: [7], ttls: [60], values: [Buffer.from('v')] });
    const put = world.send(putOf('a', SMALL));
    await world.pass(0);
    socket.answer(2, 2, { versions: [8], messages: ['another version'] });
    await world.pass(0);
    expect(get.answer).toMatchObject({ found: true, version: 7, ttl: 60 });
    expect(put.error).toMatchObject({ code: 'VERSION_MISMATCH', version: 8, message: 'another version' });
  });

  it('that is a success of the wrong kind is the error of its request alone', async () => {
    const socket = await world.opened();
    const outcomes = [world.send(getOf('a')), world.send(putOf('a', SMALL)), world.send(putOf('b', SMALL))];
    await world.pass(0);
    socket.answer(1, 0, { versions: [1, 2, 3], values: [null, Buffer.from('v'), null] });
    await world.pass(0);
    expect(outcomes.map(({ error, answer }) => error?.code ?? answer?.version)).toEqual([
      'PROTOCOL',
      'PROTOCOL',
      3,
    ]);
    expect([socket.closes, world.link.usable]).toEqual([0, true]);
  });

  it('that a key is absent is a success: after OVERLOADED more is asked for at a time', async () => {
    const socket = await world.opened();
    world.send(getOf('a'));
    await world.pass(0);
    socket.answer(1, 7);
    for (let n = 0; n < 4; n++) world.send(getOf(`${n}`));
    await world.pass(0);
    const lengths: number[] = [];
    for (let at = 2; at < socket.sent.length; at++) {
      lengths.push(socket.sent[at]?.ids.length ?? 0);
      socket.answer(at, 1);
      await world.pass(0);
    }
    expect(lengths).toEqual([1, 2, 1]);
  });
});

describe('a heartbeat', () => {
  const PING = 4;
  const pings = (socket: FakeSocket): number => socket.sent.filter(({ ops }) => ops === PING).length;
  /** Far longer than any wait for one, in steps. */
  const silence = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 1000) await world.pass(1000);
  };

  it('is asked for where nothing came for a while, and not where something did', async () => {
    const socket = await world.opened();
    for (let n = 0; n < 10; n++) {
      await silence(limits.clientHeartbeatMs / 2);
      socket.message({ ids: [], statuses: [] });
    }
    expect(pings(socket)).toBe(0);
    await silence(limits.clientHeartbeatMs + limits.clientHeartbeatAnswerMs);
    expect(pings(socket)).toBe(1);
  });

  it('that is answered keeps the connection, again and again', async () => {
    const socket = await world.opened();
    for (let n = 1; n <= 5; n++) {
      while (pings(socket) < n) await silence(1000);
      socket.answer(socket.sent.length - 1, 0);
    }
    expect([socket.closes, new Set(socket.sent.flatMap(({ ids }) => ids)).size]).toEqual([0, 6]);
  });

  it('that is not answered ends the connection, unless anything else came', async () => {
    const socket = await world.opened();
    while (pings(socket) < 1) await silence(1000);
    await silence(1000);
    socket.message({ ids: [], statuses: [] });
    await silence(2 * limits.clientHeartbeatAnswerMs);
    expect([socket.closes, pings(socket)]).toEqual([0, 1]);
    socket.answer(socket.sent.length - 1, 0);
    while (pings(socket) < 2) await silence(1000);
    await silence(limits.clientHeartbeatAnswerMs);
    expect(socket.closes).toBe(1);
  });

  it('of a connection that is lost is no answer on the next', async () => {
    const first = await world.opened();
    while (pings(first) < 1) await silence(1000);
    const asked = first.sent.at(-1)?.ids ?? [];
    first.closed();
    await world.pass(limits.clientReconnectMsMin);
    const second = world.socket;
    second.open();
    second.message({ ids: asked, statuses: [0] });
    expect([second.closes, world.link.usable]).toEqual([1, false]);
  });
});

it('the address of a WebSocket is that of the node, with its path and its security', () => {
  const of = (url: string): string => webSocketUrl(new URL(url));
  expect(of('http://node:7379')).toBe('ws://node:7379/v1/ws');
  expect(of('https://node/ring/kv//')).toBe('wss://node/ring/kv/v1/ws');
  expect(() => of('ftp://node')).toThrow('is not HTTP');
});
