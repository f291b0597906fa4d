import { describe, expect, it } from 'vitest';
import { limits, MiB } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { nextSize, roomOf, sizesOf } from '../../src/front/ws-sizes.ts';
import { serve } from '../front/harness.ts';
import { BINARY, encode, eventually, frame, PING, PUT, RawWs, WsClient } from '../front/ws-client.ts';

const UNFINISHED = 64 * MiB;
const VALUE = MiB / 4;
/** What the test itself, the collector and what malloc keeps may take beside. */
const ALLOWANCE = 96 * MiB;

/** A message that is never whole: `bytes` of it in fragments, with a ping in the end as a sign of life. */
async function sendUnfinished(raw: RawWs, bytes: number): Promise<void> {
  const fragment = Buffer.alloc(Math.min(bytes, 64 * 1024), 1);
  for (let sent = 0; sent < bytes && raw.isOpen; sent += fragment.length)
    await raw.send(frame(sent === 0 ? BINARY : 0, fragment.subarray(0, bytes - sent), false));
  await raw.send(frame(PING, Buffer.from('alive')));
}

/** Each was heard, or was cut off. */
async function settled(all: readonly RawWs[]): Promise<void> {
  for (const raw of all) raw.read();
  await eventually('all that are left are heard', () =>
    all.every((raw) => !raw.isOpen || raw.seen.includes(Buffer.from('alive'))),
  );
}

describe('messages that are never whole', () => {
  it('of as many connections as there may be come to no more than is told, whatever each may send', async () => {
    const served = await serve({ maxValueBytes: VALUE, wsUnfinishedBytesMax: UNFINISHED });
    const sizes = sizesOf(1024, VALUE, UNFINISHED);
    const room = roomOf(sizes);
    const before = process.memoryUsage().rss;
    const all: RawWs[] = [];
    for (let count = 0; count < room; count++) all.push(await RawWs.connect(served.front.port));
    // Each would hold the longest message there is; most are cut off long before.
    for (let at = 0; at < room; at += 20)
      await Promise.all(all.slice(at, at + 20).map((raw) => sendUnfinished(raw, limits.wsMessageBytesMax)));
    await settled(all);
    // Those that were cut off come again, and send no more than any connection takes.
    const least = sizes.at(-1)?.messageBytesMax as number;
    const later = all.flatMap((raw, index) => (raw.isOpen ? [] : [index]));
    for (const index of later) {
      const raw = await RawWs.connect(served.front.port);
      all[index] = raw;
      await sendUnfinished(raw, least - 1024);
    }
    await settled(all);
    const held = process.memoryUsage().rss - before;
    expect(held).toBeLessThan(UNFINISHED + ALLOWANCE);
    // So much was sent and is held: a test that sends nothing shows nothing.
    expect(held).toBeGreaterThan(UNFINISHED / 2);
    expect(all.filter((raw) => raw.isOpen)).toHaveLength(room);
    await expect(RawWs.connect(served.front.port)).rejects.toThrow(
      `${room} WebSocket connections are open and 0 were closed in the last ${limits.wsClosingMs} ms; the limit is ${room}`,
    );
    all[0]?.destroy();
    await eventually('one is gone', async () =>
      (await served.call('GET', '/metrics')).text.includes(`ringkv_ws_connections{frontend="0"} ${room - 1}`),
    );
    const other = await WsClient.connect(served.front.port);
    expect((await other.put('k', 'served on')).status).toBe(0);
    await other.close();
    for (const raw of all) raw.destroy();
    await served.close();
  });
});

describe('a connection beyond those that long messages have room for', () => {
  it('is told of its limits, held to them, and reads values of any length', async () => {
    const served = await serve({ maxValueBytes: VALUE, wsUnfinishedBytesMax: UNFINISHED });
    const sizes = sizesOf(1024, VALUE, UNFINISHED);
    const clients: WsClient[] = [];
    for (let size = nextSize(sizes); size !== null && size !== sizes.at(-1); size = nextSize(sizes)) {
      size.connections++;
      clients.push(await WsClient.connect(served.front.port));
    }
    const small = await WsClient.connect(served.front.port);
    const { messageBytesMax = 0, valueBytesMax = 0 } = small.limits;
    expect([messageBytesMax, valueBytesMax]).toEqual([sizes.at(-1)?.messageBytesMax, 24 * 1024]);
    expect(clients.map((client) => client.limits.valueBytesMax)).toEqual(clients.map(() => VALUE));
    const key = 'k'.repeat(1024);
    expect((await small.put(key, Buffer.alloc(valueBytesMax, 1))).status).toBe(Status.OK);
    expect((await clients.at(-1)?.put('long', Buffer.alloc(VALUE, 2)))?.status).toBe(Status.OK);
    expect((await small.get('long')).value?.equals(Buffer.alloc(VALUE, 2))).toBe(true);
    // A little too long has a reason, far too long has none.
    const request = { ids: [1], ops: PUT, keys: ['k'], values: [Buffer.alloc(messageBytesMax)] };
    small.sendBytes(encode(request));
    expect(await small.closed).toEqual({
      code: 1008,
      reason: `a message of ${encode(request).length} bytes; the limit is ${messageBytesMax}`,
    });
    const next = await WsClient.connect(served.front.port);
    expect(next.limits.messageBytesMax).toBe(messageBytesMax);
    next.sendBytes(Buffer.alloc(2 * messageBytesMax));
    expect((await next.closed).code).toBe(1006);
    // One that ends makes room for a long one.
    await clients[0]?.close();
    const large = await WsClient.connect(served.front.port);
    expect(large.limits.messageBytesMax).toBe(sizes[0]?.messageBytesMax);
    for (const client of [...clients.slice(1), large]) await client.close();
    await served.close();
  });
});
