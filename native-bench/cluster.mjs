// Three nodes of RingKV beside three of etcd, all on this machine: half GET, half PUT of 2 KB over 64 connections spread over the
// nodes, closed loop. In each round every contestant starts anew with empty directories, is filled, warms up and is
// measured, one after another and in an order that turns; medians of the rounds and ratios are printed and written as JSON.
//
//   npm run build && npm run bench:cluster -- [--rounds 5] [--seconds 10] [--warm-up 20] [--only NAME,...] [--also DIR]
//        [--keys 10000] [--connections 64] [--puts 0.5] [--flags='--shards 2'] [--node-flags='--cpu-prof'] [--directory DIR] [--json FILE]
//
// The nodes share this machine's cores: each gets its part of them as shards (--flags says otherwise). V8 needs a warm-up of some 15 s
// in which the log's spare segments are made, too.
//
// --also DIR: a second build of RingKV, in another checkout, to compare two versions. Contestants:
//
//   ringkv QUORUM        the default: a majority writes and syncs, a majority is asked. A GET sees every PUT acknowledged before
//                        it, or a later one; PUTs that overlap are not atomic (a regular register)
//   ringkv SERIAL        Paxos for each request: linearizable, as etcd is
//   ringkv ONE, ALL      a GET at ONE may be stale: those are counted
//   ringkv alone         one node that is no cluster
//   etcd                 its JSON gateway; linearizable PUT and GET (Raft, ReadIndex)
//   etcd serializable    the same, GETs from the node that was asked, which may be stale
//
// Every GET is checked: the bytes must be those of a PUT of its key that no acknowledged PUT had replaced when the GET was
// sent. CPU us: processor time of all nodes for a request; wire B: bytes between nodes for a request, both ways, as the kernel
// counts them. etcd is Debian's etcd-server; without it the run says so and measures RingKV alone.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { startEtcdCluster, startRingkvCluster, usageOf, wireBytesOf } from './cluster/nodes.mjs';
import { Generator } from './paced/load.mjs';
import { has, run } from './peers/servers.mjs';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '10' },
    'warm-up': { type: 'string', default: '20' },
    only: { type: 'string', default: 'ringkv QUORUM,etcd' },
    also: { type: 'string', default: '' },
    keys: { type: 'string', default: '10000' },
    connections: { type: 'string', default: '64' },
    puts: { type: 'string', default: '0.5' },
    flags: { type: 'string', default: '' },
    'node-flags': { type: 'string', default: '' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    json: { type: 'string', default: 'cluster.json' },
    directory: { type: 'string', default: process.cwd() },
  },
});
const RATIO_AIM = 3;
const MS_PER_US = 0.001;
const number = (name) => {
  const value = Number(flags[name]);
  if (!(value > 0)) throw new Error(`--${name} ${flags[name]}: not a number above 0`);
  return value;
};
const rounds = number('rounds');
const seconds = number('seconds');
const here = fileURLToPath(new URL('..', import.meta.url));
const words = (text) => text.split(' ').filter((word) => word !== '');
const ringkvFlags = words(flags.flags);
const nodeFlags = words(flags['node-flags']);

const ringkv = (query, nodes, root = here) => ({
  mayBeStale: query.endsWith('=ONE'),
  start: (directory) => startRingkvCluster(directory, { root, flags: ringkvFlags, nodeFlags, nodes }),
  load: { dialect: 'ringkv', dialectOptions: { query } },
});
const etcd = (serializable) => ({
  mayBeStale: serializable,
  start: startEtcdCluster,
  load: { dialect: 'etcd', dialectOptions: { serializable } },
});
const known = {
  'ringkv QUORUM': ringkv('?consistency=QUORUM', 3),
  'ringkv SERIAL': ringkv('?consistency=SERIAL', 3),
  'ringkv ONE': ringkv('?consistency=ONE', 3),
  'ringkv ALL': ringkv('?consistency=ALL', 3),
  'ringkv alone': ringkv('', 1),
  etcd: etcd(false),
  'etcd serializable': etcd(true),
};
const contestants = {};
const haveEtcd = await has('etcd');
for (const name of flags.only.split(',')) {
  const contestant = known[name];
  if (contestant === undefined) throw new Error(`--only ${name}: none of ${Object.keys(known).join(', ')}`);
  if (name.startsWith('etcd') && !haveEtcd) {
    console.error(`SKIPPED: ${name}. Install etcd-server: without it nothing is said about the aim.`);
    continue;
  }
  contestants[name] = contestant;
  if (flags.also !== '' && name.startsWith('ringkv')) {
    const { query } = contestant.load.dialectOptions;
    contestants[`${name} of --also`] = ringkv(query, name === 'ringkv alone' ? 1 : 3, flags.also);
  }
}
const parent = mkdtempSync(join(flags.directory, 'cluster-bench-'));

const usage = (servers) => servers.map(({ pid }) => usageOf(pid));
const sum = (numbers) => numbers.reduce((total, value) => total + value, 0);

/** One contestant in one round. */
async function measure({ start, load, mayBeStale }, round) {
  const directory = mkdtempSync(join(parent, 'run-'));
  let servers = [];
  let generator = null;
  try {
    servers = await start(directory);
    const idle = usage(servers);
    generator = new Generator({
      ...load,
      ports: servers.map(({ port }) => port),
      connections: number('connections'),
      keys: number('keys'),
      seed: number('seed') + round,
      puts: Number(flags.puts),
      verify: true,
    });
    const filled = await generator.run({ kind: 'fill' });
    await generator.run({ kind: 'closed', seconds: number('warm-up') });
    const before = usage(servers);
    const wireBefore = await wireBytesOf(servers);
    const result = await generator.run({ kind: 'closed', seconds });
    const after = usage(servers);
    const wireBytes = (await wireBytesOf(servers)) - wireBefore;
    for (const [phase, { failures }] of Object.entries({ fill: filled, load: result }))
      if (failures.wrong !== undefined || (failures.stale !== undefined && !mayBeStale))
        throw new Error(`${phase}: wrong answers: ${JSON.stringify(failures)}`);
    const ms = (histogram, percentile) => histogram.getValueAtPercentile(percentile) * MS_PER_US;
    const cpuSeconds = sum(after.map((one, at) => one.cpuSeconds - before[at].cpuSeconds));
    const { latency, getLatency, answers, failures } = result;
    return {
      perSecond: answers / result.seconds,
      p50: ms(latency, 50),
      p99: ms(latency, 99),
      p999: ms(latency, 99.9),
      getP99: ms(getLatency, 99),
      cpuUs: (cpuSeconds * 1e6) / answers,
      wireBytes: wireBytes / answers,
      idleMb: sum(idle.map(({ rssBytes }) => rssBytes)) / idle.length / 1e6,
      busyMb: sum(after.map(({ rssBytes }) => rssBytes)) / after.length / 1e6,
      failures,
    };
  } finally {
    await generator?.stop();
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(directory, { recursive: true, force: true });
  }
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const whole = (value) => Math.round(value).toLocaleString('en-US');
const range = (numbers) => `${whole(Math.min(...numbers))} - ${whole(Math.max(...numbers))}`;
const FIGURES = ['perSecond', 'p50', 'p99', 'p999', 'getP99', 'cpuUs', 'wireBytes', 'idleMb', 'busyMb'];

const results = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
try {
  for (let round = 0; round < rounds; round++) {
    // Turned by one each round, so that none always runs first.
    const order = Object.keys(contestants).map((_, at, all) => all[(at + round) % all.length]);
    for (const name of order) {
      const result = await measure(contestants[name], round);
      results[name].push(result);
      const failures = Object.keys(result.failures).length === 0 ? '' : ` ${JSON.stringify(result.failures)}`;
      process.stderr.write(
        `${round + 1}/${rounds} ${name}: ${whole(result.perSecond)}/s, p99 ${result.p99.toFixed(1)} ms, ${whole(result.cpuUs)} us of processor time${failures}\n`,
      );
    }
  }
} finally {
  rmSync(parent, { recursive: true, force: true });
}

const rows = Object.entries(results).map(([name, list]) => ({
  name,
  range: range(list.map(({ perSecond }) => perSecond)),
  failures: sum(list.flatMap(({ failures }) => Object.values(failures))),
  ...Object.fromEntries(FIGURES.map((figure) => [figure, median(list.map((result) => result[figure]))])),
}));
for (const row of rows) {
  row.stale = sum(results[row.name].map(({ failures }) => failures.stale ?? 0));
  row.failures -= row.stale;
}
const [own] = rows;
const table = new Table({
  head: [
    ...['', `${own.name} / it`, 'median/s', 'range', 'p50 ms', 'p99 ms', 'p99.9 ms', 'GET p99 ms'],
    ...['CPU us', 'wire B', 'not 2xx', 'stale', 'idle MB/node', 'busy MB/node'],
  ],
  style: { head: [], border: [] },
});
for (const row of rows) {
  const { name, perSecond, p50, p99, p999, getP99, cpuUs, wireBytes, failures, idleMb, busyMb } = row;
  row.ratio = own.perSecond / perSecond;
  table.push([
    name,
    row.ratio.toFixed(2),
    whole(perSecond),
    row.range,
    ...[p50, p99, p999, getP99].map((ms) => ms.toFixed(2)),
    cpuUs.toFixed(0),
    whole(wireBytes),
    failures,
    row.stale,
    whole(idleMb),
    whole(busyMb),
  ]);
}
console.log(table.toString());
const peer = rows.find(({ name }) => name === 'etcd');
if (peer !== undefined && own.name.startsWith('ringkv')) {
  const met = peer.ratio >= RATIO_AIM && own.p99 < peer.p99;
  console.log(
    `${own.name}: ${peer.ratio.toFixed(2)} of etcd's throughput (aim ${RATIO_AIM}), p99 ${own.p99.toFixed(2)} ms beside ` +
      `${peer.p99.toFixed(2)} ms: the aim is ${met ? 'met' : 'MISSED'}`,
  );
}
const machine = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  memoryBytes: totalmem(),
  node: process.version,
};
const etcdVersion = haveEtcd ? (await run('etcd', ['--version'])).split('\n')[0] : null;
writeFileSync(flags.json, `${JSON.stringify({ machine, etcdVersion, flags, rows, results }, null, 2)}\n`);
console.log(`written to ${flags.json}; seed ${flags.seed}`);
