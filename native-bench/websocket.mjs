// Half GET half PUT of 2 KB at one node with two shards, durability always: batches of 16 over 16 WebSocket connections beside
// the same 256 requests in flight over HTTP, one each on 256 connections, and batches of 16 in CBOR over 16. One generator for all
// on raw sockets, its requests made before the run; rounds alternate, medians and ranges.
//   npm run build && node native-bench/websocket.mjs [--rounds 3] [--seconds 4] [--only ws,http,batch] [--cpu-prof DIRECTORY]
// With --cpu-prof the server writes a profile of each of its threads there when it ends.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createHistogram } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Encoder } from 'cbor-x';
import { AnswerReader } from './paced/answers.mjs';
import { startRingkv } from './peers/servers.mjs';
import { keyOf, makeValues } from './peers/workload.mjs';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    only: { type: 'string', default: 'ws,http,batch' },
    'cpu-prof': { type: 'string' },
  },
});
const KEYS = 10_000;
const BATCH = 16;
const CONNECTIONS = 16;
const MADE = 512;
const WARM_UP_MS = 1000;
/** Of /proc: USER_HZ. */
const TICK_US = 10_000;
const cbor = new Encoder({ useRecords: false, tagUint8Array: false });
const values = makeValues();

let state = 7;
function random(below) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return (state >>> 8) % below;
}
const ops = () =>
  Array.from({ length: BATCH }, (_, at) => ({
    put: at % 2 === 0,
    key: keyOf(random(KEYS)),
    value: values[random(values.length)],
  }));

/** A masked binary frame; a mask of zeros leaves the payload as it is. */
function frame(payload) {
  const header = Buffer.alloc(payload.length < 65_536 ? 8 : 14);
  header[0] = 0x82;
  if (payload.length < 65_536) {
    header[1] = 0xfe;
    header.writeUInt16BE(payload.length, 2);
  } else {
    header[1] = 0xff;
    header.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([header, payload]);
}
const wsMessage = (batch, at) =>
  frame(
    cbor.encode({
      ids: batch.map((_, index) => (at * BATCH + index) % 60_000),
      ops: batch.map(({ put }) => (put ? 1 : 2)),
      keys: batch.map(({ key }) => Buffer.from(key)),
      values: batch.map(({ put, value }) => (put ? value : null)),
    }),
  );
const httpMessage = ({ put, key, value }) =>
  put
    ? Buffer.concat([
        Buffer.from(
          `PUT /v1/kv/${key} HTTP/1.1\r\nHost: l\r\nContent-Type: application/octet-stream\r\nContent-Length: ${value.length}\r\n\r\n`,
        ),
        value,
      ])
    : Buffer.from(`GET /v1/kv/${key} HTTP/1.1\r\nHost: l\r\nAccept: application/octet-stream\r\n\r\n`);
function batchMessage(batch) {
  const body = cbor.encode({
    ops: batch.map(({ put, key, value }) =>
      put ? { op: 'put', key: Buffer.from(key), value } : { op: 'get', key: Buffer.from(key) },
    ),
  });
  return Buffer.concat([
    Buffer.from(
      `POST /v1/batch HTTP/1.1\r\nHost: l\r\nContent-Type: application/cbor\r\nContent-Length: ${body.length}\r\n\r\n`,
    ),
    body,
  ]);
}

/** Frames of a server; `done(payload)` for each. */
class FrameReader {
  #rest = Buffer.alloc(0);
  constructor(done) {
    this.done = done;
  }
  push(chunk) {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      if (bytes.length < 2) break;
      const short = bytes[1] & 0x7f;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < start) break;
      const length =
        short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      if (bytes.length < start + length) break;
      if ((bytes[0] & 15) === 2) this.done(bytes.subarray(start, start + length));
      bytes = bytes.subarray(start + length);
    }
    this.#rest = bytes;
  }
}

/** Each kind opens a connection that calls `answered(count, failures)`, and has messages to send. */
const kinds = {
  ws: {
    connections: CONNECTIONS,
    each: BATCH,
    messages: () => Array.from({ length: MADE }, (_, at) => wsMessage(ops(), at)),
    open: (port, answered) =>
      new Promise((resolve, reject) => {
        const socket = connect({ port, host: '127.0.0.1', noDelay: true });
        socket.on('error', reject);
        socket.write(
          'GET /v1/ws HTTP/1.1\r\nHost: l\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
            'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ringkv.v1\r\n\r\n',
        );
        const reader = new FrameReader((payload) => {
          const { ids, statuses } = cbor.decode(payload);
          if (ids.length > 0) answered(ids.length, statuses.filter((status) => status !== 0).length);
        });
        socket.once('data', () => {
          socket.on('data', (chunk) => reader.push(chunk));
          resolve(socket);
        });
      }),
  },
  http: {
    connections: CONNECTIONS * BATCH,
    each: 1,
    messages: () =>
      Array.from({ length: MADE / 2 }, ops)
        .flat()
        .map(httpMessage),
    open: openHttp((status) => [1, status === 200 || status === 204 ? 0 : 1]),
  },
  batch: {
    connections: CONNECTIONS,
    each: BATCH,
    messages: () => Array.from({ length: MADE }, () => batchMessage(ops())),
    open: openHttp((status, body) => {
      if (status !== 200) return [BATCH, BATCH];
      const { results } = cbor.decode(body);
      return [BATCH, results.filter((one) => one.status !== 200 && one.status !== 204).length];
    }),
  },
};
function openHttp(judge) {
  return (port, answered) =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket));
      const reader = new AnswerReader(
        true,
        (status, body) => answered(...judge(status, body)),
        (why) => reject(new Error(why)),
      );
      socket.on('error', reject);
      socket.on('data', (chunk) => reader.push(chunk));
    });
}

/** Microseconds of processor time of a process. */
function cpuUs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function measure({ port, pid }, kind, ms) {
  const messages = kind.messages();
  const latency = createHistogram();
  let done = 0;
  let failed = 0;
  let next = 0;
  let running = true;
  const sockets = [];
  for (let i = 0; i < kind.connections; i++) {
    let left = 0;
    let begun = 0;
    const send = () => {
      left = kind.each;
      begun = performance.now();
      socket.write(messages[next++ % messages.length]);
    };
    const socket = await kind.open(port, (count, failures) => {
      done += count;
      failed += failures;
      left -= count;
      if (left > 0) return;
      latency.record(Math.max(1, Math.round((performance.now() - begun) * 1000)));
      if (running) send();
    });
    sockets.push(socket);
    send();
  }
  await sleep(WARM_UP_MS);
  latency.reset();
  const before = { done, failed, server: cpuUs(pid), own: process.cpuUsage(), at: performance.now() };
  await sleep(ms);
  const seconds = (performance.now() - before.at) / 1000;
  const count = done - before.done;
  const own = process.cpuUsage(before.own);
  const figures = {
    perSecond: count / seconds,
    serverUs: (cpuUs(pid) - before.server) / count,
    ownUs: (own.user + own.system) / count,
    p50Ms: latency.percentile(50) / 1000,
    p99Ms: latency.percentile(99) / 1000,
    failed: failed - before.failed,
  };
  running = false;
  await sleep(200);
  for (const socket of sockets) socket.destroy();
  return figures;
}

const names = flags.only.split(',');
const directory = mkdtempSync(join(process.cwd(), 'websocket-bench-'));
const profile = flags['cpu-prof'];
const nodeFlags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
const results = Object.fromEntries(names.map((name) => [name, []]));
try {
  const server = await startRingkv(directory, ['--shards', '2'], nodeFlags);
  try {
    const fill = kinds.ws;
    const reference = await measure(
      server,
      { ...fill, messages: () => Array.from({ length: KEYS / BATCH }, (_, at) => fillMessage(at)) },
      1000,
    );
    if (reference.failed > 0) throw new Error(`${reference.failed} puts failed while the store was filled`);
    for (let round = 0; round < Number(flags.rounds); round++)
      for (const name of names)
        results[name].push(await measure(server, kinds[name], Number(flags.seconds) * 1000));
  } finally {
    await server.stop();
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function fillMessage(at) {
  const keys = Array.from({ length: BATCH }, (_, index) => keyOf(at * BATCH + index));
  return wsMessage(
    keys.map((key) => ({ put: true, key, value: values[0] })),
    at,
  );
}
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
for (const name of names) {
  const of = (figure) => results[name].map((one) => one[figure]);
  const rates = of('perSecond');
  console.log(
    `${name.padEnd(5)} ${Math.round(median(rates))}/s (${Math.round(Math.min(...rates))} to ${Math.round(Math.max(...rates))}), server ` +
      `${median(of('serverUs')).toFixed(1)} us and generator ${median(of('ownUs')).toFixed(1)} us of processor time a request, ` +
      `p50 ${median(of('p50Ms')).toFixed(2)} ms, p99 ${median(of('p99Ms')).toFixed(2)} ms a message, failed ${of('failed').join(' ')}`,
  );
}
