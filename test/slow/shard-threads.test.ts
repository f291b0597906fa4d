import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { afterEach, describe, expect, it } from 'vitest';
import { deadlineIn, type MonotonicMs, systemClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { EngineOptions } from '../../src/engine/contract.ts';
import { createDoorbell } from '../../src/ipc/doorbell.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { createStopFlag } from '../../src/ipc/stop-flag.ts';
import { Condition, Op, type ShardReply } from '../../src/shard/contract.ts';
import { RingShardClient } from '../../src/shard/shard-client.ts';
import { connectShard, portsOfEnds } from '../../src/shard/shard-ends.ts';
import type {
  PlainFailure,
  ShardCommand,
  ShardEvent,
  ShardThreadData,
} from '../../src/shard/shard-thread.ts';
import { testSeed } from '../seed.ts';

const root = resolve(import.meta.dirname, '../..');
const seed = testSeed();
const EMPTY = new Uint8Array(0);
let closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.toReversed()) await close();
  closers = [];
});

interface Answer {
  readonly status: number;
  readonly version: number;
  readonly text: string;
}
type Fields = Partial<{ condition: 0 | 1 | 2; version: number; once: string; deadlineMs: MonotonicMs }>;

/** A client of one shard, with promises. */
class Caller {
  readonly client: RingShardClient;
  readonly doorbell = createDoorbell();
  readonly #calls = new Map<number, (answer: Answer) => void>();

  constructor() {
    this.client = new RingShardClient({ shards: 1, vnodes: 64, doorbell: this.doorbell, clock: systemClock });
    this.client.setHandler({ onReply: (slot, reply) => this.#onReply(slot, reply) });
    closers.push(() => this.client.close());
  }
  #onReply(slot: number, { status, version, bytes, start, length }: ShardReply): void {
    const done = this.#calls.get(slot);
    if (done === undefined) throw new Error(`a reply to slot ${slot}, which has none to wait for`);
    this.#calls.delete(slot);
    done({ status, version, text: Buffer.from(bytes.slice(start, start + length)).toString() });
  }
  /** Null where the client refuses, which is then `refusal`. */
  call(op: number, key: string, value: string | Uint8Array, fields: Fields = {}): Promise<Answer> | null {
    const { request } = this.client;
    const name = Buffer.from(key);
    hashToken(name);
    Object.assign(request, {
      op,
      key: name,
      value: typeof value === 'string' ? Buffer.from(value) : value,
      tokenHi: token.hi,
      tokenLo: token.lo,
      expiresMs: 0,
      condition: fields.condition ?? Condition.NONE,
      version: fields.version ?? 0,
      deadlineMs: fields.deadlineMs ?? deadlineIn(systemClock, 20_000),
      idempotencyKey: fields.once === undefined ? EMPTY : Buffer.from(fields.once),
    });
    const slot = this.client.submit();
    this.refusal = slot < 0 ? -slot : 0;
    return slot < 0 ? null : new Promise((done) => this.#calls.set(slot, done));
  }
  refusal = 0;
  /** Waits and tries again where a ring or table is full. */
  async insist(op: number, key: string, value: string | Uint8Array, fields: Fields = {}): Promise<Answer> {
    for (;;) {
      const answer = this.call(op, key, value, fields);
      if (answer !== null) return answer;
      if (this.refusal !== Status.OVERLOADED) throw new Error(`refused with status ${this.refusal}`);
      await new Promise((done) => setImmediate(done));
    }
  }
}

const newMemory = () => createMemtableSet({ slots: 3, arenaBytes: 4 << 20, vnodes: 64, shard: 0, shards: 1 });

/** A shard without files in a thread of its own. */
async function startMemoryShard(caller: Caller, ringBytes?: number): Promise<Worker> {
  const shardDoorbell = createDoorbell();
  const memory = newMemory();
  const options = { shard: 0, client: 0, clientDoorbell: caller.doorbell, shardDoorbell, memtables: memory };
  const ways = connectShard(ringBytes === undefined ? options : { ...options, ringBytes });
  const worker = new Worker(resolve(root, 'native-bench/memory-shard.mjs'), {
    workerData: { doorbell: shardDoorbell, memory, ends: ways.server },
    transferList: portsOfEnds(ways.server),
  });
  closers.push(async () => {
    await worker.terminate();
  });
  await new Promise((done, failed) => {
    worker.once('message', done);
    worker.once('error', failed);
  });
  caller.client.attach(ways.client);
  return worker;
}

describe(`a shard in a thread of its own (seed ${seed})`, () => {
  it('answers a hundred thousand requests, every one once and with what was asked for', async () => {
    const caller = new Caller();
    await startMemoryShard(caller);
    const random = new Random(seed);
    const written = new Map<string, string>();
    const count = 100_000;
    const lanes = 200;
    let beside = 0;
    // Each lane has keys of its own, so that what a read must give is known.
    const lane = async (number: number): Promise<void> => {
      for (let i = 0; i < count / lanes; i++) {
        const key = `${number}-${random.below(5)}`;
        if (random.chance(0.5)) {
          const size = random.chance(0.001) ? 300_000 : random.below(3000);
          if (size === 300_000) beside++;
          const value = `${key} ${i} ${'v'.repeat(size)}`;
          expect((await caller.insist(Op.PUT, key, value)).status).toBe(Status.OK);
          written.set(key, value);
        } else {
          const { status, text } = await caller.insist(Op.GET, key, EMPTY);
          // The engine in memory drops its oldest memtable.
          if (status === Status.OK) expect(text === written.get(key)).toBe(true);
          else expect(status).toBe(Status.NOT_FOUND);
        }
      }
    };
    await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)));
    expect(beside).toBeGreaterThan(5);
  });

  it('leaves clear errors behind when it is terminated, and a new one takes its place', async () => {
    const caller = new Caller();
    for (let round = 0; round < 5; round++) {
      const worker = await startMemoryShard(caller, 1 << 16);
      const answers: Promise<Answer>[] = [];
      const kinds: number[] = [];
      const send = (i: number): void => {
        const op = i % 2 === 0 ? Op.PUT : Op.GET;
        const size = i % 50 === 0 ? 40_000 : 500;
        const answer = caller.call(op, `k${i % 40}`, op === Op.PUT ? new Uint8Array(size) : EMPTY);
        if (answer === null) return;
        answers.push(answer);
        kinds.push(op);
      };
      // Kept busy until the moment when it dies.
      const ended = new Promise((done) => worker.once('exit', done));
      for (let i = 0; i < 3000; i++) {
        send(i);
        if (i % 20 === 0) await new Promise((done) => setImmediate(done));
        if (i === 2000) void worker.terminate();
      }
      await ended;
      caller.client.detach(0);
      for (const [i, { status, text }] of (await Promise.all(answers)).entries()) {
        if (status === Status.OK || status === Status.NOT_FOUND) continue;
        expect([kinds[i], status]).toEqual(
          kinds[i] === Op.PUT ? [Op.PUT, Status.UNAVAILABLE] : [Op.GET, Status.SHARD_DOWN],
        );
        expect(text).toContain(kinds[i] === Op.PUT ? 'outcome unknown' : 'nothing was done');
      }
      expect(caller.client.inFlight).toBe(0);
      expect(caller.call(Op.GET, 'k1', EMPTY)).toBeNull();
      expect(caller.refusal).toBe(Status.SHARD_DOWN);
    }
  });
});

/** A shard as the node runs it: the built worker, as a task of a pool, over real files. */
class FileShard {
  readonly result: Promise<PlainFailure | null>;
  readonly events: ShardEvent[] = [];
  readonly #control: MessagePort;
  readonly #doorbell = createDoorbell();
  readonly #memory = newMemory();
  readonly pool = new Piscina({
    filename: resolve(root, 'dist/workers/shard.js'),
    name: 'runShard',
    minThreads: 1,
    maxThreads: 1,
    atomics: 'disabled',
  });

  constructor(directory: string, vnodes = 64) {
    const control = new MessageChannel();
    this.#control = control.port1;
    this.#control.on('message', (event: ShardEvent) => this.events.push(event));
    closers.push(async () => {
      this.#control.close();
      await this.pool.destroy();
    });
    const engine: EngineOptions = {
      directory,
      ownership: { vnodes, shards: 1, shard: 0 },
      fileSystem: { kind: 'real' },
      memory: this.#memory,
      stop: createStopFlag(),
      durability: 'always',
      syncIntervalMs: 10,
      table: { blockBytes: 4096, compression: 'none', bloomBitsPerKey: 10 },
      blockCacheBytes: 1 << 20,
      compactionDial: 0,
      compactionBytesPerSecond: 0,
      compactionsMax: 1,
      tablesMax: 64,
      tableTargetBytes: 16 << 20,
      gcGraceMs: 864_000_000,
      purgeBefore: Number.POSITIVE_INFINITY,
      origin: 7,
    };
    const data: ShardThreadData = {
      engine,
      isRestart: false,
      doorbell: this.#doorbell,
      control: control.port2,
      jobs: null,
    };
    this.result = this.pool.run(data, { transferList: [control.port2] }) as Promise<PlainFailure | null>;
    // Whoever does not wait for it hears of the end by the events.
    this.result.catch(() => undefined);
  }
  async opened(): Promise<void> {
    for (let wait = 0; !this.events.some(({ kind }) => kind === 'open'); wait++) {
      if (wait > 60_000) throw new Error(`no open: ${JSON.stringify(this.events)}`);
      await new Promise((done) => setTimeout(done, 1));
    }
  }
  attach(caller: Caller): void {
    const ways = connectShard({
      shard: 0,
      client: 0,
      clientDoorbell: caller.doorbell,
      shardDoorbell: this.#doorbell,
      memtables: this.#memory,
    });
    caller.client.attach(ways.client);
    this.tell({ kind: 'attach', ends: ways.server }, portsOfEnds(ways.server));
  }
  tell(command: ShardCommand, ports: MessagePort[] = []): void {
    this.#control.postMessage(command, ports);
  }
  /** Ends the thread as a broken invariant does: a second client of one number. */
  async die(): Promise<void> {
    const ends = () =>
      connectShard({
        shard: 0,
        client: 99,
        clientDoorbell: createDoorbell(),
        shardDoorbell: this.#doorbell,
        memtables: this.#memory,
      }).server;
    for (const one of [ends(), ends()]) this.tell({ kind: 'attach', ends: one }, portsOfEnds(one));
    await expect(this.result).rejects.toThrow('client 99 is attached already');
  }
}

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'ringkv-shard-'));
  closers.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

describe('a shard over files, as a task of a pool', () => {
  it('loses nothing that it acknowledged when its thread dies, outcomes of idempotent writes included', async () => {
    const directory = newDirectory();
    const caller = new Caller();
    const acknowledged = new Map<string, { value: string; version: number }>();
    let once: Answer | null = null;
    for (let life = 0; life < 3; life++) {
      const shard = new FileShard(directory);
      await shard.opened();
      shard.attach(caller);
      for (const [key, { value, version }] of acknowledged)
        expect(await caller.insist(Op.GET, key, EMPTY)).toMatchObject({ text: value, version });
      const repeat = await caller.insist(Op.PUT, 'once', 'v', { condition: 1, version: 0, once: 'the key' });
      expect(repeat).toEqual(once ?? repeat);
      once = repeat;
      const refused = await caller.insist(Op.PUT, 'once', 'w', { condition: 1, version: 0 });
      expect(refused).toMatchObject({ status: Status.VERSION_MISMATCH, version: once.version });
      const writes: Promise<void>[] = [];
      for (let i = 0; i < 3000; i++) {
        const key = `${life}-${i}`;
        const value = `${key} ${'v'.repeat(2000)}`;
        writes.push(
          caller.insist(Op.PUT, key, value).then(({ status, version }) => {
            if (status === Status.OK) acknowledged.set(key, { value, version });
            else expect(status).toBe(Status.UNAVAILABLE);
          }),
        );
        if (i % 50 === 0) await new Promise((done) => setImmediate(done));
      }
      await writes[1500];
      await shard.die();
      caller.client.detach(0);
      await Promise.all(writes);
    }
    expect(acknowledged.size).toBeGreaterThan(4500);
    const last = new FileShard(directory);
    await last.opened();
    last.attach(caller);
    for (const [key, { value, version }] of acknowledged)
      expect(await caller.insist(Op.GET, key, EMPTY)).toMatchObject({ text: value, version });
    last.tell({ kind: 'close' });
    expect(await last.result).toBeNull();
    caller.client.detach(0);
  });

  it('answers what is in flight when it is closed, and opens again', async () => {
    const directory = newDirectory();
    const caller = new Caller();
    const shard = new FileShard(directory);
    await shard.opened();
    shard.attach(caller);
    const first = await caller.insist(Op.PUT, 'k', 'v');
    shard.tell({ kind: 'detach', client: 0 });
    shard.tell({ kind: 'close' });
    expect(await shard.result).toBeNull();
    caller.client.detach(0);
    const again = new FileShard(directory);
    await again.opened();
    again.attach(caller);
    expect(await caller.insist(Op.GET, 'k', EMPTY)).toMatchObject({ text: 'v', version: first.version });
    const next = await caller.insist(Op.PUT, 'k', 'w');
    expect(next.version).toBeGreaterThan(first.version);
    again.tell({ kind: 'close' });
    expect(await again.result).toBeNull();
    caller.client.detach(0);
  });

  it('says why it cannot open, and ends', async () => {
    const directory = newDirectory();
    const shard = new FileShard(directory);
    await shard.opened();
    shard.tell({ kind: 'close' });
    expect(await shard.result).toBeNull();
    const other = new FileShard(directory, 32);
    const failure = await other.result;
    expect(failure).toMatchObject({ code: 'CONFIGURATION' });
    expect(failure?.message).toContain('64 vnodes');
    while (other.events.length === 0) await new Promise((done) => setImmediate(done));
    expect(other.events).toEqual([{ kind: 'failed', error: failure }]);
  });
});
