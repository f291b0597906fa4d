import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { Random, systemSeed } from '../../src/base/random.ts';
import { KEYSPACE_OUTCOMES, KEYSPACE_USER, valueAt } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import {
  type PrepareAnswer,
  type ReadAnswer,
  type WriteAnswer,
  WriteMode,
  type WriteModeCode,
} from '../../src/cluster/contract.ts';
import { ReplicaStore } from '../../src/shard/replica-store.ts';
import { MemoryReplica } from '../cluster/memory-replica.ts';
import { recordOf, viewOf, type Written } from '../cluster/records.ts';
import { FakeEngine } from './fake-engine.ts';

const START_MS = 1_700_000_000_000;
const DEADLINE_MS = START_MS + 3_600_000;
const VNODES = 4;
const FIRST_TICKET = 1000;
const seed = systemSeed();

type Asked = Pick<ReplicaStore, 'write' | 'read' | 'prepare'>;

/** The store over an engine whose syncs come when they are told to. */
function newStore(): { readonly store: ReplicaStore; readonly engine: FakeEngine } {
  const clock = new ManualClock(START_MS);
  const engine = new FakeEngine(
    {
      onDurable: (seq) => store.waits.onDurable(seq),
      onWriteFailure: (status, error) => store.waits.onWriteFailure(status, error),
      onLookup: (ticket, outcome, error) => store.waits.onLookup(ticket, outcome, error),
      onEvent: () => undefined,
    },
    () => clock.nowMs(),
  );
  engine.automatic = false;
  const appended = (): void => undefined;
  const store: ReplicaStore = new ReplicaStore({
    engine,
    clock,
    vnodes: VNODES,
    appended,
    firstTicket: FIRST_TICKET,
  });
  return { store, engine };
}

const write = (to: Asked, mode: WriteModeCode, written: Written): Promise<WriteAnswer> =>
  new Promise((resolve) => {
    to.write({ record: recordOf(written), also: null, mode, deadlineMs: DEADLINE_MS }, resolve);
  });
/** The way of a fresh write that the shard's thread takes first; by `write` where that gives it up. */
const writeAtOnce = (store: ReplicaStore, written: Written, onTaken: () => void): Promise<WriteAnswer> => {
  const seq = store.takeFresh(recordOf(written), DEADLINE_MS);
  if (seq === 0) return write(store, WriteMode.FRESH, written);
  onTaken();
  const answer = { beat: 0, barred: false, newer: null, message: '' };
  return new Promise((resolve) =>
    store.waits.whenDurable(
      seq,
      () => resolve({ status: Status.OK, ...answer }),
      (status) => resolve({ status, ...answer }),
    ),
  );
};
function placeOf(key: string): { tokenHi: number; tokenLo: number; key: Uint8Array; deadlineMs: number } {
  hashToken(Buffer.from(key));
  return { tokenHi: token.hi, tokenLo: token.lo, key: Buffer.from(key), deadlineMs: DEADLINE_MS };
}
const prepare = (to: Asked, key: string, version: number, origin: number): Promise<PrepareAnswer> =>
  new Promise((resolve) => to.prepare({ ...placeOf(key), ballot: { version, origin } }, resolve));
const read = (to: Asked, key: string): Promise<ReadAnswer> =>
  new Promise((resolve) => to.read({ ...placeOf(key), keyspace: KEYSPACE_USER, headOnly: false }, resolve));

describe(`the rule of a replica (seed ${seed})`, () => {
  it('gives the answers of the reference, whatever comes and whichever lookups wait', async () => {
    let takenAtOnce = 0;
    for (let round = 0; round < 150; round++) {
      const random = new Random(seed + round);
      const { store, engine } = newStore();
      const reference = new MemoryReplica({
        clock: new ManualClock(START_MS),
        vnodes: VNODES,
        gcGraceMs: 3_600_000,
      });
      engine.pends = () => random.chance(0.3);
      for (let step = 0; step < 60; step++) {
        const key = random.pick(['a', 'b']);
        const version = random.between(1, 12);
        const origin = random.between(1, 3);
        const written = {
          key,
          version,
          origin,
          value: random.pick(['x', 'yy', '']),
          tombstone: random.chance(0.2),
        };
        const one = { ...written, value: written.tombstone ? '' : written.value };
        const mode = random.pick([WriteMode.FRESH, WriteMode.MERGE]);
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
        expect({ ...(await ours), message: '' }, label).toEqual({ ...(await ask(reference)), message: '' });
      }
    }
    expect(takenAtOnce).toBeGreaterThan(100);
  });

  it('keeps newer outcomes than those that come with a newer record', async () => {
    const { store, engine } = newStore();
    const merge = async (record: Uint8Array, also: Uint8Array | null): Promise<number> => {
      const answer = new Promise<WriteAnswer>((resolve) =>
        store.write({ record, also, mode: WriteMode.MERGE, deadlineMs: DEADLINE_MS }, resolve),
      );
      engine.commit();
      engine.sync();
      return (await answer).status;
    };
    const outcomes = (version: number): Uint8Array =>
      recordOf({ key: 'a', version, value: `o${version}`, keyspace: KEYSPACE_OUTCOMES });
    const heldOutcomes = async (): Promise<string> => {
      const request = { ...placeOf('a'), keyspace: KEYSPACE_OUTCOMES, headOnly: false };
      const { record } = await new Promise<ReadAnswer>((resolve) => store.read(request, resolve));
      return record === null ? '' : Buffer.from(valueAt(viewOf(record), record, 0)).toString();
    };
    expect(await merge(recordOf({ key: 'a', version: 4, value: 'x' }), outcomes(4))).toBe(Status.OK);
    expect(await merge(recordOf({ key: 'a', version: 5, value: 'y' }), outcomes(3))).toBe(Status.OK);
    expect(await heldOutcomes()).toBe('o4');
    expect(await merge(recordOf({ key: 'a', version: 6, value: 'z' }), outcomes(6))).toBe(Status.OK);
    expect(await heldOutcomes()).toBe('o6');
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
    expect(store.takeFresh(record, START_MS)).toBe(0);
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
    expect((await old).newer).toEqual(Buffer.from(tombstone));
    expect(store.resurrections).toBe(1);
    const young = write(store, WriteMode.MERGE, { key: 'b', version: 150, value: 'new' });
    engine.commit();
    engine.sync();
    expect(await young).toMatchObject({ status: Status.OK, newer: null });
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
});
