// GET of a 2 KB value that lies in a memtable, over HTTP: a bare uWebSockets.js server that returns a constant
// of the same size against the front end on a real memtable in shared memory, raw and JSON. Each server in a
// process of its own, alternately, wrk on the other core. Needs `npm run build` and wrk (Debian: wrk).
//   node native-bench/http-get.mjs [runs, default 5] [seconds, default 5]
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const VALUE_BYTES = 2048;
const KEYS = 1000;
const [mode, runsText = '5', secondsText = '5'] =
  process.argv.slice(2).length > 0 && /^[a-z]/.test(process.argv[2])
    ? process.argv.slice(2)
    : ['', ...process.argv.slice(2)];

async function serveBare() {
  const uws = (await import('uWebSockets.js')).default;
  const value = new Uint8Array(VALUE_BYTES).fill(120);
  uws
    .App()
    .get('/*', (res) => res.end(value))
    .listen('127.0.0.1', 0, (socket) => console.log(uws.us_socket_local_port(socket)));
}

async function serveFront() {
  const { createMemtableSet } = await import('../dist/src/ipc/memtable-layout.js');
  const { SharedMemtableWriter } = await import('../dist/src/ipc/memtable-writer.js');
  const { SharedMemtableReader } = await import('../dist/src/ipc/memtable-reader.js');
  const record = await import('../dist/src/base/record.js');
  const { hashToken, token } = await import('../dist/src/base/token.js');
  const { systemClock } = await import('../dist/src/base/clock.js');
  const { startFront } = await import('../dist/src/front/front.js');
  const memory = createMemtableSet({ slots: 2, arenaBytes: 8 << 20, vnodes: 1024, shard: 0, shards: 1 });
  const writer = new SharedMemtableWriter(memory);
  const reader = new SharedMemtableReader(memory);
  writer.activate(0);
  for (let i = 0; i < KEYS; i++) {
    const key = Buffer.from(`key${i}`);
    hashToken(key);
    const seq = writer.append({
      tokenHi: token.hi,
      tokenLo: token.lo,
      keyspace: 0,
      key,
      value: Buffer.alloc(VALUE_BYTES, 'x'),
      version: 1_700_000_000_000_000 + i,
      origin: 1,
      flags: 0,
      expiresMs: 0,
    });
    writer.setDurable(writer.active, seq);
  }
  const local = { version: 0, expiresMs: 0, bytes: new Uint8Array(0), start: 0, length: 0 };
  const client = {
    shards: 1,
    vnodes: 1024,
    slotsMax: 1024,
    request: {},
    local,
    getLocal(hi, lo, key, nowMs) {
      const outcome = reader.lookup(0, hi, lo, key, nowMs);
      if (outcome === 1) {
        local.version = record.versionAt(reader.view, 0);
        local.expiresMs = record.expiresMsAt(reader.view, 0);
        local.bytes = reader.bytes;
        local.start = record.valueStartAt(reader.view, 0);
        local.length = record.valueLengthAt(reader.view, 0);
      }
      return outcome;
    },
    submit: () => -7,
    flush: () => undefined,
    setHandler: () => undefined,
    close: () => undefined,
  };
  const front = await startFront({
    client,
    clock: systemClock,
    host: '127.0.0.1',
    port: 0,
    sharedPort: false,
    maxKeyBytes: 1024,
    maxValueBytes: 1 << 20,
    notReady: () => '',
  });
  console.log(front.port);
}

/** Microseconds of processor time that a process has used; 0 where /proc does not tell. */
function cpuUs(pid) {
  if (!existsSync('/proc/self/stat')) return 0;
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** Requests a second, and microseconds of the server's processor time for each: what other load disturbs least. */
function measure(name, accept, seconds) {
  const server = spawn(process.execPath, [fileURLToPath(import.meta.url), name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return new Promise((resolve) => {
    server.stdout.once('data', (chunk) => {
      const url = `http://127.0.0.1:${Number(chunk)}/v1/kv/key7`;
      const run = (time) =>
        execFileSync('wrk', ['-t1', '-c64', `-d${time}s`, '-H', `Accept: ${accept}`, url], {
          encoding: 'utf8',
        });
      run(1);
      const before = cpuUs(server.pid);
      const out = run(seconds);
      const used = cpuUs(server.pid) - before;
      if (/Non-2xx/.test(out)) throw new Error(out);
      server.kill();
      const requests = Number(/(\d+) requests in/.exec(out)[1]);
      resolve({ rate: Math.round(Number(/Requests\/sec:\s+([0-9.]+)/.exec(out)[1])), us: used / requests });
    });
  });
}
const median = (figures) => [...figures].sort((a, b) => a - b)[Math.floor(figures.length / 2)];

if (mode === 'bare') await serveBare();
else if (mode === 'front') await serveFront();
else {
  const cases = { bare: ['bare', '*/*'], raw: ['front', 'application/octet-stream'], json: ['front', '*/*'] };
  const figures = { bare: [], raw: [], json: [] };
  for (let run = 0; run < Number(runsText); run++)
    for (const [name, [server, accept]] of Object.entries(cases))
      figures[name].push(await measure(server, accept, Number(secondsText)));
  for (const name of Object.keys(cases)) {
    const of = (which) => median(figures[name].map((figure) => figure[which]));
    const bare = (which) => median(figures.bare.map((figure) => figure[which]));
    const rates = figures[name].map(({ rate }) => rate).join(' ');
    console.log(
      `${name.padEnd(5)} ${String(of('rate')).padStart(7)} requests/s, ${(of('rate') / bare('rate')).toFixed(2)} of bare;` +
        ` server ${of('us').toFixed(2)} us a request, rate by processor time ${(bare('us') / of('us')).toFixed(2)} of bare  (${rates})`,
    );
  }
}
