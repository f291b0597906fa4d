/** `ringkv serve --seeds` where no seed answers, as real processes. */
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../load/target/free-port.ts';
import { type Process, until, urlOf, Workplace } from './cli-process.ts';
import { eventually, statusOf } from './cluster-processes.ts';

/** Bounds what hangs: a start that is not interrupted waits for ever. */
const END_MS_MAX = 60_000;
const WAIT_MS_MAX = 60_000;

let place: Workplace;
const servers: Server[] = [];
beforeEach(() => {
  place = new Workplace();
});
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await place.remove();
});

async function portOf(server: Server): Promise<number> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return (server.address() as { port: number }).port;
}
const serve = (...flags: string[]): Process =>
  place.start('serve', '--port', '0', '--peer-port', '0', '--data', 'data', '--vnodes', '64', ...flags);

/** Where a node answers that does not serve yet. */
async function waitingUrl(node: Process): Promise<string> {
  const found = (): string | undefined => /(http:\/\/\S+) answers, and serves once/.exec(node.err)?.[1];
  await until(() => found() !== undefined || !node.running, WAIT_MS_MAX);
  return found() ?? `none: ${node.err}`;
}
const putKey = (url: string): Promise<Response> =>
  fetch(`${url}/v1/kv/key`, {
    method: 'PUT',
    body: 'value',
    headers: { 'content-type': 'application/octet-stream' },
  });
async function endedBy(node: Process, signal: NodeJS.Signals): Promise<void> {
  node.kill(signal);
  await until(() => !node.running, END_MS_MAX);
  const { code, out, err } = await node.ended;
  expect({ code, out }, err).toEqual({ code: 0, out: '' });
}

describe('a node whose seeds do not answer', () => {
  it('says so to probes, to clients and in its log, serves nothing, and ends cleanly at SIGTERM', async () => {
    const seed = `127.0.0.1:${await freePort()}`;
    const node = serve('--seeds', seed);
    const url = await waitingUrl(node);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    await eventually('/readyz names the seed, and why', async () => {
      const answer = await fetch(`${url}/readyz`);
      const text = await answer.text();
      return answer.status === 503 && text.includes(seed) && text.includes('ECONNREFUSED');
    });
    for (const path of ['/v1/kv/key', '/v1/scan', '/v1/cluster'])
      expect((await fetch(`${url}${path}`)).status, path).toBe(503);
    const put = await putKey(url);
    expect([put.status, await put.text()]).toEqual([503, expect.stringContaining('nothing was written')]);
    await until(() => /"level":"?(warn|40)"?[^\n]*seeds:[^\n]*ECONNREFUSED/.test(node.err), WAIT_MS_MAX);
    expect(node.err).toContain(seed);
    await endedBy(node, 'SIGTERM');
    expect(node.err).toContain('stopped before it served');
  });

  it('ends cleanly at SIGINT while a seed takes its connection and says nothing', async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => {
      socket.on('error', () => undefined);
      sockets.push(socket);
    });
    servers.push(silent);
    const node = serve('--seeds', `127.0.0.1:${await portOf(silent)}`);
    await until(() => sockets.length > 0 || !node.running, WAIT_MS_MAX);
    await endedBy(node, 'SIGINT');
    for (const socket of sockets) socket.destroy();
  });

  it('does not start where the cluster has another number of vnodes than its files', async () => {
    for (const [vnodes, others] of [
      ['64', '128'],
      ['128', '64'],
    ] as const) {
      const port = await freePort();
      const at = ['--port', '0', '--peer-port', String(port), '--data', `of ${others}`];
      const seed = place.start('serve', ...at, '--vnodes', others);
      const url = await urlOf(seed);
      const own = ['--port', '0', '--peer-port', '0', '--data', `own ${vnodes}`];
      const node = place.start('serve', ...own, '--vnodes', vnodes, '--seeds', `127.0.0.1:${port}`);
      await until(() => !node.running, END_MS_MAX);
      const { code, err } = await node.ended;
      expect(err).toContain(
        `the cluster has ${others} vnodes, and this data directory was made for ${vnodes}`,
      );
      expect(code).not.toBe(0);
      expect((await statusOf(url)).nodes.filter(({ member }) => member).length).toBe(1);
    }
  });

  it('joins and serves as soon as a seed is there', async () => {
    const port = await freePort();
    const node = serve('--seeds', `127.0.0.1:${port}`);
    const early = await waitingUrl(node);
    const seed = place.start(
      ...['serve', '--port', '0', '--peer-port', String(port), '--data', 'seed', '--vnodes', '64'],
    );
    const url = await urlOf(node);
    expect(url).toBe(early);
    await eventually('both are members', async () => {
      const { nodes } = await statusOf(url);
      return nodes.filter(({ member, state }) => member && state === 'up').length === 2;
    });
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect((await putKey(url)).status).toBe(204);
    const got = await fetch(`${await urlOf(seed)}/v1/kv/key?consistency=ALL`, {
      headers: { accept: 'application/octet-stream' },
    });
    expect([got.status, await got.text()]).toEqual([200, 'value']);
  });
});
