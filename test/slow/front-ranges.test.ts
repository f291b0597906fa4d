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
  it('questions and changes of the cluster, which pass through to the coordinator and back', async () => {
    expect((await call('GET', '/v1/cluster')).json).toEqual({ asked: { ask: 'status' } });
    expect((await call('GET', '/v1/cluster/ring')).json).toEqual({ asked: { ask: 'ring' } });
    expect((await call('GET', '/v1/cluster/key/a%2fb')).json).toEqual({
      asked: { ask: 'key', key: base64('a/b') },
    });
    expect((await call('GET', '/v1/cluster/key/')).status).toBe(400);
    const json = { 'content-type': 'application/json' };
    const change = await call('POST', '/v1/cluster/decommission', json, '{"node":"0a"}');
    expect(change.json).toEqual({ asked: { node: '0a', do: 'decommission' } });
    expect((await call('POST', '/v1/cluster/drain', json, '{"do":"undo"}')).status).toBe(400);
    // A form of another origin's page could send this one.
    expect((await call('POST', '/v1/cluster/drain', { 'content-type': 'text/plain' }, '{}')).status).toBe(
      415,
    );
    expect((await call('GET', '/v1/cluster/drain')).status).toBe(405);
    expect((await call('POST', '/v1/cluster/nonsense', json, '{}')).status).toBe(404);
  });
  it('metrics in both text formats, counting what was done', async () => {
    const at = await serve({ frontend: 2 });
    for (let i = 0; i < 3; i++) await at.call('GET', '/v1/kv/none');
    const text = (await at.call('GET', '/metrics')).text;
    expect(text).toContain('ringkv_http_requests_total{frontend="2",op="get",status="404"} 3');
    expect(text).toContain('ringkv_http_request_seconds_bucket{frontend="2",op="get",le="+Inf"} 3');
    expect(text).toContain('ringkv_shard_up{shard="1"} 1');
    expect(text).toContain('ringkv_shard_op{shard="1"} 7');
    expect(text).toMatch(
      /^# TYPE ringkv_replica_reads_total counter\nringkv_replica_reads_total\{from="memtables"\} 7\nringkv_replica_reads_total\{from="record_cache"\} 8\nringkv_replica_reads_total\{from="shard"\} 9$/m,
    );
    expect(text).toMatch(/^ringkv_local_reads_total\{frontend="\d+",from="record_cache"\} 0$/m);
    expect(text).toContain('ringkv_coordinator_admission_limit{frontend="2"} 300\n');
    expect(text).toContain('ringkv_coordinator_admitted{frontend="2"} 2\n');
    expect(text).toContain('ringkv_coordinator_admitted_bytes{frontend="2"} 4000\n');
    expect(text).toContain('ringkv_coordinator_overloaded_total{frontend="2"} 17\n');
    expect(text).toMatch(/^# TYPE ringkv_hints_replayed_total counter\nringkv_hints_replayed_total 5$/m);
    expect(text).toMatch(/^ringkv_hints_damaged_bytes_total 0$/m);
    expect(text).not.toContain('ringkv_hints_expired');
    const lines = text.trimEnd().split('\n');
    for (const line of lines)
      expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[^}]+\})? [0-9.e+-]+)$/);
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
