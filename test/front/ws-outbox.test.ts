import type { WebSocket } from 'uWebSockets.js';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { WsConnection, WsSlots, type WsUserData } from '../../src/front/ws-connection.ts';
import { WsMetrics } from '../../src/front/ws-metrics.ts';
import { WsOutbox } from '../../src/front/ws-outbox.ts';
import { WsSize } from '../../src/front/ws-sizes.ts';
import { answersOf } from './ws-client.ts';

const SIZE = new WsSize(1024, 1024, 8192, 1);

/** A connection whose client takes nothing beyond what `takes`, and what was sent on it. */
function connect(takes = Number.POSITIVE_INFINITY): { connection: WsConnection; sent: Buffer[] } {
  const connection = new WsConnection(SIZE);
  const sent: Buffer[] = [];
  let waiting = 0;
  const socket = {
    send: (bytes: Uint8Array) => {
      sent.push(Buffer.from(bytes));
      const total = sent.reduce((sum, { length }) => sum + length, 0);
      waiting = Math.max(0, total - takes);
      return waiting === 0 ? 1 : 0;
    },
    getBufferedAmount: () => waiting,
  };
  connection.ws = socket as unknown as WebSocket<WsUserData>;
  return { connection, sent };
}
interface World {
  readonly metrics: WsMetrics;
  readonly outbox: WsOutbox;
  readonly full: [WsConnection, string][];
}
function world(nowMs = 1): World {
  const metrics = new WsMetrics();
  const full: [WsConnection, string][] = [];
  return {
    metrics,
    full,
    outbox: new WsOutbox(
      metrics,
      () => nowMs,
      (connection, what) => full.push([connection, what]),
    ),
  };
}

describe('answers of WebSocket connections', () => {
  it('of one turn share a message for each connection', async () => {
    const { outbox, metrics } = world();
    const [one, two] = [connect(), connect()];
    for (let id = 0; id < 5; id++) {
      outbox.message(one.connection).add(id, 0, 1, false, '');
      outbox.message(two.connection).add(100 + id, 0, 1, false, '');
    }
    expect(one.sent).toHaveLength(0);
    await turn();
    expect(one.sent).toHaveLength(1);
    expect(answersOf(two.sent[0] as Buffer).map(({ id }) => id)).toEqual([100, 101, 102, 103, 104]);
    outbox.message(one.connection).add(9, 1, -1, false, '');
    await turn();
    expect(answersOf(one.sent[1] as Buffer)).toMatchObject([{ id: 9, status: 1 }]);
    expect(metrics.messagesOut).toBe(3);
    const bytes = [...one.sent, ...two.sent].reduce((sum, { length }) => sum + length, 0);
    expect(metrics.bytesOut).toBe(bytes);
  });

  it('share a message however many turns there were before, and are sent once', async () => {
    const { outbox, metrics } = world();
    const [one, two] = [connect(), connect()];
    const turns = 2 * limits.wsAnswersMax;
    for (let id = 0; id < turns; id++) {
      outbox.message(one.connection).add(id, 0, 1, false, '');
      await turn();
    }
    outbox.message(one.connection).add(1, 0, 1, false, '');
    outbox.message(two.connection).add(2, 0, 1, false, '');
    expect([one.sent.length, two.sent.length]).toEqual([turns, 0]);
    outbox.send(one.connection);
    outbox.send(one.connection);
    outbox.sendAll();
    outbox.sendAll();
    await turn();
    expect([one.sent.length, two.sent.length, metrics.messagesOut]).toEqual([turns + 1, 1, turns + 2]);
  });

  it('are sent earlier where a message is full, or too many connections have one', async () => {
    const { outbox } = world();
    const one = connect();
    for (let id = 0; id <= limits.wsBatchRequestsMax; id++)
      outbox.message(one.connection).add(id, 0, 1, false, '');
    expect(one.sent).toHaveLength(1);
    const many = Array.from({ length: limits.wsAnswersMax }, () => connect());
    for (const { connection } of many) outbox.message(connection).add(1, 0, 1, false, '');
    expect(one.sent).toHaveLength(2);
    await turn();
    expect(many.every(({ sent }) => sent.length === 1)).toBe(true);
  });

  it('of a connection that is gone go nowhere, and their message serves another', async () => {
    const { outbox, metrics } = world();
    const [gone, other] = [connect(10), connect()];
    outbox.message(gone.connection).add(1, 0, 1, false, 'x'.repeat(100));
    outbox.send(gone.connection);
    expect(metrics.bufferedBytes).toBeGreaterThan(0);
    const message = outbox.message(gone.connection);
    message.add(2, 0, 1, false, '');
    gone.connection.ws = null;
    outbox.forget(gone.connection);
    expect(metrics.bufferedBytes).toBe(0);
    await turn();
    expect(gone.sent).toHaveLength(1);
    expect(outbox.message(other.connection)).toBe(message);
    outbox.message(other.connection).add(3, 0, 1, false, '');
    await turn();
    expect(answersOf(other.sent[0] as Buffer).map(({ id }) => id)).toEqual([3]);
  });

  it('pause a connection, and resume it', () => {
    const { outbox, metrics, full } = world();
    const { connection } = connect();
    outbox.setBuffered(connection, limits.wsPausedBytes);
    expect(connection.paused).toBe(false);
    outbox.setBuffered(connection, limits.wsPausedBytes + 1);
    expect([connection.paused, metrics.paused]).toEqual([true, 1]);
    expect(connection.refusal()).toContain(`more than ${limits.wsPausedBytes} bytes`);
    expect(outbox.hasRoom(connection, limits.wsValuesBytesMax - limits.wsPausedBytes - 1)).toBe(true);
    expect(outbox.hasRoom(connection, limits.wsValuesBytesMax - limits.wsPausedBytes)).toBe(false);
    // What is in the message that is being made counts as well.
    outbox.message(connection).addValue(1, 1, 0, Buffer.alloc(5000), 0, 5000);
    const room = limits.wsValuesBytesMax - limits.wsPausedBytes - 1;
    expect([outbox.hasRoom(connection, room - 5003), outbox.hasRoom(connection, room - 5002)]).toEqual([
      true,
      false,
    ]);
    outbox.setBuffered(connection, 0);
    expect([connection.refusal(), metrics.paused]).toEqual(['', 0]);
    expect(full).toEqual([]);
  });

  it('close a connection with too many, and the one with most where those of all are too many', () => {
    const { outbox, full } = world();
    const { connection } = connect();
    outbox.setBuffered(connection, limits.wsBufferedBytesMax + 1);
    expect(full).toEqual([
      [
        connection,
        `${limits.wsBufferedBytesMax + 1} bytes of answers wait; the limit is ${limits.wsBufferedBytesMax}`,
      ],
    ]);

    const all = world();
    const count = limits.wsBufferedTotalBytesMax / limits.wsBufferedBytesMax;
    const others = Array.from({ length: count }, () => connect().connection);
    for (const other of others) all.outbox.setBuffered(other, limits.wsBufferedBytesMax - 1);
    all.outbox.setBuffered(others[7] as WsConnection, limits.wsBufferedBytesMax);
    const reads = connect().connection;
    all.outbox.setBuffered(reads, count - 1);
    expect(all.full).toEqual([]);
    const last = connect().connection;
    all.outbox.setBuffered(last, 1);
    expect(all.full.map(([one]) => others.indexOf(one))).toEqual([7]);
    expect(all.full[0]?.[1]).toContain(`in all; the limit is ${limits.wsBufferedTotalBytesMax}`);
    // What is gone is no longer kept.
    const { unread } = all.outbox;
    all.outbox.forget(others[7] as WsConnection);
    expect(all.outbox.unread).toBe(unread - 1);
    all.outbox.setBuffered(last, limits.wsBufferedBytesMax);
    all.outbox.setBuffered(connect().connection, 1);
    expect(all.full.map(([one]) => one).at(-1) === last).toBe(true);
  });
});

describe('what was not read of connections that are closing', () => {
  it('counts with that of all, and the open connection with most gives way', () => {
    const { outbox, metrics, full } = world();
    const [small, large] = [connect().connection, connect().connection];
    outbox.setBuffered(large, 1000);
    metrics.closingBytes = limits.wsBufferedTotalBytesMax - 1001;
    outbox.setBuffered(small, 1);
    expect(full).toEqual([]);
    outbox.setBuffered(small, 2);
    expect(full.map(([one]) => one === large)).toEqual([true]);
    expect(full[0]?.[1]).toContain(`${limits.wsBufferedTotalBytesMax + 1} bytes of answers wait in all`);
  });
  it('closes nobody whose client has read everything', () => {
    const { outbox, metrics, full } = world();
    const { connection } = connect();
    outbox.setBuffered(connection, 1);
    metrics.closingBytes = limits.wsBufferedTotalBytesMax + 1;
    outbox.setBuffered(connection, 0);
    expect(full).toEqual([]);
  });
});

describe('a client with answers to read', () => {
  it('must read so much in each period, however many small messages it gets', () => {
    const { outbox } = world();
    const { connection } = connect(0);
    const period = limits.wsDrainPeriodMs;
    for (let sent = 0; sent < 1000; sent++) {
      outbox.message(connection).add(sent, 0, 1, false, '');
      outbox.send(connection);
    }
    // What waits is told with the heads of the frames.
    const waiting = connection.sentBytes;
    outbox.setBuffered(connection, waiting);
    connection.beginPeriod(0);
    expect(connection.readBytes).toBe(0);
    expect(connection.isUnread(period - 1)).toBe(false);
    expect(connection.isUnread(period)).toBe(true);

    connection.sentBytes += 3 * limits.wsDrainPeriodBytesMin;
    outbox.setBuffered(connection, connection.sentBytes);
    connection.beginPeriod(0);
    outbox.setBuffered(connection, connection.bufferedBytes - limits.wsDrainPeriodBytesMin);
    expect(connection.isUnread(period)).toBe(false);
    outbox.setBuffered(connection, connection.bufferedBytes - limits.wsDrainPeriodBytesMin + 1);
    expect(connection.isUnread(2 * period - 1)).toBe(false);
    expect(connection.isUnread(2 * period)).toBe(true);
    outbox.setBuffered(connection, 0);
    expect(connection.isUnread(9 * period)).toBe(false);
  });
  it('has a whole period from when something waits for it', () => {
    const nowMs = 5 * limits.wsDrainPeriodMs;
    const { outbox } = world(nowMs);
    const { connection } = connect();
    outbox.setBuffered(connection, 1);
    expect(connection.isUnread(nowMs + limits.wsDrainPeriodMs - 1)).toBe(false);
    outbox.setBuffered(connection, 2);
    expect(connection.isUnread(nowMs + limits.wsDrainPeriodMs)).toBe(true);
  });
  // RFC 6455, section 5.2: 7 bits of length, 16, or 64.
  it.each([
    [125, 2],
    [126, 4],
    [65_535, 4],
    [65_536, 10],
  ])(
    'has what it was sent counted as it goes over the wire: a message of %i bytes has a head of %i',
    (length, head) => {
      const { outbox } = world();
      const { connection, sent } = connect();
      // What the message has beside the value, the head of the value with it.
      const around = length < 300 ? 39 : 40;
      outbox.message(connection).addValue(1, 1, 0, Buffer.alloc(length - around), 0, length - around);
      outbox.send(connection);
      expect([sent[0]?.length, connection.sentBytes]).toEqual([length, length + head]);
    },
  );
});

describe('a silent connection', () => {
  it('is asked for a sign of life once in each period in which nothing whole came', () => {
    const connection = new WsConnection(SIZE);
    const period = limits.wsPingMs;
    connection.heardMs = 1000;
    expect([connection.isPingDue(1000 + period - 1), connection.isPingDue(1000 + period)]).toEqual([
      false,
      true,
    ]);
    expect([connection.isPingDue(1000 + period), connection.isPingDue(1000 + 2 * period - 1)]).toEqual([
      false,
      false,
    ]);
    connection.heardMs = 1000 + period + 7;
    expect([connection.isPingDue(1000 + 2 * period), connection.isPingDue(1000 + 2 * period + 7)]).toEqual([
      false,
      true,
    ]);
  });
});

describe('slots of WebSocket requests', () => {
  it('are bounded, given back, and count for their connection', () => {
    const slots = new WsSlots(2);
    const connection = new WsConnection(SIZE);
    const taken = [10, 20].map((bytes) => {
      const slot = slots.next();
      slots.bytes[slot] = bytes;
      slots.take(connection);
      return slot;
    });
    expect([slots.next(), connection.inFlight, connection.inFlightBytes]).toEqual([-1, 2, 30]);
    expect(slots.free(taken[0] as number)).toBe(connection);
    expect([slots.next(), connection.inFlight, connection.inFlightBytes]).toEqual([taken[0], 1, 20]);
    expect(() => slots.free(taken[0] as number)).toThrow('is free already');
  });
});
