import { expect, it } from 'vitest';
import { deadlineIn, ManualClock } from '../../src/base/clock.ts';
import { KEYSPACE_USER } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import { type WriteAnswer, WriteMode } from '../../src/cluster/contract.ts';
import { ReplicaStore } from '../../src/shard/replica-store.ts';
import { recordOf } from '../cluster/records.ts';
import { FakeEngine } from './fake-engine.ts';

it('a replica does what is asked until its deadline and not after it, whatever is made of the wall clock', async () => {
  const clock = new ManualClock(1_700_000_000_000);
  const engine = new FakeEngine(
    {
      onDurable: (seq) => store.waits.onDurable(seq),
      onWriteFailure: () => undefined,
      onLookup: (ticket, outcome, error) => store.waits.onLookup(ticket, outcome, error),
      onEvent: () => undefined,
    },
    () => clock.nowMs(),
  );
  const store: ReplicaStore = new ReplicaStore({
    engine,
    clock,
    vnodes: 4,
    gcGraceMs: 3_600_000,
    isRestart: false,
    appended: () => engine.commit(),
    firstTicket: 1000,
  });
  const deadlineMs = deadlineIn(clock, 10);
  /** Whether a write is taken at once, a write, a read and a promise. */
  const asked = async (version: number): Promise<number[]> => {
    const key = Buffer.from('a');
    hashToken(key);
    const place = { tokenHi: token.hi, tokenLo: token.lo, key, deadlineMs };
    const seq = store.takeFresh(recordOf({ key: 'b', version, value: 'v' }), deadlineMs);
    const record = recordOf({ key: 'a', version, value: 'v' });
    const answers = await Promise.all([
      new Promise<WriteAnswer>((done) =>
        store.write({ record, also: null, mode: WriteMode.FRESH, deadlineMs }, done),
      ),
      new Promise<{ status: number }>((done) =>
        store.read({ ...place, keyspace: KEYSPACE_USER, headOnly: false }, done),
      ),
      new Promise<{ status: number }>((done) =>
        store.prepare({ ...place, ballot: { version: version + 1, origin: 1 } }, done),
      ),
    ]);
    return [seq > 0 ? Status.OK : Status.TIMEOUT, ...answers.map(({ status }) => status)];
  };
  clock.jumpMs(600_000);
  clock.advanceMs(4);
  expect(await asked(10)).toEqual(new Array(4).fill(Status.OK));
  clock.jumpMs(-1_200_000);
  clock.advanceMs(5.5);
  expect(await asked(20)).toEqual(new Array(4).fill(Status.OK));
  const { appends } = engine;
  clock.advanceMs(0.5);
  expect(await asked(30)).toEqual(new Array(4).fill(Status.TIMEOUT));
  expect(engine.appends).toBe(appends);
});
