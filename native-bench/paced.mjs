// Latency at 70% of the maximum rate while flushes and compactions run: half GET, half raw PUT of 2 KB over HTTP.
// First a closed loop of 64 connections finds the maximum; then an open loop sends at a share of it, whatever the
// answers do, and counts each from when it was due (no coordinated omission). Figures: docs/performance.md.
//
//   npm run build && npm run bench:paced -- [--seconds 60] [--warm-up 20] [--share 0.7] [--connections 64]
//                                                 [--memtable 8MiB] [--shards N] [--frontends N] [--keys 100000]
//                                                 [--rate N] [--seed 7] [--json FILE]
//
// The generator (paced/generator.mjs) has a thread of its own. The load warms up until every key is there, and runs at
// the paced rate for a tenth of the time before it counts, without a stop between the two. Ends with 1 where the run shows nothing: no flush or
// compaction in the counted time, answers that are no success, or a rate that was not kept.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Generator } from './paced/load.mjs';

const { values: flags } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    'warm-up': { type: 'string', default: '20' },
    share: { type: 'string', default: '0.7' },
    connections: { type: 'string', default: '64' },
    memtable: { type: 'string', default: '8MiB' },
    shards: { type: 'string', default: '' },
    frontends: { type: 'string', default: '' },
    keys: { type: 'string', default: '100000' },
    rate: { type: 'string', default: '' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    json: { type: 'string', default: '' },
  },
});
const P99_MS_AIM = 10;
/** Below this share of the rate asked for, the generator or the server did not keep up. */
const RATE_KEPT_MIN = 0.98;
const root = fileURLToPath(new URL('..', import.meta.url));

const number = (name) => {
  const value = Number(flags[name]);
  if (!(value > 0)) throw new Error(`--${name} ${flags[name]}: not a number above 0`);
  return value;
};

async function startServer(data) {
  const args = [
    'serve',
    '--port',
    '0',
    '--data',
    data,
    '--memtable-bytes',
    flags.memtable,
    '--log-level',
    'warn',
  ];
  for (const name of ['shards', 'frontends']) if (flags[name] !== '') args.push(`--${name}`, flags[name]);
  const child = spawn(process.execPath, [join(root, 'dist/src/cli/main.js'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    child.stdout.on('data', (text) => {
      const found = /ready (http:\S+)/.exec(String(text))?.[1];
      if (found !== undefined) resolve(found);
    });
  });
  return { child, url };
}

async function engineFigures(url) {
  const text = await (await fetch(`${url}/metrics`)).text();
  const names = ['flushes', 'compactions', 'compaction_bytes_written', 'tables', 'table_bytes'];
  const sum = (name) =>
    [...text.matchAll(new RegExp(`^ringkv_shard_${name}\\{[^}]*\\} (\\S+)$`, 'gm'))].reduce(
      (total, [, value]) => total + Number(value),
      0,
    );
  return Object.fromEntries(names.map((name) => [name, sum(name)]));
}

const rounded = (us) => (us / 1000).toFixed(2);
function row(name, { latency, answers, seconds, failures, late, ownLateMs }) {
  const ms = (percentile) => rounded(latency.getValueAtPercentile(percentile));
  const rate = Math.round(answers / seconds);
  const others = Object.keys(failures).length === 0 ? 'none' : JSON.stringify(failures);
  console.log(
    `${name}: ${rate}/s, ms: p50 ${ms(50)}, p99 ${ms(99)}, p99.9 ${ms(99.9)}, max ${rounded(latency.maxValue)}; ` +
      `not 2xx: ${others}; sent over 1 ms after they were due: ${late}` +
      (ownLateMs > 0 ? `, the generator itself late by ${ownLateMs.toFixed(1)} ms at most` : ''),
  );
  return {
    rate,
    p50: ms(50),
    p99: ms(99),
    p999: ms(99.9),
    max: rounded(latency.maxValue),
    failures,
    late,
    ownLateMs,
  };
}

const directory = mkdtempSync(join(tmpdir(), 'ringkv-paced-'));
let server = null;
let generator = null;
try {
  console.log(
    `${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}, seed ${flags.seed}`,
  );
  server = await startServer(join(directory, 'data'));
  const port = Number(new URL(server.url).port);
  generator = new Generator({
    ports: [port],
    connections: number('connections'),
    keys: number('keys'),
    seed: number('seed'),
  });
  await generator.run({ kind: 'fill' });
  const closed = await generator.run({ kind: 'closed', seconds: number('warm-up') });
  const maximum = row('closed loop', closed);
  const rate = flags.rate === '' ? Math.floor(maximum.rate * number('share')) : number('rate');
  const seconds = number('seconds');
  const settle = Math.max(2, seconds / 10);
  const running = generator.run({ kind: 'open', rate, settle, seconds });
  const [before] = await Promise.all([
    setTimeout(settle * 1000).then(() => engineFigures(server.url)),
    Promise.race([running, setTimeout(settle * 1000)]),
  ]);
  const open = await running;
  const after = await engineFigures(server.url);
  const paced = row(`open loop at ${rate}/s`, open);
  const work = Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - before[name]]));
  console.log(
    `meanwhile: ${work.flushes} flushes, ${work.compactions} compactions, ` +
      `${(work.compaction_bytes_written / 1e6).toFixed(0)} MB written by them; ${after.tables} tables of ` +
      `${(after.table_bytes / 1e6).toFixed(0)} MB at the end`,
  );
  const faults = [];
  if (work.flushes < 1 || work.compactions < 1)
    faults.push('no flush or no compaction ran: make --memtable smaller');
  if (Object.keys(open.failures).length > 0)
    faults.push(`answers that are no success: ${JSON.stringify(open.failures)}`);
  if (paced.rate < RATE_KEPT_MIN * rate) faults.push(`${paced.rate}/s answered; ${rate}/s were to be`);
  console.log(
    `p99 ${paced.p99} ms: ${Number(paced.p99) < P99_MS_AIM ? 'below' : 'NOT below'} ${P99_MS_AIM} ms`,
  );
  for (const fault of faults) console.log(`FAILED: ${fault}`);
  if (flags.json !== '')
    writeFileSync(
      flags.json,
      `${JSON.stringify({ flags, closed: maximum, open: paced, rate, work }, null, 2)}\n`,
    );
  process.exitCode = faults.length > 0 ? 1 : 0;
} finally {
  await generator?.stop();
  if (server !== null) {
    server.child.removeAllListeners('exit');
    const ended = once(server.child, 'exit');
    if (server.child.exitCode === null && server.child.kill('SIGTERM')) await ended;
  }
  rmSync(directory, { recursive: true, force: true });
}
