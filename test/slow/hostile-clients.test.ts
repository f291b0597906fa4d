/** Many clients that mean no good, beside one that reads: what they cost is bounded, and it is served. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { KiB, limits, MiB } from '../../src/base/limits.ts';
import { type Served, serve } from '../front/harness.ts';
import { BINARY, encode, eventually, frame, GET, RawWs, WsClient } from '../front/ws-client.ts';

/** What the test itself, the collector and what malloc keeps may take. */
const ALLOWANCE = 128 * MiB;
const VALUE = Buffer.alloc(64 * KiB, 0xab);
const OPENED_AT_A_TIME = 50;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
async function served(changes: Parameters<typeof serve>[0] = {}): Promise<Served> {
  const one = await serve(changes, 4096);
  cleanups.push(() => one.close());
  return one;
}
async function figure(at: Served, name: string): Promise<number> {
  const { text } = await at.call('GET', '/metrics');
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
}
/** Scans that were answered. */
async function scans(at: Served): Promise<number> {
  const { text } = await at.call('GET', '/metrics');
  return Number(/^ringkv_http_requests_total\{[^}]*"scan"[^}]*status="200"\} (\d+)$/m.exec(text)?.[1] ?? 0);
}
async function each<T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> {
  const all: T[] = [];
  for (let first = 0; first < count; first += OPENED_AT_A_TIME)
    all.push(
      ...(await Promise.all(
        Array.from({ length: Math.min(OPENED_AT_A_TIME, count - first) }, (_, i) => make(first + i)),
      )),
    );
  return all;
}
/** How far resident memory grows meanwhile. */
class Growth {
  readonly #before = process.memoryUsage().rss;
  most = 0;
  look(): void {
    this.most = Math.max(this.most, process.memoryUsage().rss - this.#before);
  }
}

function plain(at: Served): Socket {
  const socket = connect(at.front.port, '127.0.0.1');
  socket.on('error', () => undefined);
  cleanups.push(() => socket.destroy());
  return socket;
}

describe('a thousand WebSocket clients that ask for large values and never read', () => {
  it('cost no more than is told, and one that reads is served all the while', async () => {
    const total = 2 * limits.wsBufferedBytesMax;
    const at = await served({ wsAnswersBytesMax: total });
    at.client.memory.set('big', VALUE);
    const reads = await WsClient.connect(at.front.port);
    cleanups.push(() => reads.close());
    const growth = new Growth();
    // 2.5 MiB of answers for each: the systems between keep some of it, and not all.
    const count = 40;
    const ids = Array.from({ length: count }, (_, id) => id);
    const asks = frame(BINARY, encode({ ids, ops: GET, keys: ids.map(() => 'big') }));
    let held = 0;
    let gone = 0;
    await each(1000, async (index) => {
      const raw = await RawWs.connect(at.front.port);
      cleanups.push(() => raw.destroy());
      await raw.send(asks);
      growth.look();
      if (index % 100 === 0) {
        held = Math.max(held, await figure(at, 'ringkv_ws_answers_bytes'));
        if ((await reads.get('big')).value?.equals(VALUE) !== true) gone++;
      }
    });
    await eventually(
      'all were answered, or closed',
      async () => (await figure(at, 'ringkv_ws_requests_in_flight')) === 0,
    );
    held = Math.max(held, await figure(at, 'ringkv_ws_answers_bytes'));
    growth.look();
    expect(gone).toBe(0);
    expect((await reads.get('big')).value?.equals(VALUE)).toBe(true);
    // So much was asked for that the limit was reached: a test that asks for little shows nothing.
    expect(held).toBeGreaterThan(total / 2);
    expect(held).toBeLessThanOrEqual(total);
    const closed = /_closed_total\{[^}]*reason="unread"\} (\d+)/.exec(
      (await at.call('GET', '/metrics')).text,
    )?.[1];
    expect(Number(closed)).toBeGreaterThan(0);
    // Twice while uWebSockets.js grows its buffers.
    expect(growth.most).toBeLessThan(2 * total + ALLOWANCE);
  });
});

describe('clients that never read what they scan', () => {
  it('hold no more than is told, and one that reads gets its page', async () => {
    const total = 24 * MiB;
    // The systems between keep some megabytes of an answer: it must be longer than these.
    const bytes = 7 * MiB;
    const at = await served({ httpAnswersBytesMax: total, maxValueBytes: bytes });
    expect((await at.call('PUT', '/v1/kv/large', {}, Buffer.alloc(bytes, 1))).status).toBe(204);
    const page = '/v1/scan?values=true';
    const { length } = (await at.call('GET', page)).bytes;
    expect(length).toBeGreaterThan(bytes);
    let held = 0;
    // One after another: what is measured is what is held, not what a scan takes while it runs.
    for (let asked = 1; asked <= 40; asked++) {
      const before = await scans(at);
      const socket = plain(at);
      await new Promise<void>((done) => socket.once('connect', () => done()));
      socket.pause();
      socket.write(`GET ${page} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await eventually(`scan ${asked} is answered`, async () => (await scans(at)) > before);
      held = Math.max(held, await figure(at, 'ringkv_http_answers_bytes'));
      if (asked % 10 === 0) expect((await at.call('GET', page)).bytes.length).toBe(length);
    }
    expect(held).toBeGreaterThan(total / 2);
    expect(held).toBeLessThanOrEqual(total);
  });
});

describe('clients that send a head byte by byte', () => {
  it('are ended, however long they go on, and hold no more than a head each', async () => {
    const at = await served();
    at.client.memory.set('k', Buffer.from('v'));
    const count = 200;
    const growth = new Growth();
    const begun = `GET /v1/kv/k HTTP/1.1\r\nHost: x\r\nX-Filler: ${'x'.repeat(8 * KiB)}`;
    const all = await each(count, async (index) => {
      const socket = plain(at);
      await new Promise<void>((done) => socket.once('connect', () => done()));
      // Some have sent most of it.
      socket.write(index % 2 === 0 ? begun : 'G');
      return socket;
    });
    expect(await figure(at, 'ringkv_http_connections')).toBeGreaterThanOrEqual(count);
    let rounds = 0;
    // 8 to 12 s, and a machine that is busy.
    for (; all.some(({ destroyed }) => !destroyed) && rounds < 120; rounds++) {
      for (const [index, socket] of all.entries())
        if (!socket.destroyed) socket.write(index % 2 === 0 ? 'x' : 'E');
      expect((await at.call('GET', '/v1/kv/k')).status).toBe(200);
      growth.look();
      await sleep(250);
    }
    expect(all.filter(({ destroyed }) => !destroyed).length).toBe(0);
    expect(rounds).toBeGreaterThan(3);
    expect(growth.most).toBeLessThan(ALLOWANCE);
  });
});
