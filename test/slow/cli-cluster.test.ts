/** `ringkv cluster`: three nodes in one terminal, as a newcomer starts them. */
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Random, systemSeed } from '../../src/base/random.ts';
import { until, Workplace } from './cli-process.ts';

const TIMEOUT_MS = 240_000;
const WAIT_MS_MAX = 100_000;
const PEER_PORT_OFFSET = 1000;
const NODES = 3;
/** Below the ports that systems give away. */
const [PORT_MIN, PORT_MAX] = [12_000, 28_000] as const;

let place: Workplace;
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.remove());

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
/** The first of as many free ports as the nodes need. */
async function freePorts(): Promise<number> {
  const random = new Random(systemSeed());
  for (;;) {
    const port = random.between(PORT_MIN, PORT_MAX);
    const all = [port, port + PEER_PORT_OFFSET].flatMap((first) =>
      Array.from({ length: NODES }, (_, i) => first + i),
    );
    if ((await Promise.all(all.map(isFree))).every((free) => free)) return port;
  }
}

describe('ringkv cluster', () => {
  it(
    'says when the nodes serve and when each holds its part, survives a death, and comes back from its disks',
    async () => {
      const port = await freePorts();
      const urls = Array.from({ length: NODES }, (_, i) => `http://127.0.0.1:${port + i}`);
      const run = (): ReturnType<Workplace['start']> =>
        place.start('cluster', '--port', String(port), '--data', 'nodes');
      const first = run();
      await until(() => first.out.includes('complete') || !first.running, WAIT_MS_MAX);
      expect(first.out, first.err).toMatch(
        new RegExp(
          `^ready ${urls.join(' ')}\ncomplete: each of the 3 nodes holds its part of the data \\(ring \\d+\\)\n$`,
        ),
      );
      expect((await place.run('put', 'cart_7', 'apples', '--url', urls[1] ?? '')).code).toBe(0);
      first.child.stdin?.write('kill 3\n');
      await until(() => first.err.includes('3 | ended (SIGKILL)'), WAIT_MS_MAX);
      const two = urls.slice(0, 2).join(',');
      expect(await place.run('get', 'cart_7', '--url', two)).toMatchObject({ code: 0, out: 'apples' });
      first.child.stdin?.write('quit\n');
      expect((await first.ended).code).toBe(0);

      const again = run();
      await until(() => again.out.includes('complete') || !again.running, WAIT_MS_MAX);
      expect(again.out, again.err).toContain('complete: each of the 3 nodes');
      for (const url of urls)
        expect(await place.run('get', 'cart_7', '--url', url)).toMatchObject({ code: 0, out: 'apples' });
      again.kill('SIGTERM');
      expect((await again.ended).code).toBe(0);
    },
    TIMEOUT_MS,
  );
});
