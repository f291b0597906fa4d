import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../src/base/errors.ts';
import { type ConfigSources, configOfOptions, resolveConfig } from '../../src/node/config.ts';
import { readConfigFile } from '../../src/node/config-file.ts';
import type { NodeConfig } from '../../src/node/contract.ts';
import { environmentName, fileName, settings, settingsNotSupported } from '../../src/node/settings.ts';

const MiB = 1024 * 1024;
const none: ConfigSources = { flags: {}, environment: {}, file: null };
const file = (content: unknown): ConfigSources => ({ ...none, file: { path: 'f.json', content } });
const flag = (name: string, text: string): ConfigSources => ({ ...none, flags: { [name]: text } });
const refusal = (sources: ConfigSources): string => {
  try {
    resolveConfig(sources);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as Error).message;
  }
  return 'accepted';
};

/** For each setting: a text that sets it, the field's value, and texts that it refuses. */
const cases: Record<string, readonly [text: string, value: unknown, refused: readonly string[]]> = {
  host: ['127.0.0.2', '127.0.0.2', ['', '0.0.0.0', '10.0.0.1', '::', 'example.org', '127.evil.example']],
  port: ['0', 0, ['-1', '65536', '1.5', 'http', '']],
  data: ['/somewhere', '/somewhere', ['']],
  'in-memory': ['true', true, ['yes', '1', '']],
  shards: ['3', 3, ['0', '257', 'two', '']],
  frontends: ['2', 2, ['0', '65']],
  durability: ['interval', 'interval', ['sometimes', 'Always', '']],
  'sync-interval': ['250ms', 250, ['0', '-1s', '2d', 'soon']],
  'memtable-bytes': ['8MiB', 8 * MiB, ['1KiB', '2GiB', '8MB', '-1', '1.3']],
  'block-cache-bytes': ['0', 0, ['-1', 'all', '2048TiB']],
  compression: ['none', 'none', ['zstd']],
  'block-bytes': ['4096', 4096, ['1023', '2MiB', '4k']],
  'compaction-dial': ['-4', -4, ['-11', '11', '1.5']],
  'compaction-bytes-per-second': ['16MiB', 16 * MiB, ['-1', 'fast']],
  'max-value-bytes': ['64KiB', 64 * 1024, ['0', '9MiB']],
  'max-key-bytes': ['2KiB', 2048, ['0', '33KiB']],
  vnodes: ['64', 64, ['0', '63', '131072']],
  'cluster-name': ['shop', 'shop', ['', 'a b', 'x'.repeat(65)]],
  'node-id': ['ab'.repeat(16), 'ab'.repeat(16), ['ab', 'AB'.repeat(16), '0'.repeat(32)]],
  'peer-host': ['127.0.0.3', '127.0.0.3', ['10.0.0.1', 'a b']],
  'peer-port': ['9999', 9999, ['-2', '65536', '8080']],
  seeds: ['a:1,b.example:65535', 'a:1,b.example:65535', ['a', 'a:b', 'a:1,', 'a:1 b:2']],
  replicas: ['5', 5, ['0', '10']],
  rack: ['eu/r1', 'eu/r1', ['', 'a/b/c', 'a b']],
  'repair-interval': ['3h', 3 * 3_600_000, ['-1', 'often']],
  'gc-grace': ['3h', 3 * 3_600_000, ['-1', '10y', 'never']],
  'log-level': ['debug', 'debug', ['verbose']],
  'insecure-bind': ['true', true, ['1']],
};

/** They go together, and have a test of their own. */
const peerTls = ['peer-tls-cert', 'peer-tls-key', 'peer-tls-ca'];

describe('the configuration', () => {
  it('has the documented defaults', () => {
    const { config } = resolveConfig(none);
    expect(config).toMatchObject({
      host: '127.0.0.1',
      port: 8080,
      data: './data',
      frontends: 1,
      durability: 'always',
    });
    expect(config).toMatchObject({ memtableBytes: 64 * MiB, blockCacheBytes: 256 * MiB, maxValueBytes: MiB });
    expect(config).toMatchObject({
      maxKeyBytes: 1024,
      vnodes: 1024,
      gcGraceMs: 864_000_000,
      logLevel: 'info',
    });
    expect(config.shards).toBeGreaterThanOrEqual(1);
  });

  it('covers every setting in the cases below, and every field', () => {
    const names = settings
      .map(({ name }) => name)
      .filter((name) => !peerTls.includes(name) && name !== 'replace');
    expect(Object.keys(cases).sort()).toEqual(names.sort());
    expect(Object.keys(resolveConfig(none).config).sort()).toEqual(settings.map(({ field }) => field).sort());
  });

  for (const [name, [text, value, refused]] of Object.entries(cases)) {
    const field = settings.find((setting) => setting.name === name)?.field as keyof NodeConfig;
    const variable = environmentName(name);

    it(`takes ${name} from flag, environment and file`, () => {
      expect(resolveConfig(none).config[field]).not.toBe(value);
      expect(resolveConfig(flag(name, text)).config[field]).toBe(value);
      expect(resolveConfig({ ...none, environment: { [variable]: text } }).config[field]).toBe(value);
      expect(resolveConfig(file({ [fileName(name)]: value })).config[field]).toBe(value);
      const row = resolveConfig(flag(name, text)).settings.find((setting) => setting.name === name);
      expect(row?.source).toBe(`flag --${name}`);
    });

    it(`refuses a bad ${name} with its name and source`, () => {
      for (const bad of refused) {
        expect(refusal(flag(name, bad)), bad).toMatch(new RegExp(`^${name} \\(flag --${name}\\): `));
        const message = refusal({ ...none, environment: { [variable]: bad } });
        expect(message, bad).toMatch(new RegExp(`^${name} \\(environment ${variable}\\): `));
      }
      for (const wrong of [null, [], {}, typeof value === 'string' ? 5 : 'nonsense'])
        expect(refusal(file({ [fileName(name)]: wrong }))).toMatch(
          new RegExp(`^${name} \\(file f\\.json\\): `),
        );
    });
  }

  it('takes the three files of TLS between nodes together or not at all', () => {
    const all = Object.fromEntries(peerTls.map((name) => [name, `${name}.pem`]));
    expect(resolveConfig({ ...none, flags: all }).config).toMatchObject({
      peerTlsCert: 'peer-tls-cert.pem',
      peerTlsKey: 'peer-tls-key.pem',
      peerTlsCa: 'peer-tls-ca.pem',
    });
    for (const name of peerTls) expect(refusal(flag(name, 'x.pem')), name).toContain('go together');
    const reachable = { ...all, 'peer-host': '0.0.0.0' };
    expect(resolveConfig({ ...none, flags: reachable }).config.peerHost).toBe('0.0.0.0');
  });

  it('takes the id of a node to be replaced together with seeds', () => {
    const flags = { replace: '01234567', seeds: 'a:1' };
    expect(resolveConfig({ ...none, flags }).config.replace).toBe('01234567');
    expect(refusal(flag('replace', '01234567'))).toMatch(/^replace .* no seeds/);
    for (const bad of ['0123', 'x'.repeat(8)]) expect(refusal(flag('replace', bad))).toMatch(/^replace /);
  });

  it('puts the peer port 1000 above the port, unless it is named', () => {
    expect(resolveConfig(flag('port', '7000')).config.peerPort).toBe(8000);
    expect(resolveConfig(flag('port', '0')).config.peerPort).toBe(0);
    expect(resolveConfig({ ...none, flags: { port: '7000', 'peer-port': '0' } }).config.peerPort).toBe(0);
    expect(refusal(flag('port', '65000'))).toMatch(/^peer-port .*66000.* above 65535/);
  });

  it('lets flags win over the environment, and the environment over the file', () => {
    const sources = {
      flags: { port: '3' },
      environment: { RINGKV_PORT: '2', RINGKV_SHARDS: '2', RINGKV_LOG_LEVEL: undefined },
      file: { path: 'f.json', content: { port: 1, shards: 1, frontends: 5 } },
    };
    const { config, settings: rows } = resolveConfig(sources);
    expect([config.port, config.shards, config.frontends]).toEqual([3, 2, 5]);
    const source = (name: string): string | undefined => rows.find((row) => row.name === name)?.source;
    expect(source('port')).toBe('flag --port');
    expect(source('shards')).toBe('environment RINGKV_SHARDS');
    expect(source('frontends')).toBe('file f.json');
    expect(source('host')).toBe('default');
  });

  it('names the limit that a value passes', () => {
    expect(refusal(flag('memtable-bytes', '1KiB'))).toContain('1KiB is below the minimum 64KiB');
    expect(refusal(flag('port', '70000'))).toContain('70000 is above the maximum 65535');
    expect(refusal(flag('sync-interval', '2d'))).toContain('2d is above the maximum 1d');
    expect(refusal(flag('durability', 'most'))).toContain('"most" is not one of always, interval, os');
  });

  it('does not take texts for numbers, or numbers for texts, in the file', () => {
    expect(refusal(file({ port: '8080' }))).toContain('port (file f.json): "8080" is not a number');
    expect(refusal(file({ insecureBind: 'true' }))).toContain('not true or false');
    expect(resolveConfig(file({ memtableBytes: '8MiB' })).config.memtableBytes).toBe(8 * MiB);
    for (const content of [[], 'x', null, 3])
      expect(refusal(file(content))).toContain('must be a JSON object');
  });

  it('refuses unknown settings wherever they stand', () => {
    expect(refusal(flag('colour', 'red'))).toContain('flag --colour: there is no setting "colour"');
    expect(refusal({ ...none, environment: { RINGKV_COLOUR: 'red' } })).toContain(
      'RINGKV_COLOUR: there is no',
    );
    expect(refusal(file({ colour: 'red' }))).toContain('file f.json: there is no setting "colour"');
    expect(refusal(file({ 'max-key-bytes': 5 }))).toContain('no setting "max-key-bytes"');
    expect(refusal({ ...none, environment: { RINGKV_URL: 'u', RINGKV_CONFIG: 'f', OTHER: '1' } })).toBe(
      'accepted',
    );
  });

  it('refuses settings of clusters, TLS and encryption as not supported yet', () => {
    for (const name of settingsNotSupported) {
      for (const sources of [
        flag(name, 'x'),
        { ...none, environment: { [environmentName(name)]: 'x' } },
        file({ [fileName(name)]: 'x' }),
      ])
        expect(refusal(sources)).toMatch(new RegExp(`^${name} \\(.*\\): not supported by this version`));
    }
  });

  it('refuses an address that other machines reach, unless told so in so many words', () => {
    expect(refusal(flag('host', '0.0.0.0'))).toContain('--insecure-bind');
    const told = { ...none, flags: { host: '0.0.0.0', 'insecure-bind': 'true' } };
    expect(resolveConfig(told).config.host).toBe('0.0.0.0');
    for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost'])
      expect(resolveConfig(flag('host', host)).config.host).toBe(host);
  });

  it('refuses combinations that cannot work', () => {
    expect(refusal({ ...none, flags: { vnodes: '2', shards: '3' } })).toContain(
      'shards (flag --shards): 3 is more',
    );
    expect(refusal(flag('memtable-bytes', '64KiB'))).toMatch(/^memtable-bytes .*max-value-bytes 1MiB/);
    const fits = { ...none, flags: { 'memtable-bytes': '64KiB', 'max-value-bytes': '32KiB' } };
    expect(resolveConfig(fits).config.memtableBytes).toBe(64 * 1024);
    expect(resolveConfig(flag('vnodes', '1')).config.shards).toBe(1);
  });

  it('is made from the options of a program in the same way, without environment or file', () => {
    const config = configOfOptions({ data: 'd', gcGrace: '1d', memtableBytes: 8 * MiB, port: undefined });
    expect(config).toMatchObject({ data: 'd', gcGraceMs: 86_400_000, memtableBytes: 8 * MiB, port: 8080 });
    expect(() => configOfOptions({ colour: 1 })).toThrow('option: there is no setting "colour"');
    expect(() => configOfOptions({ shards: '2' })).toThrow('shards (option): "2" is not a number');
  });
});

describe('the configuration file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ringkv-config-'));
  const path = join(directory, 'c.json');
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('is the one of the flag, then the one of the environment, and must be there then', () => {
    writeFileSync(path, '{"port": 9}');
    expect(readConfigFile(path, { RINGKV_CONFIG: 'other' })).toEqual({ path, content: { port: 9 } });
    expect(readConfigFile(undefined, { RINGKV_CONFIG: path })?.content).toEqual({ port: 9 });
    expect(() => readConfigFile(join(directory, 'absent'), {})).toThrow(/absent: cannot be read: ENOENT/);
    expect(() => readConfigFile(undefined, { RINGKV_CONFIG: directory })).toThrow(ConfigurationError);
    writeFileSync(path, '{"port": 9');
    expect(() => readConfigFile(path, {})).toThrow(/c\.json: not JSON/);
  });
});
