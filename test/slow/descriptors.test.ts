/** A node that may have few open files: `ulimit -n` of its shell. */
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MAIN, type Process, until, urlOf, Workplace } from './cli-process.ts';

const DESCRIPTORS = 400;
const PATIENCE_MS = 30_000;
const VALUE = Buffer.alloc(16 * 1024, 'v');
/** Some memtables: files are made and deleted while connections hold all that is theirs. */
const PUTS = 200;

let place: Workplace;
const sockets: Socket[] = [];
beforeEach(() => {
  place = new Workplace();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await place.remove();
});

interface Line {
  readonly level: string;
  readonly msg: string;
}
const warnings = (server: Process): string[] =>
  server.err
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line)
    .filter(({ level }) => level === 'warn' || level === 'error')
    .map(({ msg }) => msg);

/** A connection that asks one thing at a time. */
class Talk {
  readonly #socket: Socket;
  #seen = '';
  #wake: (answer: string) => void = () => undefined;
  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.#socket = connect(Number(port), hostname);
    sockets.push(this.#socket);
    this.#socket.on('error', () => undefined);
    this.#socket.on('data', (chunk: Buffer) => {
      this.#seen += chunk.toString('latin1');
      const end = this.#seen.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(this.#seen)?.[1] ?? 0);
      if (end >= 0 && this.#seen.length >= end + 4 + length) this.#wake(this.#seen);
    });
    this.#socket.on('close', () => this.#wake(''));
  }
  /** The answer; '' where the connection ends without one. */
  ask(method: string, path: string, body = Buffer.alloc(0)): Promise<string> {
    this.#seen = '';
    const head = `${method} ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n`;
    const answer = new Promise<string>((done) => {
      this.#wake = done;
    });
    if (this.#socket.closed) this.#wake('');
    this.#socket.write(Buffer.concat([Buffer.from(`${head}Content-Length: ${body.length}\r\n\r\n`), body]));
    return answer;
  }
  destroy(): void {
    this.#socket.destroy();
  }
}
const statusOf = (answer: string): number => Number(answer.slice(9, 12));

describe('a node that may have few open files', () => {
  it('takes as many connections as it says, refuses the next with 503, and goes on reading and writing', async () => {
    const flags = '--port 0 --data data --shards 2 --max-value-bytes 64KiB --memtable-bytes 256KiB';
    const server = place.startShell(
      `ulimit -n ${DESCRIPTORS}; exec "${process.execPath}" "${MAIN}" serve ${flags}`,
    );
    const url = await urlOf(server);
    const [warning = ''] = warnings(server);
    expect(warning).toContain(`this process may have ${DESCRIPTORS} open files (ulimit -n)`);
    expect(warning).toMatch(/1 x 16384 connections beside tables, logs and other nodes need \d+/);
    const max = Number(/each front end takes (\d+)/.exec(warning)?.[1]);
    expect(max).toBeGreaterThan(DESCRIPTORS / 4);
    expect(max).toBeLessThan(DESCRIPTORS / 2);

    const held: Talk[] = [];
    for (let count = 0; count < max; count++) {
      const one = new Talk(url);
      expect(statusOf(await one.ask('GET', '/healthz')), `connection ${count + 1} of ${max}`).toBe(200);
      held.push(one);
    }
    // The end may overtake what is told where the request comes just as the connection is closed.
    let refused = '';
    for (let tries = 0; refused === '' && tries < 10; tries++)
      refused = await new Talk(url).ask('GET', '/healthz');
    expect(statusOf(refused)).toBe(503);
    expect(refused).toContain(`${max} connections are open; the limit is ${max}`);
    // More than there are descriptors: each is told so, or closed as it comes. First some that take no end for an answer.
    const { hostname, port } = new URL(url);
    const silent = Array.from({ length: 2 * DESCRIPTORS }, () => {
      const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
      socket.on('error', () => undefined);
      return socket;
    });
    sockets.push(...silent);
    const flood = Array.from({ length: 2 * DESCRIPTORS }, () => new Talk(url).ask('GET', '/healthz'));

    // Those that are in have every look at what they asked for, and tables are written meanwhile.
    const [first, ...others] = held as [Talk, ...Talk[]];
    for (let put = 0; put < PUTS; put++)
      expect(statusOf(await first.ask('PUT', `/v1/kv/k${put}`, VALUE)), `put ${put}`).toBe(204);
    const told = (await Promise.all(flood)).map(statusOf);
    expect(told.filter((status) => status !== 503 && status !== 0)).toEqual([]);
    const flushes = async (): Promise<number> => {
      const text = await first.ask('GET', '/metrics');
      return [...text.matchAll(/^ringkv_shard_flushes\{[^}]*\} (\d+)/gm)].reduce(
        (sum, [, n]) => sum + Number(n),
        0,
      );
    };
    let flushed = await flushes();
    for (let tries = 0; flushed < 4 && tries < 1000; tries++) flushed = await flushes();
    expect(flushed).toBeGreaterThanOrEqual(4);
    for (let put = 0; put < PUTS; put += 10)
      expect((await first.ask('GET', `/v1/kv/k${put}`)).startsWith('HTTP/1.1 200 '), `get ${put}`).toBe(true);

    // Where some have gone, others come in.
    for (const one of [...silent, ...others.slice(0, 10)]) one.destroy();
    let again = 0;
    for (let tries = 0; again !== 200 && tries < 1000; tries++)
      again = statusOf(await new Talk(url).ask('GET', '/healthz'));
    expect(again).toBe(200);
    expect(warnings(server).slice(1)).toEqual([]);
    server.kill('SIGTERM');
    await until(() => !server.running, PATIENCE_MS);
  });

  it('says nothing where the descriptors are enough', async () => {
    const { server } = await place.serve('--data', 'data', '--shards', '1', '--log-level', 'warn');
    expect(warnings(server)).toEqual([]);
    server.kill('SIGTERM');
    expect((await server.ended).code).toBe(0);
  });
});
