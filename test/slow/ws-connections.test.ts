import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Served, serve } from '../front/harness.ts';
import { eventually, GET, HANDSHAKE, PUT, WsClient } from '../front/ws-client.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served.close());
const bytes = (text: string): Buffer => Buffer.from(text);

describe('the upgrade', () => {
  const upgrade = (change: (lines: string[]) => string[], path = '/v1/ws'): Promise<string> =>
    served
      .talk(
        [
          `${change([...HANDSHAKE])
            .join('\r\n')
            .replace('/v1/ws', path)}\r\n\r\n`,
        ],
        (seen) => seen.includes('\r\n\r\n') && (seen.startsWith('HTTP/1.1 101') || seen.includes('}}')),
      )
      .then(({ seen }) => seen);
  const without = (name: string) => (lines: string[]) => lines.filter((line) => !line.startsWith(name));
  const withLine = (line: string) => (lines: string[]) => [
    ...lines.filter((one) => !one.startsWith(line.slice(0, line.indexOf(':')))),
    line,
  ];

  it('chooses ringkv.v1 among those that are offered', async () => {
    const seen = await upgrade(withLine('Sec-WebSocket-Protocol: other, ringkv.v1'));
    expect(seen).toMatch(/^HTTP\/1\.1 101 /);
    expect(seen).toMatch(/\r\nSec-WebSocket-Protocol: ringkv\.v1\r\n/i);
  });
  it('is refused without the sub-protocol', async () => {
    expect(await upgrade(without('Sec-WebSocket-Protocol'))).toMatch(
      /^HTTP\/1\.1 400 [\s\S]*does not offer ringkv\.v1/,
    );
    for (const name of ['ringkv.v2', 'RINGKV.V1', 'xringkv.v1'])
      expect(await upgrade(withLine(`Sec-WebSocket-Protocol: ${name}`))).toMatch(/^HTTP\/1\.1 400 /);
    await expect(WsClient.connect(served.front.port, [])).rejects.toThrow('closed with 1006');
  });
  it('is refused with a query, of another version, and to pages of other sites', async () => {
    expect(await upgrade((lines) => lines, '/v1/ws?x=1')).toMatch(/^HTTP\/1\.1 400 [\s\S]*unknown parameter/);
    expect(await upgrade(withLine('Sec-WebSocket-Version: 8'))).toMatch(
      /^HTTP\/1\.1 426 [\s\S]*Sec-WebSocket-Version: 13/,
    );
    expect(await upgrade(withLine('Origin: http://evil.example'))).toMatch(
      /^HTTP\/1\.1 403 [\s\S]*may not connect/,
    );
    // A name that begins or ends as this one's is another site.
    for (const origin of [
      'null',
      'http://localhost.evil.example',
      'https://evil-localhost',
      'ftp://localhost',
    ])
      expect(await upgrade(withLine(`Origin: ${origin}`)), origin).toMatch(/^HTTP\/1\.1 403 /);
    for (const origin of ['http://localhost', 'https://localhost'])
      expect(await upgrade(withLine(`Origin: ${origin}`)), origin).toMatch(/^HTTP\/1\.1 101 /);
  });
  it('is asked for where a request is none: 426, and 405 for other methods', async () => {
    const plain = await served.call('GET', '/v1/ws');
    expect([plain.status, plain.headers.upgrade, plain.json.error.code]).toEqual([
      426,
      'websocket',
      'BAD_REQUEST',
    ]);
    expect((await served.call('POST', '/v1/ws')).headers.allow).toBe('GET, OPTIONS');
  });
  it('is refused with 503 beyond the limit of connections', async () => {
    const at = await serve({ wsConnectionsMax: 2 });
    const two = [await WsClient.connect(at.front.port), await WsClient.connect(at.front.port)];
    await expect(WsClient.connect(at.front.port)).rejects.toThrow('1006');
    expect((await at.call('GET', '/metrics')).text).toContain(
      'ringkv_ws_connections_refused_total{frontend="0"} 1',
    );
    await two[0]?.close();
    await eventually('one is gone', async () =>
      (await at.call('GET', '/metrics')).text.includes('ringkv_ws_connections{frontend="0"} 1'),
    );
    await (await WsClient.connect(at.front.port)).close();
    await two[1]?.close();
    await at.close();
  });
});

describe('the metrics', () => {
  it('count requests by op and status, messages and connections, and forget connections that end', async () => {
    const at = await serve();
    const one = await WsClient.connect(at.front.port);
    await one.request({
      ops: [PUT, GET, GET, 9, 4],
      keys: ['a', 'b', 'c', 'd', ''],
      values: [bytes('x'), null, null, null, null],
    });
    const { text } = await at.call('GET', '/metrics');
    const at1 = (name: string, labels: string): string | undefined =>
      new RegExp(`^${name}\\{${labels}\\} (\\S+)$`, 'm').exec(text)?.[1];
    expect(at1('ringkv_ws_requests_total', 'frontend="0",op="get",status="NOT_FOUND"')).toBe('2');
    expect(at1('ringkv_ws_requests_total', 'frontend="0",op="put",status="OK"')).toBe('1');
    expect(at1('ringkv_ws_requests_total', 'frontend="0",op="unknown",status="BAD_REQUEST"')).toBe('1');
    expect(at1('ringkv_ws_requests_total', 'frontend="0",op="ping",status="OK"')).toBe('1');
    expect(at1('ringkv_ws_request_seconds_count', 'frontend="0",op="get"')).toBe('2');
    expect(at1('ringkv_ws_messages_received_total', 'frontend="0"')).toBe('1');
    expect(at1('ringkv_ws_connections', 'frontend="0"')).toBe('1');
    await one.close();
    await eventually('the connection is gone', async () => {
      const after = (await at.call('GET', '/metrics')).text;
      // The scrape's own connection is the last one.
      return (
        /^ringkv_ws_connections\{frontend="0"\} 0$/m.test(after) &&
        /^ringkv_http_connections\{frontend="0"\} 1$/m.test(after)
      );
    });
    expect((await at.call('GET', '/metrics')).text).toContain('reason="client"} 1');
    await at.close();
  });
});

describe('a node that stops', () => {
  it('answers what it took, refuses what comes, and closes with 1001', async () => {
    const at = await serve();
    const one = await WsClient.connect(at.front.port);
    at.client.held = [];
    const waiting = one.put('last', 'word');
    await eventually('it is at the shard', () => at.client.held?.length === 1);
    const closing = at.front.close(30_000);
    expect(await one.put('late', 'x')).toMatchObject({
      status: 7,
      message: 'the node is stopping; nothing was done',
    });
    at.client.release();
    expect((await waiting).status).toBe(0);
    expect(await one.closed).toEqual({ code: 1001, reason: 'the node is stopping; nothing was done' });
    await closing;
  });
  it('waits no longer than its grace time', async () => {
    const at = await serve();
    const one = await WsClient.connect(at.front.port);
    at.client.held = [];
    const waiting = one.put('never', 'answered');
    waiting.catch(() => undefined);
    await eventually('it is at the shard', () => at.client.held?.length === 1);
    await at.front.close(20);
    expect((await one.closed).code).toBe(1001);
    await expect(waiting).rejects.toThrow('closed with 1001');
    // A reply for a connection that is gone goes nowhere.
    at.client.release();
    await sleep(0);
  });
});

it('undici without the sub-protocol is refused before it is open', async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${served.front.port}/v1/ws`);
  const outcome = await new Promise((done) => {
    socket.addEventListener('open', () => done('open'));
    socket.addEventListener('close', ({ code }) => done(code));
  });
  expect(outcome).toBe(1006);
});
