// Messages between two nodes: what one costs to encode and decode, and how many pass between two threads.
//   node native-bench/peer-frames.mjs [seconds]     needs `npm run build`
import { argv, cpuUsage } from 'node:process';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { systemClock } from '../dist/src/base/clock.js';
import { Random } from '../dist/src/base/random.js';
import { recordBytes, writeRecord } from '../dist/src/base/record.js';
import { decodeMessage } from '../dist/src/cluster/message-decode.js';
import { Kind } from '../dist/src/cluster/message-kinds.js';
import {
  encodeRead,
  encodeReadAnswer,
  encodeWrite,
  encodeWriteAnswer,
} from '../dist/src/cluster/messages.js';
import { Batch, eachMessage, FrameReader } from '../dist/src/peer/frame.js';
import { Transport } from '../dist/src/peer/transport.js';

const VALUE_BYTES = 2048;
const SECONDS = Number(argv[2] ?? 3);
const idOf = (node) => node.toString(16).padStart(8, '0').padEnd(32, '0');

function record2k() {
  const key = Buffer.from('user:0000012345');
  const value = Buffer.alloc(VALUE_BYTES, 7);
  const bytes = new Uint8Array(recordBytes(key.length, value.length));
  writeRecord(bytes, 0, {
    tokenHi: 1,
    tokenLo: 2,
    keyspace: 0,
    key,
    value,
    version: 1_764_000_000_000_000,
    origin: 1,
    flags: 0,
    expiresMs: 0,
  });
  return bytes;
}
const record = record2k();
const envelope = { generation: 3, id: 1, ring: 5, remainingMs: 5000 };
const write = { record, also: null, mode: 1, deadlineMs: 0 };
const read = {
  tokenHi: 1,
  tokenLo: 2,
  keyspace: 0,
  key: record.subarray(40, 55),
  headOnly: false,
  deadlineMs: 0,
};
const ok = { status: 0, beat: 0, barred: false, newer: null, message: '' };

function transport(node, onMessage, onConnected = () => undefined) {
  return new Transport({
    clusterName: 'bench',
    clusterId: 'c'.repeat(32),
    node,
    nodeId: idOf(node),
    generation: 1,
    tls: null,
    clock: systemClock,
    random: new Random(node),
    log: (level, message) => level === 'error' && console.error(message),
    onMessage,
    onConnected,
    onDisconnected: () => undefined,
  });
}

// ------------------------------------------------------------------------------------------------ one thread

function measure(name, run) {
  const times = [];
  for (let round = 0; round < 7; round++) {
    const count = 50_000;
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i++) run();
    times.push(Number(process.hrtime.bigint() - start) / count);
  }
  times.sort((a, b) => a - b);
  console.log(`  ${name.padEnd(44)} ${(times[3] / 1000).toFixed(2).padStart(7)} us`);
}

function costs() {
  console.log('One message, median of 7 rounds of 50,000:');
  const messages = {
    'write of 2 KB': () => encodeWrite(envelope, write),
    'answer to a write': () => encodeWriteAnswer(Kind.WRITE_ANSWER, 3, 1, ok),
    read: () => encodeRead(envelope, read),
    'answer to a read of 2 KB': () => encodeReadAnswer(3, 1, { status: 0, record, message: '' }),
  };
  for (const [name, encode] of Object.entries(messages)) {
    const bytes = encode();
    measure(`encode ${name}, ${bytes.length} bytes`, encode);
    measure(`decode ${name}`, () => decodeMessage(bytes.subarray(0), 0));
  }
  for (const [name, message, count] of [
    ['2 KB', encodeWrite(envelope, write), 1],
    ['2 KB', encodeWrite(envelope, write), 30],
    ['30 bytes', encodeWriteAnswer(Kind.WRITE_ANSWER, 3, 1, ok), 30],
  ]) {
    const batch = new Batch();
    const reader = new FrameReader(1 << 24);
    measure(`frame of ${count} x ${name}, out and in, whole frame`, () => {
      for (let i = 0; i < count; i++) batch.add(message);
      reader.push(batch.seal(), (_, payload) => {
        eachMessage(payload, () => true);
        return true;
      });
      batch.clear();
    });
  }
}

// --------------------------------------------------------------------------------------------- two threads

/** The other node: answers each write, decoded and checked, as a replica would, without storing it. */
function serve() {
  let node = null;
  node = transport(2, (from, bytes) => {
    const message = decodeMessage(bytes, 0);
    node.send(from, encodeWriteAnswer(Kind.WRITE_ANSWER, message.generation, message.id, ok));
  });
  node.listen('127.0.0.1', 0).then((port) => parentPort.postMessage({ port }));
  parentPort.on('message', async () => {
    await node.close();
    parentPort.close();
  });
}

/** Writes of 2 KB with `window` of them unanswered at a time. */
async function throughput(window) {
  const worker = new Worker(new URL(import.meta.url), { workerData: 'serve' });
  const { port } = await new Promise((resolve) => worker.once('message', resolve));
  let answered = 0;
  let id = 0;
  let running = false;
  const send = () => {
    envelope.id = ++id;
    node.send(2, encodeWrite(envelope, write));
  };
  const waits = [];
  const startedAt = new Map();
  const node = transport(
    1,
    (_, bytes) => {
      const message = decodeMessage(bytes, 0);
      answered++;
      const at = startedAt.get(message.id);
      if (at !== undefined) {
        waits.push(systemClock.monotonicMs() - at);
        startedAt.delete(message.id);
      }
      if (!running) return;
      send();
      // One in 64 is timed.
      if ((id & 63) === 0) startedAt.set(id, systemClock.monotonicMs());
    },
    () => {
      running = true;
      for (let i = 0; i < window; i++) send();
    },
  );
  node.setAddress(2, `127.0.0.1:${port}`);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const from = answered;
  waits.length = 0;
  const [cpu, start] = [cpuUsage(), systemClock.monotonicMs()];
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const seconds = (systemClock.monotonicMs() - start) / 1000;
  const used = cpuUsage(cpu);
  const count = answered - from;
  running = false;
  waits.sort((a, b) => a - b);
  const at = (share) => (waits[Math.floor(waits.length * share)] ?? 0).toFixed(2);
  const cpuUs = ((used.user + used.system) / count).toFixed(1);
  const [metrics] = node.metrics();
  console.log(
    `  ${String(window).padStart(5)} in flight: ${Math.round(count / seconds).toLocaleString('en')} writes/s, ` +
      `${((count * (record.length + 30)) / seconds / 1e6).toFixed(0)} MB/s, median ${at(0.5)} ms, p99 ${at(0.99)} ms, ` +
      `${cpuUs} us of CPU a write (both threads), ${(metrics.messagesOut / metrics.framesOut).toFixed(1)} messages a frame`,
  );
  worker.postMessage('end');
  await node.close();
  await new Promise((resolve) => worker.once('exit', resolve));
}

if (isMainThread) {
  costs();
  console.log(`\nWrites of 2 KB to another thread over loopback, answered, ${SECONDS} s each:`);
  for (const window of [1, 16, 256, 2048]) await throughput(window);
} else if (workerData === 'serve') serve();
