import { describe, expect, it } from 'vitest';
import { MANUAL_MONOTONIC_MS, ManualClock } from '../../src/base/clock.ts';
import { ClosedError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import {
  type PrepareAnswer,
  type ReadAnswer,
  type WriteAnswer,
  WriteMode,
} from '../../src/cluster/contract.ts';
import { monotonic } from '../base/clocks.ts';
import { MemoryReplica } from '../cluster/memory-replica.ts';
import { recordOf } from '../cluster/records.ts';
import { testSeed } from '../seed.ts';

import {
  type Asked,
  DEADLINE_MS,
  GRACE_MS,
  newStore,
  prepare,
  read,
  START_MS,
  VNODES,
  write,
  writeAtOnce,
} from './replica-store-harness.ts';

const seed = testSeed();

describe(`the rule of a replica (seed ${seed})`, () => {
  it('gives the answers of the reference, whatever comes and whichever lookups wait', async () => {
    let takenAtOnce = 0;
    const refused = { hidden: 0, shown: 0 };
    for (let round = 0; round < 150; round++) {
      const random = new Random(seed + round);
      const { store, engine } = newStore();
      const reference = new MemoryReplica({
        clock: new ManualClock(START_MS),
        vnodes: VNODES,
        gcGraceMs: GRACE_MS,
      });
      engine.pends = () => random.chance(0.3);
      // Copies of the last hours are remembered one by one.
      const base = round % 2 === 0 ? START_MS * 1000 : 0;
      const horizon = random.pick([0, 0, 4, 8]);
      for (let vnode = 0; vnode < VNODES; vnode++) {
        engine.setPurgeBefore(vnode, horizon);
        reference.raiseHorizon(vnode, horizon / 1000);
      }
      for (let step = 0; step < 60; step++) {
        const key = random.pick(['a', 'b']);
        const version = base + random.between(1, 12);
        const origin = random.between(1, 3);
        const written = {
          key,
          version,
          origin,
          value: random.pick(['x', 'yy', '']),
          tombstone: random.chance(0.2),
        };
        const one = { ...written, value: written.tombstone ? '' : written.value };
        const mode = random.pick([WriteMode.FRESH, WriteMode.FRESH, WriteMode.MERGE, WriteMode.FILL]);
        const kind = random.below(4);
        const ask = (to: Asked): Promise<WriteAnswer | PrepareAnswer | ReadAnswer> =>
          kind === 0 ? prepare(to, key, version, origin) : kind === 1 ? read(to, key) : write(to, mode, one);
        const atOnce = kind > 1 && mode === WriteMode.FRESH && random.chance(0.5);
        const ours = atOnce
          ? writeAtOnce(store, one, () => {
              takenAtOnce++;
            })
          : ask(store);
        while (engine.waiting.length > 0) engine.endLookup();
        engine.commit();
        engine.sync();
        const label = `round ${round}, step ${step}: ${kind} ${mode} ${JSON.stringify(one)}`;
        const answer = await ours;
        expect({ ...answer, message: '' }, label).toEqual({ ...(await ask(reference)), message: '' });
        if (answer.status === PeerStatus.STALE_VERSION && 'newer' in answer)
          if (answer.newer === null) refused.shown++;
          else refused.hidden++;
      }
    }
    // Some 130, within 10 of it mostly.
    expect(takenAtOnce).toBeGreaterThan(50);
    expect(Math.min(refused.hidden, refused.shown)).toBeGreaterThan(100);
  });

  it('answers nothing before it is durable, and says so where it never will be', async () => {
    const { store, engine } = newStore();
    const answers: string[] = [];
    const note = (name: string) => (answer: { readonly status: number }) =>
      answers.push(`${name} ${answer.status}`);
    void write(store, WriteMode.FRESH, { key: 'a', version: 5, value: 'v' }).then(note('write'));
    void read(store, 'a').then(note('read'));
    void prepare(store, 'b', 7, 1).then(note('promise'));
    await new Promise((done) => setImmediate(done));
    expect(answers).toEqual([]);
    engine.commit();
    engine.failSync(Status.UNAVAILABLE, new Error('the disk failed'));
    await new Promise((done) => setImmediate(done));
    expect(answers.sort()).toEqual([
      `promise ${Status.UNAVAILABLE}`,
      `read ${Status.UNAVAILABLE}`,
      `write ${Status.UNAVAILABLE}`,
    ]);
  });

  it('answers what rests on another request no sooner than that is durable', async () => {
    const { store, engine } = newStore();
    const answers: string[] = [];
    const note = (name: string) => (answer: { readonly status: number }) =>
      answers.push(`${name} ${answer.status}`);
    const written = { key: 'a', version: 5, value: 'v' };
    void write(store, WriteMode.FRESH, written).then(note('write'));
    void write(store, WriteMode.FRESH, written).then(note('the same again'));
    void write(store, WriteMode.MERGE, written).then(note('a copy'));
    void write(store, WriteMode.MERGE, { ...written, version: 4 }).then(note('an older copy'));
    void prepare(store, 'b', 7, 1).then(note('promise'));
    void prepare(store, 'b', 7, 1).then(note('the same promise again'));
    await new Promise((done) => setImmediate(done));
    expect(answers).toEqual([]);
    expect(engine.appends).toBe(2);
    engine.commit();
    engine.sync();
    await new Promise((done) => setImmediate(done));
    expect(answers.map((line) => line.endsWith(` ${Status.OK}`))).toEqual(new Array(6).fill(true));
  });

  it('takes no older promise behind one that has expired, and tells what to beat', async () => {
    const { store, engine, clock } = newStore();
    const ballot = (version: number): Promise<PrepareAnswer> => {
      const answer = prepare(store, 'a', version, 1);
      engine.commit();
      engine.sync();
      return answer;
    };
    expect((await ballot(9)).status).toBe(Status.OK);
    clock.advanceMs(limits.promiseTtlMs + 1);
    expect(await ballot(8)).toMatchObject({ status: PeerStatus.STALE_VERSION, beat: 9 });
    expect(await ballot(9)).toMatchObject({ status: PeerStatus.STALE_VERSION, beat: 9 });
    expect((await ballot(10)).status).toBe(Status.OK);
  });

  it('lets no write pass another of its key that waits for a file', async () => {
    const { store, engine } = newStore();
    let pending = true;
    engine.pends = () => pending;
    const first = write(store, WriteMode.MERGE, { key: 'a', version: 9, value: 'new' });
    pending = false;
    const second = write(store, WriteMode.MERGE, { key: 'a', version: 5, value: 'old' });
    while (engine.waiting.length > 0) engine.endLookup();
    engine.commit();
    engine.sync();
    expect((await first).status).toBe(Status.OK);
    expect((await second).newer).toEqual(recordOf({ key: 'a', version: 9, value: 'new' }));
  });

  it('takes no write at once while another of its key waits for a file, after its deadline, where a table may hold more, or what is no record', () => {
    const { store, engine } = newStore();
    let pending = true;
    engine.pends = () => pending;
    void write(store, WriteMode.MERGE, { key: 'a', version: 5, value: 'first' });
    pending = false;
    const record = recordOf({ key: 'a', version: 9, value: 'second' });
    expect(store.takeFresh(record, DEADLINE_MS)).toBe(0);
    while (engine.waiting.length > 0) engine.endLookup();
    expect(store.takeFresh(record, monotonic(MANUAL_MONOTONIC_MS))).toBe(0);
    expect(store.takeFresh(record.slice(0, 40), DEADLINE_MS)).toBe(0);
    engine.tablesMax = 9;
    expect(store.takeFresh(record, DEADLINE_MS)).toBe(0);
    expect(engine.appends).toBe(1);
    engine.tablesMax = 8;
    expect(store.takeFresh(record, DEADLINE_MS)).toBeGreaterThan(0);
    expect(engine.appends).toBe(2);
  });

  it('answers a deleted record that comes back with the tombstone of its version, and counts it', async () => {
    const { store, engine } = newStore();
    for (let vnode = 0; vnode < VNODES; vnode++) engine.setPurgeBefore(vnode, 100);
    const old = write(store, WriteMode.MERGE, { key: 'a', version: 50, value: 'gone' });
    engine.commit();
    engine.sync();
    const tombstone = recordOf({ key: 'a', version: 50, tombstone: true });
    expect((await old).newer).toEqual(Uint8Array.from(tombstone));
    expect(store.resurrections).toBe(1);
    const young = write(store, WriteMode.MERGE, { key: 'b', version: 150, value: 'new' });
    engine.commit();
    engine.sync();
    expect(await young).toMatchObject({ status: Status.OK, newer: null });
  });

  it('buries no record that is younger than gc_grace, however high the horizon is: a clock may have been wrong', async () => {
    const { store, engine } = newStore();
    for (let vnode = 0; vnode < VNODES; vnode++) engine.setPurgeBefore(vnode, (START_MS + GRACE_MS) * 1000);
    const cutoff = (START_MS - GRACE_MS) * 1000;
    const merge = async (key: string, version: number): Promise<Uint8Array | null> => {
      const answer = write(store, WriteMode.MERGE, { key, version, value: 'v' });
      engine.commit();
      engine.sync();
      return (await answer).newer;
    };
    expect(await merge('a', cutoff)).toBeNull();
    expect(await merge('b', cutoff - 1)).toEqual(
      recordOf({ key: 'b', version: cutoff - 1, tombstone: true }),
    );
  });

  it('takes no new write from far behind the horizon, where a replica that missed it would bury it', async () => {
    const { store, engine } = newStore();
    const horizon = (START_MS - GRACE_MS) * 1000;
    for (let vnode = 0; vnode < VNODES; vnode++) engine.setPurgeBefore(vnode, horizon);
    const answerOf = async <T>(answer: Promise<T>): Promise<T> => {
      engine.commit();
      engine.sync();
      return await answer;
    };
    const fresh = (version: number): Promise<WriteAnswer> =>
      answerOf(write(store, WriteMode.FRESH, { key: `k${version}`, version, value: 'v' }));
    expect(await fresh(horizon - 1)).toMatchObject({ status: PeerStatus.STALE_VERSION, beat: horizon });
    expect((await fresh(horizon)).status).toBe(Status.OK);
    const ballot = (version: number): Promise<PrepareAnswer> =>
      answerOf(prepare(store, `b${version}`, version, 1));
    expect(await ballot(horizon - 1)).toMatchObject({ status: PeerStatus.STALE_VERSION, beat: horizon });
    expect((await ballot(horizon)).status).toBe(Status.OK);
    // A horizon that a clock from the future gave asks no more of a write than half of gc_grace.
    const half = (START_MS - GRACE_MS / 2) * 1000;
    for (let vnode = 0; vnode < VNODES; vnode++) engine.setPurgeBefore(vnode, START_MS * 2000);
    expect((await fresh(half - 1)).beat).toBe(half);
    expect((await fresh(half)).status).toBe(Status.OK);
    // A node without other replicas has none of this.
    for (let vnode = 0; vnode < VNODES; vnode++) engine.setPurgeBefore(vnode, Number.POSITIVE_INFINITY);
    expect((await fresh(1)).status).toBe(Status.OK);
  });

  it('refuses what is no record, or has another token than its key', async () => {
    const { store } = newStore();
    const record = recordOf({ key: 'a', version: 5, value: 'v' });
    new DataView(record.buffer).setUint32(8, 1, true);
    for (const bad of [record, new Uint8Array(7), recordOf({ key: 'a', version: 5 }).slice(0, 40)]) {
      const answer = await new Promise<WriteAnswer>((resolve) => {
        store.write({ record: bad, also: null, mode: WriteMode.FRESH, deadlineMs: DEADLINE_MS }, resolve);
      });
      expect(answer.status).toBe(Status.BAD_REQUEST);
    }
    expect(PeerStatus.STALE_VERSION).toBeGreaterThan(Status.SHARD_DOWN);
  });

  it('answers what waited for a file while the engine was closed', async () => {
    const { store, engine } = newStore();
    engine.tablesMax = 100;
    engine.pends = () => true;
    const waiting = [WriteMode.FRESH, WriteMode.MERGE].map((mode, i) =>
      write(store, mode, { key: 'a', version: 50 + i, value: 'x' }),
    );
    // Behind them; the memtables alone decide on it.
    engine.tablesMax = 0;
    waiting.push(write(store, WriteMode.FRESH, { key: 'a', version: 60, value: 'x' }));
    engine.error = new ClosedError('the shard is closed');
    while (engine.waiting.length > 0) engine.endLookup();
    for (const { status, message } of await Promise.all(waiting)) {
      expect(status).toBe(Status.SHARD_DOWN);
      expect(message).toContain('the shard is closed');
    }
  });
});
