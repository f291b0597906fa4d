/**
 * The rule of a replica (docs/decisions/0009-replication.md) over one shard's engine: which records of other nodes'
 * coordinators it takes, what it promises, and what it says. Owned by the shard's thread. Invariants:
 *
 * 1. Between what a step is told about its key and its append, nothing else is appended for that key: requests for
 *    one token go one after another while one of them waits for a file.
 * 2. Nothing is answered with OK before all that the answer rests on is durable: the record appended, the one that was met,
 *    and the promise. STALE_VERSION rests on nothing: at worst a coordinator beats a version that a crash then takes back.
 * 3. A record is appended only if it is newer, in the order of compareRecordAge, than all that the engine holds of its
 *    key and keyspace. So what a memtable holds is newer than what tables hold.
 * 4. What was promised is never taken from behind, by whatever way a record comes: as a write or as a copy; FILL alone may, for
 *    what every ballot has met.
 * 5. A dead record may be gone once it is below its vnode's horizon and older than gc_grace. So a live one that comes as a copy
 *    from there, and of which nothing is held, was deleted. That new writes are never that old, whatever their
 *    coordinator's clock says, is seen to here: they are refused from half of gc_grace on, which leaves the other half to
 *    bring them to the replicas that missed them.
 * 6. Outcomes are never newer than the user record held beside them: they tell of a write that was accepted with the record of
 *    their version, and who has not that record would vouch for a write that nobody may ever find. A copy that would break this
 *    is barred, so that SERIAL settles the key. Only where that record died and was purged they are held alone.
 * 7. Where a plain write is refused with the head of a newer record, nobody was shown it by this replica, nor will be (shown-versions.ts).
 */
import { type Clock, hasPassed, type MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import {
  compareRecordAge,
  isBelow,
  isDeadAt,
  KEYSPACE_OUTCOMES,
  KEYSPACE_PROMISES,
  KEYSPACE_USER,
  keyAt,
  keyspaceAt,
  keyspaceIn,
  type RecordFields,
  tokenHiAt,
  tokenHiIn,
  tokenLoAt,
  tokenLoIn,
  versionAt,
  versionIn,
} from '../base/record.ts';
import { PeerStatus, Status, statusName } from '../base/status.ts';
import type {
  PrepareAnswer,
  ReadAnswer,
  ReplicaPrepare,
  ReplicaRead,
  ReplicaWrite,
  WriteAnswer,
} from '../cluster/contract.ts';
import { WriteMode } from '../cluster/contract.ts';
import type { ShardEngine } from '../engine/contract.ts';
import { statusOfError } from './error-status.ts';
import { Forgotten } from './forgotten.ts';
import {
  barredBy,
  buried,
  faultOf,
  type Held,
  isBallot,
  isBelowBallot,
  isSame,
  load,
  loadPromise,
  mayPass,
  newFields,
  prepareAnswer,
  shown,
  versionOf,
  viewOf,
  writeAnswer,
} from './replica-records.ts';
import { type OnFailure, type OnHeld, ReplicaWaits } from './replica-waits.ts';
import { ShownVersions } from './shown-versions.ts';

const NOTHING_WRITTEN = '; nothing was written';

interface Ends<T> {
  readonly finish: (answer: T) => void;
  readonly fail: OnFailure;
  readonly release: () => void;
}
export interface ReplicaStoreOptions {
  readonly engine: ShardEngine;
  readonly clock: Clock;
  /** Vnodes of the ring. */
  readonly vnodes: number;
  /** As compactions have it. */
  readonly gcGraceMs: number;
  /** There is something to commit at the end of the turn. */
  readonly appended: () => void;
  /** An earlier life of the shard ended within that of the process: what that was told is not known. */
  readonly isRestart: boolean;
  /** The first of the engine's tickets that are this store's; it uses limits.replicaLookupsMax of them. */
  readonly firstTicket: number;
}

export class ReplicaStore {
  readonly #options: ReplicaStoreOptions;
  readonly #engine: ShardEngine;
  readonly #waits: ReplicaWaits;
  readonly #forgotten: Forgotten;
  readonly #shown: ShownVersions;
  readonly #fields: RecordFields = newFields();
  readonly #also: RecordFields = newFields();
  /** Records that came by repair though their vnode was repaired past them: deleted ones that would have come back. */
  resurrections = 0;

  constructor(options: ReplicaStoreOptions) {
    this.#options = options;
    this.#engine = options.engine;
    this.#waits = new ReplicaWaits(options.engine, options.firstTicket);
    this.#forgotten = new Forgotten(options);
    this.#shown = new ShownVersions(options.clock, options.isRestart);
  }

  /** What the engine tells goes there. */
  get waits(): ReplicaWaits {
    return this.#waits;
  }

  // --------------------------------------------------------------------------------------------- requests

  write(request: ReplicaWrite, done: (answer: WriteAnswer) => void): void {
    const { record, also, deadlineMs } = request;
    const fault = faultOf(record, also);
    if (fault !== '') {
      done(writeAnswer(Status.BAD_REQUEST, fault + NOTHING_WRITTEN));
      return;
    }
    const view = viewOf(record);
    this.#waits.inOrder(tokenHiAt(view, 0), tokenLoAt(view, 0), (release) => {
      const finish = (answer: WriteAnswer): void => {
        release();
        done(answer);
      };
      const fail: OnFailure = (status, message) => finish(writeAnswer(status, message));
      if (this.#isLate(deadlineMs, fail) || this.#isFull(fail)) return;
      this.#decide(request, view, { finish, fail, release });
    });
  }

  /**
   * A fresh write of a user record on which the memtables decide and no request waits for a file: almost every one. Takes it
   * as `write` would, but keeps nothing of `record`, which may lie in a ring. Gives its seq, to be waited for; or 0 where nothing
   * was done, and `write` has to see what there is.
   */
  takeFresh(record: Uint8Array, deadlineMs: MonotonicMs): number {
    if (hasPassed(deadlineMs, this.#options.clock.monotonicMs()) || faultOf(record, null) !== '') return 0;
    const hi = tokenHiIn(record);
    const lo = tokenLoIn(record);
    if (keyspaceIn(record) !== KEYSPACE_USER || this.#waits.isOccupied(hi, lo)) return 0;
    const engine = this.#engine;
    const version = versionIn(record);
    if (version <= engine.tablesVersionMax(hi, lo) || this.#forgotten.isTooOld(hi, version)) return 0;
    load(this.#fields, record);
    const { key } = this.#fields;
    const { found } = engine;
    if (engine.lookupMemory(KEYSPACE_USER, hi, lo, key) && version <= versionAt(found.view, found.offset))
      return 0;
    // A promise that has expired goes the long way too.
    if (engine.lookupMemory(KEYSPACE_PROMISES, hi, lo, key) && version <= versionAt(found.view, found.offset))
      return 0;
    const seq = engine.append(this.#fields, null);
    if (seq < 0) return 0;
    this.#options.appended();
    return seq;
  }

  read(request: ReplicaRead, done: (answer: ReadAnswer) => void): void {
    const { tokenHi, tokenLo, keyspace, key, headOnly, deadlineMs } = request;
    const fail: OnFailure = (status, message) => done({ status, record: null, message });
    if (this.#isLate(deadlineMs, fail) || this.#isFull(fail)) return;
    this.#waits.lookup(keyspace, tokenHi, tokenLo, key, fail, (held) => {
      const answer = (): void =>
        done({ status: Status.OK, record: held === null ? null : shown(held, headOnly), message: '' });
      this.#waits.whenDurable(held?.seq ?? 0, answer, fail);
    });
  }

  prepare(request: ReplicaPrepare, done: (answer: PrepareAnswer) => void): void {
    const { tokenHi, tokenLo, key, deadlineMs } = request;
    this.#waits.inOrder(tokenHi, tokenLo, (release) => {
      const finish = (answer: PrepareAnswer): void => {
        release();
        done(answer);
      };
      const fail: OnFailure = (status, message) => finish(prepareAnswer(status, message));
      if (this.#isLate(deadlineMs, fail) || this.#isFull(fail)) return;
      const find = (keyspace: number, then: OnHeld): void =>
        this.#waits.lookup(keyspace, tokenHi, tokenLo, key, fail, then);
      find(KEYSPACE_PROMISES, (promise) =>
        find(KEYSPACE_USER, (record) =>
          find(KEYSPACE_OUTCOMES, (outcomes) =>
            this.#promise(request, promise, record, outcomes, { finish, fail, release }),
          ),
        ),
      );
    });
  }

  #promise(
    request: ReplicaPrepare,
    promise: Held | null,
    record: Held | null,
    outcomes: Held | null,
    { finish, fail, release }: Ends<PrepareAnswer>,
  ): void {
    const { ballot } = request;
    // One that has expired binds nobody; but what the engine is given is newer than all that it holds.
    const isKept = this.#isAlive(promise) || (promise !== null && !isBelowBallot(promise, ballot));
    const promised = isKept ? promise : null;
    const accepted = Math.max(versionOf(record), versionOf(outcomes));
    const beat = Math.max(versionOf(promised), accepted);
    // The same ballot again: a message that came twice.
    const isRepeat = this.#isAlive(promised) && isBallot(promised, ballot) && accepted < ballot.version;
    const isPassed = promised !== null && !isBelowBallot(promised, ballot);
    const oldest = this.#forgotten.oldestWrite(request.tokenHi);
    if (!isRepeat && (ballot.version <= accepted || isPassed || ballot.version < oldest)) {
      finish({ ...prepareAnswer(PeerStatus.STALE_VERSION, ''), beat: Math.max(beat, oldest) });
      return;
    }
    const seq = isRepeat ? promised.seq : this.#appendPromise(request, fail);
    if (seq < 0) return;
    release();
    const restsOn = Math.max(seq, record?.seq ?? 0, outcomes?.seq ?? 0);
    const answer = {
      ...prepareAnswer(Status.OK, ''),
      record: record?.bytes ?? null,
      outcomes: outcomes?.bytes ?? null,
    };
    this.#waits.whenDurable(restsOn, () => finish(answer), fail);
  }

  // ---------------------------------------------------------------------------------------------- the rule

  #decide(request: ReplicaWrite, view: DataView, ends: Ends<WriteAnswer>): void {
    const { fail } = ends;
    const { record, also, mode } = request;
    const hi = tokenHiAt(view, 0);
    const lo = tokenLoAt(view, 0);
    const keyspace = keyspaceAt(view, 0);
    const key = keyAt(view, record, 0);
    // Tables are asked only where they could hold something newer; promises and outcomes are records too.
    const inMemory = mode === WriteMode.FRESH && versionAt(view, 0) > this.#engine.tablesVersionMax(hi, lo);
    const find = (space: number, then: OnHeld): void =>
      this.#waits.lookup(space, hi, lo, key, fail, then, inMemory);
    const judge = (held: Held | null, promise: Held | null, outcomes: Held | null): void => {
      const promised = this.#isAlive(promise) ? promise : null;
      if (mode === WriteMode.FRESH) this.#fresh(request, view, held, promise, outcomes, ends);
      else this.#merge(request, view, held, mode === WriteMode.FILL ? null : promised, outcomes, ends);
    };
    find(keyspace, (held) => {
      if (keyspace === KEYSPACE_PROMISES) judge(held, null, null);
      else if (keyspace === KEYSPACE_OUTCOMES)
        find(KEYSPACE_PROMISES, (promise) =>
          find(KEYSPACE_USER, (user) => {
            if (this.#forgotten.isBacked(view, user)) judge(held, promise, null);
            else ends.finish(barredBy(view));
          }),
        );
      else
        find(KEYSPACE_PROMISES, (promise) => {
          if (also === null) judge(held, promise, null);
          else find(KEYSPACE_OUTCOMES, (outcomes) => judge(held, promise, outcomes));
        });
    });
  }

  #fresh(
    { record, also }: ReplicaWrite,
    view: DataView,
    held: Held | null,
    lastPromise: Held | null,
    outcomes: Held | null,
    ends: Ends<WriteAnswer>,
  ): void {
    const { finish, fail } = ends;
    const promise = this.#isAlive(lastPromise) ? lastPromise : null;
    if (held !== null && isSame(record, held.bytes)) {
      this.#waits.whenDurable(held.seq, () => finish(writeAnswer(Status.OK, '')), fail);
      return;
    }
    const version = versionAt(view, 0);
    const beat = Math.max(versionOf(held), versionOf(promise), versionOf(outcomes));
    const passesPromise = mayPass(view, promise);
    const passesRecords = version > versionOf(held) && (outcomes === null || version > versionOf(outcomes));
    if (!passesPromise || !passesRecords) {
      const isHidden =
        held !== null && isBelow(view, held.view) && !this.#shown.mayBeShown(view, lastPromise);
      const newer = isHidden ? shown(held, true) : null;
      const answer = { ...writeAnswer(PeerStatus.STALE_VERSION, ''), beat, barred: passesRecords, newer };
      this.#waits.whenDurable(isHidden ? held.seq : 0, () => finish(answer), fail);
      return;
    }
    const oldest =
      keyspaceAt(view, 0) === KEYSPACE_USER ? this.#forgotten.oldestWrite(tokenHiAt(view, 0)) : 0;
    if (version < oldest) finish({ ...writeAnswer(PeerStatus.STALE_VERSION, ''), beat: oldest });
    else this.#take(record, also, null, ends);
  }

  #merge(
    { record, also }: ReplicaWrite,
    view: DataView,
    held: Held | null,
    promise: Held | null,
    outcomes: Held | null,
    ends: Ends<WriteAnswer>,
  ): void {
    const { finish, fail } = ends;
    const age = held === null ? 1 : compareRecordAge(view, record, 0, held.view, held.bytes, 0);
    // Judged by itself: the sender's outcomes may be older than those here although its record is newer (invariant 3),
    // and newer although its record is known here, where a copy of the record came without them.
    const newerAlso =
      also !== null &&
      (outcomes === null || compareRecordAge(viewOf(also), also, 0, outcomes.view, outcomes.bytes, 0) > 0)
        ? also
        : null;
    // The sender's record has been replaced since it was read: those are of the record that replaced it (invariant 6).
    if (newerAlso !== null && isBelow(held !== null && age <= 0 ? held.view : view, viewOf(newerAlso))) {
      finish(barredBy(viewOf(newerAlso)));
      return;
    }
    const newer = held !== null && age < 0 ? held.bytes : null;
    const news = age > 0 ? record : newerAlso;
    if (age >= 0) this.#shown.onCopy(view);
    if (news === null) {
      this.#waits.whenDurable(held?.seq ?? 0, () => finish({ ...writeAnswer(Status.OK, ''), newer }), fail);
      return;
    }
    if (promise !== null && isBelow(viewOf(news), promise.view)) {
      finish(barredBy(promise.view));
      return;
    }
    if (held === null && this.#forgotten.isResurrection(view)) {
      this.resurrections++;
      const tombstone = buried(record);
      this.#take(tombstone, null, tombstone, ends);
      return;
    }
    if (age > 0) this.#take(record, newerAlso, null, ends);
    else this.#take(news, null, newer, ends);
  }

  #isAlive(promise: Held | null): promise is Held {
    return promise !== null && !isDeadAt(promise.view, 0, this.#options.clock.nowMs());
  }

  // ------------------------------------------------------------------------------------------------ parts

  #appendPromise(prepare: ReplicaPrepare, fail: OnFailure): number {
    loadPromise(this.#fields, prepare, this.#options.clock.nowMs() + limits.promiseTtlMs);
    return this.#append(this.#fields, null, fail);
  }

  #take(
    record: Uint8Array,
    also: Uint8Array | null,
    newer: Uint8Array | null,
    { finish, fail, release }: Ends<WriteAnswer>,
  ): void {
    load(this.#fields, record);
    if (also !== null) load(this.#also, also);
    const seq = this.#append(this.#fields, also === null ? null : this.#also, fail);
    if (seq < 0) return;
    release();
    this.#waits.whenDurable(seq, () => finish({ ...writeAnswer(Status.OK, ''), newer }), fail);
  }
  /** The seq, or minus a status: then `fail` was called. The engine may have been closed while the request waited for a file. */
  #append(fields: RecordFields, also: RecordFields | null, fail: OnFailure): number {
    let seq: number;
    try {
      seq = this.#engine.append(fields, also);
    } catch (error) {
      seq = -statusOfError(error);
      fail(-seq, (error as Error).message + NOTHING_WRITTEN);
      return seq;
    }
    if (seq < 0) {
      const { writesRefused } = this.#engine.stats();
      fail(-seq, (writesRefused === '' ? statusName(-seq) : writesRefused) + NOTHING_WRITTEN);
    } else this.#options.appended();
    return seq;
  }

  #isLate(deadlineMs: MonotonicMs, fail: OnFailure): boolean {
    if (!hasPassed(deadlineMs, this.#options.clock.monotonicMs())) return false;
    fail(Status.TIMEOUT, 'the deadline passed; nothing was done');
    return true;
  }
  #isFull(fail: OnFailure): boolean {
    if (this.#waits.inFlight < limits.replicaRequestsMax) return false;
    fail(
      Status.OVERLOADED,
      `${this.#waits.inFlight} requests of replicas are in work, which is the limit; nothing was done`,
    );
    return true;
  }
}
