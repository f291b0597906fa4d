import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Condition, Op, type ShardRequest, Sloppy } from '../../src/shard/contract.ts';
import { type Served, serve } from '../front/harness.ts';
import {
  BINARY,
  DELETE,
  decode,
  encode,
  eventually,
  frame,
  GET,
  PING,
  PUT,
  RawWs,
  WsClient,
} from '../front/ws-client.ts';
import { FIRST_VERSION, NOW_MS, refusals, vectors } from '../front/ws-vectors.ts';

let served: Served;
let client: WsClient;
beforeAll(async () => {
  served = await serve();
  client = await WsClient.connect(served.front.port);
});
afterAll(async () => {
  await client.close();
  await served.close();
});
const bytes = (text: string): Buffer => Buffer.from(text);
const lastSent = (): ShardRequest => served.client.sent.at(-1) as ShardRequest;

describe('put, get and delete', () => {
  it('of one key each, with versions', async () => {
    const put = await client.put('a', 'one');
    expect(put).toMatchObject({ status: 0, sloppy: false, message: null, value: null });
    expect(await client.get('a')).toMatchObject({ status: 0, version: put.version, value: bytes('one') });
    expect(await client.delete('a')).toMatchObject({ status: 0 });
    expect(await client.get('a')).toMatchObject({ status: 1, version: null, value: null, message: null });
  });

  it('in one message, whose answers share one', async () => {
    await client.put('m1', 'x');
    const before = client.messages.length;
    const answers = await client.request({
      ops: [PUT, GET, DELETE, GET],
      keys: ['m2', 'm1', 'm3', 'none'].map(bytes),
      values: [bytes('y'), null, null, null],
    });
    expect(answers.map(({ status }) => status)).toEqual([0, 0, 0, 1]);
    expect(answers[1]?.value?.toString()).toBe('x');
    expect(client.messages.length).toBe(before + 1);
  });

  it('is the same as over HTTP, which sees what is written here', async () => {
    const put = await client.put('both', 'by WebSocket', { ttls: 50 });
    const read = await served.call('GET', '/v1/kv/both');
    expect(read.json).toMatchObject({
      value: bytes('by WebSocket').toString('base64'),
      version: put.version,
      ttl: 50,
    });
    await served.call('PUT', '/v1/kv/both', {}, 'by HTTP');
    expect((await client.get('both')).value?.toString()).toBe('by HTTP');
  });

  it('reads what shared memory holds without a request to a shard', async () => {
    served.client.memory.set('warm', bytes('in memory'));
    served.client.memory.set('dead', null);
    const sent = served.client.sent.length;
    const answers = await client.request({ ops: GET, keys: ['warm', 'dead'].map(bytes) });
    expect(answers.map(({ status, value }) => [status, value?.toString()])).toEqual([
      [0, 'in memory'],
      [1, undefined],
    ]);
    expect(served.client.sent.length).toBe(sent);
    served.client.memory.clear();
  });

  it('takes any bytes as key, a text for its UTF-8, and an empty value', async () => {
    const key = Buffer.from([0, 255, 10]);
    await client.one({ ops: PUT, keys: [key], values: [Buffer.alloc(0)] });
    expect((await client.one({ ops: GET, keys: [key] })).value).toEqual(Buffer.alloc(0));
    await client.one({ ops: PUT, keys: ['é'], values: [bytes('text')] });
    expect((await client.one({ ops: GET, keys: [bytes('é')] })).value?.toString()).toBe('text');
  });

  it('keeps keys and values apart though the message is gone when they are carried out', async () => {
    served.client.held = [];
    const waiting = client.request({
      ops: PUT,
      keys: ['k1', 'k2', 'k3'].map(bytes),
      values: ['v1', 'v22', 'v333'].map(bytes),
    });
    await eventually('the requests are held', () => served.client.held?.length === 3);
    // Others reuse the memory of the message meanwhile.
    const other = await WsClient.connect(served.front.port);
    other.sendBytes(encode({ ids: [1], ops: 9, keys: ['x'.repeat(60)] }));
    await eventually('the other is answered', () => other.messages.length === 2);
    served.client.release();
    await waiting;
    const answers = await client.request({ ops: GET, keys: ['k1', 'k2', 'k3'].map(bytes) });
    expect(answers.map(({ value }) => value?.toString())).toEqual(['v1', 'v22', 'v333']);
    await other.close();
  });
});

describe('options', () => {
  it('reach the store as those of HTTP do', async () => {
    const before = Date.now();
    const begunMs = performance.now();
    // The front end reads the clock once a turn.
    await new Promise(setImmediate);
    await client.put('o', 'x', { ttls: [2.5], consistency: [4], sloppy: [true], timeouts: [1500] });
    expect(lastSent()).toMatchObject({
      op: Op.PUT,
      consistency: 4,
      sloppy: Sloppy.YES,
      condition: Condition.NONE,
    });
    const { expiresMs, deadlineMs } = lastSent();
    expect(expiresMs).toBeGreaterThanOrEqual(before + 2500);
    expect(expiresMs).toBeLessThanOrEqual(Date.now() + 2500);
    expect(deadlineMs).toBeGreaterThanOrEqual(begunMs + 1500);
    expect(deadlineMs).toBeLessThanOrEqual(performance.now() + 1500);
    await client.delete('o', { sloppy: false, versions: 7, consistency: 1 });
    expect(lastSent()).toMatchObject({
      op: Op.DELETE,
      consistency: 1,
      sloppy: Sloppy.NO,
      condition: Condition.VERSION,
      version: 7,
    });
    await client.get('o', { consistency: 3 });
    expect(lastSent()).toMatchObject({ op: Op.GET, consistency: 3 });
    expect(lastSent().deadlineMs).toBeLessThanOrEqual(performance.now() + limits.requestTimeoutMsDefault);
    await client.get('o');
    expect(lastSent()).toMatchObject({ consistency: 0, sloppy: Sloppy.UNSAID, condition: Condition.NONE });
  });

  it('said once for all go to the requests that take them, and those of one request to it alone', async () => {
    const from = served.client.sent.length;
    await client.request({
      ops: [PUT, GET, DELETE],
      keys: ['p', 'p', 'p'].map(bytes),
      values: [bytes('x'), null, null],
      ttls: 5,
      versions: 0,
      sloppy: true,
      consistency: [null, 1, 2],
    });
    const [put, get, del] = served.client.sent.slice(from);
    expect(put).toMatchObject({
      op: Op.PUT,
      condition: Condition.VERSION,
      version: 0,
      sloppy: Sloppy.YES,
      consistency: 0,
    });
    expect(put?.expiresMs).toBeGreaterThan(0);
    expect(get).toMatchObject({
      op: Op.GET,
      condition: Condition.NONE,
      sloppy: Sloppy.UNSAID,
      consistency: 1,
    });
    expect(del).toMatchObject({ op: Op.DELETE, condition: Condition.VERSION, expiresMs: 0, consistency: 2 });
  });

  it('make writes conditional: by version, and by whether the key is there', async () => {
    const first = await client.put('c', '1', { exists: false });
    expect(first.status).toBe(0);
    expect(await client.put('c', '2', { exists: false })).toMatchObject({
      status: 2,
      version: first.version,
    });
    expect(await client.put('c', '2', { versions: 0 })).toMatchObject({ status: 2, version: first.version });
    const second = await client.put('c', '2', { versions: [first.version] });
    expect(second.status).toBe(0);
    expect(await client.delete('c', { versions: first.version })).toMatchObject({
      status: 2,
      version: second.version,
      message: `the write demands version ${first.version} and the current version is ${second.version}; nothing was written`,
    });
    expect((await client.put('c', '3', { exists: true })).status).toBe(0);
    expect(await client.put('absent', '3', { exists: true })).toMatchObject({
      status: 2,
      version: 0,
      message: 'the write demands an existing key and the key is absent; nothing was written',
    });
  });

  it('let an idempotency key settle a write that HTTP began', async () => {
    const headers = { 'idempotency-key': 'once', 'content-type': 'application/octet-stream' };
    const http = await served.call('PUT', '/v1/kv/idem?ttl=9', headers, 'value');
    const again = await client.put('idem', 'value', { ttls: 9, idempotencyKeys: ['once'] });
    expect(`"${again.version}"`).toBe(http.headers.etag);
    expect(await client.put('idem', 'other', { ttls: 9, idempotencyKeys: ['once'] })).toMatchObject({
      status: Status.BAD_REQUEST,
      message: 'another write under this key',
    });
  });

  it('tell of stand-ins', async () => {
    const small = await serve();
    small.client.sloppy = true;
    const one = await WsClient.connect(small.front.port);
    const answers = await one.request({
      ops: [PUT, GET],
      keys: ['s', 's'].map(bytes),
      values: [bytes('x'), null],
    });
    expect(answers.map(({ sloppy }) => sloppy)).toEqual([true, false]);
    await one.close();
    await small.close();
  });
});

describe('what docs/websocket.md shows', () => {
  it('happens, byte by byte', async () => {
    const at = await serve({ clock: new ManualClock(NOW_MS), maxValueBytes: limits.valueBytesMax });
    at.client.version = FIRST_VERSION - 1;
    const one = await WsClient.connect(at.front.port);
    for (const { name, request, hex, answer } of vectors) {
      const before = one.messages.length;
      one.sendBytes(
        request === undefined ? Buffer.from((hex ?? '').replaceAll(' ', ''), 'hex') : encode(request),
      );
      await eventually(`${name} is answered`, () => one.messages.length > before);
      expect(
        one.messages.slice(before).map((message) => message.toString('hex')),
        name,
      ).toEqual([encode(answer).toString('hex')]);
    }
    await one.close();
    await at.close();
  });

  it.each(refusals)('is closed: $name', async ({ hex, code, reason }) => {
    const one = await WsClient.connect(served.front.port);
    const sent = served.client.sent.length;
    if (hex === null) one.sendText('{}');
    else one.sendBytes(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
    expect(await one.closed).toEqual({ code, reason });
    expect(served.client.sent.length).toBe(sent);
  });
});

describe('a message', () => {
  it('that is malformed does nothing of what stands before the mistake', async () => {
    const one = await WsClient.connect(served.front.port);
    one.sendBytes(encode({ ids: [1, 2], ops: PUT, keys: ['half', 'half2'], values: [bytes('x'), 5] }));
    expect((await one.closed).code).toBe(1007);
    expect(served.client.itemOf('half')).toBeUndefined();
  });

  it('may be as long as is told, and one byte more closes with both figures', async () => {
    const one = await WsClient.connect(served.front.port);
    const max = one.limits.messageBytesMax as number;
    const padded = (length: number): Buffer => {
      const request = { ids: [1], ops: PUT, keys: ['k'], values: [Buffer.alloc(0)] };
      const without = encode(request).length;
      return encode({ ...request, values: [Buffer.alloc(length - without - 4)] });
    };
    expect(padded(max).length).toBe(max);
    one.sendBytes(padded(max));
    await eventually('it is answered', () => one.messages.length === 2);
    expect(decode(one.messages[1] as Buffer)).toMatchObject({ statuses: [Status.VALUE_TOO_LARGE] });
    one.sendBytes(padded(max + 1));
    expect(await one.closed).toEqual({
      code: 1008,
      reason: `a message of ${max + 1} bytes; the limit is ${max}`,
    });
  });

  it('with the longest key and value of the settings always fits', async () => {
    const at = await serve({ maxKeyBytes: limits.keyBytesCeiling, maxValueBytes: limits.valueBytesCeiling });
    const one = await WsClient.connect(at.front.port);
    const key = Buffer.alloc(limits.keyBytesCeiling, 1);
    const value = Buffer.alloc(limits.valueBytesCeiling, 2);
    expect((await one.one({ ops: PUT, keys: [key], values: [value] })).status).toBe(0);
    expect((await one.one({ ops: GET, keys: [key] })).value?.equals(value)).toBe(true);
    await one.close();
    await at.close();
  });

  it('that declares far more is cut off, and the server serves on', async () => {
    const raw = await RawWs.connect(served.front.port);
    const header = Buffer.alloc(14);
    header.set([0x82, 0xff]);
    header.writeBigUInt64BE(2n ** 40n, 2);
    await raw.send(header);
    await raw.readAll();
    expect((await client.get('a')).status).toBe(1);
  });

  it('may come in fragments, byte by byte, with pings between', async () => {
    const raw = await RawWs.connect(served.front.port);
    const message = encode({ ids: [77], ops: PUT, keys: ['frag'], values: [bytes('whole')] });
    const frames = Buffer.concat([
      frame(BINARY, message.subarray(0, 10), false),
      frame(PING, bytes('hi')),
      frame(0, message.subarray(10, 20), false),
      frame(0, message.subarray(20)),
    ]);
    for (const byte of frames) await raw.send(Buffer.from([byte]));
    raw.read();
    const answer = encode({ ids: [77], statuses: [0] }).subarray(1);
    await eventually('it is answered', () => raw.seen.includes(answer));
    expect(raw.seen.includes(Buffer.from('\x8a\x02hi', 'latin1'))).toBe(true);
    raw.destroy();
  });
});
