import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { probePort, startFront } from '../../src/front/front.ts';
import { clockOf } from '../base/clocks.ts';
import { type Served, serve } from '../front/harness.ts';
import { testSeed } from '../seed.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served.close());

const HOST = 'Host: x\r\n';
const get = (key: string, headers = ''): string => `GET /v1/kv/${key} HTTP/1.1\r\n${HOST}${headers}\r\n`;
const put = (key: string, body: string, headers = ''): string =>
  `PUT /v1/kv/${key} HTTP/1.1\r\n${HOST}${headers}Content-Length: ${body.length}\r\n\r\n${body}`;
const statuses = (seen: string): number[] =>
  [...seen.matchAll(/HTTP\/1\.1 (\d+) /g)].map((match) => Number(match[1]));
const count =
  (wanted: number) =>
  (seen: string): boolean =>
    statuses(seen).length >= wanted && /\r\n\r\n/.test(seen);
const never = (): boolean => false;

describe('framing', () => {
  it.each<[string, string, number]>([
    [
      'two lengths that differ',
      `PUT /v1/kv/f HTTP/1.1\r\n${HOST}Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde`,
      400,
    ],
    [
      'two lengths that differ, on a GET',
      `GET /v1/kv/f HTTP/1.1\r\n${HOST}Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde`,
      400,
    ],
    [
      'a length and chunks',
      `PUT /v1/kv/f HTTP/1.1\r\n${HOST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      400,
    ],
    [
      'a coding that is not chunked',
      `PUT /v1/kv/f HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      501,
    ],
    ['a length in a list', `PUT /v1/kv/f HTTP/1.1\r\n${HOST}Content-Length: 3, 3\r\n\r\nabc`, 400],
    ['a negative length', `PUT /v1/kv/f HTTP/1.1\r\n${HOST}Content-Length: -3\r\n\r\nabc`, 400],
    [
      'a length of 23 digits',
      `PUT /v1/kv/f HTTP/1.1\r\n${HOST}Content-Length: 99999999999999999999999\r\n\r\nabc`,
      400,
    ],
    ['no host', 'GET /v1/kv/f HTTP/1.1\r\n\r\n', 400],
    ['HTTP/1.0', `GET /v1/kv/f HTTP/1.0\r\n${HOST}\r\n`, 505],
    ['a head without an end', `GET /v1/kv/f HTTP/1.1\r\n${HOST}X: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['raw bytes above ASCII in the path', `GET /v1/kv/\u00e9 HTTP/1.1\r\n${HOST}\r\n`, 400],
    [
      'two different types',
      `PUT /v1/kv/f HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n`,
      400,
    ],
  ])('with %s is refused', async (_, bytes, status) => {
    const before = served.client.sent.length;
    const { seen } = await served.talk([Buffer.from(bytes, 'latin1')], count(1));
    expect(statuses(seen)[0]).toBe(status);
    expect(served.client.sent.length).toBe(before);
  });
  it('by chunks, and byte by byte, brings the body whole', async () => {
    const chunked = `PUT /v1/kv/chunks HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`;
    expect(statuses((await served.talk([chunked], count(1))).seen)).toEqual([204]);
    expect((await served.call('GET', '/v1/kv/chunks')).json.value).toBe('YWJjZGU=');
    const { seen } = await served.talk(
      [...put('bytewise', 'abcde')].flatMap((byte, i) => (i % 16 === 0 ? [1, byte] : [byte])),
      count(1),
    );
    expect(statuses(seen)).toEqual([204]);
    expect((await served.call('GET', '/v1/kv/bytewise')).json.value).toBe('YWJjZGU=');
  });
  it('asked with Expect gets 100 before the body, and the refusal at once where there is one', async () => {
    const head = (length: number): string =>
      `PUT /v1/kv/expect HTTP/1.1\r\n${HOST}Content-Length: ${length}\r\nExpect: 100-continue\r\n\r\n`;
    const taken = await served.talk([head(3), 20, 'abc'], (seen) => seen.includes(' 204 '));
    expect(statuses(taken.seen)).toEqual([100, 204]);
    const refused = await served.talk([head(70_000)], count(2));
    expect(statuses(refused.seen)).toEqual([100, 413]);
  });
  it('repeats a list header as one list', async () => {
    const version = Number(/ETag: "(\d+)"/.exec((await served.talk([put('list', 'x')], count(1))).seen)?.[1]);
    const { seen } = await served.talk(
      [put('list', 'y', `If-Match: "1"\r\nIf-Match: "${version}"\r\n`)],
      count(1),
    );
    expect(statuses(seen)).toEqual([204]);
  });
});

describe('a connection', () => {
  it('serves one request after another, errors and bodies that were refused among them', async () => {
    const requests = [
      put('k', 'a'),
      get('k'),
      put('k', 'x'.repeat(70_000)),
      put('k', '{', 'Content-Type: application/json\r\n'),
      put('k', 'x', 'Content-Type: a/b\r\n'),
      get('k'),
      `DELETE /v1/kv/k HTTP/1.1\r\n${HOST}\r\n`,
      get('k'),
      `HEAD /v1/kv/k HTTP/1.1\r\n${HOST}\r\n`,
      get('%zz'),
    ];
    const expected = [204, 200, 413, 400, 415, 200, 204, 404, 404, 400];
    let sent = 0;
    const socket = connect(served.front.port, '127.0.0.1');
    const seen = await new Promise<string>((resolve, reject) => {
      let text = '';
      socket.on('error', reject);
      socket.on('close', () => resolve(text));
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        if (statuses(text).length < sent) return;
        if (sent < requests.length) socket.write(requests[sent++] ?? '');
        else socket.end();
      });
      socket.write(requests[sent++] ?? '');
    });
    expect(statuses(seen)).toEqual(expected);
  });
  it('answers pipelined reads from shared memory in order', async () => {
    for (let i = 0; i < 50; i++) served.client.memory.set(`p${i}`, Buffer.from(`value-${i}.`));
    const burst = Array.from({ length: 50 }, (_, i) =>
      get(`p${i}`, 'Accept: application/octet-stream\r\n'),
    ).join('');
    const { seen } = await served.talk([burst], (text) => text.includes('value-49.'));
    expect([...seen.matchAll(/value-(\d+)\./g)].map((match) => Number(match[1]))).toEqual(
      Array.from({ length: 50 }, (_, i) => i),
    );
  });
  it('keeps a pipelined request that came after a slow one until that is answered', async () => {
    const slow = await serve();
    slow.client.held = [];
    setTimeout(() => slow.client.release(), 150);
    const { seen } = await slow.talk([put('a', 'x'), 50, get('%zz'), get('a')], count(3));
    expect(statuses(seen)).toEqual([204, 400, 200]);
    await slow.close();
  });
  it('is closed, with nothing applied twice, where requests that need a shard come in one packet', async () => {
    const at = await serve();
    const { seen, ended } = await at.talk([put('a', 'x') + put('b', 'y')], count(2));
    expect([statuses(seen), ended]).toEqual([[], true]);
    expect(at.client.sent.map(({ key }) => Buffer.from(key).toString())).toEqual(['a']);
    expect((await at.call('GET', '/healthz')).status).toBe(200);
    await at.close();
  });
  it('ends after Connection: close', async () => {
    const { seen, ended } = await served.talk([get('none', 'Connection: close\r\n')], never);
    expect([statuses(seen), ended]).toEqual([[404], true]);
  });
  it('beyond the limit of connections is told so and ended, and counted', async () => {
    const at = await serve({ connectionsMax: 3 });
    const open = [];
    for (let i = 0; i < 3; i++) open.push(connect(at.front.port, '127.0.0.1'));
    for (const socket of open) await new Promise((done) => socket.write(get('none'), done));
    await Promise.all(open.map((socket) => new Promise((done) => socket.once('data', done))));
    const { seen, ended } = await at.talk([get('none')], never);
    expect([statuses(seen), ended]).toEqual([[503], true]);
    expect(seen).toContain('3 connections are open; the limit is 3; nothing was done');
    const one = open.pop();
    const closed = new Promise((done) => one?.once('close', done));
    one?.end();
    await closed;
    const { text } = await at.call('GET', '/metrics');
    expect(text).toContain('ringkv_http_connections{frontend="0"} 3');
    expect(text).toContain('ringkv_http_connections_refused_total{frontend="0"} 1');
    for (const socket of open) socket.destroy();
    await at.close();
  });
});

describe('a body', () => {
  it('that is half sent leaves nothing behind', async () => {
    const at = await serve();
    for (const half of [
      put('half', 'abcdef').slice(0, -3),
      `PUT /v1/kv/half HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n6\r\nabc`,
    ]) {
      const socket = connect(at.front.port, '127.0.0.1');
      await new Promise((done) => socket.write(half, done));
      for (;;)
        if (
          (await at.call('GET', '/metrics')).text.includes('ringkv_http_requests_in_flight{frontend="0"} 2')
        )
          break;
      socket.destroy();
      for (;;)
        if (
          (await at.call('GET', '/metrics')).text.includes('ringkv_http_requests_in_flight{frontend="0"} 1')
        )
          break;
    }
    expect((await at.call('GET', '/v1/kv/half')).status).toBe(404);
    expect((await at.call('GET', '/metrics')).text).toContain('ringkv_http_bodies_bytes{frontend="0"} 0');
    await at.close();
  });
  it('that comes too slowly gets 408, and its connection ends', async () => {
    const startMs = performance.now();
    const drip = Array.from({ length: 40 }, () => [400, 'x']).flat();
    const { seen, ended } = await served.talk(
      [`PUT /v1/kv/slow HTTP/1.1\r\n${HOST}Content-Length: 1000\r\n\r\n`, ...drip],
      never,
    );
    expect([statuses(seen), ended]).toEqual([[408], true]);
    expect(seen).toContain('"code":"TIMEOUT"');
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(limits.httpBodyPeriodMs - 1100);
    expect((await served.call('GET', '/v1/kv/slow')).status).toBe(404);
  });
  it('that is too long gets its 413 though the client goes on sending', async () => {
    const large = 3_000_000;
    const sent = `PUT /v1/kv/l HTTP/1.1\r\n${HOST}Content-Length: ${large}\r\n\r\n`;
    const { seen } = await served.talk([sent, Buffer.alloc(large), get('%zz')], count(2));
    expect(statuses(seen)).toEqual([413, 400]);
    const unread = await served.talk(
      [`PUT /v1/kv/l HTTP/1.1\r\n${HOST}Content-Length: 99999999999\r\n\r\n`],
      never,
    );
    expect([statuses(unread.seen), unread.ended]).toEqual([[413], true]);
    const chunk = `${(20_000).toString(16)}\r\n${'x'.repeat(20_000)}\r\n`;
    const chunks = await served.talk(
      [
        `PUT /v1/kv/l HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`,
        ...Array(20).fill(chunk),
        '0\r\n\r\n',
        get('%zz'),
      ],
      count(2),
    );
    expect(statuses(chunks.seen)).toEqual([413, 400]);
  });
});

describe('a client that does not read', () => {
  it('leaves at most a bounded answer waiting, and gets all of it when it reads', async () => {
    const at = await serve({ maxValueBytes: 8 << 20 });
    const value = Buffer.alloc(8 << 20, 7);
    at.client.memory.set('big', value);
    const socket = connect(at.front.port, '127.0.0.1');
    socket.pause();
    await new Promise((done) => socket.write(get('big', 'Accept: application/octet-stream\r\n'), done));
    const held = async (): Promise<number> =>
      Number(/ringkv_http_answers_bytes\{[^}]*\} (\d+)/.exec((await at.call('GET', '/metrics')).text)?.[1]);
    while ((await held()) === 0) await new Promise((done) => setImmediate(done));
    expect(await held()).toBeLessThan(8 << 20);
    let received = 0;
    await new Promise<void>((done) => {
      socket.on('data', (chunk) => {
        received += chunk.length;
        if (received > 8 << 20) done();
      });
      socket.resume();
    });
    while ((await held()) !== 0) await new Promise((done) => setImmediate(done));
    socket.destroy();
    await at.close();
  });
  it('and goes on asking is cut off', async () => {
    const at = await serve({ maxValueBytes: 8 << 20 });
    at.client.memory.set('big', Buffer.alloc(8 << 20, 7));
    const socket = connect(at.front.port, '127.0.0.1');
    socket.pause();
    const closed = new Promise<void>((done) => socket.on('close', () => done()));
    socket.on('error', () => undefined);
    for (let i = 0; i < 20 && !socket.destroyed; i++)
      await new Promise((done) => socket.write(get('big'), done));
    while (!(await at.call('GET', '/metrics')).text.includes('ringkv_http_connections{frontend="0"} 1'))
      await new Promise((done) => setImmediate(done));
    expect((await at.call('GET', '/metrics')).text).toContain('ringkv_http_answers_bytes{frontend="0"} 0');
    socket.destroy();
    await closed;
    await at.close();
  });
});

describe('listening', () => {
  it('names host and port where it cannot', async () => {
    const { port } = served.front;
    const options = {
      client: served.client,
      clock: clockOf(
        () => 0,
        () => 0,
      ),
      sharedPort: false,
      maxKeyBytes: 16,
      maxValueBytes: 16,
      notReady: () => '',
    };
    await expect(startFront({ ...options, host: '127.0.0.1', port })).rejects.toMatchObject({
      code: 'LISTEN',
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
    await expect(startFront({ ...options, host: 'nowhere.invalid', port: 0 })).rejects.toMatchObject({
      code: 'LISTEN',
    });
    await expect(probePort('127.0.0.1', port)).rejects.toMatchObject({ code: 'LISTEN' });
  });
  it('is probed for a free port that two front ends can then share', async () => {
    const port = await probePort('127.0.0.1', 0);
    const both = await Promise.all([
      serve({ port, sharedPort: true, frontend: 0 }),
      serve({ port, sharedPort: true, frontend: 1 }),
    ]);
    expect(both.map(({ front }) => front.port)).toEqual([port, port]);
    expect((await both[0].call('GET', '/healthz')).status).toBe(200);
    await Promise.all(both.map((one) => one.close()));
    await expect(both[0].call('GET', '/healthz')).rejects.toThrow(/ECONNREFUSED/);
  });
  it('ends with requests in flight answered, or after the grace', async () => {
    const at = await serve();
    at.client.held = [];
    const answer = at.call('PUT', '/v1/kv/last', {}, 'x');
    while (at.client.sent.length === 0) await new Promise((done) => setImmediate(done));
    const closing = at.front.close(10_000);
    await expect(at.call('GET', '/healthz')).rejects.toThrow(/ECONNREFUSED/);
    at.client.release();
    expect((await answer).status).toBe(204);
    await closing;
    const stuck = await serve();
    stuck.client.held = [];
    const lost = stuck.call('PUT', '/v1/kv/lost', {}, 'x');
    lost.catch(() => undefined);
    while (stuck.client.sent.length === 0) await new Promise((done) => setImmediate(done));
    await stuck.front.close(50);
    await expect(lost).rejects.toThrow();
    stuck.client.release();
  });
});

describe('bytes at random', () => {
  const seed = testSeed();
  it(`never bring the server down, nor get one answer too many (seed ${seed})`, async () => {
    const random = new Random(seed);
    const at = await serve();
    const stems = [
      get('a'),
      put('a', 'abc'),
      put('a', '{"value":"YQ=="}', 'Content-Type: application/json\r\n'),
      `POST /v1/batch HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nContent-Length: 35\r\n\r\n{"ops":[{"op":"get","key":"fuzz"}]}`,
      `GET /v1/scan?limit=5&prefix=%61 HTTP/1.1\r\n${HOST}\r\n`,
      `PUT /v1/kv/c HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
      get('a', 'If-None-Match: "1", W/"2"\r\nX-RingKV-Timeout: 5\r\nAccept: a/b;q=0.5\r\n'),
    ];
    for (let round = 0; round < 1500; round++) {
      const bytes = Buffer.from(random.pick(stems), 'latin1');
      for (let edits = random.below(4); edits > 0; edits--)
        bytes[random.below(bytes.length)] = random.chance(0.5)
          ? random.below(256)
          : random.pick([...Buffer.from('\r\n :%,;"{}[]0*/?&=')]);
      const end = random.chance(0.2) ? random.below(bytes.length) : bytes.length;
      await new Promise<void>((done) => {
        const socket = connect(at.front.port, '127.0.0.1');
        let seen = '';
        socket.on('error', () => undefined);
        socket.on('close', () => {
          for (const status of statuses(seen))
            expect([100, 200, 204, 304, 400, 404, 405, 412, 413, 415, 431, 501, 503, 505]).toContain(status);
          done();
        });
        socket.on('data', (chunk) => {
          seen += chunk.toString('latin1');
        });
        socket.end(bytes.subarray(0, end));
      });
    }
    expect((await at.call('GET', '/healthz')).status).toBe(200);
    expect((await at.call('GET', '/metrics')).text).toContain(
      'ringkv_http_requests_in_flight{frontend="0"} 1',
    );
    await at.close();
  });
});
