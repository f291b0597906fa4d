/** What goes into the next message of a WebSocket, decided without one. */
import { describe, expect, it } from 'vitest';
import { MANUAL_MONOTONIC_MS, ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { KvOp, type KvOpCode } from '../../src/client/kv.ts';
import { Pending } from '../../src/client/pending.ts';
import { type ServerLimits, WsBatch } from '../../src/client/ws-batch.ts';
import { REQUEST_OVERHEAD_BYTES } from '../../src/client/ws-requests.ts';
import { monotonic } from '../base/clocks.ts';

const TOLD: ServerLimits = {
  valueBytesMax: 1000,
  messageBytesMax: 1 << 20,
  messageRequestsMax: 1000,
  inFlightMax: 101,
  inFlightBytesMax: 1 << 20,
  pausedBytes: 1 << 20,
};
const START_MS = 1000;
/** Bytes that a request of these tests has beside its value. */
const KEY_BYTES = 4;

class World {
  readonly clock = new ManualClock(START_MS);
  readonly tooLong: Pending[] = [];
  readonly batch: WsBatch;
  readonly outcomes = new Map<Pending, unknown>();
  constructor(told: Partial<ServerLimits> = {}) {
    this.batch = new WsBatch(this.clock, { ...TOLD, ...told }, (pending) => this.tooLong.push(pending));
    this.batch.restart({ ...TOLD, ...told });
  }
  make(op: KvOpCode, valueBytes = 0, deadlineMs = Number.POSITIVE_INFINITY): Pending {
    const value = op === KvOp.PUT ? new Uint8Array(valueBytes) : null;
    const none = { consistency: undefined, version: undefined, ttl: undefined, idempotencyKey: undefined };
    const settle = (outcome: unknown): unknown => this.outcomes.set(pending, outcome);
    const pending: Pending = new Pending(
      { op, key: new Uint8Array(KEY_BYTES), value, ...none },
      monotonic(deadlineMs),
      undefined,
      settle,
      settle,
    );
    return pending;
  }
  add(op: KvOpCode, valueBytes = 0, deadlineMs = Number.POSITIVE_INFINITY): Pending {
    const pending = this.make(op, valueBytes, deadlineMs);
    this.batch.add(pending);
    return pending;
  }
  many(count: number, op: KvOpCode = KvOp.PUT, valueBytes = 0): Pending[] {
    return Array.from({ length: count }, () => this.add(op, valueBytes));
  }
  codeOf(pending: Pending): unknown {
    return (this.outcomes.get(pending) as { readonly code?: string } | undefined)?.code;
  }
}

describe('requests that wait for a WebSocket', () => {
  it('go in the order in which they came, each under an id of its own', () => {
    const world = new World({ messageRequestsMax: 3 });
    const { batch } = world;
    const all = world.many(200, KvOp.GET);
    const sent: Pending[][] = [];
    for (let next = batch.next(); next.length > 0; next = batch.next()) {
      sent.push(next);
      for (const { id } of next) expect(batch.answered(id)?.id).toBe(id);
    }
    expect(new Set(sent.map(({ length }) => length))).toEqual(new Set([3, 2]));
    expect(sent.flat().every((pending, at) => pending === all[at])).toBe(true);
    expect(sent.flat()).toHaveLength(200);
    expect(new Set(all.map(({ id }) => id)).size).toBe(200);
    expect([batch.waiting, batch.inFlight, batch.isEmpty]).toEqual([0, 0, true]);
  });

  it('are bounded in number', () => {
    const world = new World();
    world.many(limits.clientQueueMax);
    expect(() => world.add(KvOp.GET)).toThrow(`the limit is ${limits.clientQueueMax}; nothing was sent`);
    expect(world.batch.next()).toHaveLength(100);
    world.many(100);
    expect(() => world.add(KvOp.GET)).toThrow('nothing was sent');
  });

  it('are bounded in bytes, which come back as they go; one is always taken', () => {
    const half = limits.clientQueueBytesMax / 2;
    const world = new World({ valueBytesMax: 2 * half, inFlightMax: 2 });
    // The bound holds for what waits, not for the one that finds the queue empty.
    const long = world.add(KvOp.PUT, 2 * half + 1);
    expect(() => world.add(KvOp.GET)).toThrow(`${2 * half + 1 + KEY_BYTES} bytes wait`);
    expect(world.batch.next()).toEqual([]);
    expect(world.tooLong).toEqual([long]);
    world.add(KvOp.PUT, half - KEY_BYTES);
    world.add(KvOp.PUT, half - KEY_BYTES);
    expect(() => world.add(KvOp.GET)).toThrow(`${2 * half} bytes wait`);
    expect(world.batch.next()).toHaveLength(1);
    world.add(KvOp.PUT, half - KEY_BYTES);
    expect(() => world.add(KvOp.GET)).toThrow(`${2 * half} bytes wait`);
  });

  it('are ended by their deadline wherever they stand, and never sent after it', () => {
    const world = new World();
    const { batch, clock } = world;
    const patient = world.add(KvOp.PUT);
    const late = world.add(KvOp.PUT, 0, MANUAL_MONOTONIC_MS + 10);
    const later = world.add(KvOp.PUT, 0, MANUAL_MONOTONIC_MS + 20);
    clock.advanceMs(9);
    batch.expire();
    expect(world.outcomes.size).toBe(0);
    clock.advanceMs(1);
    batch.expire();
    expect([world.codeOf(late), later.settled, patient.settled]).toEqual(['TIMEOUT', false, false]);
    // It is found when its turn comes, too.
    clock.advanceMs(10);
    expect(batch.next()).toEqual([patient]);
    expect(world.outcomes.get(later)).toMatchObject({ message: expect.stringContaining('nothing was done') });
  });

  it('make room as soon as those before all others are ended', () => {
    const world = new World();
    const half = limits.clientQueueBytesMax / 2;
    world.add(KvOp.PUT, half, MANUAL_MONOTONIC_MS + 10);
    world.add(KvOp.PUT, half - 2 * KEY_BYTES, MANUAL_MONOTONIC_MS + 10);
    expect(() => world.add(KvOp.GET)).toThrow('bytes wait');
    world.clock.advanceMs(10);
    expect(world.batch.expire()).toBe(false);
    expect([world.batch.waiting, world.batch.isEmpty]).toEqual([0, true]);
    world.add(KvOp.PUT, half);
    world.add(KvOp.GET);
  });

  it('go elsewhere where their value is longer than the server takes, by one byte', () => {
    const world = new World();
    const fits = world.add(KvOp.PUT, TOLD.valueBytesMax);
    const long = world.add(KvOp.PUT, TOLD.valueBytesMax + 1);
    const last = world.add(KvOp.GET);
    expect(world.batch.next()).toEqual([fits, last]);
    expect(world.tooLong).toEqual([long]);
  });
});

describe('a message', () => {
  it('has no more bytes than the server takes, what each request takes beside its key and value with them', () => {
    const each = KEY_BYTES + 100 + REQUEST_OVERHEAD_BYTES;
    const world = new World({ messageBytesMax: limits.wsMessageOverheadBytes + 3 * each });
    world.many(7, KvOp.PUT, 100);
    expect([world.batch.next(), world.batch.next(), world.batch.next()].map(({ length }) => length)).toEqual([
      3, 3, 1,
    ]);
    // One that is longer alone goes alone: the server says what is wrong with it.
    const small = new World({ messageBytesMax: 10 });
    small.many(2, KvOp.PUT, 100);
    expect(small.batch.next()).toHaveLength(1);
  });
});

describe('requests in flight', () => {
  it('leave one place of those that the server has for a heartbeat, however well all goes', () => {
    const world = new World({ inFlightMax: 5 });
    const { batch } = world;
    for (let round = 0; round < 50; round++) {
      world.many(10);
      const sent = batch.next();
      expect(sent).toHaveLength(4);
      for (const pending of sent) {
        batch.answered(pending.id);
        batch.succeeded(pending, 0);
      }
    }
    // A server of one place has none to leave.
    const one = new World({ inFlightMax: 1 });
    one.many(2);
    expect(one.batch.next()).toHaveLength(1);
    expect(one.batch.next()).toHaveLength(0);
    expect(one.batch.window).toBe(1);
  });

  it('are bounded in bytes, which each answer gives back; one is always taken', () => {
    const world = new World({ inFlightBytesMax: 300 });
    const { batch } = world;
    world.many(2, KvOp.PUT, 400);
    const [first] = batch.next();
    expect([first?.bytes, batch.next()]).toEqual([400 + KEY_BYTES, []]);
    batch.answered(first?.id ?? 0);
    const [second] = batch.next();
    batch.answered(second?.id ?? 0);
    for (let round = 0; round < 3; round++) {
      world.many(3, KvOp.PUT, 100 - KEY_BYTES);
      world.add(KvOp.GET);
      const sent = batch.next();
      expect(sent).toHaveLength(3);
      for (const { id } of [...sent, ...batch.next()]) batch.answered(id);
      for (const { id } of batch.next()) batch.answered(id);
    }
  });

  it('are no more gets than bytes that the server keeps for a reader, by the values of before', () => {
    const world = new World({ pausedBytes: 1000 });
    const { batch } = world;
    const get = world.add(KvOp.GET);
    batch.next();
    batch.answered(get.id);
    // One large value is reckoned with at once.
    batch.succeeded(get, 400);
    for (let round = 0; round < 3; round++) {
      world.many(3, KvOp.GET);
      const gets = batch.next();
      expect(gets).toHaveLength(2);
      for (const pending of gets) batch.answered(pending.id);
      const [last] = batch.next();
      // Puts bring no values.
      const puts = world.many(5);
      expect(batch.next()).toEqual(puts);
      for (const { id } of [...puts, last as Pending]) batch.answered(id);
    }
    // And forgotten slowly, where values are short.
    const short = world.add(KvOp.GET);
    batch.next();
    batch.answered(short.id);
    batch.succeeded(short, 0);
    world.many(3, KvOp.GET);
    expect(batch.next()).toHaveLength(2);
    for (let n = 0; n < 1000; n++) batch.succeeded(short, 0);
    expect(batch.next()).toHaveLength(1);
  });

  it('are halved by OVERLOADED once for all that were together, and raised by one for each window of successes', () => {
    const world = new World();
    const { batch } = world;
    world.many(200);
    const first = batch.next();
    expect(first).toHaveLength(100);
    for (const pending of first) batch.answered(pending.id);
    // The 40th was one too many: half of what was in flight with it.
    for (const pending of first.slice(39)) batch.overloaded(pending);
    expect(batch.window).toBe(20);
    const second = batch.next();
    expect(second).toHaveLength(20);
    for (const pending of second) {
      batch.answered(pending.id);
      batch.succeeded(pending, 0);
    }
    expect(batch.window).toBe(20);
    batch.succeeded(second[0] as Pending, 0);
    expect(batch.window).toBe(21);
    // The first one that was sent after the window was halved tells of the window as it is now.
    batch.overloaded(second[0] as Pending);
    expect(batch.window).toBe(1);
    for (const pending of second) batch.overloaded(pending);
    expect(batch.window).toBe(1);
  });

  it('start anew with a connection, and what its server told', () => {
    const world = new World();
    const { batch } = world;
    world.many(10);
    const [first] = batch.next();
    batch.overloaded(first as Pending);
    expect(batch.window).toBe(1);
    batch.fail('sent', 'unsent');
    batch.restart({ ...TOLD, messageRequestsMax: 7, inFlightMax: 51 });
    expect(batch.window).toBe(50);
    world.many(100);
    expect(batch.next()).toHaveLength(7);
  });

  it('end when the server is late by more than a grace time, and tell when it is very late', () => {
    const world = new World();
    const { batch, clock } = world;
    const sent = world.add(KvOp.PUT, 0, MANUAL_MONOTONIC_MS + 10);
    batch.next();
    clock.advanceMs(10 + limits.clientGraceMs - 1);
    expect([batch.expire(), sent.settled]).toEqual([false, false]);
    clock.advanceMs(1);
    expect([batch.expire(), world.codeOf(sent)]).toEqual([false, 'TIMEOUT']);
    expect(world.outcomes.get(sent)).toMatchObject({ message: expect.stringContaining('unknown') });
    // The server still counts it: its place is not free.
    expect([batch.inFlight, batch.isEmpty]).toEqual([1, false]);
    clock.advanceMs(limits.clientStuckMs - limits.clientGraceMs);
    expect(batch.expire()).toBe(false);
    clock.advanceMs(1);
    expect(batch.expire()).toBe(true);
    expect(batch.answered(sent.id)).toBe(sent);
    expect([batch.answered(sent.id), batch.isEmpty]).toEqual([undefined, true]);
  });
});

describe('a connection that is lost', () => {
  it('ends what was sent and what was not, each with its own error, and keeps nothing of them', () => {
    const half = limits.clientQueueBytesMax / 2;
    const told = { inFlightMax: 3, inFlightBytesMax: 250, pausedBytes: 150, valueBytesMax: 2 * half };
    const world = new World(told);
    const { batch } = world;
    for (let round = 0; round < 3; round++) {
      const get = world.add(KvOp.GET);
      expect(batch.next()).toEqual([get]);
      batch.succeeded(get, 100);
      const put = world.add(KvOp.PUT, 200);
      expect(batch.next()).toEqual([put]);
      const waiting = [
        world.add(KvOp.PUT, half),
        world.add(KvOp.PUT, half - 3 * KEY_BYTES),
        world.add(KvOp.GET),
      ];
      batch.fail('sent', 'unsent');
      expect([get, put, ...waiting].map((one) => world.outcomes.get(one))).toEqual([
        'sent',
        'sent',
        'unsent',
        'unsent',
        'unsent',
      ]);
      expect([batch.isEmpty, batch.next()]).toEqual([true, []]);
    }
  });
  it('ends what waits behind others that went before', () => {
    const world = new World({ messageRequestsMax: 2 });
    const all = world.many(5);
    for (const { id } of world.batch.next()) world.batch.answered(id);
    world.batch.fail('sent', 'unsent');
    expect(all.map((one) => world.outcomes.get(one))).toEqual([
      undefined,
      undefined,
      'unsent',
      'unsent',
      'unsent',
    ]);
    const next = world.many(3);
    expect([...world.batch.next(), ...world.batch.next()]).toEqual(next);
  });
});
