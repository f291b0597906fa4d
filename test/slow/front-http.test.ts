import { Decoder, Encoder } from 'cbor-x';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Op } from '../../src/shard/contract.ts';
import { type Answer, type Json, type Served, serve } from '../front/harness.ts';
import { tokenOf } from '../node/fake-client.ts';

let served: Served;
let notReady = '';
beforeAll(async () => {
  served = await serve({ notReady: () => notReady });
});
afterAll(() => served.close());
const call: Served['call'] = (...args) => served.call(...args);
const putJson: Served['putJson'] = (...args) => served.putJson(...args);
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const RAW = { 'content-type': 'application/octet-stream' };
const JSON_BODY = { 'content-type': 'application/json' };
const versionOf = (answer: Answer): number => Number(/^"(\d+)"$/.exec(String(answer.headers.etag))?.[1]);

describe('one key over HTTP', () => {
  it('is put in JSON and raw, and read in both', async () => {
    const put = await putJson('/v1/kv/user_123', {
      value: base64('hello'),
      consistency: 'QUORUM',
      ttl: 60,
      sloppy: true,
    });
    expect([put.status, put.bytes.length, put.headers['content-length']]).toEqual([204, 0, undefined]);
    const version = versionOf(put);
    const got = await call('GET', '/v1/kv/user_123?consistency=ALL');
    expect([got.status, got.headers.etag, got.headers['content-type']]).toEqual([
      200,
      `"${version}"`,
      'application/json',
    ]);
    expect(got.json).toEqual({ key: 'user_123', value: base64('hello'), version, ttl: 60 });
    const raw = await call('GET', '/v1/kv/user_123', { accept: 'application/octet-stream' });
    expect([raw.text, raw.headers.etag, raw.headers['x-ringkv-ttl']]).toEqual([
      'hello',
      `"${version}"`,
      '60',
    ]);
    const again = await call(
      'PUT',
      '/v1/kv/user_123?ttl=0.5&consistency=ONE&sloppy=false',
      RAW,
      new Uint8Array([0, 255, 10]),
    );
    expect(again.status).toBe(204);
    expect((await call('GET', '/v1/kv/user_123')).json).toEqual({
      key: 'user_123',
      value: 'AP8K',
      version: versionOf(again),
      ttl: 1,
    });
  });
  it('is answered from shared memory alike, without a request to a shard', async () => {
    served.client.memory.set('warm', Buffer.from('held'));
    served.client.memory.set('dead', null);
    const before = served.client.sent.length;
    expect((await call('GET', '/v1/kv/warm')).json).toEqual({
      key: 'warm',
      value: base64('held'),
      version: 7,
    });
    expect((await call('GET', '/v1/kv/warm', { accept: 'application/octet-stream' })).text).toBe('held');
    expect((await call('GET', '/v1/kv/dead')).status).toBe(404);
    expect(served.client.sent.length).toBe(before);
  });
  it.each(['warm', 'cold', 'none'])('has the head of a GET and no body in HEAD: %s', async (key) => {
    served.client.memory.set('warm', Buffer.from('held'));
    await putJson('/v1/kv/cold', { value: base64('held'), ttl: 100 });
    for (const accept of ['application/json', 'application/octet-stream']) {
      const get = await call('GET', `/v1/kv/${key}`, { accept });
      const head = await call('HEAD', `/v1/kv/${key}`, { accept });
      expect([head.status, head.bytes.length]).toEqual([get.status, 0]);
      for (const name of ['etag', 'content-type', 'content-length', 'x-ringkv-ttl', 'vary'])
        expect([name, head.headers[name]]).toEqual([name, get.headers[name]]);
    }
  });
  it('may be any bytes, and an empty value is a value', async () => {
    for (const path of [
      'a%2Fb',
      'a/b',
      '%00',
      'a+b',
      '%E2%82%AC',
      '%ff%fe',
      '..%2f',
      'k'.repeat(1024),
      '%01'.repeat(1024),
    ])
      expect([path.slice(0, 9), (await call('PUT', `/v1/kv/${path}`, RAW)).status]).toEqual([
        path.slice(0, 9),
        204,
      ]);
    expect((await call('GET', '/v1/kv/%ff%fe')).json).toMatchObject({ keyBase64: '//4=', value: '' });
    expect((await call('GET', '/v1/kv/%ff%fe')).json.key).toBeUndefined();
    expect((await call('GET', '/v1/kv/%E2%82%AC')).json.key).toBe('€');
    expect((await call('GET', '/v1/kv/a%2fb')).json.key).toBe('a/b');
    expect((await call('GET', '/v1/kv/a%20b')).status).toBe(404);
    const empty = await call('GET', '/v1/kv/a+b', { accept: 'application/octet-stream' });
    expect([empty.status, empty.headers['content-length'], empty.bytes.length]).toEqual([200, '0', 0]);
    expect(
      (await call('HEAD', '/v1/kv/a+b', { accept: 'application/octet-stream' })).headers['content-length'],
    ).toBe('0');
  });
  it('is deleted, there or not', async () => {
    await putJson('/v1/kv/gone', { value: '' });
    for (let i = 0; i < 2; i++) {
      const answer = await call('DELETE', '/v1/kv/gone?consistency=ALL&sloppy=true');
      expect([answer.status, answer.bytes.length]).toEqual([204, 0]);
    }
    expect((await call('GET', '/v1/kv/gone')).status).toBe(404);
  });
});

describe('conditions', () => {
  it('by version answer 409 with the current version, in the error and beside it', async () => {
    const version = versionOf(await putJson('/v1/kv/c1', { value: '', version: 0 }));
    const refused = await putJson('/v1/kv/c1', { value: '', version: 0 });
    expect([
      refused.status,
      refused.json.version,
      refused.json.error.version,
      refused.json.error.code,
    ]).toEqual([409, version, version, 'VERSION_MISMATCH']);
    expect((await call('PUT', `/v1/kv/c1?version=${version - 1}`, RAW, 'x')).status).toBe(409);
    const next = versionOf(await call('PUT', `/v1/kv/c1?version=${version}`, RAW, 'x'));
    expect((await call('DELETE', `/v1/kv/c1?version=${version}`)).json.version).toBe(next);
    expect((await call('DELETE', `/v1/kv/c1?version=${next}`)).status).toBe(204);
    expect((await call('PUT', '/v1/kv/c1?version=5', RAW)).json.version).toBe(0);
  });
  it('by header answer 412', async () => {
    const put = (headers: Record<string, string>): Promise<Answer> =>
      putJson('/v1/kv/c2', { value: '' }, headers);
    expect((await put({ 'if-match': '*' })).status).toBe(412);
    expect((await put({ 'if-match': '"5"' })).json).toMatchObject({
      version: 0,
      error: { code: 'PRECONDITION_FAILED' },
    });
    let version = versionOf(await put({ 'if-none-match': '*' }));
    expect((await put({ 'if-none-match': '*' })).json).toMatchObject({
      version,
      error: { code: 'PRECONDITION_FAILED', version },
    });
    expect((await put({ 'if-match': `W/"${version}"` })).status).toBe(412);
    expect((await put({ 'if-match': '"abc"' })).status).toBe(412);
    version = versionOf(await put({ 'if-match': `"${version}"` }));
    version = versionOf(await put({ 'if-match': `"1", "2",W/"3", "${version}"` }));
    version = versionOf(await put({ 'if-match': '*' }));
    expect((await put({ 'if-none-match': `"1", W/"${version}"` })).json.version).toBe(version);
    version = versionOf(await put({ 'if-none-match': '"1", "abc"' }));
    expect((await put({ 'if-none-match': '"abc"' })).status).toBe(204);
    expect((await call('DELETE', '/v1/kv/c2', { 'if-match': `"${version}"` })).status).toBe(412);
    expect((await call('DELETE', '/v1/kv/c2', { 'if-match': '*' })).status).toBe(204);
    expect((await call('DELETE', '/v1/kv/c2', { 'if-match': '*' })).status).toBe(412);
  });
  it('by a tag that must not match hold against a writer in between, and give up after some', async () => {
    const before = versionOf(await putJson('/v1/kv/c3', { value: '' }));
    let meddled = 0;
    const meddle = (times: number): void => {
      meddled = 0;
      served.client.meanwhile = ({ op, condition }) => {
        if (op === Op.PUT && condition === 1 && meddled++ < times) served.client.touch('c3');
      };
    };
    meddle(3);
    const put = await putJson('/v1/kv/c3', { value: base64('mine') }, { 'if-none-match': '"1"' });
    expect([put.status, meddled]).toEqual([204, 4]);
    meddle(2);
    await call('PUT', '/v1/kv/c3', { ...RAW, 'if-none-match': '"1"' }, 'raw and whole');
    expect((await call('GET', '/v1/kv/c3', { accept: 'application/octet-stream' })).text).toBe(
      'raw and whole',
    );
    expect(served.client.sent.at(-1)).toMatchObject({ op: Op.GET, condition: 0, version: 0, expiresMs: 0 });
    meddle(1000);
    const gaveUp = await putJson('/v1/kv/c3', { value: '' }, { 'if-none-match': '"1"' });
    expect([gaveUp.status, gaveUp.json.error.code, meddled]).toEqual([
      503,
      'OVERLOADED',
      limits.conditionAttemptsMax,
    ]);
    served.client.meanwhile = null;
    expect(versionOf(await call('GET', '/v1/kv/c3'))).toBeGreaterThan(before);
  });
  it('of a read answer 304 and 412', async () => {
    const version = versionOf(await putJson('/v1/kv/c4', { value: base64('x') }));
    served.client.memory.set('c5', Buffer.from('x'));
    for (const [key, tag] of [
      ['c4', `"${version}"`],
      ['c5', '"7"'],
    ] as const) {
      const unchanged = await call('GET', `/v1/kv/${key}`, { 'if-none-match': tag });
      expect([unchanged.status, unchanged.headers.etag, unchanged.bytes.length]).toEqual([304, tag, 0]);
      expect((await call('HEAD', `/v1/kv/${key}`, { 'if-none-match': '*' })).status).toBe(304);
      expect((await call('GET', `/v1/kv/${key}`, { 'if-none-match': '"1"' })).status).toBe(200);
      expect((await call('GET', `/v1/kv/${key}`, { 'if-match': tag })).status).toBe(200);
      expect((await call('GET', `/v1/kv/${key}`, { 'if-match': '"1"' })).status).toBe(412);
    }
    expect((await call('GET', '/v1/kv/absent', { 'if-none-match': '*' })).status).toBe(404);
    expect((await call('GET', '/v1/kv/absent', { 'if-match': '*' })).status).toBe(412);
  });
  it('that contradict each other are refused', async () => {
    const put = (version: number, headers: Record<string, string>): Promise<Answer> =>
      putJson('/v1/kv/c6', { value: '', version }, headers);
    expect((await put(5, { 'if-match': '"6"' })).status).toBe(400);
    expect((await put(5, { 'if-none-match': '*' })).status).toBe(400);
    expect((await call('DELETE', '/v1/kv/c6', { 'if-match': '"1"', 'if-none-match': '*' })).status).toBe(400);
    expect((await put(0, { 'if-none-match': '*' })).status).toBe(204);
  });
});

describe('an Idempotency-Key', () => {
  it('makes a repeat get the first outcome, and a different write a mistake', async () => {
    const headers = { 'idempotency-key': 'k-1' };
    const first = await putJson('/v1/kv/i1', { value: base64('a'), ttl: 50 }, headers);
    const again = await putJson('/v1/kv/i1', { value: base64('a'), ttl: 50 }, headers);
    expect([again.status, versionOf(again)]).toEqual([204, versionOf(first)]);
    expect((await putJson('/v1/kv/i1', { value: base64('b'), ttl: 50 }, headers)).status).toBe(400);
    expect((await putJson('/v1/kv/i1', { value: base64('a'), ttl: 51 }, headers)).status).toBe(400);
    expect((await putJson('/v1/kv/i1', { value: base64('a') }, { 'idempotency-key': 'k-2' })).status).toBe(
      204,
    );
    expect((await call('DELETE', '/v1/kv/i1', headers)).status).toBe(400);
    const last = await putJson('/v1/kv/i1', { value: base64('a') }, { 'idempotency-key': 'x'.repeat(64) });
    expect(last.status).toBe(204);
  });
  it.each(['', 'x'.repeat(65), 'é'])('of %j is refused', async (key) => {
    expect((await putJson('/v1/kv/i2', { value: '' }, { 'idempotency-key': key })).status).toBe(400);
  });
});

describe('the error table', () => {
  const codeOf = async (answer: Promise<Answer>): Promise<[number, string]> => {
    const { status, json } = await answer;
    expect(Object.keys(json.error).slice(0, 2)).toEqual(['code', 'message']);
    expect(json.error.message.length).toBeGreaterThan(5);
    return [status, json.error.code];
  };
  const bad = [400, 'BAD_REQUEST'];
  it.each<[string, Json]>([
    ['no JSON', '{'],
    ['an array', []],
    ['no value', {}],
    ['a value that is no string', { value: 5 }],
    ['a value that is no base64', { value: '****' }],
    ['base64url', { value: '-_-_' }],
    ['an unknown field', { value: '', ttk: 5 }],
    ['a ttl that is text', { value: '', ttl: '5' }],
    ['a ttl of 0', { value: '', ttl: 0 }],
    ['a ttl of null', { value: '', ttl: null }],
    ['a ttl above the limit', { value: '', ttl: limits.ttlSecondsMax + 1 }],
    ['a version with a fraction', { value: '', version: 1.5 }],
    ['a version that is negative', { value: '', version: -1 }],
    ['a version above 2^53', { value: '', version: 2 ** 53 }],
    ['an unknown consistency', { value: '', consistency: 'TWO' }],
    ['a sloppy that is text', { value: '', sloppy: 'true' }],
    ['a field twice', '{"value":"","value":""}'],
    ['a byte order mark', '\ufeff{"value":""}'],
  ])('400 for a body with %s', async (_, body) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    expect(await codeOf(call('PUT', '/v1/kv/e', JSON_BODY, text))).toEqual(bad);
  });
  it('400 for parameters, headers and escapes', async () => {
    expect(await codeOf(call('GET', '/v1/kv/e?ttl=5'))).toEqual(bad);
    expect(await codeOf(call('GET', '/v1/kv/e?consistency=ONE&consistency=ALL'))).toEqual(bad);
    expect(await codeOf(call('PUT', '/v1/kv/e?x=1', RAW, 'x'))).toEqual(bad);
    expect(await codeOf(call('PUT', '/v1/kv/e?ttl=5', JSON_BODY, '{"value":""}'))).toEqual(bad);
    expect(await codeOf(call('DELETE', '/v1/kv/e?ttl=5'))).toEqual(bad);
    expect(await codeOf(call('DELETE', '/v1/kv/e', {}, 'body'))).toEqual(bad);
    expect(await codeOf(call('GET', '/v1/kv/%zz'))).toEqual(bad);
    expect(await codeOf(call('GET', '/v1/kv/'))).toEqual(bad);
    expect(await codeOf(call('GET', '/v1/kv/e', { 'x-ringkv-timeout': '30001' }))).toEqual(bad);
    expect(await codeOf(call('GET', '/v1/kv/e', { 'if-match': '5' }))).toEqual(bad);
    expect(await codeOf(call('PUT', '/v1/kv/e', { ...RAW, 'if-match': '5' }, 'x'))).toEqual(bad);
    await putJson('/v1/kv/e', { value: '' });
    expect(await codeOf(call('GET', '/v1/kv/e', { 'if-none-match': '5' }))).toEqual(bad);
    expect(await codeOf(call('GET', '/healthz?x=1'))).toEqual(bad);
  });
  it('404 for no record and no path, 405 with Allow, OPTIONS with Allow', async () => {
    expect(await codeOf(call('GET', '/v1/kv/none'))).toEqual([404, 'NOT_FOUND']);
    for (const path of ['/v1/kv', '/v1', '/v1/nope', '/v1/ws', '/healthz/', '//', '/V1/kv/a'])
      expect(await codeOf(call('GET', path))).toEqual([404, 'NOT_FOUND']);
    const paths: [string, string, string][] = [
      ['POST', '/v1/kv/a', 'GET, HEAD, PUT, DELETE, OPTIONS'],
      ['PATCH', '/v1/kv/a', 'GET, HEAD, PUT, DELETE, OPTIONS'],
      ['GET', '/v1/batch', 'POST, OPTIONS'],
      ['POST', '/v1/scan', 'GET, HEAD, OPTIONS'],
      ['DELETE', '/metrics', 'GET, HEAD, OPTIONS'],
    ];
    for (const [method, path, allow] of paths) {
      const answer = await call(method, path);
      expect([answer.status, answer.json.error.code, answer.headers.allow]).toEqual([
        405,
        'METHOD_NOT_ALLOWED',
        allow,
      ]);
      const options = await call('OPTIONS', path);
      expect([options.status, options.headers.allow]).toEqual([204, allow]);
    }
  });
  it('413 for key, value and body', async () => {
    const key = [413, 'KEY_TOO_LARGE'];
    const value = [413, 'VALUE_TOO_LARGE'];
    expect(await codeOf(call('GET', `/v1/kv/${'k'.repeat(1025)}`))).toEqual(key);
    expect(await codeOf(call('PUT', `/v1/kv/${'%01'.repeat(1025)}`, RAW))).toEqual(key);
    expect((await call('PUT', '/v1/kv/e', RAW, new Uint8Array(65_536))).status).toBe(204);
    expect(await codeOf(call('PUT', '/v1/kv/e', RAW, new Uint8Array(65_537)))).toEqual(value);
    expect(
      await codeOf(
        call('PUT', '/v1/kv/e', { ...RAW, 'transfer-encoding': 'chunked' }, new Uint8Array(300_000)),
      ),
    ).toEqual(value);
    expect((await putJson('/v1/kv/e', { value: Buffer.alloc(65_536).toString('base64') })).status).toBe(204);
    expect(await codeOf(putJson('/v1/kv/e', { value: Buffer.alloc(65_537).toString('base64') }))).toEqual(
      value,
    );
    expect(await codeOf(putJson('/v1/kv/e', { value: Buffer.alloc(165_537).toString('base64') }))).toEqual(
      value,
    );
  });
  it('415 for what no body may be', async () => {
    const media = [415, 'UNSUPPORTED_MEDIA_TYPE'];
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/cbor',
      'application/json; charset=utf-16',
    ])
      expect(await codeOf(call('PUT', '/v1/kv/e', { 'content-type': type }, 'x'))).toEqual(media);
    expect(await codeOf(call('PUT', '/v1/kv/e', { ...RAW, 'content-encoding': 'gzip' }, 'x'))).toEqual(media);
    expect(await codeOf(call('POST', '/v1/batch', RAW, 'x'))).toEqual(media);
    expect(await codeOf(call('POST', '/v1/batch', {}, '{}'))).toEqual(media);
    expect((await call('PUT', '/v1/kv/e', {}, 'no type')).status).toBe(204);
    expect(
      (await call('PUT', '/v1/kv/e', { 'content-type': 'application/json;charset=utf-8' }, '{"value":""}'))
        .status,
    ).toBe(204);
  });
  it('what shards answer', async () => {
    const table: [number, number, string, boolean][] = [
      [Status.RATE_LIMITED, 429, 'RATE_LIMITED', true],
      [Status.OVERLOADED, 503, 'OVERLOADED', true],
      [Status.UNAVAILABLE, 503, 'UNAVAILABLE', true],
      [Status.SHARD_DOWN, 503, 'UNAVAILABLE', true],
      [Status.READ_ONLY, 503, 'UNAVAILABLE', false],
      [Status.TIMEOUT, 504, 'TIMEOUT', false],
      [Status.DISK_FULL, 507, 'DISK_FULL', false],
      [Status.CORRUPTION, 500, 'CORRUPTION', false],
      [Status.KEY_TOO_LARGE, 413, 'KEY_TOO_LARGE', false],
      [Status.VALUE_TOO_LARGE, 413, 'VALUE_TOO_LARGE', false],
      [Status.BAD_REQUEST, 400, 'BAD_REQUEST', false],
      [99, 500, 'INTERNAL', false],
    ];
    for (const [status, http, code, retryAfter] of table)
      for (const [method, op] of [
        ['GET', Op.GET],
        ['PUT', Op.PUT],
        ['DELETE', Op.DELETE],
      ] as const) {
        served.client.failure = { op, shard: 0, status };
        const answer = await call(method, '/v1/kv/e');
        expect([answer.status, answer.json]).toEqual([http, { error: { code, message: 'as told' } }]);
        expect(answer.headers['retry-after']).toBe(retryAfter ? '1' : undefined);
      }
    served.client.failure = null;
  });
  it('503 OVERLOADED when every slot is in flight, and nothing is done', async () => {
    const small = await serve({}, 2);
    small.client.held = [];
    const waiting = [small.call('GET', '/v1/kv/a'), small.call('PUT', '/v1/kv/b', RAW, 'x')];
    while (small.client.sent.length < 2) await new Promise((done) => setImmediate(done));
    const refused = await small.call('PUT', '/v1/kv/c', RAW, 'x');
    expect([refused.status, refused.json.error.code, refused.headers['retry-after']]).toEqual([
      503,
      'OVERLOADED',
      '1',
    ]);
    small.client.release();
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([404, 204]);
    expect(small.client.itemOf('c')).toBeUndefined();
    await small.close();
  });
});

describe('deadlines', () => {
  it('reach the shard as given, 5 s otherwise', async () => {
    const sentWith = async (headers: Record<string, string>): Promise<number> => {
      const before = Date.now();
      await call('PUT', '/v1/kv/d', { ...RAW, ...headers }, 'x');
      return (served.client.sent.at(-1)?.deadlineMs ?? 0) - before;
    };
    for (const [headers, ms] of [
      [{}, 5000],
      [{ 'x-ringkv-timeout': '250' }, 250],
    ] as const) {
      const left = await sentWith(headers);
      expect(left).toBeGreaterThanOrEqual(ms);
      expect(left).toBeLessThan(ms + 2000);
    }
  });
});

describe('a batch', () => {
  const cbor = new Encoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });
  const ops = (bytes: boolean): Json[] => {
    const value = (text: string): Json => (bytes ? Buffer.from(text) : base64(text));
    return [
      { op: 'put', key: 'b1', value: value('one'), ttl: 9 },
      { op: 'put', key: { base64: '/w==' }, value: value('two'), version: 0 },
      { op: 'get', key: 'b0' },
      { op: 'get', key: 'none' },
      { op: 'delete', key: 'b2' },
      { op: 'put', key: 'b0', value: value('x'), version: 1 },
      { op: 'put', key: 'b4', value: 5 },
      { op: 'fly', key: 'b4' },
      { op: 'get', key: 'b4', value: '' },
      { op: 'get', key: '' },
      { op: 'get', key: 'k'.repeat(1025) },
      5,
    ];
  };
  const statuses = [204, 204, 200, 404, 204, 409, 400, 400, 400, 400, 413, 400];
  it('in JSON answers each op in order with its own status', async () => {
    const version = versionOf(await putJson('/v1/kv/b0', { value: base64('zero'), ttl: 5 }));
    await call('DELETE', '/v1/kv/%ff');
    const answer = await call('POST', '/v1/batch', JSON_BODY, JSON.stringify({ ops: ops(false) }));
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json']);
    const { results } = answer.json;
    expect(results.map((one: Json) => one.status)).toEqual(statuses);
    expect(results[2]).toEqual({ status: 200, value: base64('zero'), version, ttl: 5 });
    expect(results[5]).toMatchObject({ version, error: { code: 'VERSION_MISMATCH', version } });
    expect(results[3].error.code).toBe('NOT_FOUND');
    expect((await call('GET', '/v1/kv/b1')).json).toMatchObject({
      value: base64('one'),
      ttl: 9,
      version: results[0].version,
    });
    expect((await call('GET', '/v1/kv/%ff')).json.value).toBe(base64('two'));
  });
  it('in CBOR takes and gives bytes, and either answers in the other where Accept says so', async () => {
    await call('DELETE', '/v1/kv/%ff');
    await putJson('/v1/kv/b0', { value: base64('zero') });
    const body = cbor.encode({ ops: [...ops(true), { op: 'get', key: Buffer.from('b0') }] });
    const headers = { 'content-type': 'application/cbor' };
    const answer = await call('POST', '/v1/batch', headers, body);
    expect(answer.headers['content-type']).toBe('application/cbor');
    const { results } = new Decoder({ mapsAsObjects: true }).decode(answer.bytes);
    expect(results.map((one: Json) => one.status)).toEqual([...statuses, 200]);
    expect(Buffer.from(results.at(-1).value).toString()).toBe('zero');
    const inJson = await call('POST', '/v1/batch', { ...headers, accept: 'application/json' }, body);
    expect(inJson.json.results.at(-1).value).toBe(base64('zero'));
    const inCbor = await call(
      'POST',
      '/v1/batch',
      { ...JSON_BODY, accept: 'application/cbor' },
      '{"ops":[{"op":"get","key":"b0"}]}',
    );
    expect(
      Buffer.from(new Decoder({ mapsAsObjects: true }).decode(inCbor.bytes).results[0].value).toString(),
    ).toBe('zero');
  });
  it('is refused as a whole where it is none', async () => {
    const headers = { 'content-type': 'application/cbor' };
    for (const body of ['ff', 'a0', 'a1636f707305', '81', 'a1', '81'.repeat(50_000), 'a1636f707380a0', '60'])
      expect((await call('POST', '/v1/batch', headers, Buffer.from(body, 'hex'))).json.error.code).toBe(
        'BAD_REQUEST',
      );
    for (const body of [
      '',
      '[]',
      '{}',
      '{"ops":{}}',
      '{"ops":[],"x":1}',
      JSON.stringify({ ops: Array(1001).fill({ op: 'get', key: 'a' }) }),
    ])
      expect((await call('POST', '/v1/batch', JSON_BODY, body)).json.error.code).toBe('BAD_REQUEST');
    expect(
      (await call('POST', '/v1/batch', { ...JSON_BODY, 'idempotency-key': 'a' }, '{"ops":[]}')).status,
    ).toBe(400);
    expect((await call('POST', '/v1/batch?x=1', JSON_BODY, '{"ops":[]}')).status).toBe(400);
    expect((await call('POST', '/v1/batch', JSON_BODY, '{"ops":[]}')).json).toEqual({ results: [] });
    const tooLong = await call('POST', '/v1/batch', JSON_BODY, new Uint8Array(limits.batchBodyBytesMax + 1));
    expect([tooLong.status, tooLong.json.error.code]).toEqual([413, 'VALUE_TOO_LARGE']);
  });
  it('of 1,000 ops keeps a bounded number in flight, also where the slots are fewer', async () => {
    for (const slots of [4, 4096]) {
      const small = await serve({}, slots);
      small.client.held = [];
      const many = Array.from({ length: 1000 }, (_, i) => ({
        op: 'put',
        key: `m${i}`,
        value: base64(String(i)),
      }));
      const answer = small.call('POST', '/v1/batch', JSON_BODY, JSON.stringify({ ops: many }));
      const atOnce = Math.min(slots, limits.batchOpsInFlightMax);
      while (small.client.sent.length < atOnce) await new Promise((done) => setImmediate(done));
      expect(small.client.sent.length).toBe(atOnce);
      small.client.release();
      expect((await answer).json.results.every((one: Json) => one.status === 204)).toBe(true);
      expect(small.client.itemOf('m999')).toBeDefined();
      await small.close();
    }
  });
  it('answers values up to its limit and refuses the rest op by op', async () => {
    const large = await serve({ maxValueBytes: 1 << 20 });
    await large.call('PUT', '/v1/kv/big', RAW, new Uint8Array(1 << 20));
    const body = JSON.stringify({ ops: Array(20).fill({ op: 'get', key: 'big' }) });
    const { json } = await large.call('POST', '/v1/batch', JSON_BODY, body);
    expect(json.results.filter((one: Json) => one.status === 200).length).toBe(16);
    expect(json.results.filter((one: Json) => one.error?.code === 'OVERLOADED').length).toBe(4);
    await large.close();
  });
});

describe('a scan', () => {
  const scanAll = async (at: Served, query: string): Promise<Json[]> => {
    const entries: Json[] = [];
    for (let cursor = '', rounds = 0; rounds < 1000; rounds++) {
      const { status, json } = await at.call('GET', `/v1/scan?${query}${cursor}`);
      expect(status).toBe(200);
      entries.push(...json.entries);
      if (json.cursor === undefined) return entries;
      cursor = `&cursor=${json.cursor}`;
    }
    throw new Error('a scan without an end');
  };
  it('gives every live key once in token order, whatever the page, with values where asked', async () => {
    const at = await serve();
    const keys = Array.from({ length: 200 }, (_, i) => `${i % 2 === 0 ? 'even' : 'odd'}/${i}`);
    for (const key of keys) await at.putJson(`/v1/kv/${key}`, { value: base64(key), ttl: 100 });
    const inOrder = [...keys].sort((a, b) => tokenOf(a) - tokenOf(b));
    for (const limit of [1, 7, 200, 1000])
      expect((await scanAll(at, `limit=${limit}`)).map(({ key }) => key)).toEqual(inOrder);
    const odd = inOrder.filter((key) => key.startsWith('odd/'));
    expect((await scanAll(at, 'prefix=odd%2F&limit=9')).map(({ key }) => key)).toEqual(odd);
    const [first] = await scanAll(at, 'values=true&limit=50');
    expect(first).toEqual({
      key: inOrder[0],
      value: base64(inOrder[0] ?? ''),
      version: first.version,
      ttl: first.ttl,
    });
    expect(first.ttl).toBeGreaterThan(80);
    expect((await scanAll(at, 'values=false'))[0].value).toBeUndefined();
    expect(await scanAll(at, 'prefix=%00')).toEqual([]);
    await at.close();
  });
  it('goes on from a cursor that another node with other shards gave', async () => {
    const { json } = await call('GET', '/v1/scan?limit=2');
    const rest = await call('GET', `/v1/scan?limit=1000&cursor=${json.cursor}`);
    const all = await call('GET', '/v1/scan?limit=1000');
    expect(rest.json.entries).toEqual(all.json.entries.slice(2));
  });
  it.each([
    'limit=0',
    'limit=1001',
    'limit=x',
    'values=1',
    'cursor=abc',
    'cursor=',
    'prefx=a',
    `prefix=${'p'.repeat(1025)}`,
    'prefix=%f',
  ])('refuses %s', async (query) => {
    expect((await call('GET', `/v1/scan?${query}`)).json.error.code).toBe('BAD_REQUEST');
  });
  it('fails as a whole where a shard does', async () => {
    served.client.failure = { op: Op.SCAN, shard: 1, status: Status.SHARD_DOWN };
    expect((await call('GET', '/v1/scan')).json.error.code).toBe('UNAVAILABLE');
    served.client.failure = null;
    expect((await call('HEAD', '/v1/scan')).status).toBe(200);
  });
});

describe('what operators ask', () => {
  it('health, readiness with its reason, and the root', async () => {
    expect((await call('GET', '/healthz')).json).toEqual({ status: 'ok' });
    expect((await call('GET', '/readyz')).json).toEqual({ status: 'ready' });
    notReady = 'shard 2 recovers its log';
    const answer = await call('GET', '/readyz');
    expect([answer.status, answer.json.error]).toEqual([503, { code: 'UNAVAILABLE', message: notReady }]);
    notReady = '';
    expect((await call('GET', '/')).json.name).toBe('RingKV');
    expect((await call('HEAD', '/')).headers['content-length']).toBeDefined();
  });
  it('cluster, ring and the place of a key', async () => {
    const version = versionOf(await putJson('/v1/kv/placed', { value: base64('abc') }));
    const { json } = await call('GET', '/v1/cluster');
    expect(json.nodes).toEqual([
      { nodeId: 'local', host: '127.0.0.1', port: served.front.port, state: 'up', shards: 3, vnodes: 64 },
    ]);
    expect((await call('GET', '/v1/cluster/ring')).json.ranges).toEqual([
      { first: 0, last: 63, nodes: ['local'] },
    ]);
    const place = (await call('GET', '/v1/cluster/key/placed')).json;
    const token = Number.parseInt(place.token, 16);
    expect(token).toBe(tokenOf('placed'));
    expect(place).toMatchObject({
      key: 'placed',
      replicas: [{ nodeId: 'local', state: 'live', version, bytes: 3 }],
    });
    expect(place.shard).toBe(place.vnode % 3);
    expect((await call('GET', '/v1/cluster/key/absent')).json.replicas[0].state).toBe('absent');
    expect((await call('GET', '/v1/cluster/key/')).status).toBe(400);
  });
  it('metrics in both text formats, counting what was done', async () => {
    const at = await serve({ frontend: 2 });
    for (let i = 0; i < 3; i++) await at.call('GET', '/v1/kv/none');
    const text = (await at.call('GET', '/metrics')).text;
    expect(text).toContain('ringkv_http_requests_total{frontend="2",op="get",status="404"} 3');
    expect(text).toContain('ringkv_http_request_seconds_bucket{frontend="2",op="get",le="+Inf"} 3');
    expect(text).toContain('ringkv_shard_up{shard="1"} 1');
    expect(text).toContain('ringkv_shard_op{shard="1"} 7');
    const lines = text.trimEnd().split('\n');
    for (const line of lines)
      expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+\{[^}]*\} [0-9.e+-]+)$/);
    const open = await at.call('GET', '/metrics', {
      accept: 'application/openmetrics-text; version=1.0.0, text/plain;q=0.5',
    });
    expect(open.headers['content-type']).toMatch(/^application\/openmetrics-text/);
    expect(open.text).toMatch(/# TYPE ringkv_http_requests counter[\s\S]*# EOF\n$/);
    at.client.failure = { op: Op.STATS, shard: 1, status: Status.SHARD_DOWN };
    expect((await at.call('GET', '/metrics')).text).toContain('ringkv_shard_up{shard="1"} 0');
    await at.close();
  });
});
