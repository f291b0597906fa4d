import { connect, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { MiB } from '../../src/base/limits.ts';
import { type Served, serve } from '../front/harness.ts';

const SENT_BYTES = 48 * MiB;
/** What the test itself, the collector and what malloc keeps may take. */
const ALLOWANCE = 96 * MiB;
const HOST = 'Host: x\r\n\r\n';

/** Sends requests and reads nothing, until the connection ends or the server has taken nothing for a while. */
async function flood(served: Served, request: string): Promise<{ sent: number }> {
  const many = Buffer.from(request.repeat(Math.ceil(65_536 / request.length)));
  const socket: Socket = connect(served.front.port, '127.0.0.1');
  let ended = false;
  socket.pause();
  socket.on('error', () => undefined);
  socket.on('close', () => {
    ended = true;
  });
  let sent = 0;
  while (!ended && sent < SENT_BYTES) {
    const taken = await new Promise<boolean>((done) => {
      const late = setTimeout(() => done(false), 2000);
      socket.write(many, () => {
        clearTimeout(late);
        done(true);
      });
    });
    if (!taken) break;
    sent += many.length;
  }
  socket.destroy();
  return { sent };
}

describe('a client that asks on and on over HTTP, and never reads, costs bounded memory', () => {
  it.each([
    ['reads of a small value', `GET /v1/kv/small HTTP/1.1\r\n${HOST}`],
    ['reads of a large value', `GET /v1/kv/large HTTP/1.1\r\n${HOST}`],
    ['heads', `HEAD /v1/kv/small HTTP/1.1\r\n${HOST}`],
    ['mistakes', `GET /v1/kv/%zz HTTP/1.1\r\n${HOST}`],
    ['unknown paths', `GET /nowhere HTTP/1.1\r\n${HOST}`],
    ['options, whose answers are empty', `OPTIONS /v1/kv/small HTTP/1.1\r\n${HOST}`],
    ['methods that are not allowed', `PATCH /v1/kv/small HTTP/1.1\r\nContent-Length: 0\r\n${HOST}`],
    ['tags that match', `GET /v1/kv/small HTTP/1.1\r\nIf-None-Match: *\r\n${HOST}`],
    ['health', `GET /healthz HTTP/1.1\r\n${HOST}`],
  ])('%s', async (_, request) => {
    const served = await serve();
    served.client.memory.set('small', Buffer.from('v'));
    served.client.memory.set('large', Buffer.alloc(65_536, 7));
    const before = process.memoryUsage().rss;
    const { sent } = await flood(served, request);
    expect(sent).toBeGreaterThan(MiB);
    expect(process.memoryUsage().rss - before).toBeLessThan(ALLOWANCE);
    expect((await served.call('GET', '/healthz')).status).toBe(200);
    await served.close();
  });
});
