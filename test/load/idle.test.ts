import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { checkDescriptors, IdleConnections, sourceOf } from '../../load/idle/idle-connections.ts';

/** Stands for the message with the limits. */
const LIMITS = Buffer.from([0xa0]);
const UPGRADED = 'HTTP/1.1 101 Switching Protocols\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const frame = (opcode: number, payload: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload]);
/** The answer to the get of docs/websocket.md, of a key that is absent. */
const ANSWER = Buffer.from('a26369647381026873746174757365738101', 'hex');

let server: Server | null = null;
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.close();
});

/** A node of which tests decide what it does with a connection, by its number and what came. */
async function node(answer: (socket: Socket, index: number, text: Buffer) => void): Promise<string> {
  server = createServer((socket) => {
    const index = sockets.push(socket) - 1;
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => answer(socket, index, bytes));
  });
  await new Promise<void>((done) => server?.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}
const good = (socket: Socket, bytes: Buffer): void => {
  const text = bytes.toString('latin1');
  if (text.startsWith('GET /v1/ws')) socket.write(Buffer.concat([Buffer.from(UPGRADED), frame(2, LIMITS)]));
  else if (text.startsWith('GET /healthz')) socket.write(OK);
  else if (bytes[0] === 0x82) socket.write(frame(2, ANSWER));
};
const until = async (holds: () => boolean): Promise<void> => {
  for (let i = 0; i < 2000 && !holds(); i++) await new Promise((done) => setTimeout(done, 5));
  expect(holds()).toBe(true);
};

describe('idle connections', () => {
  it('are open when all are greeted, answer pings, and are asked in the end', async () => {
    const pongs = new Set<number>();
    const upgraded = new Set<Socket>();
    const url = await node((socket, index, bytes) => {
      if (bytes.toString('latin1').startsWith('GET /v1/ws')) upgraded.add(socket);
      if (bytes[0] === 0x8a) pongs.add(index);
      else good(socket, bytes);
    });
    const idle = new IdleConnections([]);
    await idle.open([url], 20, new AbortController().signal);
    for (const socket of upgraded) socket.write(frame(9, Buffer.from('?')));
    await until(() => pongs.size === 18);
    expect(await idle.outcome()).toMatchObject({ webSockets: 18, http: 2, dropped: 0, answered: 20 });
    idle.close();
  });

  it('that are dropped are counted with the reason, and those that are silent do not answer', async () => {
    const url = await node((socket, index, bytes) => {
      if (bytes[0] === 0x82 && index === 3) return;
      good(socket, bytes);
    });
    const idle = new IdleConnections([]);
    await idle.open([url], 10, new AbortController().signal);
    (sockets[0] as Socket).write(frame(8, Buffer.from([0x03, 0xe9])));
    (sockets[1] as Socket).destroy();
    await until(() => sockets.filter(({ destroyed }) => destroyed).length === 2);
    (sockets[3] as Socket).destroy();
    const { dropped, answered, reasons } = await idle.outcome();
    expect([dropped, answered]).toEqual([3, 7]);
    expect(reasons['closed with 1001']).toBe(1);
    idle.close();
  });

  it('that are refused say how', async () => {
    const url = await node((socket) => socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n'));
    const idle = new IdleConnections([]);
    await expect(idle.open([url], 5, new AbortController().signal)).rejects.toThrow(
      'answered HTTP/1.1 503 Service Unavailable',
    );
    idle.close();
  });

  it('need open files, and say how many', () => {
    expect(() => checkDescriptors(11_000, 20_000)).not.toThrow();
    expect(() => checkDescriptors(11_000, 1024)).toThrow(
      '11000 connections need 12024 open files; the limit of this process is 1024: raise it with ulimit -n 12024',
    );
  });

  it('come from further addresses of a loopback where one has too few ports', () => {
    const local = { host: '127.0.0.1', port: 1 };
    expect([0, 19_999, 20_000, 40_000].map((index) => sourceOf(local, index))).toEqual([
      undefined,
      undefined,
      '127.0.0.2',
      '127.0.0.3',
    ]);
    expect(sourceOf({ host: '10.0.0.1', port: 1 }, 40_000)).toBeUndefined();
  });
});
