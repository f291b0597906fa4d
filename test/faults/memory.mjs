// Loads ten times the block cache into a server, keeps it busy with reads, overwrites, scans and deletes, and watches
// the resident memory of its process: it must stay within the budgets of its configuration plus 200 MB, and be flat.
//
//   npm run build && npm run test:memory -- [--seconds 180] [--block-cache 32] [--memtable 8] [--shards 2] [--frontends 1]
//                                           [--lanes 32] [--allowance 200] [--growth 12] [--seed 7]
//
// Sizes are in MiB, --allowance in MB, --growth in MB a minute over the second half of the mixed load. Needs Linux (/proc). The budget is
// that of docs/data-directory.md. Exit code 1 where a bound is passed.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Pool } from 'undici';

const { limits, MiB } = await import('../../dist/src/base/limits.js');

const { values: flags } = parseArgs({
  options: {
    seconds: { type: 'string', default: '180' },
    'block-cache': { type: 'string', default: '32' },
    memtable: { type: 'string', default: '8' },
    shards: { type: 'string', default: '2' },
    frontends: { type: 'string', default: '1' },
    lanes: { type: 'string', default: '32' },
    allowance: { type: 'string', default: '200' },
    growth: { type: 'string', default: '12' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});
const number = (name) => {
  const value = Number(flags[name]);
  if (!(value > 0)) throw new Error(`--${name} ${flags[name]}: not a number above 0`);
  return value;
};
const seconds = number('seconds');
const blockCacheBytes = number('block-cache') * MiB;
const memtableBytes = number('memtable') * MiB;
const shards = number('shards');
const frontends = number('frontends');
const lanes = number('lanes');
const growthMax = number('growth');

const MB = 1e6;
/** What a process may take beside its budgets: the runtime, the code, heaps, filters and indexes, the allocator's slack. */
const ALLOWANCE_BYTES = number('allowance') * MB;
const VALUE_BYTES = 2048;
const DATA_OF_CACHE = 10;
const RECORDS = Math.ceil((DATA_OF_CACHE * blockCacheBytes) / VALUE_BYTES);
const SCAN_RECORDS = 100;
const SAMPLES = 60;
const ROWS = 20;
const REQUESTS_MAX = 50_000_000;
/** Index of a memtable: a node a record, and buckets. */
const INDEX_BYTES_PER_RECORD = 40;
const root = fileURLToPath(new URL('../..', import.meta.url));

let state = number('seed') >>> 0;
/** 32 random bits from the seed (splitmix32). */
function random() {
  state = (state + 0x9e3779b9) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

const noise = new Uint32Array(MiB / 4).map(random);
const noiseBytes = Buffer.from(noise.buffer);
/** Half of it noise, half of it compressible; it begins with its key. */
function valueFor(key) {
  const value = Buffer.alloc(VALUE_BYTES, 'ringkv');
  noiseBytes.copy(value, VALUE_BYTES / 2, random() % (MiB - VALUE_BYTES));
  value.write(`${key} `);
  return value;
}

const budget = [
  [
    `memtables: ${shards} shards x ${limits.memtableSlots} slots x ${memtableBytes / MiB} MiB`,
    shards * limits.memtableSlots * memtableBytes,
  ],
  [
    `their index: ${INDEX_BYTES_PER_RECORD} B a record`,
    Math.ceil((shards * limits.memtableSlots * memtableBytes * INDEX_BYTES_PER_RECORD) / VALUE_BYTES),
  ],
  ['block cache', blockCacheBytes],
  [`rings: ${shards} x ${frontends} x 2`, shards * frontends * 2 * limits.ringBytes],
  ['values beside the rings: none of this size', 0],
];
const budgetBytes = budget.reduce((sum, [, bytes]) => sum + bytes, 0);

async function start(data) {
  const settings = {
    port: 0,
    data,
    shards,
    frontends,
    'memtable-bytes': memtableBytes,
    'block-cache-bytes': blockCacheBytes,
    'log-level': 'warn',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(process.execPath, [join(root, 'dist/src/cli/main.js'), 'serve', ...args], {
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

/** Bytes of resident memory: in all, anonymous, of files, shared (SharedArrayBuffers count as anonymous). */
function residentOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
  return {
    rss: bytes('VmRSS'),
    anonymous: bytes('RssAnon'),
    file: bytes('RssFile'),
    shared: bytes('RssShmem'),
  };
}

const done = { load: 0, get: 0, put: 0, scan: 0, delete: 0, refused: 0 };
const RAW = 'application/octet-stream';

async function ask(pool, kind, request, statuses, key = -1) {
  const answer = await pool.request(request);
  if (answer.statusCode === 503 || answer.statusCode === 429) {
    done.refused++;
    await answer.body.dump();
    // Nothing was done: the lane comes back with something else a little later.
    await new Promise((resolve) => setTimeout(resolve, 20));
    return false;
  }
  const body = Buffer.from(await answer.body.arrayBuffer());
  if (!statuses.includes(answer.statusCode))
    throw new Error(
      `${request.method} ${request.path}: ${answer.statusCode} ${body.toString().slice(0, 200)}`,
    );
  if (key >= 0 && answer.statusCode === 200 && body.toString('latin1', 0, 12).split(' ')[0] !== String(key))
    throw new Error(`GET ${request.path}: the value of another key`);
  done[kind]++;
  return true;
}
const pathOf = (key) => `/v1/kv/key-${key}`;
const put = (pool, kind, key) =>
  ask(
    pool,
    kind,
    { method: 'PUT', path: pathOf(key), headers: { 'content-type': RAW }, body: valueFor(key) },
    [204],
  );

async function load(pool) {
  let next = 0;
  const lane = async () => {
    for (let key = next++; key < RECORDS; key = next++)
      for (let attempts = 0; !(await put(pool, 'load', key)); attempts++)
        if (attempts > 3000) throw new Error(`PUT ${pathOf(key)}: refused ${attempts} times`);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function mix(pool, running) {
  const lane = async () => {
    for (let count = 0; running.on && count < REQUESTS_MAX; count++) {
      const key = random() % RECORDS;
      const dice = random() % 1000;
      if (dice < 600)
        await ask(
          pool,
          'get',
          { method: 'GET', path: pathOf(key), headers: { accept: RAW } },
          [200, 404],
          key,
        );
      else if (dice < 950) await put(pool, 'put', key);
      else if (dice < 990) await ask(pool, 'delete', { method: 'DELETE', path: pathOf(key) }, [204]);
      else
        await ask(pool, 'scan', { method: 'GET', path: `/v1/scan?limit=${SCAN_RECORDS}&values=true` }, [200]);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function engineFigures(pool) {
  const answer = await pool.request({ method: 'GET', path: '/metrics' });
  const text = await answer.body.text();
  const sum = (name) =>
    [...text.matchAll(new RegExp(`^ringkv_shard_${name}\\{[^}]*\\} (\\S+)$`, 'gm'))].reduce(
      (total, [, value]) => total + Number(value),
      0,
    );
  return Object.fromEntries(
    [
      'flushes',
      'compactions',
      'tables',
      'table_bytes',
      'block_cache_bytes',
      'block_cache_hits',
      'block_cache_misses',
    ].map((name) => [name, sum(name)]),
  );
}

/** MB a minute, by least squares. */
function slopeOf(samples) {
  const meanX = samples.reduce((sum, { seconds: at }) => sum + at, 0) / samples.length;
  const meanY = samples.reduce((sum, { rss }) => sum + rss, 0) / samples.length;
  let above = 0;
  let below = 0;
  for (const { seconds: at, rss } of samples) {
    above += (at - meanX) * (rss - meanY);
    below += (at - meanX) ** 2;
  }
  return ((above / below) * 60) / MB;
}

const mb = (bytes) => (bytes / MB).toFixed(1);
const directory = mkdtempSync(join(tmpdir(), 'ringkv-memory-'));
let server = null;
try {
  console.log(
    `memory: ${RECORDS} records of ${VALUE_BYTES} bytes, ${DATA_OF_CACHE} times the block cache, seed ${flags.seed}`,
  );
  for (const [name, bytes] of budget) console.log(`  ${mb(bytes).padStart(8)} MB  ${name}`);
  console.log(
    `  ${mb(budgetBytes).padStart(8)} MB  in all; the limit is ${mb(budgetBytes + ALLOWANCE_BYTES)} MB`,
  );
  server = await start(join(directory, 'data'));
  const { pid } = server.child;
  const pool = new Pool(server.url, { connections: lanes });
  const samples = [];
  const zero = performance.now();
  const sample = (phase) =>
    samples.push({ phase, seconds: (performance.now() - zero) / 1000, ...residentOf(pid) });
  sample('start');
  let phase = 'load';
  const everyMs = Math.max(200, (seconds * 1000) / SAMPLES);
  const timer = setInterval(() => sample(phase), everyMs);
  const running = { on: true };
  let mixing = null;
  try {
    await load(pool);
    const loadSeconds = (performance.now() - zero) / 1000;
    console.log(`loaded in ${loadSeconds.toFixed(1)} s: ${JSON.stringify(await engineFigures(pool))}`);
    phase = 'mix';
    const end = setTimeout(() => {
      running.on = false;
    }, seconds * 1000);
    mixing = mix(pool, running);
    await mixing;
    clearTimeout(end);
  } finally {
    running.on = false;
    clearInterval(timer);
  }
  sample('mix');
  console.log(`mixed for ${seconds} s: ${JSON.stringify(await engineFigures(pool))}`);
  console.log(`requests: ${JSON.stringify(done)}`);
  await pool.close();

  console.log('\n   time  phase     rss  anonymous   files  shared   (MB)');
  const step = Math.max(1, Math.floor(samples.length / ROWS));
  samples.forEach((one, index) => {
    if (index % step !== 0 && index !== samples.length - 1) return;
    const figures = [
      mb(one.rss).padStart(8),
      mb(one.anonymous).padStart(9),
      mb(one.file).padStart(8),
      mb(one.shared).padStart(7),
    ];
    console.log(`${one.seconds.toFixed(1).padStart(7)}  ${one.phase.padEnd(5)} ${figures.join(' ')}`);
  });

  const most = samples.reduce((max, { rss }) => Math.max(max, rss), 0);
  const mixed = samples.filter((one) => one.phase === 'mix');
  const half = mixed.slice(Math.floor(mixed.length / 2));
  const slope = slopeOf(half);
  console.log(
    `\nmost ${mb(most)} MB: ${mb(most - budgetBytes)} MB beside the budgets of ${mb(budgetBytes)} MB`,
  );
  console.log(
    `second half of the mix: ${slope.toFixed(1)} MB a minute over ${half.length} samples; the limit is ${growthMax}`,
  );
  const failures = [];
  if (most > budgetBytes + ALLOWANCE_BYTES)
    failures.push(`resident memory of ${mb(most)} MB; the limit is ${mb(budgetBytes + ALLOWANCE_BYTES)} MB`);
  if (!(slope <= growthMax))
    failures.push(`resident memory grows by ${slope.toFixed(1)} MB a minute; the limit is ${growthMax}`);
  if (done.get === 0 || done.put === 0 || done.scan === 0 || done.delete === 0)
    failures.push('the load did not run');
  console.log(failures.length === 0 ? 'memory is bounded and flat' : `FAILED: ${failures.join('; ')}`);
  process.exitCode = failures.length === 0 ? 0 : 1;
} finally {
  if (server !== null) {
    server.child.removeAllListeners('exit');
    const ended = new Promise((resolve) => server.child.once('exit', resolve));
    if (server.child.exitCode === null && server.child.kill('SIGTERM')) await ended;
  }
  rmSync(directory, { recursive: true, force: true });
}
