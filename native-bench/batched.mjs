// Many requests in one message at one node with two shards, durability always, 256 in flight: batches of 16 over 16 WebSocket
// connections and in CBOR over 16 HTTP connections, beside Redis with AOF always and 16 commands in a pipeline on each of 16 connections;
// and, without batches, one request each on 256 HTTP connections. 2 KB each, half of it random. One generator for all on raw sockets, its
// requests made before the run; rounds alternate, medians and ranges, and what the first in --only reaches beside each other one.
//   npm run bench:batched -- [--puts 50%] [--rounds 3] [--seconds 4] [--only ws,batch,redis,http] [--cpu-prof DIRECTORY]
// With --cpu-prof the server writes a profile of each of its threads there when it ends. Redis is Debian's redis-server.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createHistogram } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Encoder } from 'cbor-x';
import { FrameReader, Opcode } from '../dist/load/transports/ws-frames.js';
import { AnswerReader } from './paced/answers.mjs';
import { startRedis, startRingkv } from './peers/servers.mjs';
import { keyOf, makeValues } from './peers/workload.mjs';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    puts: { type: 'string', default: '50%' },
    only: { type: 'string', default: 'ws,batch,redis,http' },
    'cpu-prof': { type: 'string' },
  },
});
const puts = Number(/^(\d+)%$/.exec(flags.puts)?.[1]) / 100;
if (!(puts >= 0 && puts <= 1)) throw new Error(`--puts ${flags.puts} is not from 0% to 100%`);
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
    // Evenly among the others, the same number in each message.
    put: Math.floor((at + 1) * puts) > Math.floor(at * puts),
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

const bulk = (bytes) => Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')]);
const command = (...words) =>
  Buffer.concat([Buffer.from(`*${words.length}\r\n`), ...words.map((word) => bulk(Buffer.from(word)))]);
const redisMessage = (batch) =>
  Buffer.concat(batch.map(({ put, key, value }) => (put ? command('SET', key, value) : command('GET', key))));

/** Replies of Redis: `done(failed)` for each. */
class ReplyReader {
  #rest = Buffer.alloc(0);
  constructor(done) {
    this.done = done;
  }
  push(chunk) {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const end = bytes.indexOf('\r\n');
      if (end < 0) break;
      const kind = bytes.latin1Slice(0, 1);
      const length = kind === '$' ? Number(bytes.latin1Slice(1, end)) : -1;
      const next = length < 0 ? end + 2 : end + 4 + length;
      if (bytes.length < next) break;
      bytes = bytes.subarray(next);
      // A key that is not there is a failure: all were put before.
      this.done(kind === '-' || (kind === '$' && length < 0) ? 1 : 0);
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
        const reader = new FrameReader(
          (opcode, payload) => {
            if (opcode !== Opcode.BINARY) return;
            const { ids, statuses } = cbor.decode(payload);
            if (ids.length > 0) answered(ids.length, statuses.filter((status) => status !== 0).length);
          },
          (why) => reject(new Error(why)),
        );
        socket.once('data', () => {
          socket.on('data', (chunk) => reader.push(chunk));
          resolve(socket);
        });
      }),
  },
  redis: {
    connections: CONNECTIONS,
    each: BATCH,
    messages: () => Array.from({ length: MADE }, () => redisMessage(ops())),
    open: (port, answered) =>
      new Promise((resolve, reject) => {
        const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket));
        const reader = new ReplyReader((failed) => answered(1, failed));
        socket.on('error', reject);
        socket.on('data', (chunk) => reader.push(chunk));
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
const servers = [];
try {
  const ringkv = await startRingkv(directory, ['--shards', '2'], nodeFlags);
  servers.push(ringkv);
  const serverOf = { ws: ringkv, batch: ringkv, http: ringkv };
  if (names.includes('redis')) {
    serverOf.redis = await startRedis(directory);
    servers.push(serverOf.redis);
  }
  const made = (message) => Array.from({ length: KEYS / BATCH }, (_, at) => message(fillOps(at), at));
  await fill(ringkv, { ...kinds.ws, messages: () => made(wsMessage) });
  if (serverOf.redis !== undefined)
    await fill(serverOf.redis, { ...kinds.redis, messages: () => made(redisMessage) });
  for (let round = 0; round < Number(flags.rounds); round++)
    // Turned by one each round, so that none always runs first.
    for (const [at] of names.entries()) {
      const name = names[(at + round) % names.length];
      results[name].push(await measure(serverOf[name], kinds[name], Number(flags.seconds) * 1000));
    }
} finally {
  for (const server of servers) await server.stop();
  rmSync(directory, { recursive: true, force: true });
}

/** Every key once at least: a GET finds something. */
async function fill(server, kind) {
  const { failed } = await measure(server, kind, 1000);
  if (failed > 0) throw new Error(`${failed} puts failed while the store was filled`);
}
function fillOps(at) {
  return Array.from({ length: BATCH }, (_, index) => ({
    put: true,
    key: keyOf(at * BATCH + index),
    value: values[0],
  }));
}
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const first = median(results[names[0]].map(({ perSecond }) => perSecond));
for (const name of names) {
  const of = (figure) => results[name].map((one) => one[figure]);
  const rates = of('perSecond');
  console.log(
    `${name.padEnd(5)} ${Math.round(median(rates))}/s, ${names[0]} / it ${(first / median(rates)).toFixed(2)} (${Math.round(Math.min(...rates))} to ${Math.round(Math.max(...rates))}), server ` +
      `${median(of('serverUs')).toFixed(1)} us and generator ${median(of('ownUs')).toFixed(1)} us of processor time a request, ` +
      `p50 ${median(of('p50Ms')).toFixed(2)} ms, p99 ${median(of('p99Ms')).toFixed(2)} ms a message, failed ${of('failed').join(' ')}`,
  );
}
