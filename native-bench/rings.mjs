// What the way between two threads costs: records through a ring, a round trip to a thread that sleeps, and whole
// requests through client, ring, shard loop and back over an engine in memory. Needs `npm run build`.
//   node native-bench/rings.mjs [runs, default 5] [seconds a run, default 2]
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { systemClock } from '../dist/src/base/clock.js';
import { Random } from '../dist/src/base/random.js';
import { Status } from '../dist/src/base/status.js';
import { hashToken, token } from '../dist/src/base/token.js';
import { ChannelReader, ChannelWriter, createChannel, portsOf } from '../dist/src/ipc/channel.js';
import { createDoorbell, DoorbellSleeper } from '../dist/src/ipc/doorbell.js';
import { createMemtableSet } from '../dist/src/ipc/memtable-layout.js';
import { Condition, Op } from '../dist/src/shard/contract.js';
import { RingShardClient } from '../dist/src/shard/shard-client.js';
import { connectShard, portsOfEnds } from '../dist/src/shard/shard-ends.js';

const EMPTY = new Uint8Array(0);
const VALUE_BYTES = 2048;
const KEYS = 10_000;
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const url = new URL(import.meta.url);

/** One end of a pair of channels, that calls `onRecord` for each record and sleeps otherwise. */
class Peer {
  constructor({ writer, reader }, doorbell, onRecord) {
    this.writer = new ChannelWriter(writer);
    const sleeper = new DoorbellSleeper(doorbell);
    const drain = () => {
      sleeper.wake();
      do {
        let count = 0;
        while (this.reader.next()) {
          onRecord(this.reader, this.writer);
          if ((++count & 63) === 0) this.reader.release();
        }
        this.reader.release();
        this.writer.flush();
      } while (!sleeper.sleep(() => this.reader.pending()));
    };
    this.reader = new ChannelReader(reader, drain);
    drain();
  }
  close() {
    this.writer.close();
    this.reader.close();
  }
}

function startPeer() {
  const [here, there] = [createDoorbell(), createDoorbell()];
  const [out, back] = [createChannel(there), createChannel(here)];
  const ends = { writer: back.writer, reader: out.reader };
  const worker = new Worker(url, {
    workerData: { ends, doorbell: there },
    transferList: [...portsOf(ends.writer), ...portsOf(ends.reader)],
  });
  return { worker, doorbell: here, ends: { writer: out.writer, reader: back.reader } };
}

/** Messages a second in one direction; the other end answers every 1024th. */
async function messages(seconds, bytes) {
  const { worker, doorbell, ends } = startPeer();
  let credit = 0;
  const peer = new Peer(ends, doorbell, () => {
    credit += 1024;
  });
  let sent = 0;
  const end = performance.now() + seconds * 1000;
  const start = performance.now();
  while (performance.now() < end) {
    while (sent < credit + 16_384 && peer.writer.reserve(bytes)) {
      peer.writer.view.setUint32(peer.writer.offset, 0, true);
      peer.writer.commit(bytes);
      if ((++sent & 255) === 0) peer.writer.flush();
    }
    peer.writer.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const rate = sent / ((performance.now() - start) / 1000);
  await worker.terminate();
  peer.close();
  return rate;
}

/** Microseconds of a round trip, each sent when both sides sleep. */
async function roundTrips(count) {
  const { worker, doorbell, ends } = startPeer();
  let got = () => undefined;
  const peer = new Peer(ends, doorbell, () => got());
  const times = [];
  for (let i = 0; i < count; i++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const start = performance.now();
    const answered = new Promise((resolve) => {
      got = resolve;
    });
    peer.writer.reserve(8);
    peer.writer.view.setUint32(peer.writer.offset, 1, true);
    peer.writer.commit(8);
    peer.writer.flush();
    await answered;
    times.push((performance.now() - start) * 1000);
  }
  await worker.terminate();
  peer.close();
  return median(times);
}

/** Requests a second with `inFlight` at one shard, each sent from the reply to another. */
async function requests(seconds, inFlight, putShare) {
  const options = { slots: 3, arenaBytes: 64 << 20, vnodes: 1024, shard: 0, shards: 1 };
  const memory = createMemtableSet(options);
  const [clientDoorbell, shardDoorbell] = [createDoorbell(), createDoorbell()];
  const ways = connectShard({ shard: 0, client: 0, clientDoorbell, shardDoorbell, memtables: memory });
  const worker = new Worker(new URL('./memory-shard.mjs', url), {
    workerData: { doorbell: shardDoorbell, memory, ends: ways.server },
    transferList: portsOfEnds(ways.server),
  });
  await new Promise((resolve) => worker.once('message', resolve));
  const client = new RingShardClient({
    shards: 1,
    vnodes: 1024,
    doorbell: clientDoorbell,
    clock: systemClock,
  });
  client.attach(ways.client);
  const keys = Array.from({ length: KEYS }, (_, i) => Buffer.from(`benchmark-${String(i).padStart(6, '0')}`));
  const value = new Uint8Array(VALUE_BYTES).fill(118);
  const { request } = client;
  Object.assign(request, { condition: Condition.NONE, idempotencyKey: EMPTY, expiresMs: 0, snapshot: 0 });
  const random = new Random(1);
  let next = 0;
  let stopping = false;
  const deadlineMs = performance.now() + 30_000;
  const send = () => {
    const key = next < KEYS ? keys[next] : random.pick(keys);
    hashToken(key);
    const put = next < KEYS || random.chance(putShare);
    next++;
    request.op = put ? Op.PUT : Op.GET;
    request.key = key;
    request.value = put ? value : EMPTY;
    request.tokenHi = token.hi;
    request.tokenLo = token.lo;
    request.deadlineMs = deadlineMs;
    return client.submit();
  };
  let done = 0;
  let failed = 0;
  let absent = 0;
  let ended = () => undefined;
  client.setHandler({
    onReply(_slot, reply) {
      done++;
      // A key that was not written for two memtables is gone.
      if (reply.status === Status.NOT_FOUND) absent++;
      else if (reply.status !== Status.OK) failed++;
      if (!stopping) send();
      else if (client.inFlight === 0) ended();
    },
  });
  for (let i = 0; i < inFlight; i++) send();
  while (done < KEYS) await new Promise((resolve) => setTimeout(resolve, 1));
  const [start, before] = [performance.now(), done];
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const rate = (done - before) / ((performance.now() - start) / 1000);
  const drained = new Promise((resolve) => {
    ended = resolve;
  });
  stopping = true;
  await drained;
  worker.postMessage('commits');
  const commits = await new Promise((resolve) => worker.once('message', resolve));
  client.close();
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  worker.postMessage('stop');
  await exited;
  if (failed > 0 || absent > done / 100)
    throw new Error(`${failed} requests failed, ${absent} of ${done} found nothing`);
  return { rate, perCommit: done / commits };
}

async function main() {
  const runs = Number(process.argv[2] ?? 5);
  const seconds = Number(process.argv[3] ?? 2);
  const rates = { small: [], large: [], trip: [] };
  const mixes = [
    ['PUT', 1, 256],
    ['GET', 0, 256],
    ['half PUT, half GET', 0.5, 256],
    ['half PUT, half GET', 0.5, 2048],
    ['half PUT, half GET', 0.5, 16],
    ['PUT', 1, 1],
  ];
  const results = mixes.map(() => []);
  for (let run = 0; run < runs; run++) {
    rates.small.push(await messages(seconds, 32));
    rates.large.push(await messages(seconds, VALUE_BYTES));
    rates.trip.push(await roundTrips(500));
    for (const [i, [, putShare, inFlight]] of mixes.entries())
      results[i].push(await requests(seconds, inFlight, putShare));
  }
  console.log(`medians of ${runs} runs of ${seconds} s, values of ${VALUE_BYTES} bytes`);
  console.log(`ring, 32-byte records: ${Math.round(median(rates.small))}/s`);
  console.log(`ring, ${VALUE_BYTES}-byte records: ${Math.round(median(rates.large))}/s`);
  console.log(`round trip to a sleeping thread: ${median(rates.trip).toFixed(0)} us`);
  for (const [i, [name, , inFlight]] of mixes.entries()) {
    const rate = median(results[i].map((one) => one.rate));
    const perCommit = median(results[i].map((one) => one.perCommit));
    const us = ((inFlight / rate) * 1e6).toFixed(0);
    console.log(
      `${name}, ${inFlight} in flight: ${Math.round(rate)} requests/s, ${us} us each, ${perCommit.toFixed(0)} requests a commit`,
    );
  }
}

if (isMainThread) await main();
else {
  let count = 0;
  // Echo: every record where it says so, otherwise one for 1024.
  new Peer(workerData.ends, workerData.doorbell, (reader, writer) => {
    if (reader.view.getUint32(reader.offset, true) === 0 && (++count & 1023) !== 0) return;
    if (writer.reserve(8)) writer.commit(8);
  });
}
