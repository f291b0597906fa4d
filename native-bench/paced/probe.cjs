// Preloaded into every thread of the server (node --require), and into the generator's, by `bench:paced -- --timeline`:
// notes what can hold a thread up, with the time of CLOCK_MONOTONIC, which all processes share. One line of JSON an event, in
// PACED_PROBE/<pid>-<thread>.jsonl. Events of less than PACED_PROBE_MS (5) are left out:
//
//   lag   the event loop came late; `cpu` ms of it the thread ran, `ready` ms it waited for a core, the rest it was blocked
//   gc    a collection
//   call  a call to the file system, `sync` or through libuv's pool
const fs = require('node:fs');
const { createRequire, syncBuiltinESMExports } = require('node:module');
const { PerformanceObserver, performance } = require('node:perf_hooks');
const { threadId, workerData } = require('node:worker_threads');
void createRequire;

const TICK_MS = 5;
const FLUSH_MS = 500;
const floorMs = Number(process.env.PACED_PROBE_MS ?? 5);
const path = `${process.env.PACED_PROBE}/${process.pid}-${threadId}.jsonl`;
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;
const { appendFileSync, readFileSync } = fs;
let lines = [];
const note = (event) => lines.push(JSON.stringify(event));
note({ kind: 'thread', argv: process.argv.slice(1, 3), data: Object.keys(workerData ?? {}) });

const schedule = () => readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ').map(Number);
let lastMs = nowMs();
let [lastCpu, lastReady] = schedule();
setInterval(() => {
  const now = nowMs();
  const [cpu, ready] = schedule();
  const lag = now - lastMs - TICK_MS;
  if (lag >= floorMs)
    note({
      kind: 'lag',
      at: lastMs,
      ms: now - lastMs,
      cpu: (cpu - lastCpu) / 1e6,
      ready: (ready - lastReady) / 1e6,
    });
  lastMs = now;
  lastCpu = cpu;
  lastReady = ready;
}, TICK_MS).unref();
setInterval(() => {
  if (lines.length > 0) appendFileSync(path, `${lines.join('\n')}\n`);
  lines = [];
}, FLUSH_MS).unref();

const offsetMs = nowMs() - performance.now();
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (entry.duration >= floorMs)
      note({ kind: 'gc', at: entry.startTime + offsetMs, ms: entry.duration, what: entry.detail.kind });
}).observe({ entryTypes: ['gc'] });

const names = new Map();
const openSync = fs.openSync;
fs.openSync = (file, ...rest) => {
  const at = nowMs();
  const descriptor = openSync(file, ...rest);
  names.set(descriptor, String(file));
  done('openSync', String(file), at);
  return descriptor;
};
const nameOf = (target) =>
  typeof target === 'number' ? (names.get(target) ?? String(target)) : String(target);
let totals = {};
let sumMs = nowMs();
let sumCpu = 0,
  sumReady = 0;
setInterval(() => {
  const now = nowMs();
  const [cpu, ready] = schedule();
  note({
    kind: 'sum',
    at: sumMs,
    ms: now - sumMs,
    cpu: (cpu - sumCpu) / 1e6,
    ready: (ready - sumReady) / 1e6,
    totals,
  });
  sumMs = now;
  sumCpu = cpu;
  sumReady = ready;
  totals = {};
}, 100).unref();
function done(call, file, at) {
  const ms = nowMs() - at;
  const k =
    call +
    (file.includes('wal-')
      ? ':wal'
      : file.includes('.sst')
        ? ':sst'
        : file.includes('anifest')
          ? ':man'
          : '');
  totals[k] ??= [0, 0, 0];
  const t = totals[k];
  t[0]++;
  t[1] += ms;
  if (ms > t[2]) t[2] = ms;
  if (ms >= floorMs || /unlink|rename|fsyncSync/.test(call)) note({ kind: 'call', call, at, ms, file });
}
for (const call of [
  'readSync',
  'writeSync',
  'fdatasyncSync',
  'fsyncSync',
  'unlinkSync',
  'renameSync',
  'ftruncateSync',
  'closeSync',
  'statfsSync',
  'fstatSync',
  'readdirSync',
]) {
  const original = fs[call];
  fs[call] = (...given) => {
    const at = nowMs();
    const result = original(...given);
    done(call, nameOf(given[0]), at);
    return result;
  };
}
for (const call of ['read', 'write', 'fdatasync', 'close']) {
  const original = fs[call];
  fs[call] = (...given) => {
    const at = nowMs();
    const callback = given.pop();
    original(...given, (...outcome) => {
      done(call, nameOf(given[0]), at);
      callback(...outcome);
    });
  };
}
syncBuiltinESMExports();
