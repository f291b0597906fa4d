import { afterEach, describe, expect, it } from 'vitest';
import { msAfter } from '../../src/base/clock.ts';
import { IoError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { MEMTABLE_DEAD, MEMTABLE_HIT, MEMTABLE_MISS } from '../../src/ipc/contract.ts';
import { SharedMemtableWriter } from '../../src/ipc/memtable-writer.ts';
import { Condition, Op } from '../../src/shard/contract.ts';
import {
  answered,
  answerOf,
  BEGIN_MS,
  bytes,
  type Call,
  Harness,
  type HarnessOptions,
  START_MS,
  settled,
  until,
} from './harness.ts';

let open: Harness[] = [];
function harness(options: HarnessOptions = {}): Harness {
  const one = new Harness(options);
  open.push(one);
  return one;
}
afterEach(async () => {
  await Promise.all(open.map((one) => one.close()));
  open = [];
});
const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};
function many(count: number, send: (i: number) => Call): Call[] {
  return Array.from({ length: count }, (_, i) => send(i));
}

describe('values of any permitted size', () => {
  it('pass both ways, beside the ring where they are too long for it, in order', async () => {
    const { client } = harness();
    const sizes = [0, 1, 2047, 40_000, 1 << 20, limits.valueBytesCeiling, 3];
    const values = sizes.map((size, i) => new Uint8Array(size).fill(i + 1));
    const puts = values.map((value) => client.put('k', value));
    const versions = (await answered(...puts)).map(({ version }) => version);
    expect(versions).toEqual(versions.toSorted((a, b) => a - b));
    for (const [i, value] of values.entries()) await answerOf(client.put(`k${i}`, value));
    const gets = await answered(...values.map((_, i) => client.get(`k${i}`)));
    for (const [i, value] of values.entries())
      expect(Buffer.compare(gets[i]?.body ?? bytes('?'), value)).toBe(0);
  });
});

describe('a full request ring', () => {
  it('refuses with OVERLOADED, with nothing done, and takes requests again later', async () => {
    const { client, engine } = harness({ ringBytes: 1 << 12 });
    const value = new Uint8Array(1000);
    const calls: Call[] = [];
    for (let refused = 0; refused === 0; ) {
      const call = client.trySend(Op.PUT, { key: `k${calls.length}`, value });
      if (typeof call === 'number') refused = call;
      else calls.push(call);
      if (refused !== 0) expect(refused).toBe(Status.OVERLOADED);
    }
    expect(calls.length).toBe(3);
    expect(client.client.inFlight).toBe(calls.length);
    await answered(...calls);
    expect(engine.appends).toBe(calls.length);
    expect(await answerOf(client.put('more', value))).toMatchObject({ status: Status.OK });
  });
  it('and a full table of slots, too', async () => {
    const { client, engine } = harness({ slotsMax: 8 });
    const calls = many(8, (i) => client.put(`k${i}`, 'v'));
    expect(client.submit(Op.PUT, { key: 'more', value: 'v' })).toBe(-Status.OVERLOADED);
    await answered(...calls);
    await answerOf(client.put('more', 'v'));
    expect(engine.appends).toBe(9);
  });
});

describe('a full reply ring', () => {
  it('loses no reply to writes, reads and scans, and stops the client by its own request ring', async () => {
    const one = harness();
    const { client, engine, server } = one;
    await answerOf(client.put('big', new Uint8Array(1500)));
    const slow = one.slowClient(1 << 12);
    const expected: [number, number, number][] = [];
    const send = (op: number, key: string, status: number, length: number): boolean => {
      if (!slow.send(op, { key, limit: 1, value: op === Op.SCAN ? 'big' : 'v' })) return false;
      expected.push([expected.length, status, length]);
      return true;
    };
    const round = (): boolean =>
      send(Op.GET, 'big', Status.OK, 1500) &&
      send(Op.DELETE, 'gone', Status.OK, 0) &&
      send(Op.GET, 'absent', Status.NOT_FOUND, 0) &&
      send(Op.SCAN, '', Status.OK, 1544);
    // Until nothing goes any more, though the shard has had its time with what is there.
    for (let refused = 0; refused < 10; ) {
      refused = round() ? 0 : refused + 1;
      await turns(5);
    }
    const held = server.requestsHeld;
    expect(held).toBeLessThanOrEqual(4);
    expect(expected.length).toBeGreaterThan(20);
    const appends = engine.appends;
    await turns(200);
    expect(engine.appends).toBe(appends);
    // The other client does not notice.
    for (let i = 0; i < 30; i++) expect((await answerOf(client.put(`k${i}`, 'v'))).status).toBe(Status.OK);

    const got: [number, number, number][] = [];
    await until(() => {
      got.push(...slow.read());
      return got.length >= expected.length;
    });
    await settled(client);
    got.push(...slow.read());
    expect(got.toSorted((a, b) => a[0] - b[0])).toEqual(expected);
    expect(server.requestsHeld).toBe(0);
  });
  it('keeps the replies to writes, and to reads that waited for a file, until there is room', async () => {
    const one = harness();
    const { client, engine, server } = one;
    await answerOf(client.put('big', new Uint8Array(1500)));
    const slow = one.slowClient(1 << 12);
    engine.automatic = false;
    engine.pends = (_, key) => Buffer.from(key).toString() === 'big';
    for (let i = 0; i < 10; i++) slow.send(Op.PUT, { key: `w${i}`, value: 'v' });
    for (let i = 0; i < 10; i++) slow.send(Op.GET, { key: 'big' });
    await until(() => engine.waiting.length === 10 && engine.appends === 11);
    engine.pends = () => false;
    while (engine.waiting.length > 0) engine.endLookup();
    await turns(20);
    engine.sync();
    await turns(20);
    expect(server.requestsHeld).toBeGreaterThan(10);
    const got: [number, number, number][] = [];
    await until(() => {
      got.push(...slow.read());
      return got.length >= 20;
    });
    expect(got.toSorted((a, b) => a[0] - b[0])).toEqual(
      Array.from({ length: 20 }, (_, i) => [i, Status.OK, i < 10 ? 0 : 1500]),
    );
    expect(server.requestsHeld).toBe(0);
  });
  it('is looked at again though nothing else happens on the shard', async () => {
    const one = harness();
    const { engine } = one;
    const slow = one.slowClient(1 << 12);
    engine.automatic = false;
    for (let round = 1; round <= 3; round++) {
      for (let i = 0; i < 40; i++) expect(slow.send(Op.PUT, { key: `w${i}`, value: 'v' })).toBe(true);
      await until(() => engine.appends === round * 40);
      await turns(5);
      engine.sync();
    }
    let got = 0;
    await until(() => {
      got += slow.read().length;
      return got === 120;
    });
  });
  it('of a client that goes away is forgotten', async () => {
    const one = harness();
    const { client, engine, server } = one;
    await answerOf(client.put('big', new Uint8Array(1500)));
    const slow = one.slowClient(1 << 12);
    engine.pends = (_, key) => Buffer.from(key).toString() === 'big';
    for (let i = 0; i < 10; i++) slow.send(Op.GET, { key: 'big' });
    await until(() => engine.waiting.length === 10);
    for (let i = 0; i < 9; i++) engine.endLookup();
    expect(server.requestsHeld).toBeGreaterThan(1);
    server.detach(50);
    expect(server.requestsHeld).toBe(1);
    engine.endLookup();
    expect(server.requestsHeld).toBe(0);
    expect((await answerOf(client.put('k', 'v'))).status).toBe(Status.OK);
  });
});

describe('two clients', () => {
  it('are served in turn, however much one of them asks', async () => {
    const { clients } = harness({ clients: 2, ringBytes: 1 << 20 });
    const [greedy, modest] = clients as [Harness['client'], Harness['client']];
    const flood = many(4000, (i) => greedy.put(`g${i}`, 'v'));
    const one = modest.put('m', 'v');
    await answerOf(one);
    const before = flood.filter(({ answer }) => answer !== null).length;
    expect(before).toBeLessThanOrEqual(2 * limits.shardBatchMax);
    await answered(...flood);
  });
});

describe('the requests that a shard holds', () => {
  it('are bounded: more writes get OVERLOADED, and nothing was done', async () => {
    const { client, engine } = harness({ heldMax: 10 });
    engine.automatic = false;
    const calls = many(15, (i) => client.put(`k${i}`, 'v'));
    const refused = await answered(...calls.slice(10));
    for (const { status } of refused) expect(status).toBe(Status.OVERLOADED);
    expect(engine.appends).toBe(10);
    engine.sync();
    for (const { status } of await answered(...calls.slice(0, 10))) expect(status).toBe(Status.OK);
    engine.automatic = true;
    expect((await answerOf(client.put('k', 'v'))).status).toBe(Status.OK);
  });
  it('and the bytes that it copies for them, too', async () => {
    const { client, engine, server } = harness();
    engine.pends = () => true;
    const value = new Uint8Array(limits.valueBytesCeiling);
    const calls: Call[] = [];
    for (let i = 0; i < 9; i++) {
      calls.push(client.put(`k${i}`, value, { condition: Condition.VERSION, version: 0 }));
      await turns(20);
    }
    const refused = calls.filter(({ answer }) => answer?.status === Status.OVERLOADED);
    expect(refused.length).toBe(2);
    engine.pends = () => false;
    while (engine.waiting.length > 0) engine.endLookup();
    await answered(...calls);
    expect(server.requestsHeld).toBe(0);
  });
});

describe('errors of the engine', () => {
  it('go to the request that met them, and no other', async () => {
    const { client, engine } = harness();
    await answerOf(client.put('k', 'v'));
    engine.pends = (_, key) => Buffer.from(key).toString() === 'bad';
    const bad = client.get('bad');
    const good = client.get('k');
    expect(await answerOf(good)).toMatchObject({ text: 'v' });
    engine.endLookup(0, new IoError('read /data/sst-1: EIO', 'EIO'));
    expect(await answerOf(bad)).toMatchObject({ status: Status.UNAVAILABLE, text: 'read /data/sst-1: EIO' });
    engine.error = new IoError('read /data/sst-2: EIO', 'EIO');
    expect(await answerOf(client.get('k'))).toMatchObject({ status: Status.UNAVAILABLE });
    expect(await answerOf(client.send(Op.SCAN))).toMatchObject({ status: Status.UNAVAILABLE });
    expect(await answerOf(client.send(Op.FLUSH))).toMatchObject({ status: Status.UNAVAILABLE });
    engine.error = null;
    expect(await answerOf(client.get('k'))).toMatchObject({ text: 'v' });
  });
  it('with long messages are cut at a character', async () => {
    const { client, engine } = harness();
    engine.error = new IoError('é'.repeat(2000), 'EIO');
    const { body } = await answerOf(client.get('k'));
    expect(body.length).toBe(limits.replyMessageBytesMax);
    expect(new TextDecoder('utf-8', { fatal: true }).decode(body)).toBe('é'.repeat(512));
  });
});

describe('the client', () => {
  it('gives TIMEOUT itself where no reply comes, drops the reply that comes later, and uses the slot again', async () => {
    const { client, engine, clock } = harness({ slotsMax: 1 });
    engine.automatic = false;
    const late = client.put('k', 'v', { deadlineMs: msAfter(BEGIN_MS, 50) });
    await until(() => engine.appends === 1);
    clock.advanceMs(50);
    client.client.expire();
    expect(late.answer).toMatchObject({ status: Status.TIMEOUT });
    expect(late.answer?.text).toContain('may have been done');
    const next = client.get('absent');
    engine.sync();
    expect(await answerOf(next)).toMatchObject({ slot: late.slot, status: Status.NOT_FOUND });
    await settled(client);
    expect(client.answers.filter(({ status }) => status === Status.OK)).toEqual([]);
  });
  it('looks at deadlines by itself', async () => {
    const { client, engine, clock } = harness();
    engine.automatic = false;
    const late = client.put('k', 'v', { deadlineMs: msAfter(BEGIN_MS, 50) });
    await until(() => engine.appends === 1);
    clock.advanceMs(50);
    const waited = performance.now();
    while (late.answer === null && performance.now() - waited < 60_000) await turns(1);
    expect(late.answer).toMatchObject({ status: Status.TIMEOUT });
  });
  it('can send again from within the handler', async () => {
    const { client } = harness({ slotsMax: 4 });
    let left = 50;
    const calls: Call[] = [client.put('k', 'v')];
    client.onAnswer = () => {
      if (left-- > 0) calls.push(client.put(`k${left}`, 'v'));
    };
    await until(() => calls.length === 51 && calls.every(({ answer }) => answer !== null));
  });
  it('reads the memtables without the shard', () => {
    const { client, memtables, clock } = harness();
    const writer = new SharedMemtableWriter(memtables);
    writer.activate(0);
    const key = bytes('k');
    hashToken(key);
    const fields = { tokenHi: token.hi, tokenLo: token.lo, keyspace: 0, key, origin: 1 };
    const local = () => client.client.getLocal(fields.tokenHi, fields.tokenLo, key, clock.nowMs());
    expect(local()).toBe(MEMTABLE_MISS);
    writer.append({ ...fields, value: bytes('value'), version: 5, flags: 2, expiresMs: START_MS + 10 });
    expect(local()).toBe(MEMTABLE_MISS);
    writer.setDurable(0, 1);
    expect(local()).toBe(MEMTABLE_HIT);
    const found = client.client.local;
    expect(Buffer.from(found.bytes.slice(found.start, found.start + found.length)).toString()).toBe('value');
    expect(found).toMatchObject({ version: 5, expiresMs: START_MS + 10 });
    clock.advanceMs(10);
    expect(local()).toBe(MEMTABLE_DEAD);
  });
  it('fails what is in flight with UNAVAILABLE when it is closed, and refuses more', async () => {
    const { client, engine } = harness();
    engine.automatic = false;
    const calls = [client.put('k', 'v'), client.get('k')];
    client.client.close();
    for (const { answer } of calls) expect(answer?.status).toBe(Status.UNAVAILABLE);
    expect(client.submit(Op.GET, { key: 'k' })).toBe(-Status.SHARD_DOWN);
    expect(client.client.getLocal(0, 0, bytes('k'), START_MS)).toBe(MEMTABLE_MISS);
    await turns(10);
  });
});

describe('a shard that is down', () => {
  it('fails reads with SHARD_DOWN and writes with UNAVAILABLE, outcome unknown, and refuses until it is back', async () => {
    const one = harness();
    const { client, engine, server } = one;
    engine.automatic = false;
    const write = client.put('k', 'v');
    await until(() => engine.appends === 1);
    engine.pends = () => true;
    const read = client.get('k');
    await until(() => engine.waiting.length === 1);
    server.detach(0);
    client.client.detach(0);
    expect(write.answer).toMatchObject({ status: Status.UNAVAILABLE });
    expect(write.answer?.text).toContain('outcome unknown');
    expect(read.answer).toMatchObject({
      status: Status.SHARD_DOWN,
      text: 'the shard is down; nothing was done',
    });
    expect(client.submit(Op.PUT, { key: 'k', value: 'w' })).toBe(-Status.SHARD_DOWN);
    engine.pends = () => false;
    engine.endLookup();
    engine.sync();
    expect(server.requestsHeld).toBe(0);
    engine.automatic = true;
    const again = one.restart();
    expect(await answerOf(client.get('k'))).toMatchObject({ text: 'v' });
    expect(await answerOf(client.put('k', 'w'))).toMatchObject({ status: Status.OK });
    await again.stop();
  });
  it('still gives the answers that it had given', async () => {
    const { client, engine, server } = harness();
    engine.automatic = false;
    const write = client.put('k', 'v');
    await until(() => engine.appends === 1);
    engine.sync();
    server.detach(0);
    client.client.detach(0);
    expect(write.answer).toMatchObject({ status: Status.OK });
  });
});
