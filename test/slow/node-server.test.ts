import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../load/target/free-port.ts';
import { type Child, killAll, run, takePort } from './node-process.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkv-node-'));
});
afterEach(async () => {
  await killAll();
  rmSync(root, { recursive: true, force: true });
});

const serve = (options: Record<string, unknown> = {}): Child =>
  run('node-server.mjs', {
    data: join(root, 'data'),
    port: 0,
    shards: 2,
    frontends: 1,
    memtableBytes: '2MiB',
    ...options,
  });
const ready = async (child: Child): Promise<{ url: string; nodeId: string; shards: number }> => {
  const [, url = '', nodeId = '', shards] = (await child.line((line) => line.startsWith('ready '))).split(
    ' ',
  );
  return { url, nodeId, shards: Number(shards) };
};
const tell = (child: Child, command: string): void => {
  child.process.stdin?.write(`${command}\n`);
};
async function close(child: Child): Promise<void> {
  tell(child, 'close');
  await child.line((line) => line === 'closed');
  expect(await child.ended).toBe(0);
  expect(child.errors()).toBe('');
}
const refusal = async (child: Child): Promise<{ code: string; message: string }> => {
  const line = await child.line((one) => one.startsWith('error '));
  expect(await child.ended).toBe(0);
  return JSON.parse(line.slice('error '.length)) as { code: string; message: string };
};
const put = (url: string, key: string, value: string): Promise<Response> =>
  fetch(`${url}/v1/kv/${key}`, {
    method: 'PUT',
    body: value,
    headers: { 'content-type': 'application/octet-stream' },
  });
const get = async (url: string, key: string): Promise<string> => {
  const response = await fetch(`${url}/v1/kv/${key}`, { headers: { accept: 'application/octet-stream' } });
  return response.status === 200 ? await response.text() : `status ${response.status}`;
};

describe('a node', () => {
  it('serves, closes cleanly, and serves everything again, also with other shards', async () => {
    const first = serve();
    const one = await ready(first);
    expect((await fetch(`${one.url}/readyz`)).status).toBe(200);
    for (let i = 0; i < 100; i++) expect((await put(one.url, `key-${i}`, `value ${i}`)).status).toBe(204);
    await close(first);
    const second = serve({ shards: 3 });
    const two = await ready(second);
    expect([two.nodeId, two.shards]).toEqual([one.nodeId, 3]);
    for (let i = 0; i < 100; i++) expect(await get(two.url, `key-${i}`)).toBe(`value ${i}`);
    await close(second);
    const third = serve({ shards: 1, frontends: 2 });
    const three = await ready(third);
    for (let i = 0; i < 100; i++) expect(await get(three.url, `key-${i}`)).toBe(`value ${i}`);
    await close(third);
  });

  it.each([1, 2])(
    'opens its port, with %i front ends, only when every shard takes requests',
    async (frontends) => {
      const port = await freePort();
      const url = `http://127.0.0.1:${port}`;
      const child = serve({ port, frontends, shards: 4 });
      let refusals = 0;
      const first = async (key: string): Promise<number> => {
        for (let endMs = Date.now() + 30_000; Date.now() < endMs; refusals++)
          try {
            return (await put(url, key, 'v')).status;
          } catch {
            await new Promise((done) => setImmediate(done));
          }
        return 0;
      };
      // Keys of all shards, each on a connection that knocks until it is let in.
      const statuses = await Promise.all(Array.from({ length: 32 }, (_, i) => first(`key-${i}`)));
      expect(refusals).toBeGreaterThan(0);
      expect(statuses.filter((status) => status !== 204)).toEqual([]);
      expect((await fetch(`${url}/readyz`)).status).toBe(200);
      await ready(child);
      await close(child);
    },
  );

  it('listens with several front ends on one free port, and all of them see all writes', async () => {
    const child = serve({ frontends: 3 });
    const { url } = await ready(child);
    // A connection each, spread over the front ends by the kernel.
    for (let i = 0; i < 30; i++) {
      const headers = { connection: 'close' };
      const body = `value ${i}`;
      const response = await fetch(`${url}/v1/kv/key`, {
        method: 'PUT',
        body,
        headers: { ...headers, 'content-type': 'application/octet-stream' },
      });
      expect(response.status).toBe(204);
      for (let j = 0; j < 5; j++) {
        const read = await fetch(`${url}/v1/kv/key`, {
          headers: { ...headers, accept: 'application/octet-stream' },
        });
        expect(await read.text()).toBe(body);
      }
    }
    const seen = new Set<string>();
    for (let i = 0; i < 100 && seen.size < 3; i++) {
      const response = await fetch(`${url}/metrics`, { headers: { connection: 'close' } });
      for (const [, frontend = ''] of (await response.text()).matchAll(/frontend="(\d+)"/g))
        seen.add(frontend);
    }
    expect([...seen].sort()).toEqual(['0', '1', '2']);
    await close(child);
  });

  it.each([1, 2])('says which port is taken, with %i front ends, and ends', async (frontends) => {
    const { server, port } = await takePort();
    expect(await refusal(serve({ port, frontends }))).toMatchObject({
      code: 'LISTEN',
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
    await new Promise((done) => server.close(done));
    // Nor does it share with another node, which shares among its own front ends.
    const taken = await freePort();
    const node = serve({ port: taken, frontends: 2, data: join(root, 'other') });
    await ready(node);
    expect((await refusal(serve({ port: taken, frontends }))).message).toContain(`127.0.0.1:${taken}`);
    await close(node);
    // The directory was given back.
    const again = serve({ port, frontends });
    await ready(again);
    await close(again);
  });

  it('is refused a directory that another node has', async () => {
    const child = serve();
    await ready(child);
    expect(await refusal(serve())).toMatchObject({
      code: 'LOCKED',
      message: expect.stringContaining(String(child.process.pid)),
    });
    await close(child);
  });

  it.each(['kill', 'crash'])('goes on when a shard thread ends by %s, and /readyz tells', async (how) => {
    const child = serve({ frontends: 2 });
    const { url } = await ready(child);
    for (let i = 0; i < 50; i++) expect((await put(url, `key-${i}`, `value ${i}`)).status).toBe(204);
    tell(child, `${how} 0`);
    await child.line((line) => line.startsWith('log error shard 0 is down:'));
    await child.line((line) => line === 'log info shard 0 serves again');
    for (let i = 0; i < 50; i++) expect(await get(url, `key-${i}`)).toBe(`value ${i}`);
    for (let i = 0; i < 50; i++) expect((await put(url, `key-${i}`, `again ${i}`)).status).toBe(204);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    await close(child);
  });

  it('serves what is whole of a shard with a damaged log, takes no writes for it, and names the file', async () => {
    const first = serve();
    const { url } = await ready(first);
    for (let i = 0; i < 50; i++) expect((await put(url, `key-${i}`, 'v')).status).toBe(204);
    await close(first);
    const home = join(root, 'data', 'layout-1', 'shard-1');
    const log = join(home, readdirSync(home).find((name) => /^wal-[0-9]+\.log$/.test(name)) ?? '');
    const bytes = readFileSync(log);
    // In the first group's payload: later groups show that it was durable.
    bytes.writeUInt8(bytes.readUInt8(100) ^ 4, 100);
    writeFileSync(log, bytes);
    const second = serve();
    const again = await ready(second);
    const readiness = await fetch(`${again.url}/readyz`);
    expect(readiness.status).toBe(503);
    expect(await readiness.text()).toContain(log);
    const outcomes = new Set<string>();
    for (let i = 0; i < 50; i++) outcomes.add(`${(await put(again.url, `key-${i}`, 'w')).status}`);
    expect([...outcomes].sort()).toEqual(['204', '503']);
    await close(second);
    // A change of shards would lose what the damage hides: it is refused.
    const third = await refusal(serve({ shards: 3 }));
    expect(third).toMatchObject({
      code: 'CORRUPTION',
      message: expect.stringContaining(`${log}: corrupt at byte`),
    });
    const fourth = serve();
    await ready(fourth);
    await close(fourth);
  });

  it('says on /readyz that a shard stays down, reports its failure, and serves the other', async () => {
    const child = serve();
    const { url } = await ready(child);
    for (let i = 0; i < 50; i++) expect((await put(url, `key-${i}`, 'v')).status).toBe(204);
    tell(child, 'kill-again-and-again 0');
    await child.line((line) => line.startsWith('failed shard 0 stays down: it ended 6 times'));
    const response = await fetch(`${url}/readyz`);
    expect(response.status).toBe(503);
    expect(await response.text()).toContain('shard 0 stays down');
    const statuses = new Set<number>();
    for (let i = 0; i < 50; i++) statuses.add((await put(url, `key-${i}`, 'w')).status);
    expect([...statuses].sort()).toEqual([204, 503]);
    await close(child);
  });
});
