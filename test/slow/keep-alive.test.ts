import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { type Served, serve } from '../front/harness.ts';

const TOLD = `timeout=${limits.httpKeepAliveSeconds}`;
const CONNECTIONS = 100;

/** A connection that asks for the same again and again. */
class Asking {
  readonly #socket: Socket;
  readonly #request: string;
  #wake: (whole: boolean) => void = () => undefined;
  constructor({ front }: Served, request: string) {
    this.#request = request;
    this.#socket = connect(front.port, '127.0.0.1');
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => this.#wake(false));
    let seen = '';
    this.#socket.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1');
      const end = seen.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(seen)?.[1] ?? 0);
      if (end < 0 || seen.length < end + 4 + length) return;
      seen = '';
      this.#wake(true);
    });
  }
  /** Whether an answer came. */
  ask(): Promise<boolean> {
    return new Promise((done) => {
      this.#wake = done;
      this.#socket.write(this.#request);
    });
  }
  close(): void {
    this.#socket.destroy();
  }
}

describe('a connection over HTTP', () => {
  it('is told with each answer for how long it is kept when it is idle', async () => {
    const served = await serve();
    const json = { 'content-type': 'application/json' };
    const ops = JSON.stringify({ ops: [{ op: 'get', key: 'a' }] });
    await served.call('PUT', '/v1/kv/a', {}, 'x');
    const { headers } = await served.call('GET', '/v1/kv/a');
    const tag = String(headers.etag);
    const asked: readonly [number, Parameters<Served['call']>][] = [
      [204, ['PUT', '/v1/kv/a', { 'if-match': tag }, 'x']],
      [200, ['GET', '/v1/kv/a', { accept: 'application/octet-stream' }]],
      [200, ['GET', '/v1/kv/a', { accept: 'application/json' }]],
      [200, ['HEAD', '/v1/kv/a']],
      [404, ['GET', '/v1/kv/absent']],
      [412, ['PUT', '/v1/kv/a', { 'if-match': '"1"' }, 'x']],
      [400, ['GET', '/v1/kv/%zz']],
      [405, ['PATCH', '/v1/kv/a']],
      [204, ['OPTIONS', '/v1/kv/a']],
      [200, ['POST', '/v1/batch', json, ops]],
      [200, ['GET', '/v1/scan']],
      [200, ['GET', '/healthz']],
      [200, ['GET', '/metrics']],
      [404, ['GET', '/nowhere']],
      [204, ['DELETE', '/v1/kv/a']],
    ];
    for (const [status, request] of asked) {
      const answer = await served.call(...request);
      expect([answer.status, answer.headers['keep-alive']], request.slice(0, 2).join(' ')).toEqual([
        status,
        TOLD,
      ]);
    }
    await served.call('PUT', '/v1/kv/b', {}, 'x');
    const again = String((await served.call('GET', '/v1/kv/b')).headers.etag);
    const same = await served.call('GET', '/v1/kv/b', { 'if-none-match': again });
    expect([same.status, same.headers['keep-alive']]).toEqual([304, TOLD]);
    await served.close();
  });

  it('that ends with its answer is not told so', async () => {
    const served = await serve({ connectionsMax: 1 });
    const first = connect(served.front.port, '127.0.0.1');
    await new Promise((done) => first.once('connect', done));
    const refused = await served.call('GET', '/healthz');
    expect([refused.status, refused.headers['keep-alive']]).toEqual([503, undefined]);
    first.destroy();
    await served.close();
  });

  it('is still there when it was idle for as long', async () => {
    const served = await serve();
    served.client.memory.set('k', Buffer.from('v'));
    // One after another, so that they stand everywhere in the 4 s between two looks of the server.
    const all: Asking[] = [];
    const idle: Promise<boolean>[] = [];
    for (let i = 0; i < CONNECTIONS; i++) {
      const one = new Asking(
        served,
        `${i % 2 === 0 ? 'GET' : 'DELETE'} /v1/kv/k HTTP/1.1\r\nHost: x\r\n\r\n`,
      );
      all.push(one);
      expect(await one.ask()).toBe(true);
      idle.push(sleep(limits.httpKeepAliveSeconds * 1000).then(() => one.ask()));
      await sleep(4000 / CONNECTIONS);
    }
    expect((await Promise.all(idle)).filter((answered) => !answered)).toEqual([]);
    for (const one of all) one.close();
    await served.close();
  });
});
