import { describe, expect, it } from 'vitest';
import { KEYSPACE_OUTCOMES, KEYSPACE_USER, valueAt } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import {
  type ReadAnswer,
  type WriteAnswer,
  WriteMode,
  type WriteModeCode,
} from '../../src/cluster/contract.ts';
import { recordOf, viewOf } from '../cluster/records.ts';

import { DEADLINE_MS, GRACE_MS, newStore, placeOf, prepare, START_MS } from './replica-store-harness.ts';

const outcomesOf = (version: number): Uint8Array =>
  recordOf({ key: 'a', version, value: `o${version}`, keyspace: KEYSPACE_OUTCOMES });
const asking = (): {
  readonly merge: (record: Uint8Array, also: Uint8Array | null, mode?: WriteModeCode) => Promise<WriteAnswer>;
  readonly held: (keyspace: number) => Promise<string>;
} & ReturnType<typeof newStore> => {
  const made = newStore();
  const { store, engine } = made;
  const merge = (
    record: Uint8Array,
    also: Uint8Array | null,
    mode: WriteModeCode = WriteMode.MERGE,
  ): Promise<WriteAnswer> => {
    const answer = new Promise<WriteAnswer>((resolve) =>
      store.write({ record, also, mode, deadlineMs: DEADLINE_MS }, resolve),
    );
    engine.commit();
    engine.sync();
    return answer;
  };
  const held = async (keyspace: number): Promise<string> => {
    const request = { ...placeOf('a'), keyspace, headOnly: false };
    const { record } = await new Promise<ReadAnswer>((resolve) => store.read(request, resolve));
    return record === null ? '' : Buffer.from(valueAt(viewOf(record), record, 0)).toString();
  };
  return { ...made, merge, held };
};

describe('outcomes at a replica', () => {
  it('that are newer than those of a newer record that comes are kept', async () => {
    const { merge, held } = asking();
    expect((await merge(recordOf({ key: 'a', version: 4, value: 'x' }), outcomesOf(4))).status).toBe(
      Status.OK,
    );
    expect((await merge(recordOf({ key: 'a', version: 5, value: 'y' }), outcomesOf(3))).status).toBe(
      Status.OK,
    );
    expect(await held(KEYSPACE_OUTCOMES)).toBe('o4');
    expect((await merge(recordOf({ key: 'a', version: 6, value: 'z' }), outcomesOf(6))).status).toBe(
      Status.OK,
    );
    expect(await held(KEYSPACE_OUTCOMES)).toBe('o6');
  });

  it('are taken with a copy of a record that is held, or that is older than what is held', async () => {
    const { store, engine, merge: mergeOf, held } = asking();
    const merge = (version: number, outcomes: number): Promise<WriteAnswer> =>
      mergeOf(
        recordOf({ key: 'a', version, value: `v${version}` }),
        outcomes === 0 ? null : outcomesOf(outcomes),
      );
    expect((await merge(4, 0)).status).toBe(Status.OK);
    expect(await held(KEYSPACE_OUTCOMES)).toBe('');
    expect((await merge(4, 4)).status).toBe(Status.OK);
    expect(await held(KEYSPACE_OUTCOMES)).toBe('o4');
    // Older ones change nothing, and what is held is not told again.
    const { status, newer } = await merge(4, 3);
    expect([status, newer]).toEqual([Status.OK, null]);
    expect(await held(KEYSPACE_OUTCOMES)).toBe('o4');
    expect((await merge(9, 0)).status).toBe(Status.OK);
    const behind = await merge(7, 7);
    expect(behind.status).toBe(Status.OK);
    expect(behind.newer === null ? 0 : Buffer.from(behind.newer)).toEqual(
      Buffer.from(recordOf({ key: 'a', version: 9, value: 'v9' })),
    );
    expect([await held(KEYSPACE_USER), await held(KEYSPACE_OUTCOMES)]).toEqual(['v9', 'o7']);
    // What was promised is not passed by outcomes either.
    const promised = prepare(store, 'a', 20, 2);
    engine.commit();
    engine.sync();
    expect((await promised).status).toBe(Status.OK);
    const barred = await merge(9, 9);
    expect([barred.status, barred.beat, barred.barred]).toEqual([PeerStatus.STALE_VERSION, 20, true]);
    expect(await held(KEYSPACE_OUTCOMES)).toBe('o7');
  });

  it('of a newer record than they come with are barred with it, whatever is held', async () => {
    const { merge, held } = asking();
    const old = recordOf({ key: 'a', version: 4, value: 'v4' });
    const barred = { status: PeerStatus.STALE_VERSION, beat: 6, barred: true };
    // The record is news, known, and older than what is held.
    expect(await merge(old, outcomesOf(6))).toMatchObject(barred);
    expect([await held(KEYSPACE_USER), await held(KEYSPACE_OUTCOMES)]).toEqual(['', '']);
    expect((await merge(old, null)).status).toBe(Status.OK);
    expect(await merge(old, outcomesOf(6))).toMatchObject(barred);
    expect((await merge(recordOf({ key: 'a', version: 5, value: 'v5' }), null)).status).toBe(Status.OK);
    expect(await merge(old, outcomesOf(6))).toMatchObject(barred);
    expect([await held(KEYSPACE_USER), await held(KEYSPACE_OUTCOMES)]).toEqual(['v5', '']);
    expect((await merge(recordOf({ key: 'a', version: 6, value: 'v6' }), outcomesOf(6))).status).toBe(
      Status.OK,
    );
    expect(await held(KEYSPACE_OUTCOMES)).toBe('o6');
  });

  it('that come alone are barred until the record of their version is held, or a newer one', async () => {
    const { merge, held } = asking();
    const now = START_MS * 1000;
    const barred = { status: PeerStatus.STALE_VERSION, beat: now + 6, barred: true };
    const put = (version: number): Promise<WriteAnswer> =>
      merge(recordOf({ key: 'a', version, value: `v${version}` }), null);
    expect(await merge(outcomesOf(now + 6), null)).toMatchObject(barred);
    expect((await put(now + 5)).status).toBe(Status.OK);
    expect(await merge(outcomesOf(now + 6), null)).toMatchObject(barred);
    expect(await held(KEYSPACE_OUTCOMES)).toBe('');
    expect((await put(now + 7)).status).toBe(Status.OK);
    expect((await merge(outcomesOf(now + 6), null)).status).toBe(Status.OK);
    expect(await held(KEYSPACE_OUTCOMES)).toBe(`o${now + 6}`);
  });

  it('that come alone are taken where the record, a dead one, may have been purged where they come from', async () => {
    // A node that gains a vnode, whose horizon is 0, gets them so, and from a lost replica of two nothing can be settled by SERIAL.
    const oldest = (START_MS - GRACE_MS) * 1000;
    for (const mode of [WriteMode.MERGE, WriteMode.FILL])
      for (const before of [[], [recordOf({ key: 'a', version: 5, value: 'v5' })]]) {
        const { merge, held } = asking();
        for (const record of before) await merge(record, null);
        expect((await merge(outcomesOf(oldest), null, mode)).barred).toBe(true);
        expect((await merge(outcomesOf(oldest - 1), null, mode)).status).toBe(Status.OK);
        expect(await held(KEYSPACE_OUTCOMES)).toBe(`o${oldest - 1}`);
      }
  });
});
