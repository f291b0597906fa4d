// Whole stores side by side in one run: RingKV, lmdb-js and classic-level embedded; RingKV over HTTP beside a bare
// uWebSockets.js server and Redis with AOF always; RocksDB's db_bench without sync for orientation. Rounds alternate
// between the stores; medians, ranges and ratios are printed as a table and written as JSON.
//   npm run build && npm run bench:peers -- [--rounds 5] [--seconds 5] [--warm-up 5] [--only NAME,...] [--json FILE] [--directory DIR]
// Servers are new in each round, and get --warm-up seconds of the same load before what counts: V8 compiles what is hot in the first seconds of
// a process, in which a PUT costs three times as much. Redis, wrk and db_bench come from Debian's redis-server, wrk and rocksdb-tools; what is missing is left out by name.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { fillHttp } from './peers/fill.mjs';
import {
  dbBench,
  has,
  redisBenchmark,
  run,
  startBare,
  startRedis,
  startRingkv,
  wrk,
} from './peers/servers.mjs';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    'warm-up': { type: 'string', default: '5' },
    only: { type: 'string' },
    json: { type: 'string', default: 'peers.json' },
    directory: { type: 'string', default: process.cwd() },
  },
});
const rounds = Number(flags.rounds);
const seconds = Number(flags.seconds);
const warmUp = Number(flags['warm-up']);
const parent = mkdtempSync(join(flags.directory, 'peers-bench-'));
const here = fileURLToPath(new URL('.', import.meta.url));
const REDIS_REQUESTS_PER_SECOND = 30_000;
const ROCKSDB_KEYS = 200_000;

/** Runs `body` with a new directory, and removes it. */
async function within(body) {
  const directory = mkdtempSync(join(parent, 'run-'));
  try {
    return await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
const embedded = (store, workload) => () =>
  within(async (directory) => {
    const script = join(here, 'peers/embedded.mjs');
    const text = await run(process.execPath, [script, store, workload, directory, String(seconds)]);
    return JSON.parse(text.trim().split('\n').at(-1));
  });

async function withServer(start, body) {
  return await within(async (directory) => {
    const server = await start(directory);
    try {
      return await body(server);
    } finally {
      await server.stop();
    }
  });
}
const BYTES = 'application/octet-stream';
const JSON_TYPE = 'application/json';
/** wrk's figures, of after the warm-up. */
async function warm(url, script, mediaType) {
  if (warmUp > 0) await wrk(url, script, mediaType, warmUp);
  return await wrk(url, script, mediaType, seconds);
}
const ringkvGet = (mediaType) => () =>
  withServer(startRingkv, async ({ url }) => {
    await fillHttp(url);
    return await warm(url, 'get.lua', mediaType);
  });
const ringkvPut = (mediaType, durability) => () =>
  withServer(
    (directory) => startRingkv(directory, ['--durability', durability]),
    ({ url }) => warm(url, 'put.lua', mediaType),
  );
const bare = (script, mediaType) => () => withServer(startBare, ({ url }) => warm(url, script, mediaType));
const redis = (command) => () =>
  withServer(startRedis, async ({ port }) => {
    if (command === 'get') await redisBenchmark(port, 'set', 20_000);
    if (warmUp > 0) await redisBenchmark(port, command, REDIS_REQUESTS_PER_SECOND * warmUp);
    return await redisBenchmark(port, command, REDIS_REQUESTS_PER_SECOND * seconds);
  });

const haveWrk = await has('wrk');
const haveRedis = (await has('redis-server')) && (await has('redis-benchmark'));
const haveRocks = await has('db_bench');
/** Contests: RingKV first; `targets` says how many times each peer's median it should reach. */
const contests = [
  {
    name: 'put',
    title: 'embedded durable put, 256 in flight',
    entries: {
      ringkv: embedded('ringkv', 'put'),
      'lmdb-js': embedded('lmdb', 'put'),
      'classic-level (sync)': embedded('classic-level', 'put'),
      ...(haveRocks && {
        'db_bench fillrandom (no sync)': () => within((directory) => dbBench(directory, ROCKSDB_KEYS)),
      }),
    },
    targets: { 'lmdb-js': 3, 'classic-level (sync)': 5, 'db_bench fillrandom (no sync)': 1 },
  },
  {
    name: 'get-memory',
    title: 'embedded read from memory, one after another',
    entries: { ringkv: embedded('ringkv', 'get-memory'), 'lmdb-js': embedded('lmdb', 'get-memory') },
    targets: { 'lmdb-js': 1 },
  },
  {
    name: 'get-tables',
    title: 'embedded read from tables in the page cache, 256 in flight',
    entries: {
      ringkv: embedded('ringkv', 'get-tables'),
      'classic-level': embedded('classic-level', 'get-tables'),
      'lmdb-js': embedded('lmdb', 'get-tables'),
    },
    targets: { 'classic-level': 1 },
  },
  {
    name: 'http-get',
    title: 'HTTP GET of 2 KB as bytes, 64 connections',
    entries: haveWrk
      ? {
          ringkv: ringkvGet(BYTES),
          'bare uWebSockets.js': bare('get.lua', BYTES),
          ...(haveRedis && { 'redis GET': redis('get') }),
        }
      : {},
    targets: { 'bare uWebSockets.js': 0.8, 'redis GET': 0.9 },
  },
  {
    name: 'http-get-json',
    title: 'HTTP GET of 2 KB in JSON, 64 connections',
    entries: haveWrk
      ? { ringkv: ringkvGet(JSON_TYPE), 'bare uWebSockets.js': bare('get.lua', JSON_TYPE) }
      : {},
    targets: { 'bare uWebSockets.js': 0.5 },
  },
  {
    name: 'http-put-json',
    title: 'HTTP PUT of 2 KB in JSON, durable, 64 connections; the bare server keeps nothing',
    entries: haveWrk
      ? {
          ringkv: ringkvPut(JSON_TYPE, 'always'),
          'bare uWebSockets.js': bare('put.lua', JSON_TYPE),
          'ringkv --durability os': ringkvPut(JSON_TYPE, 'os'),
        }
      : {},
    targets: { 'bare uWebSockets.js': 0.5 },
  },
  {
    name: 'http-put',
    title: 'HTTP PUT of 2 KB as bytes, durable, 64 connections',
    entries: haveWrk
      ? {
          ringkv: ringkvPut(BYTES, 'always'),
          ...(haveRedis && { 'redis SET (AOF always)': redis('set') }),
        }
      : {},
    targets: { 'redis SET (AOF always)': 1.2 },
  },
].filter(
  ({ name, entries }) => Object.keys(entries).length > 0 && (flags.only?.split(',').includes(name) ?? true),
);

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const whole = (number) => Math.round(number).toLocaleString('en-US');

const report = {
  machine: { cpu: cpus()[0]?.model, cores: cpus().length, memoryBytes: totalmem(), node: process.version },
  rounds,
  seconds,
  contests: [],
};
try {
  for (const { name, title, entries, targets } of contests) {
    const results = Object.fromEntries(Object.keys(entries).map((entry) => [entry, []]));
    for (let round = 0; round < rounds; round++) {
      // Turned by one each round, so that none always runs first.
      const order = Object.keys(entries).map((_, index, all) => all[(index + round) % all.length]);
      for (const entry of order) {
        results[entry].push(await entries[entry]());
        process.stderr.write(
          `${name} ${round + 1}/${rounds} ${entry}: ${whole(results[entry].at(-1).perSecond)}/s\n`,
        );
      }
    }
    const rows = Object.entries(results).map(([entry, list]) => {
      const rates = list.map(({ perSecond }) => perSecond);
      const p99 = list.map(({ p99Ms }) => p99Ms).filter((value) => value !== undefined);
      return {
        entry,
        median: median(rates),
        min: Math.min(...rates),
        max: Math.max(...rates),
        p99Ms: p99.length > 0 ? median(p99) : null,
      };
    });
    const own = rows[0].median;
    for (const row of rows) {
      row.ratio = own / row.median;
      row.target = targets[row.entry] ?? null;
    }
    report.contests.push({ name, title, rows, results });
    const table = new Table({
      head: [title, 'median/s', 'range', 'p99 ms', 'ringkv / it', 'target'],
      style: { head: [], border: [] },
    });
    for (const row of rows)
      table.push([
        row.entry,
        whole(row.median),
        `${whole(row.min)} - ${whole(row.max)}`,
        row.p99Ms === null ? '' : row.p99Ms.toFixed(2),
        row.ratio.toFixed(2),
        row.target === null ? '' : `${row.target} ${row.ratio >= row.target ? 'met' : 'MISSED'}`,
      ]);
    console.log(table.toString());
  }
  writeFileSync(flags.json, `${JSON.stringify(report, null, 2)}\n`);
  console.log(`written to ${flags.json}`);
} finally {
  rmSync(parent, { recursive: true, force: true });
}
