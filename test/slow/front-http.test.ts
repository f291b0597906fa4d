import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Op } from '../../src/shard/contract.ts';
import { type Answer, type Served, serve } from '../front/harness.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served.close());
const call: Served['call'] = (...args) => served.call(...args);
const putJson: Served['putJson'] = (...args) => served.putJson(...args);
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const RAW = { 'content-type': 'application/octet-stream' };
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

describe('deadlines', () => {
  it('are those of the monotonic clock, however the wall clock is set', async () => {
    const clock = new ManualClock(1_700_000_000_000);
    const at = await serve({ clock });
    try {
      for (const jumpMs of [600_000, -1_200_000]) {
        clock.jumpMs(jumpMs);
        clock.advanceMs(3);
        const due = clock.monotonicMs() + 5000;
        const before = at.client.sent.length;
        await at.call('PUT', '/v1/kv/w?ttl=1', RAW, 'x');
        await at.call('GET', '/v1/kv/absent');
        await at.call('DELETE', '/v1/kv/w');
        await at.call('GET', '/v1/scan');
        const ops = [{ op: 'put', key: base64('b'), value: '' }];
        await at.call('POST', '/v1/batch', { 'content-type': 'application/json' }, JSON.stringify({ ops }));
        const sent = at.client.sent.slice(before);
        expect(sent.map(({ op }) => op)).toEqual(
          expect.arrayContaining([Op.PUT, Op.GET, Op.DELETE, Op.SCAN]),
        );
        expect([...new Set(sent.map(({ deadlineMs }) => deadlineMs))]).toEqual([due]);
        expect(sent[0]?.expiresMs).toBe(clock.nowMs() + 1000);
      }
    } finally {
      await at.close();
    }
  });
  it('reach the shard as given, 5 s otherwise', async () => {
    for (const [headers, ms] of [
      [{}, 5000],
      [{ 'x-ringkv-timeout': '250' }, 250],
    ] as const) {
      const before = performance.now();
      await call('PUT', '/v1/kv/d', { ...RAW, ...headers }, 'x');
      const deadlineMs = served.client.sent.at(-1)?.deadlineMs ?? 0;
      expect(deadlineMs).toBeGreaterThanOrEqual(before + ms);
      expect(deadlineMs).toBeLessThanOrEqual(performance.now() + ms);
    }
  });
});
