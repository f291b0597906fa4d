import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Status } from '../../src/base/status.ts';
import { Op } from '../../src/shard/contract.ts';
import { type Answer, type Json, type Served, serve } from '../front/harness.ts';
import { GET, PUT, WsClient } from '../front/ws-client.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served.close());
const call: Served['call'] = (...args) => served.call(...args);
const putJson: Served['putJson'] = (...args) => served.putJson(...args);
const RAW = { 'content-type': 'application/octet-stream' };
const JSON_BODY = { 'content-type': 'application/json' };

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
    for (const path of ['/v1/kv', '/v1', '/v1/nope', '/v1/ws/', '/healthz/', '//', '/V1/kv/a'])
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
  it('503 UNAVAILABLE with the reason for whatever the client of the shards refuses before it is sent', async () => {
    const small = await serve({}, 2);
    const refusal = 'this node is about to do something else; nothing was done';
    small.client.refusal = refusal;
    const error = { code: 'UNAVAILABLE', message: refusal };
    for (const answer of [
      await small.call('GET', '/v1/kv/a'),
      await small.call('PUT', '/v1/kv/a', RAW, 'x'),
      await small.call('DELETE', '/v1/kv/a'),
      await small.call('GET', '/v1/scan'),
    ])
      expect([answer.status, answer.json, answer.headers['retry-after']]).toEqual([503, { error }, '1']);
    const ops = [
      { op: 'get', key: 'a' },
      { op: 'put', key: 'a', value: 'eA==' },
    ];
    const batch = await small.call(
      'POST',
      '/v1/batch',
      { 'content-type': 'application/json' },
      JSON.stringify({ ops }),
    );
    expect(batch.json).toEqual({ results: ops.map(() => ({ status: 503, error })) });
    const socket = await WsClient.connect(small.front.port);
    const keys = [Buffer.from('a'), Buffer.from('b')];
    for (const { status, message } of await socket.request({
      ops: [GET, PUT],
      keys,
      values: [null, Buffer.from('x')],
    }))
      expect([status, message]).toEqual([Status.UNAVAILABLE, refusal]);
    await socket.close();
    expect(small.client.sent).toEqual([]);
    await small.close();
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
