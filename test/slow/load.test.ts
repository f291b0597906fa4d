/** The load suite as a process, each scenario for a second: that it runs, checks and cleans up, not how fast anything is. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LoadReport, ScenarioReport } from '../../load/report/document.ts';
import { scenarios } from '../../load/scenarios.ts';
import { Process, until, Workplace } from './cli-process.ts';

const LOAD = resolve(import.meta.dirname, '../../dist/load/main.js');
const PATIENCE_MS = 120_000;
/** Of a verdict: what depends on how busy the machine is. */
const TIMED = [/^p99 /, /^answered well/, /^from the kill/, /^flushes and compactions/];

describe('npm run load', () => {
  let place: Workplace;
  let directory: string;
  const started: Process[] = [];
  beforeEach(() => {
    place = new Workplace();
    directory = mkdtempSync(join(tmpdir(), 'ringkv-slow-load-'));
  });
  afterEach(async () => {
    for (const one of started) if (one.running) one.kill('SIGKILL');
    await Promise.all(started.map(({ ended }) => ended));
    await place.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  const load = (...flags: readonly string[]): Process => {
    const out = ['--out', join(directory, 'out'), '--directory', directory];
    const one = new Process(process.execPath, [LOAD, ...out, ...flags], directory);
    started.push(one);
    return one;
  };
  async function reportOf(...flags: readonly string[]): Promise<LoadReport> {
    const { err, code, out } = await load(...flags).ended;
    // Whether it is fast enough is not asked here; anything but 0 and 1 is a defect.
    expect([0, 1], `${out}\n${err}`).toContain(code);
    expect(err).not.toContain('FAIL');
    const report = JSON.parse(readFileSync(join(directory, 'out', 'report.json'), 'utf8')) as LoadReport;
    expect(code, err).toBe(report.pass ? 0 : 1);
    const html = readFileSync(join(directory, 'out', 'report.html'), 'utf8');
    for (const { name } of report.scenarios) expect(html).toContain(`id="${name}"`);
    // No data directory is left.
    expect(readdirSync(directory)).toEqual(['out']);
    return report;
  }
  function expectSound(one: ScenarioReport): void {
    const { name, criteria, counts, failures } = one;
    const wrong = criteria.filter(({ what, pass }) => !pass && !TIMED.some((timed) => timed.test(what)));
    expect(wrong, `${name}: ${JSON.stringify(failures)}`).toEqual([]);
    expect(counts.due, name).toBeGreaterThan(50);
    expect(counts.ok, name).toBe((counts.due ?? 0) - (counts.failed ?? 0) - (counts.givenUp ?? 0));
    expect(counts.verifiedRight, name).toBeGreaterThan(0);
  }
  const SHORT = [
    '--duration',
    '250ms',
    '--warm-up',
    '0s',
    '--rate',
    '400',
    '--keys',
    '100',
    '--connections',
    '16',
    '--quiet',
  ];

  it('holds idle connections beside the load, and each still answers', async () => {
    const report = await reportOf(
      ...['--scenario', 'connections', ...SHORT, '--idle', '200', '--duration', '15s', '--connections', '20'],
    );
    const [one] = report.scenarios;
    expect(one?.idle).toMatchObject({ webSockets: 180, http: 20, dropped: 0, answered: 200 });
    expectSound(one as ScenarioReport);
  });

  it('runs every scenario of one node over HTTP, and nothing that it reads is wrong', async () => {
    const names = scenarios.filter(({ nodes, idle }) => nodes === 1 && idle === 0).map(({ name }) => name);
    const { url } = await place.serve('--memtable-bytes', '4MiB');
    const report = await reportOf('--url', url, '--scenario', names.join(','), ...SHORT);
    expect(report.scenarios.map(({ name }) => name)).toEqual(names);
    for (const one of report.scenarios) expectSound(one);
    const by = (name: string): ScenarioReport =>
      report.scenarios.find((one) => one.name === name) as ScenarioReport;
    expect(by('ycsb-e').counts.scannedRecords).toBeGreaterThan(100);
    expect(by('ycsb-c').latencies.map(({ name }) => name)).toContain('read');
    expect(by('slo').counts.exactReads).toBeGreaterThan(10);
    expect(by('delete-heavy').counts.absent).toBeGreaterThan(0);
  });

  for (const transport of ['ws', 'http-json', 'embedded'])
    it(`runs over ${transport}, with a store that it starts, and sees it flush`, async () => {
      const report = await reportOf(
        ...['--transport', transport, '--scenario', 'compaction', '--set', 'memtable-bytes=4MiB'],
        ...['--value-bytes', '16KiB-64KiB', '--set', 'shards=1', ...SHORT, '--duration', '4s'],
      );
      const [one] = report.scenarios;
      expect(one).toBeDefined();
      if (one === undefined) return;
      expectSound(one);
      expect(one.marks.filter(({ kind }) => kind === 'flush').length).toBeGreaterThan(0);
      expect(one.memory.length).toBeGreaterThan(0);
    });

  it('kills a node of three and starts it again, and no acknowledged write is lost', async () => {
    const report = await reportOf(
      '--scenario',
      'node-failure',
      ...SHORT,
      ...['--rate', '100', '--duration', '3s', '--set', 'vnodes=64'],
      // Two at the node that is killed: both may be on their way then, and 1% of 300 requests may fail.
      ...['--connections', '6'],
    );
    const [one] = report.scenarios;
    expect(one).toBeDefined();
    if (one === undefined) return;
    expectSound(one);
    expect(one.marks.filter(({ kind }) => kind === 'node killed').length).toBe(1);
  });

  it('--peers runs what is installed beside RingKV, and names what is not', async () => {
    const running = load('--peers', '--transport', 'ws', ...SHORT, '--rate', '300');
    const { err, code } = await running.ended;
    expect([0, 1], err).toContain(code);
    const { scenarios: ran } = JSON.parse(
      readFileSync(join(directory, 'out', 'report.json'), 'utf8'),
    ) as LoadReport;
    expect(ran[0]?.name).toBe('ringkv-ws');
    for (const one of ran) expectSound(one);
    for (const peer of ['redis-always', 'redis-everysec', 'etcd'])
      expect(ran.some(({ name }) => name === peer) !== err.includes(`${peer}: SKIPPED`), err).toBe(true);
    expect(readdirSync(directory)).toEqual(['out']);
  });

  it('stops at SIGINT, ends the nodes that it has started and removes their directories', async () => {
    const running = load('--slo', '--keys', '100', '--rate', '50', '--duration', '10m');
    await until(() => /50 requests a second/.test(running.err) || !running.running, PATIENCE_MS);
    expect(readdirSync(directory).some((name) => name.startsWith('ringkv-load-'))).toBe(true);
    const nodes = processesWith(directory).filter((pid) => pid !== running.child.pid);
    if (process.platform === 'linux') expect(nodes.length).toBe(1);
    running.kill('SIGINT');
    const { code } = await running.ended;
    expect(code).toBe(130);
    expect(readdirSync(directory)).toEqual(['out']);
    expect(processesWith(directory)).toEqual([]);
  });

  it('a node ends also where the suite is killed and can do nothing for it', async () => {
    const running = load('--slo', '--keys', '100', '--rate', '50', '--duration', '10m');
    await until(() => /50 requests a second/.test(running.err) || !running.running, PATIENCE_MS);
    running.kill('SIGKILL');
    await running.ended;
    await until(() => processesWith(directory).length === 0, PATIENCE_MS);
  });

  it('says what is wrong with the command line, and ends with 2', async () => {
    const { code, err, out } = await load('--rate', 'fast').ended;
    expect(code).toBe(2);
    expect(err).toContain('"fast" is not requests a second');
    expect(out).toBe('');
    const nobody = await load('--url', 'http://127.0.0.1:1', ...SHORT).ended;
    expect(nobody.code).toBe(1);
    expect(nobody.err).toContain('no node answers at http://127.0.0.1:1');
  });
});

/** Processes with `text` among their arguments; none where the system does not tell. */
function processesWith(text: string): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text);
      } catch {
        // It has ended meanwhile.
        return false;
      }
    })
    .map(Number);
}
