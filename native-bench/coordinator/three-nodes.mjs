// Three nodes in one thread for native-bench/coordinator.mjs: shards that answer from prepared memory, and wires between the nodes.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const VALUE_BYTES = 2048;
const RECORD_BYTES_MAX = 4096;
export const KEYS = 1000;
const KEY_DIGITS = 6;
const VNODES = 256;
const NODES = 3;
export const IN_FLIGHT = 64;
const SLOTS = 16_384;
const DEADLINE_MS = 10_000;

export async function cluster(root) {
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
      deadlineMs: performance.now() + DEADLINE_MS,
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
