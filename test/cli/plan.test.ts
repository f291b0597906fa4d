import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readFigures, writeFigures } from '../../src/cli/bench-files.ts';
import { sampleFigures } from './bench-sample.ts';
import { type Outcome, World } from './harness.ts';

let world: World;
beforeEach(() => {
  world = new World();
  writeFigures(world.path('figures.json'), sampleFigures());
});
afterEach(() => world.remove());

const premises = ['--data', '100TB', '--object', '2KB', '--qps', '100000'];
const sizes = ['--replicas', '3', '--disk', '2TB', '--server-qps', '5000'];
const planned = (...flags: readonly string[]): Promise<Outcome> =>
  world.run(['plan', ...premises, '--bench', world.path('figures.json'), ...flags]);
interface Json {
  readonly servers: number;
  readonly binds: string;
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
  readonly figures: { readonly file: string; readonly measuredAt: string };
  readonly growth: readonly { readonly year: number; readonly servers: number }[];
  readonly inputs: Readonly<Record<string, { readonly value: number; readonly source: string }>>;
  readonly lines: readonly { readonly name: string; readonly formula: string; readonly value: number }[];
}
const jsonOf = ({ out }: Outcome): Json => JSON.parse(out) as Json;

describe('ringkv plan', () => {
  it('reproduces the 150 servers of docs/scale.md with the command that stands there', async () => {
    const text = readFileSync(new URL('../../docs/scale.md', import.meta.url), 'utf8');
    const command = /^ringkv (plan --data 100TB .*)$/m.exec(text)?.[1] ?? '';
    expect(command).toContain('--disk 2TB --server-qps 5000');
    const { code, out } = await world.run([...command.split(' '), '--bench', world.path('figures.json')]);
    expect(code).toBe(0);
    const lines = out.split('\n').map((line) => line.trim());
    const start = lines.indexOf('premiseServers: servers, from the premises alone');
    expect(lines.slice(start + 1, start + 4)).toEqual([
      '= max(premiseDiskServers, premiseRequestServers)',
      '= max(150, 50)',
      '= 150',
    ]);
    // What the page shows of it is what the command prints.
    const block = /```text\n([^`]*premiseDiskServers[^`]*)```/.exec(text)?.[1] ?? '';
    expect(block).not.toBe('');
    expect(out).toContain(block.trimEnd());
  });

  it('prints inputs with their source, formulas, numbers, what binds and a table of growth', async () => {
    const { code, err, out } = await planned(...sizes, '--growth', '20%/year', '--years', '3');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^dataBytes +100 TB\* +flag /m);
    expect(out).toMatch(/^putCpuUs +20 us~ +measured /m);
    expect(out).toMatch(/^headroom +40%\? +default /m);
    expect(out).toContain('= ceil(300 TB / 2 TB*)');
    expect(out).toMatch(/^\d+ servers: (disk|requests|processors) binds\.$/m);
    expect(out).toMatch(/^3 +173 TB +172,800\/s +\d+/m);
    expect(out).not.toMatch(/^4 +207 TB/m);
    expect(out).toContain('measured 2026-11-30T04:00:00.000Z');
  });

  it('prints the same as JSON', async () => {
    const found = jsonOf(await planned(...sizes, '--json', '--growth', '10%', '--years', '1'));
    expect(found.lines.find(({ name }) => name === 'premiseServers')?.value).toBe(150);
    expect(found.inputs.dataBytes).toMatchObject({ value: 1e14, source: 'flag' });
    expect(found.growth.map(({ year }) => year)).toEqual([0, 1]);
    expect(found.growth[0]?.servers).toBe(found.servers);
    expect(found.warnings).toEqual([]);
    expect(found.figures).toEqual({
      file: world.path('figures.json'),
      measuredAt: '2026-11-30T04:00:00.000Z',
    });
  });

  it('takes each flag into the input that it is for', async () => {
    const flags = {
      '--replicas': ['5', 'replicas', 5],
      '--read-share': ['0.9', 'readShare', 0.9],
      '--consistency': ['ALL', 'readReplicas', 3],
      '--key': ['32B', 'keyBytes', 32],
      '--disk': ['4TiB', 'diskBytes', 4 * 2 ** 40],
      '--disk-fill': ['50%', 'diskFill', 0.5],
      '--disk-reads': ['90000', 'diskReads', 90_000],
      '--server-qps': ['7000', 'serverQps', 7000],
      '--cores': ['16', 'cores', 16],
      '--memory': ['64GB', 'memoryBytes', 64e9],
      '--network': ['10Gbit', 'networkBitsPerSecond', 1e10],
      '--shards': ['12', 'shards', 12],
      '--memtable-bytes': ['32MiB', 'memtableBytes', 32 * 2 ** 20],
      '--block-cache-bytes': ['4GB', 'blockCacheBytes', 4e9],
      '--racks': ['6', 'racks', 6],
      '--spare-servers': ['2', 'spareServers', 2],
      '--headroom': ['25%', 'headroom', 0.25],
      '--growth': ['7.5%', 'growth', 0.075],
    } as const;
    for (const [flag, [text, name, value]] of Object.entries(flags)) {
      const { inputs } = jsonOf(await planned(flag, text, '--json'));
      expect(inputs[name], flag).toMatchObject({ value, source: 'flag' });
    }
  });

  it('says that nothing was measured, and calls its figures defaults', async () => {
    const directory = world.path('empty');
    mkdirSync(directory);
    const before = process.cwd();
    process.chdir(directory);
    try {
      const { code, out } = await world.run(['plan', ...premises]);
      expect(code).toBe(0);
      expect(out).toContain('warning: nothing was measured on this machine');
      expect(out).toMatch(/^putCpuUs +\S+ us\? +default /m);
      expect(out).not.toContain('measured 20');
      writeFigures('ringkv-bench.json', sampleFigures());
      const found = await world.run(['plan', ...premises]);
      expect(found.out).not.toContain('nothing was measured');
      expect(found.out).toMatch(/^putCpuUs +20 us~ +measured /m);
    } finally {
      process.chdir(before);
    }
  });

  it('ends with 1 where it cannot be built, and says why', async () => {
    const { code, err, out } = await planned('--disk', '100GB', '--data', '9PB');
    expect(code).toBe(1);
    expect(err).toMatch(/^ringkv: this cannot be built: [0-9]+ servers: a ring has at most 2048 members$/m);
    expect(out).toContain('servers: disk binds.');
  });

  it.each([
    [['--data', '0'], '0 bytes lie outside 1 B to'],
    [['--data', '100XB'], 'is not an amount of data'],
    [['--data', '100EB'], 'is not an amount of data'],
    [['--data', '100PB'], 'above the maximum of 9007199254740991 bytes'],
    [['--data', '-1TB'], 'is not an amount of data'],
    [['--data', '1KB'], '--object 2000 bytes: more than --data, 1000 bytes'],
    [['--object', '0'], '0 bytes lie outside 2 B to 8.42 MB'],
    [['--object', '1GB'], '1000000000 bytes lie outside 2 B to 8.42 MB'],
    [['--qps', '0'], 'Not a whole number from 1 to 1000000000'],
    [['--qps', 'many'], 'Not a whole number from 1'],
    [['--qps', '1.5'], 'Not a whole number from 1'],
    [['--replicas', '10'], 'Not a whole number from 1 to 9'],
    [['--read-share', '1.1'], 'Not a number from 0 to 1'],
    [['--key', '3KB'], '--key 3000 bytes: more than --object, 2000 bytes'],
    [['--disk', '1MB'], 'lie outside 1 GB to'],
    [['--disk', '10GB'], '--disk 10 GB: '],
    [['--disk-fill', '100%'], 'from 10% to 95%'],
    [['--disk-fill', '0.7'], 'Not a percentage such as 20%'],
    [['--server-qps', '0'], 'Not a whole number from 1'],
    [['--cores', '0'], 'Not a whole number from 1 to 1024'],
    [['--network', '10'], 'Not a rate such as 10Gbit'],
    [['--network', '0Gbit'], 'from 1Mbit to 1000Gbit'],
    [['--racks', '0'], 'Not a whole number from 1 to 1000'],
    [['--headroom', '95%'], 'from 0% to 90%'],
    [['--growth', '-5%'], 'Not a percentage'],
    [['--growth', '2000%'], 'from 0% to 1000%'],
    [['--years', '21'], 'Not a whole number from 0 to 20'],
    [['--consistency', 'MOST'], 'MOST'],
    [['--bench', 'nowhere.json'], '--bench nowhere.json: there is no such file'],
  ])('refuses %j with value and limit', async (flags, what) => {
    const refused = await planned(...flags);
    expect(refused).toMatchObject({ code: 2, out: '' });
    expect(refused.err).toContain(what);
    expect(refused.err.trimEnd().split('\n')).toHaveLength(1);
  });

  it.each(['--data', '--object', '--qps'])('cannot go without %s', async (flag) => {
    const at = premises.indexOf(flag);
    const refused = await world.run(['plan', ...premises.slice(0, at), ...premises.slice(at + 2)]);
    expect(refused).toMatchObject({ code: 2, out: '' });
    expect(refused.err).toContain(flag);
  });
});

describe('the file of figures', () => {
  const path = (): string => world.path('figures.json');
  it('comes back as it was written, whole, and replaces the one before', () => {
    expect(readFigures(path())).toEqual(sampleFigures());
    writeFigures(path(), sampleFigures({ bytesPerObject: 7 }));
    expect(readFigures(path())?.space.bytesPerObject).toBe(7);
    expect(readFigures(world.path('none'))).toBeNull();
  });

  const damaged: readonly (readonly [text: string, what: string])[] = [
    ['{', 'not JSON'],
    ['null', 'not the figures of ringkv bench'],
    ['{"format":2}', 'format 2; this RingKV reads format 1'],
    [JSON.stringify({ ...sampleFigures(), put: null }), 'put: '],
    [JSON.stringify({ ...sampleFigures(), extra: 1 }), 'extra'],
    [
      JSON.stringify({ ...sampleFigures(), disk: { ...sampleFigures().disk, bytesPerSecond: 0 } }),
      'disk.bytesPerSecond',
    ],
    [' '.repeat(2 ** 20 + 1), 'the limit is 1048576'],
  ];
  it.each(damaged)('is refused by its name where it is %#', async (text, what) => {
    writeFileSync(path(), text);
    const refused = await planned();
    expect(refused).toMatchObject({ code: 2, out: '' });
    expect(refused.err).toContain('figures.json');
    expect(refused.err).toContain(what);
  });
});
