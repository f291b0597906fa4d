/** `ringkv bench` of the build, with small budgets: the figures it writes, and what it leaves behind. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BenchFigures, figuresSchema } from '../../src/cli/bench-figures.ts';
import { MAIN, until, Workplace } from './cli-process.ts';

let place: Workplace;
beforeEach(() => {
  place = new Workplace();
  mkdirSync(place.path('disk'));
});
afterEach(() => place.remove());

const env = 'RINGKV_MEMTABLE_BYTES=2MiB RINGKV_BLOCK_CACHE_BYTES=4MiB RINGKV_SHARDS=2';
const bench = (flags: string) =>
  place.startShell(`${env} exec "${process.execPath}" "${MAIN}" bench --directory disk ${flags}`);
const VALUE_BYTES = 1000;
const KEY_BYTES = 16;

describe('ringkv bench', () => {
  it('measures, writes what plan reads, and leaves nothing else behind', async () => {
    const { code, err, out } = await bench(`--seconds 1 --value 1KB --data-max 16MiB --out figures.json`)
      .ended;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^put +[0-9,]+ /m);
    expect(out).toMatch(/^get from tables, no block cached +[0-9,]+ /m);
    expect(readdirSync(place.path('disk'))).toEqual([]);
    const text = readFileSync(place.path('figures.json'), 'utf8');
    const figures: BenchFigures = figuresSchema.parse(JSON.parse(text));
    expect(figures.settings).toMatchObject({
      ...{ valueBytes: VALUE_BYTES, keyBytes: KEY_BYTES, shards: 2, memtableBytes: 2 * 2 ** 20 },
      ...{ blockCacheBytes: 4 * 2 ** 20, durability: 'always', seconds: 1 },
    });
    expect(figures.machine.cores).toBe(availableParallelism());
    const { disk, getMemory, getTables, memory, put, space } = figures;
    for (const load of [put, getMemory, getTables]) {
      expect(load.calls).toBeGreaterThan(0);
      expect(load.perSecond * load.seconds).toBeCloseTo(load.calls, 3);
      expect(load.seconds).toBeGreaterThanOrEqual(1);
      expect(load.cpuUs).toBeGreaterThan(0);
      expect(load.maxMs).toBeGreaterThanOrEqual(load.p50Ms);
    }
    expect(disk.syncs).toBeGreaterThanOrEqual(20);
    expect(disk.syncMaxMs).toBeGreaterThanOrEqual(disk.syncP99Ms);
    expect(disk.syncP99Ms).toBeGreaterThanOrEqual(disk.syncP50Ms);
    // The load and what it left to flushes and compactions.
    expect(put.isSettled).toBe(true);
    expect(put.cpuUsSettled).toBeGreaterThan(put.cpuUs * 0.99);
    // Every byte goes to the log, and half of it, which cannot be compressed, to a table.
    if (process.platform === 'linux') expect(put.writtenPerByte).toBeGreaterThan(1.4);
    // Half of each value is noise; all objects that were put are there once, or as many as --data-max lets live.
    expect(space.objects).toBeLessThanOrEqual((16 * 2 ** 20) / (VALUE_BYTES + KEY_BYTES));
    expect(space.bytesPerObject).toBeGreaterThan(VALUE_BYTES / 2);
    expect(space.bytesPerObject).toBeLessThan(VALUE_BYTES);
    expect(space.tableBytes).toBeCloseTo(space.objects * space.bytesPerObject, -1);
    expect(memory.peakBytes).toBeGreaterThanOrEqual(memory.openBytes);
    expect(memory.besideBytes).toBeGreaterThanOrEqual(memory.openBytes);

    const planned = await place.run(
      ...['plan', '--data', '1TB', '--object', '1KB', '--qps', '1000', '--bench', 'figures.json', '--json'],
    );
    expect({ code: planned.code, err: planned.err }).toEqual({ code: 0, err: '' });
    const { inputs, warnings } = JSON.parse(planned.out) as {
      readonly inputs: Readonly<Record<string, { readonly value: number; readonly source: string }>>;
      readonly warnings: readonly string[];
    };
    expect(inputs.putCpuUs).toMatchObject({ value: put.cpuUsSettled, source: 'measured' });
    expect(inputs.diskBytesPerSecond).toMatchObject({ value: disk.bytesPerSecond, source: 'measured' });
    expect(warnings).toEqual([]);
  });

  it('removes its directory when it is interrupted, and writes no figures', async () => {
    const running = bench('--seconds 600 --out figures.json');
    await until(() => readdirSync(place.path('disk')).length > 0, 60_000);
    running.kill('SIGINT');
    const { code, out } = await running.ended;
    expect({ code, out }).toEqual({ code: 130, out: '' });
    expect(readdirSync(place.path('disk'))).toEqual([]);
    expect(existsSync(place.path('figures.json'))).toBe(false);
  });

  it('refuses a directory that is not there, a disk that is too small, and values that the node would refuse', async () => {
    const gone = await place.run('bench', '--directory', 'nowhere');
    expect(gone).toMatchObject({ code: 5, out: '' });
    expect(gone.err).toContain('--directory nowhere');
    const small = await place.run('bench', '--directory', 'disk', '--data-max', '100TB');
    expect(small).toMatchObject({ code: 5, out: '' });
    expect(small.err).toContain('lower --data-max');
    expect(readdirSync(place.path('disk'))).toEqual([]);
    const large = await place.run('bench', '--value', '2MiB');
    expect(large).toMatchObject({ code: 2, out: '' });
    expect(large.err).toContain('the limit is 1048576');
  });
});
