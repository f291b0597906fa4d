import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { FLAG_TOMBSTONE, flagsAt, versionAt } from '../../src/base/record.ts';
import { PeerStatus, Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import {
  type PageAnswer,
  type ReplicaPage,
  type WriteAnswer,
  WriteMode,
} from '../../src/cluster/contract.ts';
import { FAR_MS } from '../base/clocks.ts';
import { MemoryReplica } from './memory-replica.ts';
import { keyTextOf, recordOf, viewOf, type Written } from './records.ts';

const START_MS = 1_700_000_000_000;
const newReplica = (clock = new ManualClock(START_MS)): MemoryReplica =>
  new MemoryReplica({ clock, vnodes: 4, gcGraceMs: 1000 });
const write = (replica: MemoryReplica, mode: 1 | 2, written: Written): Promise<WriteAnswer> =>
  new Promise((resolve) => {
    replica.write({ record: recordOf(written), also: null, mode, deadlineMs: FAR_MS }, resolve);
  });
const prepare = (replica: MemoryReplica, key: string, version: number): Promise<number> => {
  hashToken(Buffer.from(key));
  const ballot = { version, origin: 7 };
  const request = {
    tokenHi: token.hi,
    tokenLo: token.lo,
    key: Buffer.from(key),
    ballot,
    deadlineMs: FAR_MS,
  };
  return new Promise((resolve) => {
    replica.prepare(request, ({ status }) => resolve(status));
  });
};

describe('the replica in memory', () => {
  it('takes fresh writes above what it holds, and the very same again', async () => {
    const replica = newReplica();
    expect((await write(replica, WriteMode.FRESH, { key: 'a', version: 5 })).status).toBe(Status.OK);
    expect((await write(replica, WriteMode.FRESH, { key: 'a', version: 5 })).status).toBe(Status.OK);
    const other = await write(replica, WriteMode.FRESH, { key: 'a', version: 5, origin: 9 });
    expect([other.status, other.beat, other.barred]).toEqual([PeerStatus.STALE_VERSION, 5, false]);
  });

  it('lets nothing pass a promise from behind, and the promised ballot itself', async () => {
    const replica = newReplica();
    expect(await prepare(replica, 'a', 10)).toBe(Status.OK);
    expect(await prepare(replica, 'a', 9)).toBe(PeerStatus.STALE_VERSION);
    const fresh = await write(replica, WriteMode.FRESH, { key: 'a', version: 9 });
    const merged = await write(replica, WriteMode.MERGE, { key: 'a', version: 9 });
    expect([fresh.barred, fresh.beat, merged.barred, merged.beat]).toEqual([true, 10, true, 10]);
    expect((await write(replica, WriteMode.FRESH, { key: 'a', version: 10, origin: 8 })).barred).toBe(true);
    expect((await write(replica, WriteMode.FRESH, { key: 'a', version: 10, origin: 7 })).status).toBe(
      Status.OK,
    );
  });

  it('merges by the order of records and answers with what is newer', async () => {
    const replica = newReplica();
    await write(replica, WriteMode.MERGE, { key: 'a', version: 5, origin: 3 });
    expect((await write(replica, WriteMode.MERGE, { key: 'a', version: 5, origin: 4 })).newer).toBe(null);
    const { status, newer } = await write(replica, WriteMode.MERGE, { key: 'a', version: 5, origin: 2 });
    expect([status, newer === null ? 0 : versionAt(viewOf(newer), 0)]).toEqual([Status.OK, 5]);
  });

  it('knows a purged record when it comes back', async () => {
    const clock = new ManualClock(START_MS);
    const replica = newReplica(clock);
    await write(replica, WriteMode.FRESH, { key: 'a', version: START_MS * 1000, tombstone: true });
    clock.advanceMs(5000);
    expect(replica.purge()).toBe(0);
    for (let vnode = 0; vnode < 4; vnode++) replica.raiseHorizon(vnode, clock.nowMs());
    expect(replica.purge()).toBe(1);
    const { newer } = await write(replica, WriteMode.MERGE, { key: 'a', version: START_MS * 1000 - 1 });
    expect(newer === null ? 0 : flagsAt(viewOf(newer), 0)).toBe(FLAG_TOMBSTONE);
    expect(replica.resurrections).toBe(1);
    expect(replica.all()).toEqual([newer]);
    expect((await write(replica, WriteMode.MERGE, { key: 'a', version: clock.nowUs() })).newer).toBe(null);
  });

  it('pages through all records once, in order', async () => {
    const replica = newReplica();
    const keys = Array.from({ length: 100 }, (_, i) => `key-${i}`);
    replica.load(keys.map((key) => recordOf({ key, version: 1, value: 'x'.repeat(20) })));
    const found: string[] = [];
    let after: ReplicaPage['after'] = null;
    do {
      const request: ReplicaPage = {
        firstHi: 0,
        firstLo: 0,
        lastHi: 0xffff_ffff,
        lastLo: 0xffff_ffff,
        after,
        userOnly: true,
        prefix: new Uint8Array(0),
        headOnly: true,
        recordsMax: 7,
        bytesMax: 10_000,
        deadlineMs: FAR_MS,
      };
      const page: PageAnswer = await new Promise((resolve) => {
        replica.page(request, resolve);
      });
      for (let at = 0; at < page.records.length; at += 48) found.push(keyTextOf(page.records.subarray(at)));
      after = page.next;
    } while (after !== null);
    expect(found).toEqual(replica.all().map(keyTextOf));
    expect(new Set(found)).toEqual(new Set(keys));
  });
});
