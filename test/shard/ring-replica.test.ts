import { afterEach, describe, expect, it } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import {
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  recordBytesAt,
  valueLengthAt,
  versionAt,
} from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import type { PageAnswer, ReplicaPage, WriteAnswer, WriteModeCode } from '../../src/cluster/contract.ts';
import { WriteMode } from '../../src/cluster/contract.ts';
import { RingReplica } from '../../src/shard/ring-replica.ts';
import { FAR_MS } from '../base/clocks.ts';
import { ManualTimers } from '../cluster/manual-timers.ts';
import { keyTextOf, recordOf, viewOf } from '../cluster/records.ts';
import { testSeed } from '../seed.ts';
import { Harness, type HarnessOptions, until } from './harness.ts';

const seed = testSeed();
const VNODES = 16;
const TIMEOUT_MS = 5000;
const EMPTY = new Uint8Array(0);

const KINDS = ['write', 'write', 'prepare', 'read', 'page', 'tree', 'treeNodes'] as const;
type Kind = (typeof KINDS)[number];

interface Call {
  readonly kind: string;
  readonly key: string;
  readonly keyspace: number;
  answers: number;
  status: number;
  message: string;
}

class World {
  readonly harness: Harness;
  readonly replica: RingReplica;
  readonly calls: Call[] = [];

  constructor(options: HarnessOptions) {
    this.harness = new Harness(options);
    const { client } = this.harness.client;
    const hints = {
      add: () => undefined,
      targets: () => new Map(),
      next: () => undefined,
      postpone: () => undefined,
      discard: () => undefined,
      expire: () => [],
    };
    this.replica = new RingReplica(client, hints, this.harness.clock, new ManualTimers());
    this.replica.attached(0);
  }
  get inFlight(): number {
    return this.calls.filter(({ answers }) => answers === 0).length;
  }

  ask(random: Random, number: number, kind: Kind = random.pick(KINDS)): void {
    const key = `key-${number}`;
    const keyspace = kind === 'prepare' ? KEYSPACE_PROMISES : KEYSPACE_USER;
    const call: Call = { kind, key, keyspace, answers: 0, status: -1, message: '' };
    this.calls.push(call);
    const done = ({ status, message }: { readonly status: number; readonly message: string }): void => {
      call.answers++;
      call.status = status;
      call.message = message;
    };
    hashToken(Buffer.from(key));
    const deadlineMs = deadlineIn(this.harness.clock, TIMEOUT_MS);
    const place = { tokenHi: token.hi, tokenLo: token.lo, key: Buffer.from(key), deadlineMs };
    const session = random.below(4);
    if (kind === 'write') {
      const record = recordOf({ key, version: 100 + number, value: 'v'.repeat(random.below(2000)) });
      const mode = random.pick([WriteMode.FRESH, WriteMode.MERGE]);
      this.replica.write({ record, also: null, mode, deadlineMs }, done);
    } else if (kind === 'prepare')
      this.replica.prepare({ ...place, ballot: { version: 100 + number, origin: 1 } }, done);
    else if (kind === 'read')
      this.replica.read({ ...place, keyspace: KEYSPACE_USER, headOnly: random.chance(0.5) }, done);
    else if (kind === 'page') this.replica.page({ ...allOf(20, 1e5), deadlineMs }, done);
    else if (kind === 'tree') {
      const vnodes = [random.below(VNODES), random.below(VNODES)];
      this.replica.tree({ session, vnodes, ignoreDeadBeforeMs: 0, deadlineMs }, done);
    } else this.replica.treeNodes({ session, vnode: random.below(VNODES), level: 1, indexes: [0, 15] }, done);
    if (random.chance(0.1)) this.replica.endTree(session);
  }
  /** The shard's thread dies and another takes its place. */
  restart(): void {
    const { harness } = this;
    harness.client.client.detach(0);
    // Nobody listens to what the dead one waited for.
    harness.engine.waiting.length = 0;
    harness.restart();
    this.replica.attached(0);
  }
  holds({ keyspace, key }: Call): boolean {
    hashToken(Buffer.from(key));
    return this.harness.engine.lookupMemory(keyspace, token.hi, token.lo, Buffer.from(key));
  }
  async close(): Promise<void> {
    this.replica.close();
    await this.harness.close();
  }
}

const allOf = (recordsMax: number, bytesMax: number): ReplicaPage => ({
  firstHi: 0,
  firstLo: 0,
  lastHi: 0xffff_ffff,
  lastLo: 0xffff_ffff,
  after: null,
  userOnly: false,
  prefix: EMPTY,
  headOnly: false,
  recordsMax,
  bytesMax,
  deadlineMs: FAR_MS,
});
const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

describe(`a replica behind rings (seed ${seed})`, () => {
  const worlds: World[] = [];
  afterEach(async () => {
    for (const one of worlds.splice(0)) await one.close();
  });
  const newWorld = (options: HarnessOptions): World => {
    const world = new World(options);
    worlds.push(world);
    return world;
  };

  it('answers every call once and says what is unknown, over full rings, deadlines and restarts of the shard', async () => {
    const statuses = new Map<string, number>();
    for (let round = 0; round < 12; round++) {
      const random = new Random(seed + round);
      const world = newWorld({
        ringBytes: random.pick([1 << 14, 1 << 16]),
        slotsMax: random.pick([8, 64, 512]),
        heldMax: random.pick([4, 64]),
      });
      const { engine, clock, client } = world.harness;
      engine.pends = () => random.chance(0.3);
      engine.automatic = false;
      for (let step = 0, number = 0; step < 150; step++) {
        const what = random.below(20);
        if (what < 10) for (let i = random.below(12); i >= 0; i--) world.ask(random, number++);
        else if (what < 13) await turn();
        else if (what < 16 && engine.waiting.length > 0)
          engine.endLookup(random.below(engine.waiting.length));
        else if (what < 18) engine.sync();
        else if (what === 18 && random.chance(0.3)) world.restart();
        else if (random.chance(0.2)) {
          clock.advanceMs(TIMEOUT_MS / 2);
          client.client.expire();
        }
      }
      engine.automatic = true;
      clock.advanceMs(TIMEOUT_MS + 1);
      client.client.expire();
      await turn();
      clock.advanceMs(100_000);
      client.client.expire();
      await until(() => world.inFlight === 0, 'every call to be answered');
      // What comes late changes nothing.
      while (engine.waiting.length > 0) engine.endLookup();
      engine.sync();
      for (let i = 0; i < 5; i++) await turn();
      for (const call of world.calls) {
        const { kind, key, answers, status, message } = call;
        const label = `round ${round}: ${kind} ${key}: ${status} ${message}`;
        expect(answers, label).toBe(1);
        statuses.set(`${kind} ${status}`, (statuses.get(`${kind} ${status}`) ?? 0) + 1);
        if (kind !== 'write' && kind !== 'prepare') continue;
        if (status === Status.OK) expect(world.holds(call), label).toBe(true);
        else if (status === Status.OVERLOADED || status === Status.SHARD_DOWN) {
          expect(message, label).toContain('nothing was');
          expect(world.holds(call), label).toBe(false);
        } else if (status === Status.UNAVAILABLE) expect(message, label).toContain('outcome unknown');
        else expect([Status.TIMEOUT, PeerStatus.STALE_VERSION], label).toContain(status);
      }
    }
    for (const wanted of [Status.OK, Status.OVERLOADED, Status.UNAVAILABLE, Status.TIMEOUT])
      expect(statuses.get(`write ${wanted}`) ?? 0, `writes with status ${wanted}`).toBeGreaterThan(0);
    expect(statuses.get(`read ${Status.SHARD_DOWN}`) ?? 0).toBeGreaterThan(0);
  });

  it('says of a promise in flight when the shard dies that nobody knows whether it was given', async () => {
    const world = newWorld({});
    world.harness.engine.automatic = false;
    world.ask(new Random(seed), 1, 'prepare');
    await until(() => world.harness.engine.appends === 1);
    world.harness.client.client.detach(0);
    expect(world.calls[0]).toMatchObject({ answers: 1, status: Status.UNAVAILABLE });
    expect(world.calls[0]?.message).toContain('outcome unknown');
  });

  it('says through the rings whether nobody was shown a version that it refuses, and after a restart of none for a while', async () => {
    const world = newWorld({});
    const { clock } = world.harness;
    const version = clock.nowMs() * 1000;
    const write = (key: string, at: number, mode: WriteModeCode = WriteMode.FRESH): Promise<WriteAnswer> => {
      const record = recordOf({ key, version: at, value: `v${at}` });
      return new Promise((done) =>
        world.replica.write({ record, also: null, mode, deadlineMs: FAR_MS }, done),
      );
    };
    const newerOf = ({ newer }: WriteAnswer): readonly number[] | null =>
      newer === null ? null : [versionAt(viewOf(newer), 0), valueLengthAt(viewOf(newer), 0)];
    const refused = { status: PeerStatus.STALE_VERSION, beat: version + 30, barred: false, message: '' };
    await write('copied', version, WriteMode.MERGE);
    for (const key of ['copied', 'hidden']) await write(key, version + 30);
    expect(await write('copied', version)).toEqual({ ...refused, newer: null });
    const hidden = await write('hidden', version);
    expect(hidden).toMatchObject(refused);
    expect(newerOf(hidden)).toEqual([version + 30, 0]);
    world.restart();
    await write('hidden', version + 30);
    expect(await write('hidden', version)).toEqual({ ...refused, newer: null });
    clock.advanceMs(limits.shownVersionsKeptMs - 1);
    expect(await write('hidden', version)).toEqual({ ...refused, newer: null });
    clock.advanceMs(1);
    expect(newerOf(await write('hidden', version))).toEqual([version + 30, 0]);
  });

  it('is refused at once by a shard that holds as many requests as it may', async () => {
    const world = newWorld({ heldMax: 2 });
    world.harness.engine.automatic = false;
    for (let number = 0; number < 5; number++) world.ask(new Random(seed), number, 'prepare');
    await until(() => world.inFlight === 2);
    const refused = world.calls.filter(({ answers }) => answers === 1);
    expect(refused.map(({ status }) => status)).toEqual(new Array(3).fill(Status.OVERLOADED));
    for (const call of refused) expect(world.holds(call)).toBe(false);
    world.harness.engine.sync();
    await until(() => world.inFlight === 0);
  });

  it('answers at once while there is no shard', async () => {
    const world = newWorld({});
    world.harness.client.client.detach(0);
    const random = new Random(seed);
    for (let number = 0; number < 50; number++) world.ask(random, number);
    await Promise.resolve();
    expect(world.calls.map(({ answers, status }) => [answers, status])).toEqual(
      world.calls.map(() => [1, Status.SHARD_DOWN]),
    );
  });

  it('goes on after a page that looked at much and had nothing to show', async () => {
    const world = newWorld({});
    const { engine } = world.harness;
    hashToken(Buffer.from('wanted'));
    const wanted = { ...token };
    // In the same vnode and before it.
    const others = Array.from({ length: 1000 }, (_, i) => `other-${i}`).filter((key) => {
      hashToken(Buffer.from(key));
      return token.hi >>> 28 === wanted.hi >>> 28 && token.hi < wanted.hi;
    });
    expect(others.length).toBeGreaterThan(0);
    for (const key of [...others, 'wanted']) {
      hashToken(Buffer.from(key));
      const { hi, lo } = token;
      const fields = { tokenHi: hi, tokenLo: lo, keyspace: 0, key: Buffer.from(key), flags: 0, expiresMs: 0 };
      engine.append({ ...fields, value: EMPTY, version: 1, origin: 1 }, null);
    }
    engine.commit();
    await until(() => engine.durableSeq === engine.lastSeq);
    // As where so many others lie between that the engine ends the page.
    const whole = engine.rawPage.bind(engine);
    engine.rawPage = (request, visit) => whole({ ...request, recordsMax: 1 }, visit);
    const found: string[] = [];
    let after: ReplicaPage['after'] = null;
    do {
      const page = { ...allOf(10, 1000), after, prefix: Buffer.from('wanted') };
      const answer = await new Promise<PageAnswer>((done) => world.replica.page(page, done));
      if (answer.records.length > 0) found.push(keyTextOf(answer.records));
      after = answer.next;
    } while (after !== null);
    expect(found).toEqual(['wanted']);
  });

  it('pages through all vnodes, each record once and in order, whatever the bounds of a page', async () => {
    const random = new Random(seed);
    const world = newWorld({});
    const keys = Array.from({ length: 300 }, (_, i) => `key-${i}`);
    const { engine } = world.harness;
    for (const key of keys) {
      hashToken(Buffer.from(key));
      const { hi, lo } = token;
      const fields = { tokenHi: hi, tokenLo: lo, keyspace: 0, key: Buffer.from(key), flags: 0, expiresMs: 0 };
      engine.append({ ...fields, value: Buffer.alloc(random.below(300)), version: 1, origin: 1 }, null);
      if (random.chance(0.2))
        engine.append({ ...fields, keyspace: 3, value: EMPTY, version: 1, origin: 1 }, null);
    }
    engine.commit();
    await until(() => engine.durableSeq === engine.lastSeq);
    const total = engine.stored(0) + engine.stored(3);
    for (let round = 0; round < 20; round++) {
      const found: string[] = [];
      const userOnly = random.chance(0.5);
      const prefix = random.chance(0.3) ? Buffer.from('key-1') : EMPTY;
      let after: ReplicaPage['after'] = null;
      let pages = 0;
      do {
        const page = {
          ...allOf(random.between(1, 50), random.between(1, 5000)),
          after,
          userOnly,
          prefix,
          headOnly: random.chance(0.5),
        };
        const answer = await new Promise<PageAnswer>((done) => world.replica.page(page, done));
        expect(answer.status).toBe(Status.OK);
        const view = viewOf(answer.records);
        let count = 0;
        for (let at = 0; at < answer.records.length; at += recordBytesAt(view, at), count++)
          found.push(
            `${view.getUint8(at + 7)} ${keyTextOf(answer.records.subarray(at, at + recordBytesAt(view, at)))}`,
          );
        expect(count).toBeLessThanOrEqual(page.recordsMax);
        // One record may go beyond the bound: else a page could be empty for ever.
        expect(answer.records.length).toBeLessThan(page.bytesMax + 400);
        after = answer.next;
        expect(++pages).toBeLessThan(2000);
      } while (after !== null);
      expect(new Set(found).size).toBe(found.length);
      const wanted = keys.filter((key) => key.startsWith(prefix.toString()));
      expect(found.filter((one) => one.startsWith('0 ')).sort()).toEqual(
        wanted.map((key) => `0 ${key}`).sort(),
      );
      if (!userOnly && prefix.length === 0) expect(found.length).toBe(total);
      if (userOnly) expect(found.some((one) => one.startsWith('3 '))).toBe(false);
      const tokens = found.map((one) => {
        hashToken(Buffer.from(one.slice(2)));
        return BigInt(token.hi) * 2n ** 32n + BigInt(token.lo);
      });
      expect(tokens.every((one, i) => i === 0 || one >= (tokens[i - 1] as bigint))).toBe(true);
    }
  });
});
