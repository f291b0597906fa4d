import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { LockedError } from '../../src/base/errors.ts';
import { packageVersion } from '../../src/node/package-version.ts';
import { refusal } from '../client/fake-server.ts';
import { ClosingPipe } from './harness.ts';
import { server, withServer, world } from './server-world.ts';

withServer();
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');
const rows = (text: string): unknown[] => lines(text).map((line) => JSON.parse(line) as unknown);

describe.each(['server', 'directory'] as const)('get, put, delete and scan on a %s', (kind) => {
  const target = (): string[] => (kind === 'server' ? ['--url', server.url] : ['--data', world.path('data')]);

  it('give back what was put, byte for byte', async () => {
    const binary = Uint8Array.of(0, 255, 10, 13, 0xef, 0xbb, 0xbf, 0xc3);
    writeFileSync(world.path('value'), binary);
    expect(await world.run(['put', 'a key', 'Ädä', ...target()])).toMatchObject({
      code: 0,
      out: '',
      err: '',
    });
    expect((await world.run(['put', 'file', '--file', world.path('value'), ...target()])).code).toBe(0);
    expect((await world.run(['put', 'piped', '-', ...target()], { stdin: binary })).code).toBe(0);
    expect((await world.run(['put', 'piped too', ...target()], { stdin: binary })).code).toBe(0);
    expect((await world.run(['put', '--key-base64', 'AP8=', '', ...target()])).code).toBe(0);
    expect(await world.run(['get', 'a key', ...target()])).toMatchObject({ code: 0, out: 'Ädä', err: '' });
    for (const key of ['file', 'piped', 'piped too'])
      expect((await world.run(['get', key, ...target()])).bytes).toEqual(Buffer.from(binary));
    expect(await world.run(['get', '--key-base64', 'AP8=', ...target()])).toMatchObject({ code: 0, out: '' });
  });

  it('end the value with a line break only where a person reads it', async () => {
    await world.run(['put', 'key', 'value', ...target()]);
    expect((await world.run(['get', 'key', ...target()])).out).toBe('value');
    expect((await world.run(['get', 'key', ...target()], { terminal: true })).out).toBe('value\n');
  });

  it('say with exit code 1 that a key is absent', async () => {
    await world.run(['put', 'key', 'value', ...target()]);
    const absent = await world.run(['get', 'no\nkey', ...target()]);
    expect(absent).toMatchObject({ code: 1, out: '', err: 'ringkv: no live record at key "no\\nkey"\n' });
    expect((await world.run(['delete', 'key', ...target()])).code).toBe(0);
    expect((await world.run(['get', 'key', ...target()])).code).toBe(1);
    expect((await world.run(['delete', 'key', ...target()])).code).toBe(0);
  });

  it('write on a condition', async () => {
    const first = await world.run(['put', 'key', 'a', '--version', '0', '--json', ...target()]);
    const { version } = JSON.parse(first.out) as { version: number };
    expect(first.out).toBe(`{"key":"key","version":${version}}\n`);
    expect((await world.run(['put', 'key', 'b', '--version', '0', ...target()])).code).toBe(1);
    expect((await world.run(['delete', 'key', '--version', '1', ...target()])).code).toBe(1);
    expect((await world.run(['put', 'key', 'c', '--version', String(version), ...target()])).code).toBe(0);
    expect((await world.run(['get', 'key', ...target()])).out).toBe('c');
  });

  it('print JSON with version, time to live, and base64 where there is no text', async () => {
    await world.run(['put', 'key', 'value', '--ttl', '1m', ...target()]);
    await world.run(['put', '--key-base64', '/w==', '-', ...target()], { stdin: Uint8Array.of(0xfe) });
    const one = JSON.parse((await world.run(['get', 'key', '--json', ...target()])).out) as object;
    expect(one).toEqual({ key: 'key', value: 'value', version: expect.any(Number), ttl: 60 });
    const two = JSON.parse(
      (await world.run(['get', '--key-base64', '/w==', '--json', ...target()])).out,
    ) as object;
    expect(two).toEqual({ keyBase64: '/w==', valueBase64: '/g==', version: expect.any(Number) });
    const scanned = rows((await world.run(['scan', '--json', '--values', ...target()])).out);
    expect(scanned).toHaveLength(2);
    expect(scanned).toContainEqual(one);
    expect(scanned).toContainEqual(two);
  });

  it('list keys with a prefix, a limit and values', async () => {
    for (let n = 0; n < 9; n++) await world.run(['put', `user_${n}`, `value\t${n}`, ...target()]);
    await world.run(['put', '--key-base64', '/wE=', 'x', ...target()]);
    const all = lines((await world.run(['scan', ...target()])).out);
    expect([...all].sort()).toEqual(['base64:/wE=', ...Array.from({ length: 9 }, (_, n) => `user_${n}`)]);
    expect(lines((await world.run(['scan', '--limit', '4', ...target()])).out)).toEqual(all.slice(0, 4));
    expect((await world.run(['scan', '--limit', '0', ...target()])).out).toBe('');
    expect((await world.run(['scan', '--prefix', 'user_3', '--values', ...target()])).out).toBe(
      'user_3\t"value\\t3"\n',
    );
    expect((await world.run(['scan', '--prefix-base64', '/w==', '--json', ...target()])).out).toContain(
      '/wE=',
    );
  });

  it('end quietly where the reader of a scan has gone', async () => {
    for (let n = 0; n < 30; n++) await world.run(['put', `key ${n}`, '', ...target()]);
    const stdout = new ClosingPipe(40);
    stdout.resume();
    expect(await world.run(['scan', ...target()], { stdout })).toMatchObject({ code: 0, err: '' });
  });
});

describe('the choice of a target', () => {
  it('follows --url, then RINGKV_URL, and reaches the next of several nodes', async () => {
    const environment = { RINGKV_URL: server.url };
    expect((await world.run(['put', 'key', 'value'], { environment })).code).toBe(0);
    expect(server.items.size).toBe(1);
    const urls = `http://127.0.0.1:1,${server.url}`;
    expect((await world.run(['get', 'key', '--url', urls], { environment: { RINGKV_URL: 'x' } })).out).toBe(
      'value',
    );
  });

  it('refuses both a server and a directory', async () => {
    const both = await world.run(['get', 'key', '--url', server.url, '--data', world.path('data')]);
    expect(both.code).toBe(2);
    expect(both.err).toContain('exclude each other');
  });

  it('opens a directory with the vnodes and shards that it has, and closes it', async () => {
    const path = world.makeDirectory('data', 3, 32);
    await world.run(['put', 'key', 'value', '--data', path], { environment: { RINGKV_BLOCK_BYTES: '4KiB' } });
    expect(world.opened).toHaveLength(1);
    expect(world.opened[0]).toMatchObject({
      data: path,
      shards: 3,
      vnodes: 32,
      blockBytes: 4096,
      inMemory: false,
    });
    expect(world.closed).toBe(1);
    await world.run(['put', '', 'value', '--data', path]);
    await world.run(['put', 'key', 'value', '--version', '5', '--data', path]);
    expect(world.closed).toBe(world.opened.length);
  });

  it('makes no directory to read from it', async () => {
    for (const command of [['get', 'key'], ['scan'], ['delete', 'key'], ['export']]) {
      const refused = await world.run([...command, '--data', world.path('none')]);
      expect(refused).toMatchObject({ code: 5 });
      expect(refused.err).toContain('is not a data directory of RingKV');
      expect(existsSync(world.path('none'))).toBe(false);
    }
  });

  it('says in one line, with exit code 3, that no server answers, and 5 that a directory is locked', async () => {
    const gone = await world.run(['get', 'key', '--url', 'http://127.0.0.1:1', '--timeout', '300ms']);
    expect(gone).toMatchObject({
      code: 3,
      err: 'ringkv: http://127.0.0.1:1: not reachable (ECONNREFUSED)\n',
    });
    const openStore = (): Promise<never> => Promise.reject(new LockedError('./data: held by process 12'));
    const locked = await world.run(['put', 'key', 'x', '--data', world.path('data')], { openStore });
    expect(locked).toMatchObject({ code: 5, err: 'ringkv: ./data: held by process 12\n' });
  });

  it('passes consistency and timeout to a server, and refuses a timeout for a directory', async () => {
    await world.run(['put', 'key', 'x', '--consistency', 'ALL', '--timeout', '2s', '--url', server.url]);
    expect(server.seen[0]?.query.get('consistency')).toBe('ALL');
    expect(Number(server.seen[0]?.headers['x-ringkv-timeout'])).toBeLessThanOrEqual(2000);
    const refused = await world.run(['put', 'key', 'x', '--timeout', '2s', '--data', world.path('data')]);
    expect(refused.code).toBe(2);
    server.tricks.push(refusal(507, 'DISK_FULL'));
    expect((await world.run(['put', 'key', 'x', '--url', server.url])).code).toBe(5);
  });
});

describe('wrong use', () => {
  const wrong: readonly (readonly [...string[]])[] = [
    ['frobnicate'],
    ['get'],
    ['get', ''],
    ['get', 'a', 'b'],
    ['get', 'key', '--key-base64', 'AA=='],
    ['get', '--key-base64', 'not base64'],
    ['get', '--key-base64', ''],
    ['get', 'key', '--consistency', 'MOST'],
    ['get', 'key', '--timeout', '31s'],
    ['get', 'key', '--url', 'localhost'],
    ['put', 'key', 'value', '--file', 'x'],
    ['put', '--key-base64', 'AA==', 'key', 'value'],
    ['put', 'key', 'value', '--ttl', '0'],
    ['put', 'key', 'value', '--ttl', 'soon'],
    ['put', 'key', 'value', '--version', '-1'],
    ['put', 'key', 'value', '--version', '9007199254740992'],
    ['scan', '--limit', 'all'],
    ['scan', '--prefix', 'a', '--prefix-base64', 'AA=='],
    ['scan', '--prefix-base64', '*'],
    ['import'],
    ['import', 'file', '--in-flight', '0'],
    ['export', '--json'],
    ['config', '--port', 'http'],
    ['config', '--admin-port', '1'],
    ['config', '--prot', '1'],
    ['serve', 'now'],
    ['serve', '--host', '0.0.0.0'],
    ['frobnicate'],
    [],
  ];
  it.each(wrong.map((one) => [one.join(' '), one] as const))(
    '%j is refused with exit code 2',
    async (_, one) => {
      const refused = await world.run(one);
      expect(refused).toMatchObject({ code: 2, out: '' });
      expect(refused.err).not.toContain('    at ');
      if (one.length > 0) {
        expect(refused.err.startsWith('ringkv: ')).toBe(true);
        expect(lines(refused.err)).toHaveLength(1);
      }
    },
  );

  it('is told apart from a file that cannot be read', async () => {
    const absent = await world.run(['put', 'key', '--file', world.path('none'), '--url', server.url]);
    expect(absent.code).toBe(1);
    expect(absent.err).toContain('there is no such file');
    expect(server.seen).toEqual([]);
  });
});

/** Those that have a section of their own in docs/cli.md. */
const documentedCommands = [
  ...['serve', 'get', 'put', 'delete', 'scan', 'import', 'export', 'verify', 'config', 'bench', 'plan'],
];

describe('help', () => {
  it('lists what exists and nothing else', async () => {
    const { code, out } = await world.run(['--help']);
    expect(code).toBe(0);
    const commands = [...out.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name);
    expect(commands).toEqual(
      expect.arrayContaining([
        'serve',
        'get',
        'put',
        'delete',
        'scan',
        'import',
        'export',
        'verify',
        'config',
        'bench',
        'plan',
      ]),
    );
    for (const later of ['backup', 'restore', 'certs']) expect(commands).not.toContain(later);
  });

  it.each(documentedCommands)('of %s has examples that start with the command', async (name) => {
    const { code, out } = await world.run([name, '--help']);
    expect(code).toBe(0);
    expect(out).toContain('Examples:');
    expect(out).toContain(`ringkv ${name}`);
    expect((await world.run(['help', name])).out).toBe(out);
  });

  it('is documented with every command, flag and exit code', async () => {
    const text = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
    for (const name of documentedCommands) {
      expect(text).toContain(`## ringkv ${name}`);
      if (name === 'serve' || name === 'config') continue;
      const { out } = await world.run([name, '--help']);
      for (const [flag] of out.matchAll(/--[a-z][a-z0-9-]+/g))
        expect(text, `${name} ${flag}`).toContain(flag);
    }
  });

  it('says the version', async () => {
    expect(await world.run(['--version'])).toMatchObject({ code: 0, out: `${packageVersion}\n` });
  });
});

describe('config', () => {
  it('prints each setting with where it comes from, and the later source wins', async () => {
    writeFileSync(world.path('ringkv.json'), '{"port": 9001, "shards": 3, "inMemory": true}');
    const options = { environment: { RINGKV_PORT: '9002', RINGKV_CONFIG: world.path('ringkv.json') } };
    const { code, out } = await world.run(
      ['config', '--json', '--in-memory=false', '--durability', 'os'],
      options,
    );
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      port: { value: 9002, source: 'environment RINGKV_PORT' },
      shards: { value: 3, source: `file ${world.path('ringkv.json')}` },
      durability: { value: 'os', source: 'flag --durability' },
      'in-memory': { value: false, source: 'flag --in-memory' },
      'memtable-bytes': { value: 64 * 1024 * 1024, shown: '64MiB', source: 'default' },
    });
    const table = lines((await world.run(['config', '--in-memory'], options)).out);
    expect(table.find((line) => line.startsWith('in-memory'))).toMatch(/^in-memory +true +flag --in-memory$/);
    expect(table.find((line) => line.startsWith('port'))).toMatch(/^port +9002 +environment RINGKV_PORT$/);
  });

  it('names a setting that a later version has', async () => {
    expect((await world.run(['config', '--admin-port', '1'])).err).toBe(
      'ringkv: admin-port (flag --admin-port): not supported by this version of RingKV\n',
    );
  });
});
