import { CommanderError } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Invocation, readCommandLine } from '../../load/command-line.ts';
import { scenarios } from '../../load/scenarios.ts';

function read(...argv: string[]): Invocation {
  const invocation = readCommandLine(argv);
  if (invocation === null) throw new Error('a list');
  return invocation;
}

describe('the command line of the load suite', () => {
  let told = '';
  beforeEach(() => {
    told = '';
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      told += String(text);
      return true;
    });
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('--slo is the headline of the project', () => {
    const [run] = read('--slo').runs;
    expect(run).toMatchObject({ transport: 'http-raw', arrivals: 'constant', generators: 1, filled: false });
    expect(run?.scenario).toMatchObject({
      mix: { read: 0.5, update: 0.5 },
      keys: { distribution: 'zipfian' },
      records: 1_000_000,
      valueBytes: { min: 2048, max: 2048 },
      rate: { perSecond: 100_000 },
      seconds: 300,
      nodes: 1,
      slo: { p99Ms: 10, failedShareMax: 0 },
    });
    // The default durability of a node syncs before it answers.
    expect(run?.scenario.settings).toEqual({});
    expect(read().runs.map(({ scenario }) => scenario.name)).toEqual(['slo']);
  });

  it('YCSB core workloads are those that were published', () => {
    const mixes = ['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => {
      const one = scenarios.find(({ name }) => name === `ycsb-${letter}`);
      return {
        mix: one?.mix,
        keys: one?.keys.distribution,
        bytes: one?.valueBytes.max,
        scan: one?.scanLengthMax,
      };
    });
    const same = { bytes: 1000, scan: 100 };
    expect(mixes).toEqual([
      { mix: { read: 0.5, update: 0.5 }, keys: 'zipfian', ...same },
      { mix: { read: 0.95, update: 0.05 }, keys: 'zipfian', ...same },
      { mix: { read: 1 }, keys: 'zipfian', ...same },
      { mix: { read: 0.95, insert: 0.05 }, keys: 'latest', ...same },
      { mix: { scan: 0.95, insert: 0.05 }, keys: 'zipfian', ...same },
      { mix: { read: 0.5, readModifyWrite: 0.5 }, keys: 'zipfian', ...same },
    ]);
  });

  it('shares of every scenario come to 1, and names are told apart', () => {
    for (const { name, mix } of scenarios)
      expect(
        Object.values(mix).reduce((sum, share) => sum + share, 0),
        name,
      ).toBeCloseTo(1, 12);
    expect(new Set(scenarios.map(({ name }) => name)).size).toBe(scenarios.length);
  });

  it('flags change the scenario', () => {
    const { runs, out } = read(
      ...[
        '--scenario',
        'ycsb-b,node-failure',
        '--rate',
        '70%',
        '--duration',
        '90s',
        '--warm-up',
        '0',
        '--keys',
        '77',
      ],
      ...[
        '--value-bytes',
        '1KiB-4KiB',
        '--p99',
        '250',
        '--seed',
        '5',
        '--set',
        'shards=2',
        '--set',
        'compression=none',
      ],
      ...[
        '--arrivals',
        'poisson',
        '--generators',
        '2',
        '--connections',
        '9',
        '--out',
        'x',
        '--consistency',
        'ALL',
      ],
    );
    expect(runs.map(({ scenario }) => scenario.name)).toEqual(['ycsb-b', 'node-failure']);
    for (const run of runs) {
      expect(run).toMatchObject({ arrivals: 'poisson', generators: 2, inFlight: 9, seed: 5 });
      expect(run.scenario).toMatchObject({
        rate: { share: 0.7 },
        seconds: 90,
        warmUpSeconds: 0,
        records: 77,
        valueBytes: { min: 1024, max: 4096 },
        query: 'consistency=ALL&sloppy=false',
      });
      expect(run.scenario.slo.p99Ms).toBe(250);
      expect(run.scenario.settings).toMatchObject({ shards: '2', compression: 'none' });
    }
    expect(out).toBe('x');
  });

  it('several URLs, repeated or with commas', () => {
    const [run] = read('--url', 'http://a:1,http://b:2', '--url', 'http://c:3').runs;
    expect(run?.urls).toEqual(['http://a:1', 'http://b:2', 'http://c:3']);
  });

  it('--all leaves out what the transport or the target cannot run', () => {
    const names = (...argv: string[]): string[] =>
      read('--all', ...argv).runs.map(({ scenario }) => scenario.name);
    expect(names()).toEqual(scenarios.map(({ name }) => name).filter((name) => name !== 'soak'));
    expect(names('--transport', 'ws')).not.toContain('ycsb-e');
    expect(names('--transport', 'embedded')).not.toContain('node-failure');
    expect(names('--url', 'http://a:1')).not.toContain('node-failure');
  });

  const wrong: readonly (readonly [argv: string, ...told: string[]])[] = [
    ['--rate 0', '"0"', '10000000'],
    ['--rate 10000001', '"10000001"', '10000000'],
    ['--rate 0%', '0%'],
    ['--rate 2000%', '2000%', '1000%'],
    ['--rate fast', '"fast"'],
    ['--duration 1ms', '1ms', '250ms'],
    ['--duration 8d', '8d', '7d'],
    ['--duration long', '"long"'],
    ['--keys 0', '"0"'],
    ['--keys 99999999', '33554432'],
    ['--keys 1e3', '"1e3"'],
    ['--value-bytes 10', '10', '64B'],
    ['--value-bytes 2MiB', '2MiB', '1MiB'],
    ['--value-bytes 4KiB-1KiB', '4KiB-1KiB'],
    ['--value-bytes 1KiB-2KiB-3KiB', '1KiB-2KiB-3KiB'],
    ['--nodes 10', '"10"', '9'],
    ['--generators 17', '"17"', '16'],
    ['--generators 3 --connections 2', '3', '2'],
    ['--connections 65537', '"65537"', '65536'],
    ['--give-up 2m', '2m', '1m'],
    ['--seed -1', '"-1"'],
    ['--url ftp://a', '"ftp://a"'],
    ['--url http://a/path', '"http://a/path"'],
    ['--scenario nothing', '"nothing"', 'ycsb-a'],
    ['--transport pigeon', 'pigeon', 'http-raw'],
    ['--set Shards', '"Shards"', 'NAME=VALUE'],
    ['--set shards=1 --url http://a', '--set', '--url'],
    ['--filled', '--filled', '--url'],
    ['--transport embedded --generators 2', '2', '1'],
    ['--transport embedded --url http://a', '--url'],
    ['--transport embedded --scenario node-failure', 'node-failure', '3'],
    ['--transport ws --scenario ycsb-e', 'ycsb-e', 'scans'],
    ['--scenario node-failure --url http://a', 'node-failure'],
    ['--scenario node-failure --nodes 2', '2', '3'],
    ['--nonsense', '--nonsense'],
    ['something', 'too many arguments'],
  ];
  for (const [argv, ...words] of wrong)
    it(`refuses ${argv}, with the value and the limit`, () => {
      expect(() => read(...argv.split(' '))).toThrow(CommanderError);
      for (const word of words) expect(told).toContain(word);
    });

  it('--list and --help say what there is', () => {
    expect(readCommandLine(['--list'])).toBeNull();
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      told += String(text);
      return true;
    });
    expect(() => read('--help')).toThrow(CommanderError);
    expect(told).toContain('--give-up');
  });
});
