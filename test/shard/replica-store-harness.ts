/** A replica's rule over an engine whose syncs come when they are told to. */
import { MANUAL_MONOTONIC_MS, ManualClock, type MonotonicMs } from '../../src/base/clock.ts';
import { KEYSPACE_USER } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import { hashToken, token } from '../../src/base/token.ts';
import {
  type PrepareAnswer,
  type ReadAnswer,
  type WriteAnswer,
  WriteMode,
  type WriteModeCode,
} from '../../src/cluster/contract.ts';
import { ReplicaStore } from '../../src/shard/replica-store.ts';
import { monotonic } from '../base/clocks.ts';
import { recordOf, type Written } from '../cluster/records.ts';
import { FakeEngine } from './fake-engine.ts';

export const START_MS = 1_700_000_000_000;
export const DEADLINE_MS = monotonic(MANUAL_MONOTONIC_MS + 30 * 86_400_000);
export const VNODES = 4;
export const GRACE_MS = 3_600_000;
export const FIRST_TICKET = 1000;

export type Asked = Pick<ReplicaStore, 'write' | 'read' | 'prepare'>;

/** The store over an engine whose syncs come when they are told to. */
export function newStore(isRestart = false): {
  readonly store: ReplicaStore;
  readonly engine: FakeEngine;
  readonly clock: ManualClock;
} {
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
    gcGraceMs: GRACE_MS,
    appended,
    firstTicket: FIRST_TICKET,
    isRestart,
  });
  return { store, engine, clock };
}

export const write = (to: Asked, mode: WriteModeCode, written: Written): Promise<WriteAnswer> =>
  new Promise((resolve) => {
    to.write({ record: recordOf(written), also: null, mode, deadlineMs: DEADLINE_MS }, resolve);
  });
/** The way of a fresh write that the shard's thread takes first; by `write` where that gives it up. */
export const writeAtOnce = (
  store: ReplicaStore,
  written: Written,
  onTaken: () => void,
): Promise<WriteAnswer> => {
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
export function placeOf(key: string): {
  tokenHi: number;
  tokenLo: number;
  key: Uint8Array;
  deadlineMs: MonotonicMs;
} {
  hashToken(Buffer.from(key));
  return { tokenHi: token.hi, tokenLo: token.lo, key: Buffer.from(key), deadlineMs: DEADLINE_MS };
}
export const prepare = (to: Asked, key: string, version: number, origin: number): Promise<PrepareAnswer> =>
  new Promise((resolve) => to.prepare({ ...placeOf(key), ballot: { version, origin } }, resolve));
export const read = (to: Asked, key: string): Promise<ReadAnswer> =>
  new Promise((resolve) => to.read({ ...placeOf(key), keyspace: KEYSPACE_USER, headOnly: false }, resolve));
