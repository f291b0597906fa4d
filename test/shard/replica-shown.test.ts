import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { FLAG_TOMBSTONE, flagsAt, originAt, valueLengthAt, versionAt } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { type WriteAnswer, WriteMode } from '../../src/cluster/contract.ts';
import { keyTextOf, recordOf, viewOf } from '../cluster/records.ts';
import { newDisk } from '../engine/disk.ts';
import { testSeed } from '../seed.ts';
import { LIFE_SHAPE, prepareOf, ReplicaLife, writeOf } from './replica-life.ts';
import { newStore, prepare, START_MS, write } from './replica-store-harness.ts';

const seed = testSeed();
/** The version that is refused, and that of the record which is there. */
const VERSION = START_MS * 1000;
const NEWER = VERSION + 10;
const REFUSED = { key: 'a', version: VERSION, origin: 4, value: 'refused' };
const OTHER = { key: 'a', version: NEWER, origin: 2, value: 'other' };
type Written = Parameters<typeof write>[2];
/** What can be answered has been. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** One replica, each request of which is durable as soon as it may be. */
function newReplica(isRestart = false) {
  const { store, engine, clock } = newStore(isRestart);
  const run = async <T>(answer: Promise<T>): Promise<T> => {
    while (engine.waiting.length > 0) engine.endLookup();
    engine.commit();
    engine.sync();
    return await answer;
  };
  const fresh = (written: Written): Promise<WriteAnswer> => run(write(store, WriteMode.FRESH, written));
  return {
    store,
    engine,
    clock,
    fresh,
    merge: (written: Written) => run(write(store, WriteMode.MERGE, written)),
    fill: (written: Written) => run(write(store, WriteMode.FILL, written)),
    promise: async (version: number, origin = 1): Promise<void> =>
      expect((await run(prepare(store, 'a', version, origin))).status).toBe(Status.OK),
    /** The version of the newer record in the refusal of a fresh write; null: nothing is said of who was shown what. */
    refuse: async (written: Written = REFUSED): Promise<number | null> => newerOf(await fresh(written)),
  };
}
function newerOf(answer: WriteAnswer | undefined): number | null {
  expect(answer?.status).toBe(PeerStatus.STALE_VERSION);
  const newer = answer?.newer ?? null;
  return newer === null ? null : versionAt(viewOf(newer), 0);
}

describe('the refusal of a fresh write', () => {
  it('has the head of the newer record, and not its value', async () => {
    for (const newer of [
      OTHER,
      { ...OTHER, value: 'v'.repeat(5000) },
      { ...OTHER, value: '', tombstone: true },
    ]) {
      const { fresh } = newReplica();
      await fresh(newer);
      const answer = await fresh(REFUSED);
      expect(answer).toMatchObject({ status: PeerStatus.STALE_VERSION, beat: NEWER, barred: false });
      const head = answer.newer as Uint8Array;
      const view = viewOf(head);
      expect([keyTextOf(head), versionAt(view, 0), originAt(view, 0)]).toEqual(['a', NEWER, 2]);
      expect(valueLengthAt(view, 0)).toBe(0);
      expect((flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0).toBe('tombstone' in newer);
    }
  });

  it('has it again where the write comes again, and where the newer record came as a copy', async () => {
    const { merge, refuse } = newReplica();
    await merge(OTHER);
    for (let i = 0; i < 2; i++) expect(await refuse()).toBe(NEWER);
  });

  it.each([
    ['was taken', ['merge'], [REFUSED]],
    ['came for what every ballot has met', ['fill'], [REFUSED]],
    ['met the same record', ['fresh', 'merge'], [REFUSED, REFUSED]],
    ['was taken over something older', ['fresh', 'merge'], [{ ...OTHER, version: VERSION - 5 }, REFUSED]],
  ] as const)('has none where a copy of its version %s', async (_, ways, records) => {
    const replica = newReplica();
    for (const [i, way] of ways.entries()) await replica[way](records[i] as Written);
    await replica.fresh(OTHER);
    expect(await replica.refuse()).toBeNull();
    // For as long as such a write may take, and then the copy is forgotten.
    replica.clock.advanceMs(limits.shownVersionsKeptMs);
    expect(await replica.refuse()).toBeNull();
    replica.clock.advanceMs(limits.shownVersionsKeptMs);
    expect(await replica.refuse()).toBe(NEWER);
  });

  it(`has none where the copy lies in a table by now (seed ${seed})`, async () => {
    const random = new Random(seed);
    const life = new ReplicaLife(newDisk({ seed: random.uint32() }), LIFE_SHAPE, random);
    await life.start();
    const plain = { tombstone: false, outcomes: false };
    await life.ask([writeOf(false, { ...REFUSED, ...plain })]);
    await life.ask([writeOf(true, { ...OTHER, ...plain }), writeOf(true, { ...OTHER, ...plain, key: 'b' })]);
    await life.wait(life.engine.flush());
    const again = (key: string) => writeOf(true, { ...REFUSED, ...plain, key });
    const answers = (await life.ask([again('a'), again('b')])) as WriteAnswer[];
    expect(answers.map(newerOf)).toEqual([null, NEWER]);
    await life.wait(life.engine.close());
  });

  it('has it where the copy was not taken: something newer was there', async () => {
    const { fresh, merge, fill, refuse } = newReplica();
    await fresh(OTHER);
    for (const copy of [merge, fill]) {
      expect((await copy(REFUSED)).newer).toEqual(Uint8Array.from(recordOf(OTHER)));
      expect(await refuse()).toBe(NEWER);
    }
  });

  it('has it where copies of other versions or other keys were taken', async () => {
    const { fresh, merge, refuse } = newReplica();
    await merge({ ...REFUSED, version: VERSION - 1 });
    await merge({ ...REFUSED, key: 'b' });
    await merge({ ...REFUSED, version: VERSION + 1 });
    await fresh(OTHER);
    expect(await refuse()).toBe(NEWER);
  });

  it.each([
    ['of its version', VERSION],
    ['between it and the newer record', VERSION + 5],
    ['above the newer record', NEWER + 5],
  ])('has none where a promise was given %s, expired or not: it may have shown it', async (_, version) => {
    const { clock, fresh, promise, refuse } = newReplica();
    if (version > NEWER) {
      await fresh(OTHER);
      await promise(version);
    } else {
      await promise(version);
      await fresh(OTHER);
    }
    expect(await refuse()).toBeNull();
    clock.jumpMs(limits.promiseTtlMs + 1);
    expect(await refuse()).toBeNull();
  });

  it('has none where the promise is that of its own node at its version', async () => {
    const { fresh, promise, refuse } = newReplica();
    await promise(VERSION, REFUSED.origin);
    await fresh(OTHER);
    expect(await refuse()).toBeNull();
  });

  it('has it where the promise is below its version', async () => {
    const { fresh, promise, refuse } = newReplica();
    await promise(VERSION - 1);
    await fresh(OTHER);
    expect(await refuse()).toBe(NEWER);
  });

  it('has none, and is barred, where only a promise is in the way', async () => {
    const { fresh, promise } = newReplica();
    await fresh({ ...OTHER, version: VERSION - 1 });
    await promise(NEWER);
    const answer = await fresh(REFUSED);
    expect(answer).toMatchObject({ status: PeerStatus.STALE_VERSION, barred: true, newer: null });
  });

  it(`has none where the promise lies in a table (seed ${seed})`, async () => {
    const random = new Random(seed);
    const life = new ReplicaLife(newDisk({ seed: random.uint32() }), LIFE_SHAPE, random);
    await life.start();
    const plain = { tombstone: false, outcomes: false };
    for (const [version, expected] of [
      [VERSION - 1, NEWER],
      [VERSION, null],
      [VERSION + 5, null],
    ] as const) {
      const key = `k${version}`;
      await life.ask([prepareOf(key, version, 1)]);
      await life.wait(life.engine.flush());
      await life.ask([writeOf(true, { ...OTHER, ...plain, key })]);
      const [answer] = (await life.ask([writeOf(true, { ...REFUSED, ...plain, key })])) as WriteAnswer[];
      expect(newerOf(answer), `promise of ${version}`).toBe(expected);
    }
    await life.wait(life.engine.close());
  });

  it('has none where a record of its version by another node is held, over which a copy of it could yet be taken', async () => {
    const other = { ...OTHER, version: VERSION };
    const lower = newReplica();
    await lower.fresh({ ...other, origin: REFUSED.origin - 1 });
    expect(await lower.refuse()).toBeNull();
    // The copy is taken, indeed.
    expect(await lower.merge(REFUSED)).toMatchObject({ status: Status.OK, newer: null });
    const higher = newReplica();
    await higher.fresh({ ...other, origin: REFUSED.origin + 1 });
    expect(await higher.refuse()).toBe(VERSION);
    expect((await higher.merge(REFUSED)).newer).not.toBeNull();
  });

  it('comes only once the newer record is durable', async () => {
    const { store, engine } = newStore();
    const answers: string[] = [];
    const ask = (name: string, written: Written): void => {
      void write(store, WriteMode.FRESH, written).then(({ status }) => answers.push(`${name} ${status}`));
    };
    ask('other', OTHER);
    ask('refused', REFUSED);
    await settled();
    engine.commit();
    await settled();
    expect(answers).toEqual([]);
    engine.sync();
    await settled();
    expect(answers).toEqual([`other ${Status.OK}`, `refused ${PeerStatus.STALE_VERSION}`]);
  });

  it('is a failure where the newer record never becomes durable', async () => {
    const { store, engine } = newStore();
    const other = write(store, WriteMode.FRESH, OTHER);
    const refused = write(store, WriteMode.FRESH, REFUSED);
    engine.commit();
    store.waits.onWriteFailure(Status.DISK_FULL, new Error('no space'));
    for (const { status, newer } of [await other, await refused])
      expect([status, newer]).toEqual([Status.DISK_FULL, null]);
  });

  it('waits for nothing where it says nothing of who was shown what', async () => {
    const { store } = newStore();
    const answers: WriteAnswer[] = [];
    void write(store, WriteMode.MERGE, REFUSED);
    void write(store, WriteMode.FRESH, OTHER);
    void write(store, WriteMode.FRESH, REFUSED).then((answer) => answers.push(answer));
    await settled();
    expect(answers.map(newerOf)).toEqual([null]);
  });

  it('has none of a shard that was restarted until what it may have forgotten is of no account', async () => {
    const { clock, fresh, refuse } = newReplica(true);
    await fresh(OTHER);
    expect(await refuse()).toBeNull();
    clock.advanceMs(limits.shownVersionsKeptMs - 1);
    expect(await refuse()).toBeNull();
    clock.advanceMs(1);
    expect(await refuse()).toBe(NEWER);
  });
});
