import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/cli/exit-codes.ts';
import { answers, server, withServer, world } from './server-world.ts';

withServer();
const AWAY = '5 bytes of hints for node ab stay here';
const ON_THE_WAY = '9 bytes of hints for node cd are not handed out yet';

/** Once the server was asked. */
async function expectInterrupted(command: readonly string[]): Promise<void> {
  const interrupted = new AbortController();
  const running = world.run([...command, '--url', server.url], { interrupted: interrupted.signal });
  while (server.seen.length === 0) await new Promise((done) => setImmediate(done));
  interrupted.abort();
  expect(await running).toMatchObject({
    code: ExitCode.INTERRUPTED,
    out: '',
    err: 'ringkv: interrupted\n',
  });
}

describe('ringkv drain', () => {
  it('says what is left after one request, and how to wait for it', async () => {
    answers({ warnings: [AWAY, ON_THE_WAY], hintBytes: 9 });
    const { code, out, err } = await world.run(['drain', '--url', server.url]);
    expect([code, out]).toEqual([0, 'drain has begun; drain --wait waits for its end\n']);
    expect(err).toBe(`ringkv: ${AWAY}\nringkv: ${ON_THE_WAY}\n`);
    expect(server.seen.map(({ method, path }) => `${method} ${path}`)).toEqual(['POST /v1/cluster/drain']);
  });

  it('with --wait asks until there are none for nodes that are there', async () => {
    const busy = { warnings: [AWAY, ON_THE_WAY], hintBytes: 9 };
    answers(busy, busy, { warnings: [AWAY], hintBytes: 0 });
    const { code, out, err } = await world.run(['drain', '--wait', '--url', server.url]);
    expect([code, out, err]).toEqual([0, 'drain is done\n', `ringkv: ${AWAY}\n`]);
    expect(server.seen).toHaveLength(3);
  });

  it('with --wait asks until no acknowledged write is left to the memory of the node', async () => {
    answers(
      { warnings: [], hintBytes: 0, unsettled: 2 },
      { warnings: [], hintBytes: 9, unsettled: 0 },
      { warnings: [], hintBytes: 0, unsettled: 0 },
    );
    const { code, out } = await world.run(['drain', '--wait', '--url', server.url]);
    expect([code, out]).toEqual([0, 'drain is done\n']);
    expect(server.seen).toHaveLength(3);
  });

  it('with --wait can be interrupted', async () => {
    answers({ warnings: [ON_THE_WAY], hintBytes: 9 });
    await expectInterrupted(['drain', '--wait']);
    expect(server.seen).toHaveLength(1);
  });

  it.each(['drain', 'status', 'get key'])(
    'and any other command, here %s, can be interrupted while it is answered',
    async (command) => {
      server.tricks.push({ kind: 'hang' });
      await expectInterrupted(command.split(' '));
    },
  );

  it('with --json prints what the server said', async () => {
    const answer = { warnings: [AWAY], hintBytes: 0 };
    answers(answer);
    const { out } = await world.run(['drain', '--json', '--url', server.url]);
    expect(JSON.parse(out)).toEqual(answer);
  });
});
