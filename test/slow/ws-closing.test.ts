import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { type Served, serve } from '../front/harness.ts';
import { BINARY, CLOSE, encode, eventually, frame, RawWs, WsClient } from '../front/ws-client.ts';

const figure = async (served: Served, name: string): Promise<number> => {
  const { text } = await served.call('GET', '/metrics');
  return Number(new RegExp(`^${name}\\{frontend="0"\\} (\\S+)$`, 'm').exec(text)?.[1]);
};
const closing = (served: Served): Promise<number> => figure(served, 'ringkv_ws_connections_closing');
const refused = (served: Served): Promise<number> => figure(served, 'ringkv_ws_connections_refused_total');
const status = (code: number): Buffer => frame(CLOSE, Buffer.from([code >> 8, code & 255]));

/** Ways in which a connection ends by a close frame while its client keeps its side of the socket: it does not read. */
const WAYS: readonly (readonly [string, Uint8Array])[] = [
  ['that the client closes', status(1000)],
  ['that the client closes with a code that there is not', status(1006)],
  ['that the server closes, for what is no message', frame(BINARY, Buffer.from('no CBOR'))],
];
/** A message of no requests. */
const NOTHING = encode({ ids: [], ops: [], keys: [] });
const MAX = 32;
const BESIDE = MAX / limits.wsClosingDivisor;

describe('sockets of connections that were closed with a frame', () => {
  it.each(WAYS)('count as connections for a while: those %s', async (_, last) => {
    const clock = new ManualClock(1_000_000);
    const served = await serve({ clock, wsConnectionsMax: MAX });
    const kept: RawWs[] = [];
    for (let count = 1; count <= MAX + BESIDE; count++) {
      const raw = await RawWs.connect(served.front.port);
      kept.push(raw);
      await raw.send(last);
      await eventually('it is closed', async () => (await closing(served)) === count);
    }
    expect(await figure(served, 'ringkv_ws_connections')).toBe(0);
    await expect(RawWs.connect(served.front.port)).rejects.toThrow(
      `0 WebSocket connections are open and ${MAX + BESIDE} were closed in the last ${limits.wsClosingMs} ms; the limit is ${MAX}`,
    );
    expect(await refused(served)).toBe(1);
    clock.advanceMs(limits.wsClosingMs);
    await eventually('they count no more', async () => (await closing(served)) === 0);
    await (await WsClient.connect(served.front.port)).close();
    for (const raw of kept) raw.destroy();
    await served.close();
  });

  it('take the place of HTTP connections too', async () => {
    const clock = new ManualClock(1_000_000);
    // One of a sixteenth is free, and one is for the scrape.
    const served = await serve({ clock, connectionsMax: 4 });
    const kept: RawWs[] = [];
    for (let count = 1; count <= 4; count++) {
      const raw = await RawWs.connect(served.front.port);
      kept.push(raw);
      await raw.send(status(1000));
      await eventually('it is closed', async () => (await closing(served)) === count);
    }
    const raw = await RawWs.connect(served.front.port);
    await raw.send(status(1000));
    await raw.readAll();
    const answer = await served.call('GET', '/healthz');
    expect([answer.status, answer.json.error.message]).toEqual([
      503,
      '0 connections are open and 5 are closing; the limit is 4; nothing was done',
    ]);
    clock.advanceMs(limits.wsClosingMs);
    await eventually('there is room', async () => (await served.call('GET', '/healthz')).status === 200);
    for (const one of kept) one.destroy();
    await served.close();
  });

  it('are gone when they count no more, though the clients keep their sides', async () => {
    const served = await serve();
    const before = readdirSync('/proc/self/fd').length;
    const kept: RawWs[] = [];
    for (const [, last] of WAYS)
      for (let i = 0; i < 10; i++) {
        const raw = await RawWs.connect(served.front.port);
        kept.push(raw);
        await raw.send(last);
      }
    await eventually('all are closed', async () => (await closing(served)) === kept.length);
    // Of each the client's side and the server's.
    expect(readdirSync('/proc/self/fd').length).toBeGreaterThanOrEqual(before + 2 * kept.length);
    await eventually('they count no more', async () => (await closing(served)) === 0);
    // One is of the scrape.
    expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before + kept.length + 2);
    for (const raw of kept) raw.destroy();
    await served.close();
  });

  it('do not count where the connection ended without a frame', async () => {
    const served = await serve({ wsConnectionsMax: 1 });
    for (let count = 0; count < 5; count++) {
      const raw = await RawWs.connect(served.front.port);
      if (count % 2 === 0) raw.socket.resetAndDestroy();
      else raw.socket.destroy();
      await eventually('it is gone', async () => (await figure(served, 'ringkv_ws_connections')) === 0);
    }
    expect(await closing(served)).toBe(0);
    await served.close();
  });
});

describe('a silent connection', () => {
  it('is sent a ping in each period, and none where something whole came', async () => {
    const clock = new ManualClock(1_000_000);
    const served = await serve({ clock });
    const silent = await RawWs.connect(served.front.port);
    // One for each sort of sign of life.
    const signs = [frame(9, Buffer.alloc(0)), frame(10, Buffer.alloc(0)), frame(BINARY, NOTHING)];
    const alive: RawWs[] = [];
    for (const _ of signs) alive.push(await RawWs.connect(served.front.port));
    const PING = frame(9, Buffer.alloc(0)).subarray(0, 1);
    const pings = (raw: RawWs): number =>
      raw.seen.toString('latin1').split(`${PING.toString('latin1')}\0`).length - 1;
    silent.read();
    const scout = await RawWs.connect(served.front.port);
    for (const raw of [...alive, scout]) raw.read();
    for (let period = 1; period <= 3; period++) {
      clock.advanceMs(limits.wsPingMs - 1);
      for (const [index, raw] of alive.entries()) await raw.send(signs[index] as Buffer);
      // What was sent before it on other sockets has been read: the loop takes all that have something to read.
      await scout.send(frame(9, Buffer.from(`${period}`)));
      await eventually('it is heard', () => scout.seen.includes(`${period}`));
      clock.advanceMs(1);
      await eventually('the ping came', () => pings(silent) === period);
    }
    expect(alive.map(pings)).toEqual([0, 0, 0]);
    for (const raw of [silent, scout, ...alive]) raw.destroy();
    await served.close();
  });
});
