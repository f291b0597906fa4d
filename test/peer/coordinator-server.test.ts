import { afterEach, describe, expect, it } from 'vitest';
import { ManualClock, type MonotonicMs, msAfter } from '../../src/base/clock.ts';
import { Consistency } from '../../src/base/consistency.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { KEYSPACE_USER } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import type {
  ClientRead,
  ClientReadAnswer,
  ClientScan,
  ClientScanAnswer,
  ClientWrite,
  ClientWriteAnswer,
} from '../../src/cluster/contract.ts';
import { createDoorbell, type DoorbellMemory } from '../../src/ipc/doorbell.ts';
import { CoordinatorServer } from '../../src/peer/coordinator-server.ts';
import { Condition, Op, Sloppy } from '../../src/shard/contract.ts';
import { RingShardClient } from '../../src/shard/shard-client.ts';
import { connectShard, type ShardConnection } from '../../src/shard/shard-ends.ts';
import { recordOf } from '../cluster/records.ts';
import { testSeed } from '../seed.ts';
import {
  allAsleep,
  answered,
  answerOf,
  BEGIN_MS,
  bytes,
  SlowClient,
  START_MS,
  settled,
  TestClient,
  until,
} from '../shard/harness.ts';

const seed = testSeed();
const EMPTY = new Uint8Array(0);

/** Carries requests out as a test says: at once, or when it is told to. */
class FakeCoordination {
  readonly writes: { readonly request: ClientWrite; readonly done: (answer: ClientWriteAnswer) => void }[] =
    [];
  readonly reads: { readonly request: ClientRead; readonly done: (answer: ClientReadAnswer) => void }[] = [];
  readonly scans: { readonly request: ClientScan; readonly done: (answer: ClientScanAnswer) => void }[] = [];
  readonly questions: string[] = [];
  onRead: ((request: ClientRead) => ClientReadAnswer) | null = null;

  write(request: ClientWrite, done: (answer: ClientWriteAnswer) => void): void {
    this.writes.push({ request, done });
  }
  read(request: ClientRead, done: (answer: ClientReadAnswer) => void): void {
    this.reads.push({ request, done });
    const { onRead } = this;
    if (onRead !== null) setImmediate(() => done(onRead(request)));
  }
  scan(request: ClientScan, done: (answer: ClientScanAnswer) => void): void {
    this.scans.push({ request, done });
  }
  administer(
    request: Uint8Array,
    deadlineMs: MonotonicMs,
    done: (status: number, answer: string) => void,
  ): void {
    this.questions.push(Buffer.from(request).toString());
    setImmediate(() => done(Status.OK, JSON.stringify({ deadlineMs })));
  }
}

/** One coordinator and its clients on one thread, over real channels. */
class World {
  readonly clock = new ManualClock(START_MS);
  readonly coordination = new FakeCoordination();
  readonly server: CoordinatorServer;
  readonly #doorbell = createDoorbell();
  readonly doorbells: DoorbellMemory[] = [this.#doorbell];
  readonly #closers: (() => void)[] = [];
  #clients = 0;

  constructor() {
    this.server = new CoordinatorServer(this.#doorbell, this.coordination);
    worlds.push(this);
  }
  client(slotsMax = 1024): TestClient {
    const doorbell = createDoorbell();
    this.doorbells.push(doorbell);
    const client = new RingShardClient({ shards: 1, vnodes: 16, doorbell, clock: this.clock, slotsMax });
    const ends = this.#connect(doorbell, 1 << 16);
    client.attach(ends.client);
    this.server.attach(ends.server);
    this.#closers.push(() => client.close());
    return new TestClient(client, this.clock);
  }
  slowClient(ringBytes: number): SlowClient {
    const ends = this.#connect(createDoorbell(), ringBytes);
    this.server.attach(ends.server);
    const client = new SlowClient(ends.client);
    this.#closers.push(() => client.close());
    return client;
  }
  #connect(clientDoorbell: ReturnType<typeof createDoorbell>, ringBytes: number): ShardConnection {
    const common = { shard: 0, client: this.#clients++, clientDoorbell, shardDoorbell: this.#doorbell };
    return connectShard({ ...common, memtables: null, ringBytes });
  }
  close(): void {
    for (const close of this.#closers.splice(0)) close();
    this.server.close();
  }
}
const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

const found = (value: string): ClientReadAnswer => ({
  status: Status.OK,
  record: recordOf({ key: 'key', value, version: 77, expiresMs: START_MS + 1000 }),
  message: '',
});

describe(`the coordinator of front ends, seed ${seed},`, () => {
  it('and its clients sleep while nothing comes, also where requests are in work', async () => {
    const world = new World();
    const { coordination, doorbells } = world;
    const [one, two] = [world.client(), world.client()];
    await allAsleep(doorbells);
    const calls = [one.get('a'), two.put('b', 'c')];
    await until(() => coordination.reads.length + coordination.writes.length === 2);
    await allAsleep(doorbells);
    coordination.reads[0]?.done(found('value'));
    coordination.writes[0]?.done({ status: Status.OK, version: 1, sloppy: false, message: '' });
    await answered(...calls);
    await allAsleep(doorbells);
  });

  it('takes a write with all that it says, and answers with version, stand-ins and message', async () => {
    const world = new World();
    const { coordination } = world;
    const client = world.client();
    const put = client.put('key', 'value', {
      expiresMs: 123,
      condition: Condition.VERSION,
      version: 42,
      idempotencyKey: 'once',
      fingerprintHi: 7,
      fingerprintLo: 8,
      consistency: Consistency.SERIAL,
      sloppy: Sloppy.NO,
      deadlineMs: msAfter(BEGIN_MS, 99),
    });
    const gone = client.delete('key', { sloppy: Sloppy.YES, consistency: Consistency.ALL });
    const plain = client.put('key', '');
    await until(() => coordination.writes.length === 3);
    const [one, two, three] = coordination.writes;
    expect(one?.request).toMatchObject({
      key: bytes('key'),
      value: bytes('value'),
      expiresMs: 123,
      condition: Condition.VERSION,
      version: 42,
      idempotencyKey: bytes('once'),
      fingerprintHi: 7,
      fingerprintLo: 8,
      consistency: Consistency.SERIAL,
      sloppy: false,
      deadlineMs: msAfter(BEGIN_MS, 99),
    });
    expect(two?.request).toMatchObject({ value: null, sloppy: true, consistency: Consistency.ALL });
    // Nothing said: QUORUM, and stand-ins as the level has it.
    expect(three?.request).toMatchObject({
      value: EMPTY,
      consistency: Consistency.QUORUM,
      condition: Condition.NONE,
      idempotencyKey: EMPTY,
    });
    expect(three?.request.sloppy).toBe(undefined);
    three?.done({ status: Status.UNAVAILABLE, version: 0, sloppy: false, message: '1 of 2 replicas' });
    one?.done({ status: Status.OK, version: 4711, sloppy: false, message: '' });
    two?.done({ status: Status.VERSION_MISMATCH, version: 5, sloppy: false, message: '' });
    const answers = await answered(put, gone, plain);
    expect(answers.map(({ status, version, text }) => [status, version, text])).toEqual([
      [Status.OK, 4711, ''],
      [Status.VERSION_MISMATCH, 5, ''],
      [Status.UNAVAILABLE, 0, '1 of 2 replicas'],
    ]);
  });

  it('answers reads with the value alone, its version and expiry, or that there is none, or why not', async () => {
    const world = new World();
    const client = world.client();
    const calls = ['found', 'absent', 'failed'].map((key) =>
      client.get(key, { consistency: Consistency.ONE }),
    );
    await until(() => world.coordination.reads.length === 3);
    const [one, two, three] = world.coordination.reads;
    expect(one?.request).toMatchObject({ key: bytes('found'), consistency: Consistency.ONE });
    one?.done(found('value'));
    two?.done({ status: Status.OK, record: null, message: '' });
    three?.done({ status: Status.TIMEOUT, record: null, message: 'no quorum in time' });
    const answers = await answered(...calls);
    expect(answers.map(({ status, version, expiresMs, text }) => [status, version, expiresMs, text])).toEqual(
      [
        [Status.OK, 77, START_MS + 1000, 'value'],
        [Status.NOT_FOUND, 0, 0, ''],
        [Status.TIMEOUT, 0, 0, 'no quorum in time'],
      ],
    );
  });

  it('answers scans with a page and where to go on', async () => {
    const world = new World();
    const client = world.client();
    const after = client.send(Op.SCAN, {
      key: 'a',
      value: 'pre',
      exclusive: true,
      limit: 7,
      withValues: false,
    });
    const all = client.send(Op.SCAN, { limit: 3 });
    const failed = client.send(Op.SCAN, {});
    await until(() => world.coordination.scans.length === 3);
    const [one, two, three] = world.coordination.scans;
    expect(one?.request).toMatchObject({ prefix: bytes('pre'), headOnly: true, recordsMax: 7 });
    expect(one?.request.after).toMatchObject({ keyspace: KEYSPACE_USER, key: bytes('a') });
    expect(two?.request).toMatchObject({ after: null, prefix: EMPTY, headOnly: false, recordsMax: 3 });
    const next = { tokenHi: 5, tokenLo: 6, keyspace: KEYSPACE_USER, key: bytes('b') };
    one?.done({ status: Status.OK, records: bytes('records'), next, message: '' });
    two?.done({ status: Status.OK, records: EMPTY, next: null, message: '' });
    three?.done({ status: Status.UNAVAILABLE, records: EMPTY, next: null, message: 'too few' });
    const answers = await answered(after, all, failed);
    expect(answers.map(({ status, text, done }) => [status, text, done])).toEqual([
      [Status.OK, 'records', false],
      [Status.OK, '', true],
      [Status.UNAVAILABLE, 'too few', expect.any(Boolean)],
    ]);
    expect(answers[0]?.place).toEqual([5, 6, 'b']);
  });

  it('passes questions about the cluster on as they are, and refuses what only shards do', async () => {
    const world = new World();
    const client = world.client();
    const question = client.send(Op.CLUSTER, {
      value: '{"ask":"status"}',
      deadlineMs: msAfter(BEGIN_MS, 5.25),
    });
    expect(JSON.parse((await answerOf(question)).text)).toEqual({ deadlineMs: msAfter(BEGIN_MS, 5.25) });
    expect(world.coordination.questions).toEqual(['{"ask":"status"}']);
    for (const op of [Op.FLUSH, Op.STATS, Op.SNAPSHOT, Op.PREPARE]) {
      const { status, text } = await answerOf(client.send(op));
      expect([status, text]).toEqual([Status.BAD_REQUEST, `a coordinator has no operation ${op}`]);
    }
  });

  it('keeps keys and values of requests under way, whatever passes through the ring meanwhile', async () => {
    const world = new World();
    const random = new Random(seed);
    const client = world.client();
    world.coordination.onRead = () => ({ status: Status.OK, record: null, message: '' });
    const values = Array.from({ length: 50 }, () => random.bytes(random.between(0, 500)));
    for (const [i, value] of values.entries()) client.put(`key-${i}`, value);
    // Several times the ring's size, over the places of those.
    for (let i = 0; i < 200; i++)
      await answered(...Array.from({ length: 8 }, (_, n) => client.get(`${i}-${n}`.padEnd(200, 'x'))));
    expect(world.coordination.writes.length).toBe(values.length);
    for (const [i, { request }] of world.coordination.writes.entries()) {
      expect(Buffer.from(request.key).toString()).toBe(`key-${i}`);
      expect(Buffer.from(request.value ?? EMPTY).equals(values[i] as Uint8Array)).toBe(true);
    }
  });

  it('takes no further request of a client that does not read, loses none of its replies, and serves others', async () => {
    const world = new World();
    const slow = world.slowClient(1 << 12);
    const other = world.client();
    const value = 'v'.repeat(700);
    world.coordination.onRead = () => found(value);
    const takenOfSlow = (): number =>
      world.coordination.reads.filter(({ request }) => Buffer.from(request.key).toString().startsWith('slow'))
        .length;
    let sent = 0;
    let seen = -1;
    // Until nothing more goes in and nothing more is taken.
    while (seen !== sent + takenOfSlow()) {
      seen = sent + takenOfSlow();
      while (slow.send(Op.GET, { key: `slow-${sent}` })) sent++;
      await settled(other);
      await settled(other);
    }
    const taken = takenOfSlow();
    expect(taken).toBeLessThan(sent);
    for (let i = 0; i < 20; i++) expect((await answerOf(other.get('other'))).text).toBe(value);
    expect(takenOfSlow()).toBe(taken);
    const got: [number, number, number][] = [];
    await until(() => {
      got.push(...slow.read());
      return got.length === sent;
    });
    expect(got.map(([number]) => number)).toEqual(Array.from({ length: sent }, (_, i) => i));
    expect(got.every(([, status, length]) => status === Status.OK && length === value.length)).toBe(true);
  });

  it('lets no reply overtake one that waits for room', async () => {
    const world = new World();
    const slow = world.slowClient(1 << 12);
    const { reads } = world.coordination;
    const count = 12;
    for (let i = 0; i < count; i++) expect(slow.send(Op.GET, { key: 'key' })).toBe(true);
    await until(() => reads.length === count);
    // More than fits, all but the last; then there is room, and the last comes before anything else happens.
    for (const { done } of reads.slice(0, -1)) done(found('v'.repeat(700)));
    await new Promise((resolve) => setImmediate(resolve));
    const got = slow.read();
    expect(got.length).toBeGreaterThan(0);
    expect(got.length).toBeLessThan(count - 1);
    reads.at(-1)?.done(found('last'));
    await until(() => {
      got.push(...slow.read());
      return got.length === count;
    });
    expect(got.map(([number]) => number)).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  it('takes a bounded number of requests of one client before the next has its turn', async () => {
    const world = new World();
    const clients = [world.slowClient(1 << 16), world.slowClient(1 << 16)];
    const count = 4 * limits.shardClientBatchMax;
    for (const [i, client] of clients.entries())
      for (let n = 0; n < count; n++) expect(client.send(Op.GET, { key: `${i}` })).toBe(true);
    await until(() => world.coordination.reads.length === 2 * count);
    const order = world.coordination.reads.map(({ request }) => Buffer.from(request.key).toString()).join('');
    expect(order.match(/^(0+)/)?.[1]?.length).toBe(limits.shardClientBatchMax);
    for (const run of order.match(/0+|1+/g) ?? [])
      expect(run.length).toBeLessThanOrEqual(limits.shardClientBatchMax);
  });

  it('sends nothing after it was closed, and does not mind answers that come late', async () => {
    const world = new World();
    const slow = world.slowClient(1 << 16);
    slow.send(Op.GET, { key: 'key' });
    await until(() => world.coordination.reads.length === 1);
    world.server.close();
    world.coordination.reads[0]?.done(found('late'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(slow.read()).toEqual([]);
  });

  it('has as many clients as there may be front ends, and no more', () => {
    const world = new World();
    for (let i = 0; i < limits.frontendsMax; i++) world.slowClient(1 << 12);
    expect(() => world.slowClient(1 << 12)).toThrow(/more clients than frontendsMax/);
  });
});
