import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { Op } from '../../src/shard/contract.ts';
import { refusal } from '../client/fake-server.ts';
import { ClosingPipe, type Outcome } from './harness.ts';
import { server, withServer, world } from './server-world.ts';

withServer();
beforeEach(() => {
  server.pageSize = 100;
});
const lineOf = (key: string, value: string): string => `${JSON.stringify({ key, value })}\n`;
const many = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => lineOf(`key ${n}`, `ü ${n}`));
const reportOf = ({ out }: Outcome): unknown => JSON.parse(out);
const sorted = (text: string): string[] => text.split('\n').filter(Boolean).sort();
const toServer = (): string[] => ['--url', server.url];

describe('export', () => {
  beforeEach(async () => {
    await world.run(['import', '-', ...toServer()], { stdin: many(300).join('') });
  });

  it('writes a file, packed where its name or a flag says so', async () => {
    const read = (name: string): string => readFileSync(world.path(name), 'latin1');
    const unpack = (name: string): string[] => sorted(gunzipSync(readFileSync(world.path(name))).toString());
    const expected = sorted(many(300).join(''));
    await world.run(['export', world.path('plain'), ...toServer()]);
    await world.run(['export', world.path('packed.gz'), ...toServer()]);
    await world.run(['export', world.path('packed'), '--gzip', ...toServer()]);
    await world.run(['export', world.path('plain.gz'), '--no-gzip', ...toServer()]);
    expect(sorted(readFileSync(world.path('plain'), 'utf8'))).toEqual(expected);
    expect(read('plain.gz')).toBe(read('plain'));
    expect([unpack('packed.gz'), unpack('packed')]).toEqual([expected, expected]);
    const piped = await world.run(['export', '--gzip', '--prefix', 'key 29', ...toServer()]);
    expect(sorted(gunzipSync(piped.bytes).toString())).toHaveLength(11);
  });

  it('reports on JSON, on the file and on how many records there were', async () => {
    const done = await world.run(['export', world.path('out'), '--json', ...toServer()]);
    expect(reportOf(done)).toMatchObject({
      records: 300,
      file: world.path('out'),
      target: `server ${server.url}`,
    });
  });

  it('leaves no file, and the old one as it was, where it fails or is interrupted', async () => {
    writeFileSync(world.path('out'), 'old');
    const before = readdirSync(world.directory);
    server.tricks.push(
      { kind: 'answer', status: 200, body: '{"entries":[],"cursor":"9"}' },
      refusal(507, 'DISK_FULL'),
    );
    expect((await world.run(['export', world.path('out'), ...toServer()])).code).toBe(5);
    server.tricks.push({ kind: 'answer', status: 200, body: 'nonsense' });
    expect((await world.run(['export', world.path('new'), ...toServer()])).code).toBe(3);
    const interrupt = new AbortController();
    server.tricks.push({ kind: 'hang' });
    const run = world.run(['export', world.path('new'), ...toServer()], { interrupted: interrupt.signal });
    await expect.poll(() => server.tricks.length).toBe(0);
    interrupt.abort();
    expect((await run).code).toBe(130);
    expect(readdirSync(world.directory)).toEqual(before);
    expect(readFileSync(world.path('out'), 'utf8')).toBe('old');
  });

  it('appears under its name only when it is whole', async () => {
    let seen: boolean | null = null;
    const { connect } = await import('../../src/client/index.ts');
    const options = {
      connect: async (given: Parameters<typeof connect>[0]) => {
        const client = await connect(given);
        const scan = client.scan.bind(client);
        client.scan = async function* (range) {
          yield* scan(range);
          seen = existsSync(world.path('out'));
        };
        return client;
      },
    };
    await world.run(['export', world.path('out'), ...toServer()], options);
    expect([seen, existsSync(world.path('out'))]).toEqual([false, true]);
  });

  it('follows a link to its file, and writes to a pipe in place', async () => {
    writeFileSync(world.path('real'), 'old');
    symlinkSync(world.path('real'), world.path('link'));
    expect((await world.run(['export', world.path('link'), ...toServer()])).code).toBe(0);
    expect(sorted(readFileSync(world.path('real'), 'utf8'))).toHaveLength(300);
    const pipe = world.path('pipe');
    execFileSync('mkfifo', [pipe]);
    const [piped, run] = await Promise.all([
      readFile(pipe, 'utf8'),
      world.run(['export', pipe, ...toServer()]),
    ]);
    expect(run.code).toBe(0);
    expect(sorted(piped)).toHaveLength(300);
    expect(lstatSync(pipe).isFIFO()).toBe(true);
    const nowhere = await world.run(['export', world.path('no/such'), ...toServer()]);
    expect(nowhere.code).toBe(1);
    expect(nowhere.err).toContain('cannot be written');
    expect((await world.run(['export', world.directory, ...toServer()])).err).toContain('a directory');
  });

  it('ends quietly where the reader has gone', async () => {
    const stdout = new ClosingPipe(1000);
    stdout.resume();
    const ended = await world.run(['export', ...toServer()], { stdout });
    expect(ended).toMatchObject({ code: 0, err: '' });
  });

  it('of a directory is one state, which writes beside it do not touch', async () => {
    const path = world.path('data');
    await world.run(['import', '-', '--data', path], { stdin: many(50).join('') });
    const client = world.stores.get(path);
    await world.run(['export', '--data', path]);
    expect(client?.sent.filter(({ op, snapshot }) => op === Op.SCAN && snapshot === 0)).toEqual([]);
    expect(client?.sent.some(({ op }) => op === Op.SCAN)).toBe(true);
    expect(client?.snapshots.size).toBe(0);
  });
});
