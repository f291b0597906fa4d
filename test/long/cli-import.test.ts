import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { FakeServer } from '../client/fake-server.ts';
import { testSeed } from '../seed.ts';
import { until, Workplace } from '../slow/cli-process.ts';

let place: Workplace;
beforeEach(() => {
  place = new Workplace();
});
afterEach(() => place.remove());

/** Records of sizes and bytes of every kind, keys all different. */
function generate(count: number, seed: number): string[] {
  const random = new Random(seed);
  const texts = ['plain', 'ü', '🎈', '"', '\\', '\n', '\0', '\u2028', '\ufeff', ' '];
  return Array.from({ length: count }, (_, n) => {
    const key = random.chance(0.9)
      ? { key: `${random.pick(texts)}:${n}` }
      : {
          keyBase64: Buffer.concat([
            random.bytes(random.between(0, 9)),
            Buffer.from(`\xff${n}`, 'latin1'),
          ]).toString('base64'),
        };
    const length = random.chance(0.01) ? random.between(10_000, 60_000) : random.between(0, 900);
    const value = random.chance(0.9)
      ? { value: random.pick(texts).repeat(Math.ceil(length / 5)) }
      : { valueBase64: Buffer.concat([Buffer.of(0xff), random.bytes(length)]).toString('base64') };
    return JSON.stringify({ ...key, ...value });
  });
}
const linesOf = (text: string): string[] => text.split('\n').filter((line) => line !== '');
const keyOf = (line: string): string => {
  const { key, keyBase64 } = JSON.parse(line) as { key?: string; keyBase64?: string };
  return JSON.stringify(key === undefined ? { keyBase64 } : { key });
};

describe('import and export', () => {
  it('of 20,000 records give back the same set, through a server and through a directory', async () => {
    const seed = testSeed();
    const records = generate(20_000, seed);
    writeFileSync(place.path('in.gz'), gzipSync(`${records.join('\n')}\n`));
    const expected = [...records].sort();
    const { server, url } = await place.serve('--data', 'served', '--memtable-bytes', '2MiB');
    const imported = await place.run('import', 'in.gz', '--url', url, '--json');
    expect(imported.code, `seed ${seed}: ${imported.err}`).toBe(0);
    expect(JSON.parse(imported.out)).toMatchObject({
      records: 20_000,
      acknowledged: 20_000,
      bad: 0,
      failed: 0,
    });
    expect((await place.run('export', 'out', '--url', url)).code).toBe(0);
    expect(linesOf(readFileSync(place.path('out'), 'utf8')).sort(), `seed ${seed}`).toEqual(expected);
    server.kill('SIGTERM');
    expect((await server.ended).code).toBe(0);

    expect((await place.run('export', 'again', '--data', 'served')).code).toBe(0);
    expect(linesOf(readFileSync(place.path('again'), 'utf8')).sort(), `seed ${seed}`).toEqual(expected);
    expect((await place.run('import', 'again', '--data', 'embedded')).code).toBe(0);
    const last = await place.run('export', '--data', 'embedded');
    expect(linesOf(last.out).sort(), `seed ${seed}`).toEqual(expected);
    expect((await place.run('verify', 'served')).code).toBe(0);
    expect((await place.run('verify', 'embedded')).code).toBe(0);
  });

  it('lose no acknowledged record when the server is killed in the middle', async () => {
    const seed = testSeed();
    const random = new Random(seed);
    const records = generate(20_000, seed);
    writeFileSync(place.path('in'), records.join('\n'));
    const byKey = new Map(records.map((line) => [keyOf(line), line]));
    const acknowledged = new Set<string>();
    for (let round = 0; round < 3; round++) {
      const { server, url } = await place.serve('--data', 'data', '--memtable-bytes', '2MiB');
      const log = place.path(`log-${round}`);
      const run = place.run('import', 'in', '--url', url, '--ack-log', log, '--retry-for', '0');
      // Of some 400,000 bytes: the import must not be over before the server is killed.
      const enough = random.between(5_000, 200_000);
      await until(
        () => statSync(log, { throwIfNoEntry: false })?.size !== undefined && statSync(log).size >= enough,
        120_000,
      );
      server.kill('SIGKILL');
      const { code, err, out } = await run;
      expect(code, err).toBe(3);
      const count = Number(/^([0-9]+) of /.exec(out)?.[1]);
      const logged = linesOf(readFileSync(log, 'utf8'));
      expect(logged).toHaveLength(count);
      for (const key of logged) acknowledged.add(key);
      await server.ended;
    }
    expect(acknowledged.size).toBeGreaterThan(100);
    expect((await place.run('export', 'out', '--data', 'data')).code).toBe(0);
    const there = linesOf(readFileSync(place.path('out'), 'utf8'));
    const thereByKey = new Map(there.map((line) => [keyOf(line), line]));
    const lost = [...acknowledged].filter((key) => !thereByKey.has(key));
    expect(lost, `seed ${seed}`).toEqual([]);
    const wrong = there.filter((line) => byKey.get(keyOf(line)) !== line);
    expect(wrong, `seed ${seed}`).toEqual([]);
  });

  it('end at Ctrl-C with what was acknowledged, and can be run again', async () => {
    const records = generate(20_000, 7);
    writeFileSync(place.path('in'), records.join('\n'));
    const run = place.start(
      'import',
      'in',
      '--data',
      'data',
      '--in-flight',
      '2',
      '--ack-log',
      place.path('log'),
    );
    await until(() => (statSync(place.path('log'), { throwIfNoEntry: false })?.size ?? 0) > 0, 60_000);
    run.kill('SIGINT');
    const { code, err, out } = await run.ended;
    expect({ code, err }).toEqual({ code: 130, err: 'ringkv: interrupted\n' });
    const count = Number(/^([0-9]+) of /.exec(out)?.[1]);
    expect(linesOf(readFileSync(place.path('log'), 'utf8'))).toHaveLength(count);
    expect(linesOf((await place.run('export', '--data', 'data')).out)).toHaveLength(count);
    expect((await place.run('import', 'in', '--data', 'data')).code).toBe(0);
    expect(linesOf((await place.run('export', '--data', 'data')).out).sort()).toEqual([...records].sort());
  });

  it('hold no more than their bounds in memory, however long the input is and however slow the server', async () => {
    const server = await FakeServer.start();
    const run = place.start('import', '-', '--url', server.url, '--in-flight', '8', '--json');
    const line = Buffer.from(`${JSON.stringify({ key: 'same size', value: 'x'.repeat(512 * 1024) })}\n`);
    const mib = 400;
    let most = 0;
    try {
      for (let n = 0; n < mib * 2; n++) {
        const numbered = Buffer.from(line.toString('latin1').replace('same size', `key ${n}`), 'latin1');
        if (run.child.stdin?.write(numbered) === false)
          await new Promise((done) => run.child.stdin?.once('drain', done));
        server.items.clear();
        const status = readFileSync(`/proc/${run.child.pid}/status`, 'utf8');
        most = Math.max(most, Number(/VmRSS:\s+([0-9]+) kB/.exec(status)?.[1]) * 1024);
      }
      run.child.stdin?.end();
      const { code, out } = await run.ended;
      expect(code).toBe(0);
      expect(JSON.parse(out)).toMatchObject({ acknowledged: mib * 2 });
      expect(most).toBeLessThan(300 * 1024 * 1024);
    } finally {
      await server.stop();
    }
  });
});

describe('verify', () => {
  it('names the file and the offset of a flipped bit in a table, a log and a manifest', async () => {
    const records = generate(12_000, 9);
    writeFileSync(place.path('in'), records.join('\n'));
    const { server, url } = await place.serve('--data', 'data', '--memtable-bytes', '2MiB');
    expect((await place.run('import', 'in', '--url', url)).code).toBe(0);
    server.kill('SIGKILL');
    await server.ended;
    expect(await place.run('verify', 'data')).toMatchObject({ code: 0, err: '' });
    const shard = place.path('data/layout-1/shard-0');
    const kinds = [/table/, /wal|log/, /manifest/i];
    for (const kind of kinds) {
      const name =
        readdirSync(shard).find((one) => kind.test(one) && statSync(join(shard, one)).size > 100) ?? '';
      expect(name, `${kind} among ${readdirSync(shard).join(' ')}`).not.toBe('');
      const path = join(shard, name);
      const whole = readFileSync(path);
      const flipped = Buffer.from(whole);
      flipped[60] = (flipped[60] ?? 0) ^ 1;
      writeFileSync(path, flipped);
      const { code, out } = await place.run('verify', 'data');
      expect(code, `${name}: ${out}`).toBe(1);
      expect(out).toMatch(new RegExp(`^damaged: .*${name} at byte [0-9]+: `, 'm'));
      writeFileSync(path, whole);
    }
    expect((await place.run('verify', 'data')).code).toBe(0);
  });
});
