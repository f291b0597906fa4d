// Requests beside the building of hash trees: one shard on the real disk with 200,000 records of 2 KB, half gets half durable
// puts of random keys at a fixed rate, by turns with and without trees over all records being built one after another.
// First the processor time of one tree alone, of threads of normal and of low priority (Linux). Needs `npm run build`.
//   node native-bench/trees.mjs [--rate 2000] [--seconds 5] [--rounds 3] [--vnodes 1] [--build directory of another checkout]
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({
  options: {
    rate: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    vnodes: { type: 'string', default: '1' },
    build: { type: 'string', default: join(import.meta.dirname, '..') },
  },
});
const load = (path) => import(pathToFileURL(join(resolve(flags.build), 'dist/src', path)).href);
const { systemClock } = await load('base/clock.js');
const { createDoorbell } = await load('ipc/doorbell.js');
const { LocalPeer } = await load('node/client-peer.js');
const { NodeThreads } = await load('node/node-threads.js');
const { configOfOpen } = await load('node/open-options.js');
const { Store } = await load('node/store.js');
const { RingReplica } = await load('shard/ring-replica.js');
const { RingShardClient } = await load('shard/shard-client.js');

const RECORDS = 200_000;
const VALUE_BYTES = 2048;
const LOADING_IN_FLIGHT = 256;
const [rate, seconds, rounds, vnodes] = [flags.rate, flags.seconds, flags.rounds, flags.vnodes].map(Number);

const path = mkdtempSync(join(process.cwd(), 'trees-bench-'));
const log = (level, message) => level !== 'info' && console.error(level, message);
const threads = new NodeThreads(
  configOfOpen({ path, shards: 1, vnodes }),
  { shards: false, vnodes: false },
  log,
);
const newClient = () => {
  const doorbell = createDoorbell();
  const client = new RingShardClient({ shards: 1, vnodes, doorbell, clock: systemClock });
  return { client, peer: new LocalPeer(client, doorbell) };
};
const [front, coordinator] = [newClient(), newClient()];
const hints = { add: () => undefined, targets: () => new Map() };
const timers = {
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
const replica = new RingReplica(coordinator.client, hints, systemClock, timers);
await threads.start([front.peer, coordinator.peer], false);
const store = new Store({
  client: front.client,
  clock: systemClock,
  maxKeyBytes: 1024,
  maxValueBytes: 1 << 20,
  onClose: () => {
    for (const { peer } of [front, coordinator]) peer.close();
    return threads.close();
  },
});

/** Half of it random, as in the other measurements. */
const value = Buffer.alloc(VALUE_BYTES, 'v');
for (let i = 0; i < VALUE_BYTES / 2; i++) value[i] = Math.floor(Math.random() * 256);
const keyOf = (number) => `benchmark-key-${number}`;
let next = 0;
await Promise.all(
  Array.from({ length: LOADING_IN_FLIGHT }, async () => {
    while (next < RECORDS) await store.put(keyOf(next++), value);
  }),
);
await store.flush();

/** Latencies of gets and puts in ms from when they were due, over `ms` of the load. */
async function measure(ms) {
  const gets = [];
  const puts = [];
  const start = performance.now();
  const flying = new Set();
  let failed = 0;
  for (let sent = 0; performance.now() - start < ms; ) {
    const due = Math.floor(((performance.now() - start) * rate) / 1000);
    for (; sent < due; sent++) {
      const dueMs = start + (sent * 1000) / rate;
      const key = keyOf(Math.floor(Math.random() * RECORDS));
      const isGet = sent % 2 === 0;
      const call = isGet ? store.get(key) : store.put(key, value);
      const done = call.then(
        () => {
          flying.delete(done);
          (isGet ? gets : puts).push(performance.now() - dueMs);
        },
        () => {
          flying.delete(done);
          failed++;
        },
      );
      flying.add(done);
    }
    await new Promise((again) => setTimeout(again, 1));
  }
  await Promise.all(flying);
  return { gets, puts, failed };
}

let isBuilding = false;
let session = 0;
const times = [];
async function buildTree() {
  const request = {
    session: ++session,
    vnodes: Array.from({ length: vnodes }, (_, vnode) => vnode),
    ignoreDeadBeforeMs: 0,
    deadlineMs: systemClock.monotonicMs() + 600_000,
  };
  const answer = await new Promise((done) => replica.tree(request, done));
  replica.endTree(session);
  if (answer.status !== 0) throw new Error(`no tree: ${answer.message}`);
  if (answer.records < RECORDS) throw new Error(`a tree of ${answer.records} records`);
}
/** One tree after another, while asked for. */
async function buildTrees() {
  while (isBuilding) {
    const startMs = performance.now();
    await buildTree();
    times.push(performance.now() - startMs);
  }
}

/** Processor time in ms that threads of a nice value have had: fields 14, 15 and 19 of proc_pid_stat(5), in ticks of 10 ms. */
function threadMs(isLow) {
  let ticks = 0;
  for (const task of readdirSync('/proc/self/task')) {
    const stat = readFileSync(`/proc/self/task/${task}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (Number(fields[16]) > 0 === isLow) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return 10 * ticks;
}
async function measureAlone(trees) {
  const before = [threadMs(false), threadMs(true)];
  const startMs = performance.now();
  for (let i = 0; i < trees; i++) await buildTree();
  const each = (ms) => Math.round(ms / trees);
  const tookMs = each(performance.now() - startMs);
  const [normal, low] = [threadMs(false), threadMs(true)].map((ms, i) => each(ms - before[i]));
  console.log(`a tree alone: ${tookMs} ms; processor time at normal priority ${normal} ms, at low ${low} ms`);
}

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
const figures = (list) => {
  const sorted = [...list].sort((a, b) => a - b);
  return [0.5, 0.99, 0.999].map((share) => at(sorted, share).toFixed(2).padStart(8)).join('');
};
// Until nothing has been merged for a second.
for (let before = -1, merged = 0; merged !== before; ) {
  before = merged;
  await new Promise((done) => setTimeout(done, 1000));
  merged = (await store.stats()).reduce((sum, { compactions }) => sum + compactions, 0);
}
await buildTree();
await measureAlone(4);
await measure(2000);
console.log(`${rate} requests/s, ${RECORDS} records; ms     p50     p99   p99.9`);
for (let round = 0; round < rounds; round++)
  for (const withTrees of [false, true]) {
    isBuilding = withTrees;
    const building = withTrees ? buildTrees() : null;
    const { gets, puts, failed } = await measure(seconds * 1000);
    isBuilding = false;
    await building;
    const name = withTrees ? 'with trees   ' : 'without trees';
    console.log(`${name} get ${figures(gets)}   put ${figures(puts)}   failed ${failed}`);
  }
if (times.length > 0) {
  const mean = times.reduce((a, b) => a + b, 0) / times.length;
  const mbPerSecond = (RECORDS * VALUE_BYTES) / 1e6 / (mean / 1000);
  console.log(
    `${times.length} trees, ${Math.round(mean)} ms each: ${Math.round(mbPerSecond)} MB of values a second`,
  );
}
await store.close();
rmSync(path, { recursive: true });
