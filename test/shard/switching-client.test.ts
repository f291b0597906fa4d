import { afterEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { MEMTABLE_MISS } from '../../src/ipc/contract.ts';
import { createDoorbell } from '../../src/ipc/doorbell.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { Condition, Op, type OpCode } from '../../src/shard/contract.ts';
import { newShardRequest, RingShardClient } from '../../src/shard/shard-client.ts';
import { connectShard } from '../../src/shard/shard-ends.ts';
import { ShardServer } from '../../src/shard/shard-server.ts';
import { SwitchingClient } from '../../src/shard/switching-client.ts';
import { testSeed } from '../seed.ts';
import { FakeEngine } from './fake-engine.ts';
import { START_MS, until } from './harness.ts';

const seed = testSeed();
const EMPTY = new Uint8Array(0);

/** Behind each of both ways a shard with an engine of its own, so that it shows who was asked. */
class World {
  readonly clock = new ManualClock(START_MS);
  readonly client: SwitchingClient;
  readonly direct: FakeEngine;
  readonly coordinator: FakeEngine;
  readonly #servers: ShardServer[] = [];
  readonly answers = new Map<number, (status: number, text: string) => void>();
  answered = 0;

  constructor(slotsMax: number) {
    const request = newShardRequest();
    const doorbells = [createDoorbell(), createDoorbell()];
    const clients = doorbells.map(
      (doorbell) =>
        new RingShardClient({ shards: 1, vnodes: 16, doorbell, clock: this.clock, slotsMax, request }),
    );
    const engines = clients.map((client, i) => {
      const shardDoorbell = createDoorbell();
      const server = new ShardServer({
        origin: 9,
        replica: { vnodes: 16, gcGraceMs: 3_600_000, isRestart: false },
        doorbell: shardDoorbell,
        clock: this.clock,
        onEvent: () => undefined,
      });
      const engine = new FakeEngine(server, () => this.clock.nowMs());
      const memory = createMemtableSet({ slots: 2, arenaBytes: 65_536, vnodes: 16, shard: 0, shards: 1 });
      const ends = connectShard({
        shard: 0,
        client: 0,
        clientDoorbell: doorbells[i] as (typeof doorbells)[number],
        shardDoorbell,
        memtables: i === 0 ? memory : null,
      });
      client.attach(ends.client);
      server.attach(ends.server);
      server.start(engine);
      this.#servers.push(server);
      return engine;
    });
    [this.direct, this.coordinator] = engines as [FakeEngine, FakeEngine];
    this.client = new SwitchingClient(...(clients as [RingShardClient, RingShardClient]), this.clock);
    this.client.setHandler({
      onReply: (slot, { status, bytes, start, length }) => {
        const done = this.answers.get(slot);
        if (done === undefined) throw new Error(`a reply for slot ${slot}, which waits for none`);
        this.answers.delete(slot);
        this.answered++;
        done(status, Buffer.from(bytes.slice(start, start + length)).toString());
      },
    });
  }
  /** The slot, or minus a status. */
  send(op: OpCode, key: string, done: (status: number, text: string) => void = () => undefined): number {
    hashToken(Buffer.from(key));
    Object.assign(this.client.request, {
      op,
      tokenHi: token.hi,
      tokenLo: token.lo,
      key: Buffer.from(key),
      value: op === Op.PUT ? Buffer.from('v') : EMPTY,
      expiresMs: 0,
      condition: Condition.NONE,
      version: 0,
      deadlineMs: START_MS + 5000,
      idempotencyKey: EMPTY,
      shard: 0,
      limit: 10,
      exclusive: false,
    });
    const slot = this.client.submit();
    if (slot < 0) return slot;
    expect(slot).toBeLessThan(this.client.slotsMax);
    expect(this.answers.has(slot), `slot ${slot} was given twice`).toBe(false);
    this.answers.set(slot, done);
    return slot;
  }
  async close(): Promise<void> {
    this.client.close();
    for (const server of this.#servers) await server.stop();
  }
}

describe(`a client that changes over to a coordinator (seed ${seed})`, () => {
  const worlds: World[] = [];
  afterEach(async () => {
    for (const one of worlds.splice(0)) await one.close();
  });
  const newWorld = (slotsMax = 64): World => {
    const world = new World(slotsMax);
    worlds.push(world);
    return world;
  };

  it('asks the shards before and the coordinator after, and answers each request once', async () => {
    for (let round = 0; round < 5; round++) {
      const random = new Random(seed + round);
      const world = newWorld(random.pick([4, 64]));
      const puts: [number, number] = [0, 0];
      let sent = 0;
      let switched: 0 | 1 = 0;
      let drained = 0;
      for (let step = 0; step < 400; step++) {
        const op = random.pick([Op.PUT, Op.PUT, Op.GET, Op.DELETE, Op.SCAN]);
        const slot = world.send(op, `key-${step}`);
        if (slot >= 0) {
          sent++;
          expect(slot >= world.client.direct.slotsMax).toBe(switched === 1);
          if (op === Op.PUT) puts[switched]++;
        } else expect(-slot).toBe(Status.OVERLOADED);
        if (step === 200) {
          switched = 1;
          world.client.coordinate(() => {
            drained++;
            expect(world.client.direct.inFlight).toBe(0);
          });
          expect(world.client.scanSources).toBe(1);
        }
        if (random.chance(0.2)) await new Promise((done) => setImmediate(done));
      }
      await until(() => world.answered === sent);
      await until(() => drained === 1);
      const stored = (engine: FakeEngine): number => engine.stored(0);
      expect(stored(world.direct)).toBeGreaterThanOrEqual(puts[0]);
      expect(stored(world.coordinator)).toBeGreaterThanOrEqual(puts[1]);
      expect(stored(world.direct) + stored(world.coordinator)).toBeLessThanOrEqual(sent);
      for (let i = 0; i < 10; i++) await new Promise((done) => setImmediate(done));
      expect(drained).toBe(1);
    }
  });

  it('says that it is drained when the last request at the shards has its answer, and not before', async () => {
    const world = newWorld();
    world.direct.automatic = false;
    world.send(Op.PUT, 'a');
    world.send(Op.PUT, 'b');
    await until(() => world.direct.appends === 2);
    let drained = 0;
    world.client.coordinate(() => drained++);
    world.send(Op.PUT, 'c');
    await until(() => world.answered === 1);
    expect(drained).toBe(0);
    world.direct.sync(1);
    await until(() => world.answered === 2);
    for (let i = 0; i < 10; i++) await new Promise((done) => setImmediate(done));
    expect(drained).toBe(0);
    world.direct.sync();
    await until(() => drained === 1);
    expect([world.direct.stored(0), world.coordinator.stored(0)]).toEqual([2, 1]);
  });

  it('is drained at once where nothing is at the shards', () => {
    let drained = 0;
    newWorld().client.coordinate(() => drained++);
    expect(drained).toBe(1);
  });

  it('reads no memtable any more once it asks the coordinator, whose replicas may know more', () => {
    const world = newWorld();
    let looked = 0;
    world.client.direct.getLocal = () => {
      looked++;
      return MEMTABLE_MISS;
    };
    world.client.getLocal(0, 0, Buffer.from('a'), START_MS);
    expect(looked).toBe(1);
    world.client.coordinate(() => undefined);
    expect(world.client.getLocal(0, 0, Buffer.from('a'), START_MS)).toBe(MEMTABLE_MISS);
    expect(looked).toBe(1);
  });

  it('sends no request for data while it is held, whichever way it goes, and says when none is under way', async () => {
    for (const isCoordinated of [false, true]) {
      const world = newWorld();
      const behind = isCoordinated ? world.coordinator : world.direct;
      if (isCoordinated) world.client.coordinate(() => undefined);
      behind.automatic = false;
      world.send(Op.PUT, 'a');
      world.send(Op.PUT, 'b');
      await until(() => behind.appends === 2);
      let held = 0;
      world.client.hold('about to move', () => held++);
      expect(world.client.held).toBe('about to move');
      for (const op of [Op.PUT, Op.GET, Op.DELETE, Op.SCAN] as const) {
        expect(-world.send(op, 'c'), `operation ${op}`).toBe(Status.UNAVAILABLE);
        expect(world.client.refusal).toBe('about to move; nothing was done');
      }
      behind.sync(1);
      await until(() => world.answered === 1);
      for (let i = 0; i < 10; i++) await new Promise((done) => setImmediate(done));
      expect(held).toBe(0);
      behind.sync();
      await until(() => held === 1);
      expect([world.direct.stored(0), world.coordinator.stored(0)]).toEqual(isCoordinated ? [0, 2] : [2, 0]);
      world.client.release();
      behind.automatic = true;
      expect(world.send(Op.PUT, 'd')).toBeGreaterThanOrEqual(0);
      expect([world.client.held, world.client.refusal]).toEqual(['', '']);
      await until(() => world.answered === 3);
      expect(held).toBe(1);
    }
  });

  it('is held at once where only questions about the cluster are under way, and lets them pass', async () => {
    const world = newWorld();
    const answers: number[] = [];
    expect(world.send(Op.CLUSTER, 'a', (status) => answers.push(status))).toBeGreaterThanOrEqual(0);
    let held = 0;
    world.client.hold('about to move', () => held++);
    expect(held).toBe(1);
    expect(world.send(Op.CLUSTER, 'b', (status) => answers.push(status))).toBeGreaterThanOrEqual(0);
    expect(world.client.refusal).toBe('');
    await until(() => answers.length === 2);
    // Slots of questions that have ended are counted no more.
    world.client.release();
    world.client.coordinate(() => undefined);
    world.coordinator.automatic = false;
    world.send(Op.PUT, 'c');
    await until(() => world.coordinator.appends === 1);
    world.client.hold('about to move', () => held++);
    for (let i = 0; i < 10; i++) await new Promise((done) => setImmediate(done));
    expect(held).toBe(1);
    world.coordinator.sync();
    await until(() => held === 2);
  });

  it('reads no memtable while it is held', () => {
    const world = newWorld();
    world.client.direct.getLocal = () => {
      throw new Error('a read of what may be another cluster by now');
    };
    world.client.hold('about to move', () => undefined);
    expect(world.client.getLocal(0, 0, Buffer.from('a'), START_MS)).toBe(MEMTABLE_MISS);
  });

  it('refuses the coordinator more requests for data than are answered in time, and nothing else', async () => {
    const world = newWorld(1024);
    const turn = (): Promise<void> => new Promise((done) => setImmediate(done));
    world.client.coordinate(() => undefined);
    world.coordinator.automatic = false;
    for (let i = 0; i < 400; i++) expect(world.send(Op.PUT, `a-${i}`)).toBeGreaterThanOrEqual(0);
    await until(() => world.coordinator.appends === 400);
    world.clock.advanceMs(1000);
    world.coordinator.sync();
    await until(() => world.answered === 400);
    await turn();
    const { admission } = world.client;
    expect(admission.inFlight).toBe(0);
    // By limits.admittedCut of what was in flight.
    expect(admission.limit).toBeLessThanOrEqual(400);
    const taken = admission.limit;
    for (let i = 0; i < taken; i++)
      expect(world.send(i % 2 === 0 ? Op.PUT : Op.DELETE, `b-${i}`)).toBeGreaterThanOrEqual(0);
    for (const op of [Op.PUT, Op.GET, Op.DELETE] as const) {
      expect(-world.send(op, 'c'), `operation ${op}`).toBe(Status.OVERLOADED);
      expect(world.client.refusal).toContain(`${taken} requests of this front end are in flight`);
    }
    expect(admission.refused).toBe(3);
    await until(() => world.coordinator.appends === 400 + taken);
    let others = 0;
    for (const op of [Op.SCAN, Op.CLUSTER, Op.STATS] as const) {
      expect(
        world.send(op, 'd', () => others++),
        `operation ${op}`,
      ).toBeGreaterThanOrEqual(0);
      expect(world.client.refusal).toBe('');
    }
    await until(() => others === 3);
    expect(admission.inFlight).toBe(taken);
    world.coordinator.sync();
    await until(() => world.answered === 403 + taken);
    expect([admission.inFlight, admission.bytes]).toEqual([0, 0]);
    expect(world.send(Op.PUT, 'e')).toBeGreaterThanOrEqual(0);
    world.coordinator.sync();
  });

  it('admits without a limit of time what goes to the shards', () => {
    const world = newWorld(1024);
    for (let i = 0; i < 400; i++) expect(world.send(Op.PUT, `a-${i}`)).toBeGreaterThanOrEqual(0);
    expect(world.client.admission.inFlight).toBe(0);
  });

  it('asks the shards for their administration at all times', async () => {
    const world = newWorld();
    world.client.coordinate(() => undefined);
    let status = -1;
    const slot = world.send(Op.STATS, 'a', (one) => {
      status = one;
    });
    expect(slot).toBeLessThan(world.client.direct.slotsMax);
    await until(() => status >= 0);
    expect(status).toBe(Status.OK);
  });
});
