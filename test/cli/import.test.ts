import { readFileSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { MiB } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { type ImportOptions, ImportPump, IN_FLIGHT_BYTES_MAX } from '../../src/cli/import-pump.ts';
import type { ImportRecord } from '../../src/cli/import-record.ts';
import { type Line, linesOf } from '../../src/cli/ndjson-lines.ts';
import { Op } from '../../src/shard/contract.ts';
import { FakeServer, refusal } from '../client/fake-server.ts';
import { testSeed } from '../seed.ts';
import type { Outcome } from './harness.ts';
import { server, withServer, world } from './server-world.ts';

withServer();
beforeEach(() => {
  server.pageSize = 100;
});
const lineOf = (key: string, value: string): string => `${JSON.stringify({ key, value })}\n`;
const many = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => lineOf(`key ${n}`, `ü ${n}`));
function fileOf(name: string, content: string | Uint8Array): string {
  writeFileSync(world.path(name), content);
  return world.path(name);
}
const reportOf = ({ out }: Outcome): unknown => JSON.parse(out);
const sorted = (text: string): string[] => text.split('\n').filter(Boolean).sort();
const toServer = (): string[] => ['--url', server.url];

describe.each(['server', 'directory'] as const)('import into a %s', (kind) => {
  const target = (): string[] => (kind === 'server' ? toServer() : ['--data', world.path('data')]);

  it('and export give back the same set of records', async () => {
    const seed = testSeed();
    const random = new Random(seed);
    const content = many(500);
    for (let n = 0; n < 100; n++) {
      const key = Buffer.from(random.bytes(random.between(1, 20))).toString('base64');
      content.push(
        `${JSON.stringify({ keyBase64: key, valueBase64: Buffer.from(random.bytes(9)).toString('base64') })}\n`,
      );
    }
    const imported = await world.run(['import', fileOf('in', content.join('')), '--json', ...target()]);
    expect(imported.code, imported.err).toBe(0);
    expect(reportOf(imported)).toMatchObject({ records: 600, acknowledged: 600, bad: 0, failed: 0 });
    const exported = await world.run(['export', ...target()]);
    expect(exported.code).toBe(0);
    const second = kind === 'server' ? await FakeServer.start() : null;
    const copy = second === null ? ['--data', world.path('copy')] : ['--url', second.url];
    expect((await world.run(['import', '-', ...copy], { stdin: exported.bytes })).code).toBe(0);
    const again = await world.run(['export', ...copy]);
    await second?.stop();
    expect(sorted(again.out), `seed ${seed}`).toEqual(sorted(exported.out));
    expect(sorted(exported.out)).toEqual(expect.arrayContaining(sorted(many(500).join(''))));
  });

  it('knows gzip by its content, also from standard input', async () => {
    const packed = gzipSync(many(50).join(''));
    expect((await world.run(['import', fileOf('no-suffix', packed), ...target()])).code).toBe(0);
    expect((await world.run(['import', '-', ...target()], { stdin: packed })).code).toBe(0);
    const members = Buffer.concat([gzipSync(lineOf('x', '1')), gzipSync(lineOf('y', '2'))]);
    const both = await world.run(['import', '-', '--json', ...target()], { stdin: members });
    expect(reportOf(both)).toMatchObject({ acknowledged: 2 });
    const bytewise = Readable.from(Array.from(packed, (byte) => Buffer.of(byte)));
    expect(
      reportOf(await world.run(['import', '-', '--json', ...target()], { stdin: bytewise })),
    ).toMatchObject({
      acknowledged: 50,
    });
    expect(sorted((await world.run(['scan', ...target()])).out)).toHaveLength(52);
  });

  it('keeps the time to live', async () => {
    await world.run(['import', '-', ...target()], { stdin: '{"key":"a","value":"b","ttl":90}\n' });
    expect((await world.run(['export', ...target()])).out).toBe('{"key":"a","value":"b","ttl":90}\n');
    const meta = JSON.parse((await world.run(['export', '--meta', ...target()])).out) as object;
    expect(meta).toEqual({ key: 'a', value: 'b', ttl: 90, version: expect.any(Number) });
  });

  it('lets the later of two lines with one key win', async () => {
    let first = true;
    server.onWrite = () => {
      // The first write takes longest: a second one beside it would be overwritten.
      const wait = first ? 50 : 0;
      first = false;
      return new Promise((done) => setTimeout(done, wait));
    };
    const stdin = Array.from({ length: 20 }, (_, n) => lineOf('same', String(n))).join('');
    expect((await world.run(['import', '-', ...target()], { stdin })).code).toBe(0);
    expect((await world.run(['get', 'same', ...target()])).out).toBe('19');
  });

  it('stops at a line that is no record, and names it', async () => {
    const file = fileOf('in', [...many(3), '{"key":"bad"}\n', '\n', ...many(200)].join(''));
    const stopped = await world.run(['import', file, '--in-flight', '1', ...target()]);
    expect(stopped.code).toBe(1);
    expect(stopped.err).toBe(`ringkv: ${file}:4: neither "value" nor "valueBase64"\n`);
    expect(stopped.out).toContain('3 of 4 records acknowledged, 1 bad');
    expect(sorted((await world.run(['scan', ...target()])).out)).toHaveLength(3);
  });

  it('goes on after bad lines where it is told to, and still ends with 1', async () => {
    const content = [
      '\ufeff',
      ...many(2),
      '\n',
      'nonsense\n',
      lineOf('k'.repeat(1100), 'v'),
      lineOf('last', 'v'),
    ];
    const environment = { RINGKV_MAX_KEY_BYTES: '1KiB' };
    if (kind === 'server') server.tricks.push(...Array.from({ length: 2 }, () => refusal(503, 'OVERLOADED')));
    const file = fileOf('in', content.join(''));
    const done = await world.run(['import', file, '--skip-bad', '--json', ...target()], { environment });
    expect(done.code).toBe(1);
    const bad = kind === 'server' ? 1 : 2;
    expect(reportOf(done)).toMatchObject({ records: 5, acknowledged: 5 - bad, bad, failed: 0 });
    expect(done.err).toContain(`${file}:4: skipped: not JSON`);
    expect((await world.run(['get', 'last', ...target()])).out).toBe('v');
  });

  it('logs each acknowledged key, and only those', async () => {
    const log = world.path('log');
    const stdin = [...many(40), '{"keyBase64":"/w==","value":""}\n', 'nonsense'].join('');
    await world.run(['import', '-', '--ack-log', log, ...target()], { stdin });
    const expected = [...many(40).map((_, n) => `{"key":"key ${n}"}`), '{"keyBase64":"/w=="}'];
    expect(sorted(readFileSync(log, 'utf8'))).toEqual([...expected].sort());
    const nowhere = await world.run(['import', '-', '--ack-log', world.path('no/log'), ...target()], {
      stdin,
    });
    expect(nowhere.code).toBe(1);
    expect(nowhere.err).toContain('no/log: cannot be written');
  });
});

describe('import', () => {
  it('says where gzip data ends in the middle or is damaged, and keeps what came before', async () => {
    const content = many(4000).join('');
    const packed = gzipSync(content);
    const cut = await world.run([
      'import',
      fileOf('cut', packed.subarray(0, packed.length - 9)),
      '--json',
      ...toServer(),
    ]);
    expect(cut.code).toBe(1);
    expect(cut.err).toContain('the gzip data is damaged: it ends in the middle');
    expect((reportOf(cut) as { acknowledged: number }).acknowledged).toBeGreaterThan(1000);
    const flipped = Buffer.from(packed);
    flipped[packed.length - 6] = (flipped[packed.length - 6] ?? 0) ^ 1;
    const damaged = await world.run(['import', fileOf('flipped', flipped), ...toServer()]);
    expect(damaged.code).toBe(1);
    expect(damaged.err).toContain('the gzip data is damaged');
  });

  it('says which file it cannot read', async () => {
    const absent = await world.run(['import', world.path('none'), ...toServer()]);
    expect(absent).toMatchObject({ code: 1, out: '' });
    expect(absent.err).toContain('none: cannot be read: there is no such file');
    expect((await world.run(['import', world.directory, ...toServer()])).err).toContain('a directory');
  });

  it('repeats what the server had no room for, what timed out and what got lost', async () => {
    const losses = [refusal(503, 'OVERLOADED'), refusal(429, 'RATE_LIMITED'), refusal(504, 'TIMEOUT')];
    server.tricks.push(...losses, { kind: 'cut', done: true }, { kind: 'cut', done: false }, ...losses);
    const done = await world.run(['import', '-', '--json', ...toServer()], { stdin: many(50).join('') });
    expect(done.code).toBe(0);
    expect(reportOf(done)).toMatchObject({ records: 50, acknowledged: 50, failed: 0 });
    expect(server.items.size).toBe(50);
  });

  it('gives up where nothing is acknowledged for a while, and counts honestly', async () => {
    server.onWrite = () => {
      if (server.items.size >= 5)
        server.tricks.push(...Array.from({ length: 100 }, () => refusal(503, 'OVERLOADED')));
      return Promise.resolve();
    };
    const arguments_ = [
      'import',
      '-',
      '--json',
      '--in-flight',
      '2',
      '--retry-for',
      '200ms',
      '--ack-log',
      world.path('log'),
      ...toServer(),
    ];
    const given = await world.run(arguments_, { stdin: many(50).join('') });
    expect(given.code).toBe(3);
    expect(given.err).toMatch(/^ringkv: standard input:[0-9]+: OVERLOADED\n$/);
    const { acknowledged, failed } = reportOf(given) as { acknowledged: number; failed: number };
    expect(acknowledged).toBe(server.items.size);
    expect(failed).toBeGreaterThan(0);
    const logged = sorted(readFileSync(world.path('log'), 'utf8'));
    expect(logged).toEqual([...server.items.keys()].map((key) => JSON.stringify({ key })).sort());
  });

  const pumpOf = (options: Partial<ImportOptions>): ImportPump =>
    new ImportPump({
      put: () => Promise.resolve(),
      inFlightMax: 100,
      lineBytesMax: 100 * MiB,
      skipBad: true,
      retryForMs: 0,
      signal: new AbortController().signal,
      clock: systemClock,
      random: new Random(1),
      onAcknowledged: () => undefined,
      behind: () => null,
      onBad: () => undefined,
      ...options,
    });

  it('takes a line that is too long for a bad one, without having held it', async () => {
    const bad: string[] = [];
    const put: string[] = [];
    const pump = pumpOf({
      put: ({ key }) => Promise.resolve(put.push(Buffer.from(key).toString())),
      lineBytesMax: 40,
      onBad: (line, what) => bad.push(`${line}: ${what}`),
    });
    const content = [lineOf('a', ''), lineOf('long', 'x'.repeat(50)), lineOf('b', '')].join('');
    expect(await pump.run(linesOf(Readable.from([Buffer.from(content)]), 40))).toBeNull();
    expect(bad).toEqual(['2: longer than the 40 bytes that a line may have']);
    expect(put).toEqual(['a', 'b']);
    expect(pump.counts).toEqual({ records: 3, acknowledged: 2, bad: 1, failed: 0 });
  });

  it('has no more writes and no more bytes in flight than their limits, and reads no further meanwhile', async () => {
    const value = 'x'.repeat(7 * MiB);
    let [given, inFlight, bytes, inFlightMost, bytesMost, aheadMost] = [0, 0, 0, 0, 0, 0];
    const put = async (record: ImportRecord): Promise<void> => {
      inFlight += 1;
      bytes += record.value.length;
      inFlightMost = Math.max(inFlightMost, inFlight);
      bytesMost = Math.max(bytesMost, bytes);
      aheadMost = Math.max(aheadMost, given - inFlight - pump.counts.acknowledged);
      await new Promise((done) => setTimeout(done, 5));
      inFlight -= 1;
      bytes -= record.value.length;
    };
    const lines = async function* (count: number, text: string): AsyncGenerator<Line> {
      for (let number = 1; number <= count; number++) {
        given += 1;
        yield { number, bytes: Buffer.from(lineOf(`key ${number}`, text)) };
        await Promise.resolve();
      }
    };
    let pump = pumpOf({ put });
    await pump.run(lines(20, value));
    expect(pump.counts.acknowledged).toBe(20);
    expect(bytesMost).toBeGreaterThan(50 * MiB);
    expect(bytesMost).toBeLessThanOrEqual(IN_FLIGHT_BYTES_MAX);
    [given, inFlightMost] = [0, 0];
    pump = pumpOf({ put, inFlightMax: 7 });
    await pump.run(lines(50, ''));
    expect(inFlightMost).toBe(7);
    expect(aheadMost).toBeLessThanOrEqual(2);
  });

  it('gives up at once where repeating cannot help', async () => {
    server.tricks.push(refusal(507, 'DISK_FULL'));
    const full = await world.run(['import', '-', ...toServer()], { stdin: many(1).join('') });
    expect(full.code).toBe(5);
    expect(server.seen).toHaveLength(1);
  });

  it('ends when it is interrupted: what is in flight is counted, and nothing more is read', async () => {
    const interrupt = new AbortController();
    let given = 0;
    server.onWrite = () => {
      if (server.items.size === 20) interrupt.abort();
      return Promise.resolve();
    };
    async function* endless(): AsyncGenerator<Buffer> {
      for (;;) {
        await new Promise((done) => setImmediate(done));
        yield Buffer.from(lineOf(`key ${given++}`, 'v'));
      }
    }
    const options = { stdin: Readable.from(endless()), interrupted: interrupt.signal };
    const ended = await world.run(['import', '-', '--json', '--in-flight', '4', ...toServer()], options);
    expect(ended).toMatchObject({ code: 130, err: 'ringkv: interrupted\n' });
    const { acknowledged } = reportOf(ended) as { acknowledged: number };
    expect(acknowledged).toBe(server.items.size);
    expect(acknowledged).toBeLessThan(40);
  });

  it('ends when it is interrupted while standard input waits', async () => {
    const interrupt = new AbortController();
    server.onWrite = () => {
      setImmediate(() => interrupt.abort());
      return Promise.resolve();
    };
    const stdin = new Readable({ read: () => undefined });
    stdin.push(lineOf('key', 'value'));
    const ended = await world.run(['import', '-', ...toServer()], { stdin, interrupted: interrupt.signal });
    expect(ended.code).toBe(130);
    expect(ended.out).toContain('1 of 1 records acknowledged');
  });

  it('is refused by a directory that turns read-only, with the reason', async () => {
    const path = world.path('data');
    await world.run(['put', 'key', 'value', '--data', path]);
    const client = world.stores.get(path);
    for (let shard = 0; shard < 1; shard++)
      if (client) client.failure = { op: Op.PUT, shard: 0, status: Status.READ_ONLY };
    const refused = await world.run(['import', '-', '--retry-for', '0', '--data', path], {
      stdin: many(1).join(''),
    });
    expect(refused).toMatchObject({ code: 3, err: 'ringkv: standard input:1: as told\n' });
  });

  it('and export draw a bar only where a person watches', async () => {
    const stdin = many(10).join('');
    expect((await world.run(['import', '-', ...toServer()], { stdin })).err).toBe('');
    const watched = await world.run(['import', fileOf('in', stdin), ...toServer()], { terminal: true });
    expect(watched.err).toContain('importing');
    expect(watched.out).toContain('10 of 10 records acknowledged');
  });
});

describe('import and export without a target', () => {
  it('take RINGKV_URL', async () => {
    const environment = { RINGKV_URL: server.url };
    await world.run(['import', '-'], { environment, stdin: many(3).join('') });
    expect(sorted((await world.run(['export'], { environment })).out)).toEqual(sorted(many(3).join('')));
  });

  it('take the default server where it answers, otherwise the data directory, and say which', async () => {
    const environment = { RINGKV_DATA: world.path('data') };
    // Nobody knows what listens at the default port of this machine: the address leads to the test's server.
    const { connect } = await import('../../src/client/index.ts');
    let url = 'http://127.0.0.1:1';
    const asked: string[] = [];
    const options = {
      environment,
      connect: (given: Parameters<typeof connect>[0]) => {
        asked.push(...given.nodes);
        return connect({ ...given, nodes: [url] });
      },
    };
    const embedded = await world.run(['import', '-'], { ...options, stdin: many(3).join('') });
    expect(embedded.code).toBe(0);
    expect(asked).toEqual(['http://127.0.0.1:8080']);
    expect(embedded.err).toContain(`using the data directory ${world.path('data')}`);
    expect(world.opened).toHaveLength(1);
    url = server.url;
    const served = await world.run(['import', '-'], { ...options, stdin: many(2).join('') });
    expect(served.err).toContain('using the server at http://127.0.0.1:8080');
    expect(server.items.size).toBe(2);
    server.tricks.push(refusal(503, 'UNAVAILABLE'), refusal(503, 'UNAVAILABLE'), refusal(503, 'UNAVAILABLE'));
    await world.run(['import', '-'], { ...options, stdin: many(1).join('') });
    expect(world.opened).toHaveLength(1);
  });
});
