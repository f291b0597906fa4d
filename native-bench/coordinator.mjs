// What coordinating costs: three nodes (ClusterNode and RingReplica) in one thread, over shards that answer from prepared memory
// and a network that frames, copies and checks messages as connections do. No socket, doorbell or disk, so what is left is the
// program text that a peer worker runs for a request, and little of the machine's noise.
//
//   npm run build && node native-bench/coordinator.mjs [--also DIR] [--rounds 7] [--seconds 2] [--profile DIR]
//
// --also DIR: a second build, in another checkout; the two take turns, each measurement in a process of its own. Prints medians,
// for a PUT and for a GET at QUORUM over all three nodes, of
//
//   CPU us    processor time
//   heap B    bytes allocated on the heap: its growth over requests in which nothing was collected
//   buffer B  bytes allocated in array buffers, likewise
//
// --profile DIR: one process more, under the V8 sampling profilers of time and of allocations; DIR gets coordinator.cpuprofile and
// coordinator.heapprofile.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { resolve } from 'node:path';
import { cpuUsage, execPath } from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({
  options: {
    also: { type: 'string', default: '' },
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '2' },
    profile: { type: 'string', default: '' },
    // Of a process that measures: the build's directory, and what of it.
    measure: { type: 'string', default: '' },
    of: { type: 'string', default: '' },
  },
});
const here = fileURLToPath(new URL('..', import.meta.url));
const VALUE_BYTES = 2048;
const RECORD_BYTES_MAX = 4096;
const KEYS = 1000;
const KEY_DIGITS = 6;
const VNODES = 256;
const NODES = 3;
const IN_FLIGHT = 64;
const SLOTS = 16_384;
const WARM_UP = 60_000;
/** Requests in which nothing may be collected: some 60 MB. */
const ALLOCATING = 2000;
/** Times that is measured in a process: in some of them the compilers or gossip allocate too. */
const REPEATS = 15;
const DEADLINE_MS = 10_000;

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];

// ------------------------------------------------------------------------------------------- one measurement

async function cluster(root) {
  const load = (path) => import(pathToFileURL(resolve(root, 'dist/src', path)).href);
  const [
    { systemClock },
    { Random },
    { hashToken, token },
    { ClusterNode },
    { encodeRing },
    { RingReplica },
  ] = await Promise.all([
    load('base/clock.js'),
    load('base/random.js'),
    load('base/token.js'),
    load('cluster/cluster-node.js'),
    load('cluster/ring-codec.js'),
    load('shard/ring-replica.js'),
  ]);
  const { Consistency } = await load('base/consistency.js');
  const { Op } = await load('shard/contract.js');
  const { newShardRequest } = await load('shard/shard-client.js');
  const { Status } = await load('base/status.js');
  const { copyBytes } = await load('base/bytes.js');
  const { Batch, FrameReader, eachMessage } = await load('peer/frame.js');
  const { limits } = await load('base/limits.js');
  Buffer.poolSize = limits.peerBufferPoolBytes;

  const keys = Array.from({ length: KEYS }, (_, i) => {
    const key = new Uint8Array(Buffer.from(`user:${String(i).padStart(KEY_DIGITS, '0')}`));
    hashToken(key);
    return { key, hi: token.hi, lo: token.lo };
  });
  const indexOf = (bytes, end) => {
    let index = 0;
    for (let at = end - KEY_DIGITS; at < end; at++) index = index * 10 + bytes[at] - 48;
    return index;
  };

  /** Stands in for the rings to the shards: takes writes into prepared memory, and answers in a turn of its own. */
  class Shards {
    vnodes = VNODES;
    shards = 1;
    slotsMax = SLOTS;
    request = newShardRequest();
    #held = Array.from({ length: KEYS }, () => {
      const bytes = new Uint8Array(RECORD_BYTES_MAX);
      return { bytes, view: new DataView(bytes.buffer), length: 0 };
    });
    #reply = { status: 0, version: 0, expiresMs: 0, bytes: new Uint8Array(0), start: 0, length: 0 };
    #next = 0;
    #open = [];
    #due = false;
    #handler = null;
    setHandler(handler) {
      this.#handler = handler;
    }
    inMemory(keyspace, _hi, _lo, key) {
      const held = this.#held[indexOf(key, key.length)];
      return keyspace !== 0 || held.length === 0 ? null : held;
    }
    submit() {
      const { op, value } = this.request;
      const slot = this.#next;
      this.#next = (slot + 1) % SLOTS;
      if (op === Op.REPLICA_WRITE) {
        const end = 40 + value[4] + value[5] * 256;
        const held = this.#held[indexOf(value, end)];
        held.bytes.set(value);
        held.length = value.length;
      }
      // A read of what was never written is an empty answer; anything else is not measured.
      this.#open.push(op === Op.REPLICA_WRITE || op === Op.REPLICA_READ ? slot : -slot - 1);
      if (!this.#due) {
        this.#due = true;
        setImmediate(this.#answer);
      }
      return slot;
    }
    #answer = () => {
      this.#due = false;
      const open = this.#open;
      this.#open = [];
      for (const slot of open) {
        this.#reply.status = slot < 0 ? Status.UNAVAILABLE : Status.OK;
        this.#handler.onReply(slot < 0 ? -slot - 1 : slot, this.#reply);
      }
    };
  }

  const nodes = [];
  /** One direction between two nodes: messages of a turn in one frame, copied once as the kernel does. */
  class Wire {
    #batch = new Batch();
    #reader = new FrameReader(1 << 26);
    #due = false;
    #from;
    #to;
    constructor(from, to) {
      this.#from = from;
      this.#to = to;
    }
    send(message) {
      if (!this.#batch.add(message)) {
        this.#flush();
        if (!this.#batch.add(message)) return false;
      }
      if (!this.#due) {
        this.#due = true;
        setImmediate(this.#onDue);
      }
      return true;
    }
    #onDue = () => {
      this.#due = false;
      this.#flush();
    };
    #flush() {
      if (this.#batch.messages === 0) return;
      const chunk = Buffer.from(this.#batch.seal());
      this.#batch.clear();
      setImmediate(() => this.#reader.push(chunk, this.#takeFrame));
    }
    #takeFrame = (_, payload) => {
      eachMessage(payload, this.#takeMessage);
      return true;
    };
    #takeMessage = (message) => {
      nodes[this.#to].onMessage(this.#from + 1, message);
      return true;
    };
  }

  const member = (i) => ({
    number: i + 1,
    nodeId: String(i + 1)
      .padStart(8, '0')
      .padEnd(32, '0'),
    address: `127.0.0.1:${9000 + i}`,
    url: '',
    rack: `r${i}`,
    zone: '',
    weight: 1,
  });
  const members = Array.from({ length: NODES }, (_, i) => member(i));
  const ring = {
    number: 1,
    clusterName: 'bench',
    clusterId: '0'.repeat(32),
    vnodes: VNODES,
    replicas: 3,
    members,
    owners: Uint16Array.from({ length: VNODES }, (_, vnode) => vnode % NODES),
    change: null,
  };
  const timers = {
    after: (ms, run) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
  };
  const hints = {
    add: () => undefined,
    targets: () => new Map(),
    next: (_, done) => queueMicrotask(() => done(null, null)),
    postpone: () => undefined,
    discard: () => undefined,
    expire: () => [],
  };
  for (const [i, { number }] of members.entries()) {
    const wires = members.map((_, to) => new Wire(i, to));
    const addresses = new Map(members.map(({ address }, to) => [address, to]));
    const documents = new Map([
      ['ring', encodeRing(ring)],
      ['ring-member', Buffer.from(ring.clusterId)],
    ]);
    const world = {
      self: number,
      clock: systemClock,
      random: new Random(number),
      timers,
      network: {
        send: (to, message) => wires[to - 1].send(message),
        sendTo: (address, message) => wires[addresses.get(address)].send(message),
        setAddress: () => undefined,
        forget: () => undefined,
      },
      documents: {
        load: (name) => documents.get(name) ?? null,
        save: (name, bytes, done) => {
          documents.set(name, bytes);
          setImmediate(() => done(null));
        },
      },
      log: (level, message) => level !== 'info' && console.error(`node ${number}: ${message}`),
    };
    nodes.push(
      new ClusterNode({
        world,
        local: new RingReplica(new Shards(), hints, systemClock, timers),
        hints,
        member: members[i],
        clusterName: 'bench',
        vnodes: VNODES,
        replicas: 3,
        seeds: [members[0].address],
        replaces: 0,
        repairIntervalMs: 1e9,
        versionMax: 0,
        onCoordinate: (done) => setImmediate(done),
        onClusterId: () => undefined,
        onNotReady: () => undefined,
      }),
    );
  }
  await Promise.all(
    nodes.map(
      (node) => new Promise((done, fail) => node.start((error) => (error === null ? done() : fail(error)))),
    ),
  );
  const allUp = () => nodes.every((node) => members.every(({ number }) => node.membership.isUp(number)));
  for (let waited = 0; !allUp(); waited++) {
    if (waited > 200) throw new Error('the nodes did not find each other within 10 s');
    await new Promise((done) => setTimeout(done, 50));
  }

  const value = Buffer.alloc(VALUE_BYTES, 7);
  const random = new Random(42);
  let turn = 0;
  const begin = (isPut, done) => {
    const node = nodes[random.below(NODES)];
    const { key, hi, lo } = keys[turn++ % KEYS];
    // Copied as CoordinatorServer does.
    const common = {
      tokenHi: hi,
      tokenLo: lo,
      key: copyBytes(key),
      consistency: Consistency.QUORUM,
      deadlineMs: Date.now() + DEADLINE_MS,
    };
    if (!isPut) node.read(common, done);
    else
      node.write(
        {
          ...common,
          value: copyBytes(value),
          expiresMs: 0,
          sloppy: undefined,
          condition: 0,
          version: 0,
          idempotencyKey: new Uint8Array(0),
          fingerprintHi: 0,
          fingerprintLo: 0,
        },
        done,
      );
  };
  /** `count` requests, IN_FLIGHT at a time. */
  const run = (count, isPut) =>
    new Promise((resolved, failed) => {
      let begun = 0;
      let ended = 0;
      const next = () => {
        if (begun === count) return;
        begun++;
        begin(isPut, done);
      };
      const done = ({ status, message }) => {
        if (status !== Status.OK) failed(new Error(`status ${status}: ${message}`));
        else if (++ended === count) resolved();
        else next();
      };
      for (let i = 0; i < IN_FLIGHT; i++) next();
    });
  return { run };
}

async function warm({ run }) {
  for (const count of [KEYS * 8, WARM_UP]) {
    await run(count, true);
    await run(count, false);
  }
}

/** Time runs with a young generation as small as a peer worker's, allocations with one that holds all. */
async function measureHere(root, of) {
  const bench = await cluster(root);
  await warm(bench);
  const result = {};
  for (const [name, isPut] of [
    ['PUT', true],
    ['GET', false],
  ]) {
    if (of === 'cpu') {
      let count = 0;
      const start = cpuUsage();
      const end = performance.now() + Number(flags.seconds) * 1000;
      for (; performance.now() < end; count += 5000) await bench.run(5000, isPut);
      const { user, system } = cpuUsage(start);
      result[name] = { cpu: (user + system) / count };
    } else {
      const heap = [];
      const buffer = [];
      for (let i = 0; i < REPEATS; i++) {
        globalThis.gc();
        await bench.run(IN_FLIGHT, isPut);
        const before = process.memoryUsage();
        await bench.run(ALLOCATING, isPut);
        const after = process.memoryUsage();
        heap.push((after.heapUsed - before.heapUsed) / ALLOCATING);
        buffer.push((after.arrayBuffers - before.arrayBuffers) / ALLOCATING);
      }
      result[name] = { heap: median(heap), buffer: median(buffer) };
    }
  }
  return result;
}

async function profileHere(root) {
  const bench = await cluster(root);
  await warm(bench);
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: 200 });
  await session.post('Profiler.start');
  for (let i = 0; i < 15; i++) for (const isPut of [true, false]) await bench.run(5000, isPut);
  const { profile: time } = await session.post('Profiler.stop');
  await session.post('HeapProfiler.enable');
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: 4096,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true,
  });
  for (let i = 0; i < 6; i++) for (const isPut of [true, false]) await bench.run(5000, isPut);
  const { profile: heap } = await session.post('HeapProfiler.stopSampling');
  session.disconnect();
  mkdirSync(flags.profile, { recursive: true });
  writeFileSync(resolve(flags.profile, 'coordinator.cpuprofile'), JSON.stringify(time));
  writeFileSync(resolve(flags.profile, 'coordinator.heapprofile'), JSON.stringify(heap));
}

// -------------------------------------------------------------------------------------------------- all of them

function child(root, of) {
  const young =
    of === 'heap' ? ['--min-semi-space-size=256', '--max-semi-space-size=256'] : ['--max-semi-space-size=1'];
  const args = [...young, '--expose-gc', fileURLToPath(import.meta.url), '--measure', root, '--of', of];
  const own = of === 'profile' ? ['--profile', resolve(flags.profile)] : ['--seconds', flags.seconds];
  const text = execFileSync(execPath, [...args, ...own], { stdio: ['ignore', 'pipe', 'inherit'] }).toString();
  return text === '' ? null : JSON.parse(text);
}

if (flags.measure !== '') {
  if (flags.of === 'profile') await profileHere(flags.measure);
  else writeFileSync(1, JSON.stringify(await measureHere(flags.measure, flags.of)));
  // Nodes that are stopped still have timers.
  process.exit(0);
} else {
  const builds = flags.also === '' ? { here } : { here, '--also': flags.also };
  const found = Object.keys(builds).flatMap((build) =>
    ['PUT', 'GET'].map((request) => ({ build, request, cpu: [], heap: [], buffer: [] })),
  );
  for (let round = 0; round < Number(flags.rounds); round++)
    for (const build of round % 2 === 0 ? Object.keys(builds) : Object.keys(builds).reverse())
      for (const of of ['cpu', 'heap']) {
        const result = child(builds[build], of);
        for (const row of found)
          if (row.build === build)
            for (const [figure, amount] of Object.entries(result[row.request])) row[figure].push(amount);
      }
  console.log('build     request   CPU us (least)    heap B  buffer B');
  for (const { build, request, cpu, heap, buffer } of found)
    console.log(
      `${build.padEnd(9)} ${request.padEnd(8)} ${median(cpu).toFixed(1).padStart(7)} (${Math.min(...cpu).toFixed(1)})  ` +
        `${median(heap).toFixed(0).padStart(9)} ${median(buffer).toFixed(0).padStart(9)}`,
    );
  if (flags.profile !== '') child(here, 'profile');
}
