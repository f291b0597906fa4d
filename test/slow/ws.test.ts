import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Condition, Op, type ShardRequest, Sloppy } from '../../src/shard/contract.ts';
import { type Served, serve } from '../front/harness.ts';
import { type Columns, DELETE, encode, eventually, GET, PUT, WsClient } from '../front/ws-client.ts';

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
    await client.put('o', 'x', { ttls: [2.5], consistency: [4], sloppy: [true], timeouts: [1500] });
    expect(lastSent()).toMatchObject({
      op: Op.PUT,
      consistency: 4,
      sloppy: Sloppy.YES,
      condition: Condition.NONE,
    });
    const { expiresMs, deadlineMs } = lastSent();
    expect(expiresMs - deadlineMs).toBe(1000);
    expect(deadlineMs).toBeGreaterThanOrEqual(before + 1500);
    expect(deadlineMs).toBeLessThanOrEqual(Date.now() + 1500);
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
    expect(lastSent().deadlineMs).toBeLessThanOrEqual(Date.now() + limits.requestTimeoutMsDefault);
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

describe('the error table', () => {
  const wrong: [string, Columns, number, string][] = [
    ['an unknown op', { ops: 4, keys: ['k'] }, 3, 'op 4 is none of 1 (put), 2 (get), 3 (delete)'],
    ['an op with a fraction', { ops: 1.5, keys: ['k'] }, 3, 'op 1.5 is none of'],
    ['an empty key', { ops: GET, keys: [''] }, 3, 'an empty key; a key has 1 to 1024 bytes'],
    ['a long key', { ops: GET, keys: ['k'.repeat(1025)] }, 4, 'a key of 1025 bytes; the limit is 1024'],
    [
      'a long value',
      { ops: PUT, keys: ['k'], values: [Buffer.alloc(65_537)] },
      5,
      'a value of 65537 bytes; the limit is 65536',
    ],
    ['a put without a value', { ops: PUT, keys: ['k'], values: [null] }, 3, 'a put without a value'],
    [
      'a get with a value',
      { ops: GET, keys: ['k'], values: [bytes('')] },
      3,
      'a value beside op 2; a put alone has one',
    ],
    [
      'a ttl of 0',
      { ops: PUT, keys: ['k'], values: [bytes('')], ttls: 0 },
      3,
      'ttl 0 is not a number of seconds above 0',
    ],
    [
      'a ttl that is too long',
      { ops: PUT, keys: ['k'], values: [bytes('')], ttls: limits.ttlSecondsMax + 1 },
      3,
      `at most ${limits.ttlSecondsMax}`,
    ],
    ['a ttl of a get', { ops: GET, keys: ['k'], ttls: [5] }, 3, 'ttls beside op 2, which takes none'],
    ['a version of a get', { ops: GET, keys: ['k'], versions: [5] }, 3, 'versions beside op 2'],
    ['a ttl of a delete', { ops: DELETE, keys: ['k'], ttls: [5] }, 3, 'ttls beside op 3'],
    [
      'an idempotency key of a get',
      { ops: GET, keys: ['k'], idempotencyKeys: ['x'] },
      3,
      'idempotencyKeys beside op 2',
    ],
    [
      'a version that is negative',
      { ops: DELETE, keys: ['k'], versions: -1 },
      3,
      'version -1 is not an integer from 0',
    ],
    [
      'a version above 2^53',
      { ops: DELETE, keys: ['k'], versions: 2 ** 53 },
      3,
      'version 9007199254740992 is not an integer',
    ],
    [
      'versions and exists',
      { ops: DELETE, keys: ['k'], versions: 1, exists: true },
      3,
      'versions and exists for one request',
    ],
    [
      'consistency 5',
      { ops: GET, keys: ['k'], consistency: 5 },
      3,
      'consistency 5 is none of 1 (ONE), 2 (QUORUM), 3 (ALL), 4 (SERIAL)',
    ],
    ['consistency 0', { ops: GET, keys: ['k'], consistency: 0 }, 3, 'consistency 0 is none of'],
    [
      'a timeout that is too long',
      { ops: GET, keys: ['k'], timeouts: 30_001 },
      3,
      'timeout 30001 is not a whole number of milliseconds from 1 to 30000',
    ],
    [
      'a timeout with a fraction',
      { ops: GET, keys: ['k'], timeouts: 0.5 },
      3,
      'timeout 0.5 is not a whole number',
    ],
    [
      'an idempotency key that is too long',
      { ops: DELETE, keys: ['k'], idempotencyKeys: ['x'.repeat(65)] },
      3,
      '(65 characters) is not 1 to 64 printable ASCII',
    ],
    [
      'an idempotency key of other letters',
      { ops: DELETE, keys: ['k'], idempotencyKeys: ['é'] },
      3,
      'is not 1 to 64 printable ASCII',
    ],
    [
      'an empty idempotency key',
      { ops: DELETE, keys: ['k'], idempotencyKeys: [''] },
      3,
      '(0 characters) is not',
    ],
  ];
  it.each(wrong)('%s is the mistake of its request', async (_, columns, status, message) => {
    const sent = served.client.sent.length;
    const answer = await client.one(columns);
    expect(answer.status).toBe(status);
    expect(answer.message).toContain(message);
    expect(served.client.sent.length).toBe(sent);
  });

  it('a mistake leaves the other requests of its message alone', async () => {
    const answers = await client.request({
      ops: [PUT, 7, PUT],
      keys: ['good1', 'bad', 'good2'].map(bytes),
      values: ['1', null, '2'].map((text) => (text === null ? null : bytes(text))),
    });
    expect(answers.map(({ status }) => status)).toEqual([0, 3, 0]);
    expect(served.client.itemOf('good2')?.value.length).toBe(1);
  });

  it('has every status that a shard answers, with its message, or the one of the table', async () => {
    for (const [name, status] of Object.entries(Status)) {
      if (status === Status.OK || status === Status.NOT_FOUND || status === Status.VERSION_MISMATCH) continue;
      for (const [op, shardOp] of [
        [GET, Op.GET],
        [PUT, Op.PUT],
        [DELETE, Op.DELETE],
      ] as const) {
        served.client.failure = { op: shardOp, shard: 0, status };
        const answer = await client.one({ ops: op, keys: ['e'], values: op === PUT ? [bytes('')] : [null] });
        const expected = status === Status.PRECONDITION_FAILED ? Status.VERSION_MISMATCH : status;
        expect([name, answer.status, answer.message]).toEqual([name, expected, 'as told']);
      }
    }
    served.client.failure = null;
  });

  it('says OVERLOADED where the slots of the node are all in flight, and nothing is done', async () => {
    const small = await serve({}, 2);
    const one = await WsClient.connect(small.front.port);
    small.client.held = [];
    const waiting = one.request({ ops: PUT, keys: ['a', 'b'], values: [bytes('1'), bytes('2')] });
    await eventually('two are held', () => small.client.held?.length === 2);
    expect(await one.put('c', 'x')).toMatchObject({
      status: 7,
      message: 'a queue is full; nothing was done, repeat later',
    });
    small.client.release();
    expect((await waiting).map(({ status }) => status)).toEqual([0, 0]);
    expect(small.client.itemOf('c')).toBeUndefined();
    await one.close();
    await small.close();
  });
});
