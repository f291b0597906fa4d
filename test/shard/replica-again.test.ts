import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { FLAG_TOMBSTONE, flagsAt, originAt, valueLengthAt, versionAt } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import {
  type PrepareAnswer,
  type ReadAnswer,
  type WriteAnswer,
  WriteMode,
  type WriteModeCode,
} from '../../src/cluster/contract.ts';
import { keyTextOf, recordOf, viewOf } from '../cluster/records.ts';
import { newDisk } from '../engine/disk.ts';
import { testSeed } from '../seed.ts';
import { againOf, LIFE_SHAPE, prepareOf, ReplicaLife, writeOf } from './replica-life.ts';
import {
  GRACE_MS,
  newStore,
  prepare,
  read,
  START_MS,
  VNODES,
  write,
  writeAgain,
} from './replica-store-harness.ts';

const seed = testSeed();
/** The first version of the write, what kept it out, and the second version. */
const WAS = START_MS * 1000;
const BETWEEN = WAS + 10;
const SECOND = WAS + 20;
const AGAIN = { key: 'a', version: SECOND, origin: 4, value: 'again' };
const FIRST = { ...AGAIN, version: WAS };
const OTHER = { key: 'a', version: BETWEEN, origin: 2, value: 'other' };

/** One replica, each request of which is durable as soon as it may be. */
function newReplica(isRestart = false) {
  const { store, engine, clock } = newStore(isRestart);
  const run = async <T>(answer: Promise<T>): Promise<T> => {
    while (engine.waiting.length > 0) engine.endLookup();
    engine.commit();
    engine.sync();
    return await answer;
  };
  return {
    store,
    engine,
    clock,
    put: (mode: WriteModeCode, written: Parameters<typeof write>[2]): Promise<WriteAnswer> =>
      run(write(store, mode, written)),
    again: (was = WAS, written = AGAIN): Promise<WriteAnswer> => run(writeAgain(store, was, written)),
    promise: (version: number, origin = 1): Promise<PrepareAnswer> =>
      run(prepare(store, 'a', version, origin)),
    /** What is held: version and origin, `.` between. */
    held: async (): Promise<string> => {
      const { record }: ReadAnswer = await run(read(store, 'a'));
      if (record === null) return '';
      return `${versionAt(viewOf(record), 0)}.${originAt(viewOf(record), 0)}`;
    },
  };
}
const BARRED = { status: PeerStatus.STALE_VERSION, barred: true, newer: null };
const second = `${SECOND}.4`;

describe('a write that goes on under a second version', () => {
  it('is taken as a fresh one where nobody brought a copy of the first, once and again', async () => {
    const { put, again, held } = newReplica();
    await put(WriteMode.FRESH, OTHER);
    expect(await put(WriteMode.FRESH, FIRST)).toMatchObject({
      status: PeerStatus.STALE_VERSION,
      barred: false,
    });
    for (let i = 0; i < 2; i++) {
      expect(await again()).toEqual({ status: Status.OK, beat: 0, barred: false, newer: null, message: '' });
      expect(await held()).toBe(second);
    }
    // As a fresh one it is refused, too.
    const newest = { ...OTHER, version: SECOND + 5 };
    await put(WriteMode.FRESH, newest);
    const refused = await again();
    expect(refused).toMatchObject({
      status: PeerStatus.STALE_VERSION,
      beat: SECOND + 5,
      barred: false,
      message: '',
    });
    expect(versionAt(viewOf(refused.newer as Uint8Array), 0)).toBe(SECOND + 5);
  });

  it.each([
    ['was taken', [[WriteMode.MERGE, FIRST]]],
    ['came for what every ballot has met', [[WriteMode.FILL, FIRST]]],
    [
      'met the same record',
      [
        [WriteMode.FRESH, FIRST],
        [WriteMode.MERGE, FIRST],
      ],
    ],
    [
      'was taken, and was replaced',
      [
        [WriteMode.MERGE, FIRST],
        [WriteMode.FRESH, OTHER],
      ],
    ],
    [
      'was taken over something older',
      [
        [WriteMode.FRESH, { ...OTHER, version: WAS - 5 }],
        [WriteMode.MERGE, FIRST],
      ],
    ],
  ] as const)('is refused and barred where a copy of the first %s', async (_, before) => {
    const { engine, put, again, held } = newReplica();
    for (const [mode, written] of before) await put(mode, written);
    const [state, { appends }] = [await held(), engine];
    const answer = await again();
    expect(answer).toMatchObject({ ...BARRED, message: `version ${WAS} has been copied` });
    expect(answer.beat).toBe(Number(state.split('.')[0]));
    expect([await held(), engine.appends]).toEqual([state, appends]);
  });

  it('is refused so for as long as such a write may take, and taken once the copy is forgotten', async () => {
    const { clock, put, again } = newReplica();
    await put(WriteMode.MERGE, FIRST);
    clock.advanceMs(limits.secondVersionsKeptMs);
    expect(await again()).toMatchObject(BARRED);
    clock.advanceMs(limits.secondVersionsKeptMs);
    expect((await again()).status).toBe(Status.OK);
  });

  it('is taken where the copy of the first was not: something newer was there', async () => {
    const { put, again, held } = newReplica();
    await put(WriteMode.FRESH, OTHER);
    const copy = await put(WriteMode.MERGE, FIRST);
    expect([copy.status, copy.newer]).toEqual([Status.OK, Uint8Array.from(recordOf(OTHER))]);
    expect((await again()).status).toBe(Status.OK);
    expect(await held()).toBe(second);
    // After the second version, too, which a repeat meets.
    await put(WriteMode.MERGE, FIRST);
    expect((await again()).status).toBe(Status.OK);
  });

  it('has nothing to do with copies of other versions or other keys', async () => {
    const { put, again } = newReplica();
    await put(WriteMode.MERGE, { ...FIRST, version: WAS - 1 });
    await put(WriteMode.MERGE, { ...FIRST, key: 'b' });
    await put(WriteMode.MERGE, { ...FIRST, version: WAS + 1 });
    expect((await again()).status).toBe(Status.OK);
  });

  it('keeps a copy of the first out once it is there itself', async () => {
    const { put, again, held } = newReplica();
    await again();
    const copy = await put(WriteMode.MERGE, FIRST);
    expect(copy.newer).toEqual(Uint8Array.from(recordOf(AGAIN)));
    expect(await held()).toBe(second);
  });

  it.each([
    ['at the first version', WAS],
    ['between the two', BETWEEN],
    ['at the second version, of another node', SECOND],
    ['above the second', SECOND + 5],
  ])('is refused and barred by a promise %s: it may have shown the first', async (_, version) => {
    const { engine, clock, again, promise, held } = newReplica();
    expect((await promise(version)).status).toBe(Status.OK);
    const { appends } = engine;
    const message = `a promise of version ${version} may have shown version ${WAS}`;
    expect(await again()).toMatchObject({ ...BARRED, beat: version, message });
    // It binds nobody any more, but has been given.
    clock.jumpMs(limits.promiseTtlMs + 1);
    expect(await again()).toMatchObject({ ...BARRED, beat: version, message });
    expect([await held(), engine.appends]).toEqual(['', appends]);
  });

  it('is taken over a promise below the first version', async () => {
    const { again, promise } = newReplica();
    expect((await promise(WAS - 1)).status).toBe(Status.OK);
    expect((await again()).status).toBe(Status.OK);
  });

  it('waits for tables that may hold a promise at its first version, and for no others', async () => {
    const { store, engine } = newReplica();
    engine.pends = () => true;
    engine.tablesMax = WAS - 1;
    void writeAgain(store, WAS, { ...AGAIN, key: 'b' });
    expect(engine.waiting).toEqual([]);
    engine.tablesMax = WAS;
    const answer = writeAgain(store, WAS, AGAIN);
    expect(engine.waiting.length).toBe(1);
    while (engine.waiting.length > 0) engine.endLookup();
    engine.commit();
    engine.sync();
    expect((await answer).status).toBe(Status.OK);
  });

  it(`is refused by a promise that lies in a table (seed ${seed})`, async () => {
    const random = new Random(seed);
    const life = new ReplicaLife(newDisk({ seed: random.uint32() }), LIFE_SHAPE, random);
    await life.start();
    for (const version of [WAS, BETWEEN, SECOND + 5]) {
      const key = `k${version}`;
      await life.ask([prepareOf(key, version, 1)]);
      await life.wait(life.engine.flush());
      const [answer] = await life.ask([againOf({ ...AGAIN, key }, WAS)]);
      expect(answer).toMatchObject({ ...BARRED, beat: version });
    }
    const [taken] = await life.ask([againOf({ ...AGAIN, key: 'c' }, WAS)]);
    expect(taken?.status).toBe(Status.OK);
    await life.wait(life.engine.close());
  });

  it(`is refused after a copy of the first that lies in a table by now (seed ${seed})`, async () => {
    const random = new Random(seed);
    const life = new ReplicaLife(newDisk({ seed: random.uint32() }), LIFE_SHAPE, random);
    await life.start();
    await life.ask([writeOf(false, { ...FIRST, tombstone: false, outcomes: false })]);
    await life.wait(life.engine.flush());
    const [answer] = await life.ask([againOf(AGAIN, WAS)]);
    expect(answer).toMatchObject({ ...BARRED, beat: WAS });
    await life.wait(life.engine.close());
  });

  it('is refused for its age as a fresh one is', async () => {
    const { engine, again } = newReplica();
    for (let vnode = 0; vnode < VNODES; vnode++) engine.setPurgeBefore(vnode, START_MS * 2000);
    const oldest = (START_MS - GRACE_MS / 2) * 1000;
    const old = { ...AGAIN, version: oldest - 1 };
    expect(await again(oldest - 9, old)).toMatchObject({ status: PeerStatus.STALE_VERSION, beat: oldest });
    expect((await again(oldest - 9, { ...old, version: oldest })).status).toBe(Status.OK);
  });

  it('is refused by a shard that was restarted until what it may have forgotten is of no account', async () => {
    const { clock, put, again, held } = newReplica(true);
    await put(WriteMode.FRESH, OTHER);
    clock.advanceMs(limits.secondVersionsKeptMs - 1);
    const answer = await again();
    expect(answer).toMatchObject({ ...BARRED, beat: BETWEEN });
    expect(answer.message).toContain('the shard was restarted');
    // Others are not held up by that.
    expect((await put(WriteMode.FRESH, { ...OTHER, version: BETWEEN + 1 })).status).toBe(Status.OK);
    clock.advanceMs(1);
    expect((await again()).status).toBe(Status.OK);
    expect(await held()).toBe(second);
  });
});

describe('the answer to a write that something newer kept out', () => {
  const ways = [
    ['fresh', (of: ReturnType<typeof newReplica>) => of.put(WriteMode.FRESH, FIRST)],
    ['under a second version', (of: ReturnType<typeof newReplica>) => of.again(WAS - 9, FIRST)],
  ] as const;
  it.each(ways)('%s has the head of the newer record, and not its value', async (_, ask) => {
    for (const newer of [
      OTHER,
      { ...OTHER, value: 'v'.repeat(5000) },
      { ...OTHER, value: '', tombstone: true },
    ]) {
      const replica = newReplica();
      await replica.put(WriteMode.FRESH, newer);
      const answer = await ask(replica);
      expect(answer).toMatchObject({ status: PeerStatus.STALE_VERSION, beat: BETWEEN, barred: false });
      const head = answer.newer as Uint8Array;
      const view = viewOf(head);
      expect([keyTextOf(head), versionAt(view, 0), originAt(view, 0), valueLengthAt(view, 0)]).toEqual([
        'a',
        BETWEEN,
        2,
        0,
      ]);
      expect((flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0).toBe('tombstone' in newer);
    }
  });
  it.each(ways)('%s has the head of one of the same version, too', async (_, ask) => {
    const replica = newReplica();
    await replica.put(WriteMode.FRESH, { ...OTHER, version: WAS });
    const { newer } = await ask(replica);
    expect(versionAt(viewOf(newer as Uint8Array), 0)).toBe(WAS);
  });
  it('has none where a promise is above what came: SERIAL may yet settle the key otherwise', async () => {
    for (const [promised, origin] of [
      [WAS, 1],
      [SECOND, 1],
    ] as const) {
      const replica = newReplica();
      // Before the record that is newer, which then has the promise above it or below.
      expect((await replica.promise(promised, origin)).status).toBe(Status.OK);
      await replica.put(WriteMode.FRESH, { ...OTHER, version: SECOND + 5 });
      const answer = await replica.put(WriteMode.FRESH, FIRST);
      expect(answer).toMatchObject({ status: PeerStatus.STALE_VERSION, beat: SECOND + 5, newer: null });
    }
  });
  it('has it where the promise is below, or is that of the ballot which writes, or has expired', async () => {
    for (const [promised, origin, expires] of [
      [WAS - 1, 1, false],
      [WAS, FIRST.origin, false],
      [SECOND, 1, true],
    ] as const) {
      const replica = newReplica();
      await replica.promise(promised, origin);
      await replica.put(WriteMode.FRESH, { ...OTHER, version: SECOND + 5 });
      if (expires) replica.clock.jumpMs(limits.promiseTtlMs + 1);
      const { newer } = await replica.put(WriteMode.FRESH, FIRST);
      expect(versionAt(viewOf(newer as Uint8Array), 0)).toBe(SECOND + 5);
    }
  });
  it('has none where only a promise kept it out', async () => {
    const { put, promise } = newReplica();
    await put(WriteMode.FRESH, { ...OTHER, version: WAS - 1 });
    await promise(BETWEEN);
    expect(await put(WriteMode.FRESH, FIRST)).toMatchObject({ ...BARRED, beat: BETWEEN });
  });
});
