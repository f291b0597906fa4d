/** Clients and one shard on one thread, over real channels, with a clock that stands still. */

import { MANUAL_MONOTONIC_MS, ManualClock, type MonotonicMs, msAfter } from '../../src/base/clock.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { ChannelReader, ChannelWriter } from '../../src/ipc/channel.ts';
import { createDoorbell, type DoorbellMemory } from '../../src/ipc/doorbell.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import {
  Condition,
  Op,
  type ReplyHandler,
  type ShardReply,
  type ShardRequest,
} from '../../src/shard/contract.ts';
import { RingShardClient } from '../../src/shard/shard-client.ts';
import { connectShard, type ShardClientEnds } from '../../src/shard/shard-ends.ts';
import { ReplyView, writeRequest } from '../../src/shard/shard-protocol.ts';
import { ShardServer } from '../../src/shard/shard-server.ts';
import { monotonic } from '../base/clocks.ts';
import { FakeEngine } from './fake-engine.ts';

export const START_MS = 1_700_000_000_000;
/** The same time by the monotonic clock. */
export const BEGIN_MS = monotonic(MANUAL_MONOTONIC_MS);
const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();
export const bytes = (text: string): Uint8Array => encoder.encode(text);

export interface Answer {
  readonly slot: number;
  readonly status: number;
  readonly version: number;
  readonly expiresMs: number;
  readonly body: Uint8Array;
  readonly text: string;
  readonly done: boolean;
  readonly place: readonly [number, number, string];
}
/** A request, and its answer once there is one. */
export interface Call {
  readonly slot: number;
  answer: Answer | null;
}
export type Fields = Partial<Omit<ShardRequest, 'key' | 'value' | 'idempotencyKey'>> & {
  readonly key?: string | Uint8Array;
  readonly value?: string | Uint8Array;
  readonly idempotencyKey?: string;
};
const asBytes = (text: string | Uint8Array | undefined): Uint8Array =>
  text === undefined ? EMPTY : typeof text === 'string' ? bytes(text) : text;

export function requestOf(op: number, fields: Fields, nowMs: MonotonicMs): ShardRequest {
  const key = asBytes(fields.key);
  hashToken(key);
  return {
    op: op as ShardRequest['op'],
    tokenHi: key.length === 0 ? 0 : token.hi,
    tokenLo: key.length === 0 ? 0 : token.lo,
    expiresMs: 0,
    condition: Condition.NONE,
    version: 0,
    deadlineMs: msAfter(nowMs, 5000),
    fingerprintHi: 0,
    fingerprintLo: 0,
    shard: 0,
    exclusive: false,
    limit: 100,
    withValues: true,
    snapshot: 0,
    consistency: 0,
    sloppy: 0,
    ...fields,
    key,
    value: asBytes(fields.value),
    idempotencyKey: asBytes(fields.idempotencyKey),
  };
}

/** A client that reads its replies only when it is told to. */
export class SlowClient {
  readonly #writer: ChannelWriter;
  readonly #reader: ChannelReader;
  readonly #reply = new ReplyView();
  #sent = 0;
  constructor({ requests, replies }: ShardClientEnds) {
    this.#writer = new ChannelWriter(requests);
    this.#reader = new ChannelReader(replies, () => undefined);
  }
  /** False where the request ring is full. */
  send(op: number, fields: Fields = {}): boolean {
    if (!writeRequest(this.#writer, this.#sent, 0, requestOf(op, fields, BEGIN_MS))) return false;
    this.#sent++;
    this.#writer.flush();
    return true;
  }
  /** What has come: the number of the request, status and length of the body. */
  read(): [number, number, number][] {
    const got: [number, number, number][] = [];
    while (this.#reader.next()) {
      const { view, bytes: all, offset, length } = this.#reader;
      this.#reply.load(view, all, offset, length);
      got.push([this.#reply.slot, this.#reply.status, this.#reply.length]);
    }
    this.#reader.release();
    return got;
  }
  close(): void {
    this.#writer.close();
    this.#reader.close();
  }
}

export class TestClient implements ReplyHandler {
  readonly client: RingShardClient;
  readonly answers: Answer[] = [];
  /** Runs within `onReply`. */
  onAnswer: (answer: Answer) => void = () => undefined;
  readonly #calls = new Map<number, Call>();
  readonly #clock: ManualClock;

  constructor(client: RingShardClient, clock: ManualClock) {
    this.client = client;
    this.#clock = clock;
    client.setHandler(this);
  }

  /** Throws where the client refuses. */
  send(op: number, fields: Fields = {}): Call {
    const call = this.trySend(op, fields);
    if (typeof call === 'number') throw new Error(`refused with status ${call}`);
    return call;
  }
  /** The status where the client refuses. */
  trySend(op: number, fields: Fields): Call | number {
    const slot = this.submit(op, fields);
    if (slot < 0) return -slot;
    const call: Call = { slot, answer: null };
    if (this.#calls.has(slot)) throw new Error(`slot ${slot} was given twice`);
    this.#calls.set(slot, call);
    return call;
  }
  submit(op: number, fields: Fields): number {
    Object.assign(this.client.request, requestOf(op, fields, this.#clock.monotonicMs()));
    return this.client.submit();
  }
  put(key: string, value: string | Uint8Array, fields: Fields = {}): Call {
    return this.send(Op.PUT, { key, value, ...fields });
  }
  get(key: string, fields: Fields = {}): Call {
    return this.send(Op.GET, { key, ...fields });
  }
  delete(key: string, fields: Fields = {}): Call {
    return this.send(Op.DELETE, { key, ...fields });
  }

  onReply(slot: number, reply: ShardReply): void {
    const call = this.#calls.get(slot);
    if (call === undefined) throw new Error(`a second reply for slot ${slot}`);
    this.#calls.delete(slot);
    const body = reply.bytes.slice(reply.start, reply.start + reply.length);
    call.answer = {
      slot,
      status: reply.status,
      version: reply.version,
      expiresMs: reply.expiresMs,
      body,
      text: Buffer.from(body).toString(),
      done: reply.done,
      place: [reply.tokenHi, reply.tokenLo, Buffer.from(reply.key).toString()],
    };
    this.answers.push(call.answer);
    this.onAnswer(call.answer);
  }
}

export interface HarnessOptions {
  readonly clients?: number;
  readonly ringBytes?: number;
  readonly slotsMax?: number;
  readonly heldMax?: number;
  /** Of the clients, where they are not to see that a deadline has passed: they look for themselves, as often as the machine lets them. */
  readonly clientClock?: ManualClock;
}

export class Harness {
  readonly clock = new ManualClock(START_MS);
  readonly engine: FakeEngine;
  readonly server: ShardServer;
  readonly clients: readonly TestClient[];
  readonly events: string[] = [];
  readonly #options: HarnessOptions;

  constructor(options: HarnessOptions = {}) {
    this.#options = options;
    this.server = this.#newServer();
    this.engine = new FakeEngine(this.server, () => this.clock.nowMs());
    this.clients = Array.from({ length: options.clients ?? 1 }, () => {
      const doorbell = createDoorbell();
      const clock = options.clientClock ?? this.clock;
      const slots = options.slotsMax === undefined ? {} : { slotsMax: options.slotsMax };
      const client = new RingShardClient({ shards: 1, vnodes: 16, doorbell, clock, ...slots });
      this.#doorbells.set(client, doorbell);
      return new TestClient(client, clock);
    });
    for (let index = 0; index < this.clients.length; index++) this.connect(this.server, index);
    this.server.start(this.engine);
  }
  readonly #doorbells = new Map<RingShardClient, ReturnType<typeof createDoorbell>>();
  #shardDoorbell = createDoorbell();
  readonly memtables = createMemtableSet({
    slots: 2,
    arenaBytes: 64 * 1024,
    vnodes: 16,
    shard: 0,
    shards: 1,
  });

  get client(): TestClient {
    return this.clients[0] as TestClient;
  }
  /** Of the shard, and of its clients. */
  get doorbells(): readonly DoorbellMemory[] {
    return [this.#shardDoorbell, ...this.#doorbells.values()];
  }

  #newServer(isRestart = false): ShardServer {
    this.#shardDoorbell = createDoorbell();
    const { heldMax } = this.#options;
    return new ShardServer({
      origin: 9,
      replica: { vnodes: 16, gcGraceMs: 3_600_000, isRestart },
      doorbell: this.#shardDoorbell,
      clock: this.clock,
      onEvent: (level, message) => this.events.push(`${level} ${message}`),
      ...(heldMax === undefined ? {} : { heldMax }),
    });
  }

  connect(server: ShardServer, index: number): void {
    const { client } = this.clients[index] as TestClient;
    const ends = connectShard({
      shard: 0,
      client: index,
      clientDoorbell: this.#doorbells.get(client) ?? createDoorbell(),
      shardDoorbell: this.#shardDoorbell,
      memtables: this.memtables,
      ringBytes: this.#options.ringBytes ?? 1 << 16,
    });
    client.attach(ends.client);
    server.attach(ends.server);
  }

  /** One more client; it has the number 50. */
  slowClient(ringBytes: number): SlowClient {
    const ends = connectShard({
      shard: 0,
      client: 50,
      clientDoorbell: createDoorbell(),
      shardDoorbell: this.#shardDoorbell,
      memtables: this.memtables,
      ringBytes,
    });
    this.server.attach(ends.server);
    const client = new SlowClient(ends.client);
    this.#slow.push(client);
    return client;
  }
  readonly #slow: SlowClient[] = [];

  /** A server in the place of one that died, over the same records. */
  restart(): ShardServer {
    const server = this.#newServer(true);
    this.engine.listener = server;
    server.start(this.engine);
    for (let index = 0; index < this.clients.length; index++) this.connect(server, index);
    return server;
  }

  async close(): Promise<void> {
    for (const { client } of this.clients) client.close();
    for (const client of this.#slow) client.close();
    await this.server.stop();
  }
}

/** Far more than anything takes: how long a turn is depends on the machine, so it is not turns that are counted. */
const UNTIL_MS_MAX = 60_000;
/** Lets the event loop turn until `done`. */
export async function until(done: () => boolean, what = 'the condition'): Promise<void> {
  const startMs = performance.now();
  while (!done()) {
    if (performance.now() - startMs > UNTIL_MS_MAX)
      throw new Error(`${what} did not hold within ${UNTIL_MS_MAX} ms`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
/** Turns in which threads that sleep leave the words of their doorbells as they are. One that is awake changes its own, or never says that it sleeps. */
const TURNS_ASLEEP = 20;
/** Waits until all these threads sleep, and stay asleep. */
export async function allAsleep(doorbells: readonly DoorbellMemory[]): Promise<void> {
  const epochs = (): number[] => doorbells.map(({ buffer }) => new Int32Array(buffer)[0] ?? 0);
  let before = epochs();
  let turns = 0;
  await until(() => {
    const now = epochs();
    const areAsleep = now.every((epoch, at) => (epoch & 1) === 1 && epoch === before[at]);
    before = now;
    turns = areAsleep ? turns + 1 : 0;
    return turns > TURNS_ASLEEP;
  }, 'the sleep of all threads');
}
export async function answered(...calls: readonly Call[]): Promise<Answer[]> {
  await until(() => calls.every(({ answer }) => answer !== null), 'an answer');
  return calls.map(({ answer }) => answer as Answer);
}
export async function answerOf(call: Call): Promise<Answer> {
  return (await answered(call))[0] as Answer;
}
/**
 * Lets everything that can happen happen: the request of one more GET goes all the way, twice over, behind what
 * was sent before.
 */
export async function settled(client: TestClient): Promise<void> {
  for (let i = 0; i < 2; i++) await answerOf(client.get(`absent-${i}`));
}
