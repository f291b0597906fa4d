/**
 * What SERIAL decides between its two rounds: reads, writes, deletes and conditional writes of one key, and the outcomes
 * of idempotency keys. Owned by the thread of the coordinator.
 *
 * Let r be the newest record among the promises of ballot b, and `held` that a quorum of each group's promises holds it.
 *
 * 1. A read, or a refused condition, is answered from r alone only where it is held. Otherwise r's content is proposed
 *    again with version b: whatever the promises overtook can then never surface.
 * 2. Once this operation sent an accept of its own write, "refused" needs a second round in any case: that accept may lie
 *    with a minority that did not promise b, and would surface if nothing above it was accepted.
 * 3. A record that is proposed again keeps its former versions in the outcomes, and meets conditions on them: nobody wrote
 *    in between.
 * 4. The operation finds its own earlier accept as r, or as r's former version: it is done, once r is held. Finds it a
 *    newer record instead, the outcome is unknown, unless that is what was there before, proposed again; with an idempotency key it is known: the write is in the chain
 *    exactly if the newest outcomes have it.
 * 5. An outcome is told only once a quorum of each group holds the record of outcomes that has it.
 */
import { assert } from '../base/assert.ts';
import { FLAG_TOMBSTONE, KEYSPACE_USER } from '../base/record.ts';
import { Status } from '../base/status.ts';
import { Condition } from '../shard/contract.ts';
import {
  type Ballot,
  type ClientRead,
  type ClientReadAnswer,
  type ClientWrite,
  type ClientWriteAnswer,
  Consistency,
} from './contract.ts';
import type { CoordinatorCore } from './coordinator-core.ts';
import { MAYBE_WRITTEN, NOTHING_WRITTEN, replicasMessage } from './coordinator-errors.ts';
import { neededOf, unionOf } from './coordinator-groups.ts';
import {
  compareAge,
  encodeRecord,
  encodeWrite,
  isDead,
  NO_BYTES,
  originOf,
  versionOf,
  withVersion,
} from './coordinator-records.ts';
import {
  decodeOutcomes,
  encodeOutcomes,
  findOutcome,
  NO_OUTCOMES,
  type Outcome,
  type Outcomes,
  withFormer,
  withOutcome,
} from './outcomes.ts';
import { type SerialLeg, SerialRounds } from './serial-rounds.ts';

/** What the promises of one ballot show. */
interface Found {
  readonly record: Uint8Array | null;
  /** A quorum of each group's promises holds `record`. */
  readonly held: boolean;
  readonly outcomes: Outcomes;
  readonly outcomesHeld: boolean;
  /** The newest record of outcomes. */
  readonly also: Uint8Array | null;
  /** Versions that the record went by before, where it was proposed again. */
  readonly former: readonly Ballot[];
}

abstract class SerialOperation extends SerialRounds {
  protected found(legs: readonly SerialLeg[]): Found {
    let record: Uint8Array | null = null;
    let raw: Uint8Array | null = null;
    for (const leg of legs) {
      if (compareAge(leg.record, record) > 0) record = leg.record;
      if (compareAge(leg.outcomes, raw) > 0) raw = leg.outcomes;
    }
    const outcomes = raw === null ? NO_OUTCOMES : decodeOutcomes(raw);
    const isOfRecord =
      record !== null && outcomes.version === versionOf(record) && outcomes.origin === originOf(record);
    return {
      record,
      held: this.#isHeld(legs, (leg) => compareAge(leg.record, record) === 0),
      outcomes,
      outcomesHeld: this.#isHeld(legs, (leg) => compareAge(leg.outcomes, raw) === 0),
      also: raw,
      former: isOfRecord ? outcomes.former : [],
    };
  }
  #isHeld(legs: readonly SerialLeg[], holds: (leg: SerialLeg) => boolean): boolean {
    for (const group of this.groups) {
      let count = 0;
      for (const leg of legs) if (group.includes(leg.node) && holds(leg)) count++;
      if (count < neededOf(Consistency.QUORUM, group.length)) return false;
    }
    return true;
  }

  /** Proposes what was found again, under the ballot, with these outcomes. What is absent becomes a tombstone. */
  protected proposeAgain(found: Found, list: readonly Outcome[], droppedVersion: number): void {
    this.core.metrics.reproposals++;
    const { version, origin } = this.ballot;
    const { tokenHi, tokenLo, key } = this.place;
    const { record } = found;
    const again =
      record === null
        ? encodeRecord({
            tokenHi,
            tokenLo,
            keyspace: KEYSPACE_USER,
            key,
            value: NO_BYTES,
            version,
            origin,
            flags: FLAG_TOMBSTONE,
            expiresMs: 0,
          })
        : withVersion(record, version, origin);
    const former = record === null ? [] : withFormer(found.former, ballotOf(record));
    this.propose(again, former, list, droppedVersion);
  }
  protected propose(
    record: Uint8Array,
    former: readonly Ballot[],
    list: readonly Outcome[],
    droppedVersion: number,
  ): void {
    const { tokenHi, tokenLo, key } = this.place;
    const nowMs = this.core.world.clock.nowMs();
    const outcomes = { former, list, droppedVersion };
    this.accept(record, encodeOutcomes(tokenHi, tokenLo, key, this.ballot, outcomes, nowMs));
  }

  protected end(): void {
    this.answered = true;
    this.core.remove(this);
  }
  protected failureMessage(why: string): string {
    const { up, answered } = this.repliesUp;
    return replicasMessage(Consistency.SERIAL, this.groups, up, answered, why);
  }
  protected countFailure(status: number): void {
    if (status === Status.TIMEOUT) this.core.metrics.timeouts++;
    else if (status !== Status.UNAVAILABLE) this.core.metrics.refused++;
    else this.core.metrics.unavailable++;
  }
}

export class SerialRead extends SerialOperation {
  readonly #done: (answer: ClientReadAnswer) => void;
  #record: Uint8Array | null = null;

  constructor(core: CoordinatorCore, request: ClientRead, done: (answer: ClientReadAnswer) => void) {
    super(core, request);
    this.#done = done;
  }

  protected onPromised(legs: readonly SerialLeg[], patient: boolean): void {
    const found = this.found(legs);
    this.#record = found.record;
    if (this.isSettled(found, legs)) this.#answer();
    else if (patient) this.waitForMore();
    else {
      const { version, origin } = this.ballot;
      if (found.record !== null) this.#record = withVersion(found.record, version, origin);
      this.proposeAgain(found, found.outcomes.list, found.outcomes.droppedVersion);
    }
  }
  /** Whether what was found can be answered as it is. */
  protected isSettled(found: Found, _legs: readonly SerialLeg[]): boolean {
    return found.held;
  }
  protected onAccepted(): void {
    this.#answer();
  }
  #answer(): void {
    this.end();
    const record = this.#record;
    if (record === null || isDead(record, this.core.world.clock.nowMs()))
      this.#done({ status: Status.NOT_FOUND, record: null, message: '' });
    else this.#done({ status: Status.OK, record, message: '' });
  }
  protected onFailed(status: number, why: string): void {
    this.end();
    this.countFailure(status);
    this.#done({ status, record: null, message: this.failureMessage(why) });
  }
}

/**
 * A read that leaves no replica behind: where one that is up lacks what was found, it is proposed again. A quorum that holds it
 * is not enough for who repairs: the promise of this very read would bar the one that lacks it for as long as promises live.
 */
export class SerialSettle extends SerialRead {
  protected override isSettled({ record, outcomes }: Found, legs: readonly SerialLeg[]): boolean {
    const { view } = this.core;
    return unionOf(this.groups).every((node) => {
      if (!view.isUp(node)) return true;
      const leg = legs.find((one) => one.node === node);
      return leg !== undefined && compareAge(leg.record, record) === 0 && isSameAge(leg.outcomes, outcomes);
    });
  }
}

export class SerialWrite extends SerialOperation {
  readonly #request: ClientWrite;
  readonly #done: (answer: ClientWriteAnswer) => void;
  /** Ballots under which the own write was proposed, ascending. */
  readonly #proposed: number[] = [];
  /** What to answer once the present proposal is accepted. */
  #status: number = Status.OK;
  #version = 0;
  #message = '';
  /** The answer is an outcome that was there before this operation. */
  #repeats = false;

  constructor(core: CoordinatorCore, request: ClientWrite, done: (answer: ClientWriteAnswer) => void) {
    super(core, request);
    this.#request = request;
    this.#done = done;
  }

  protected onPromised(legs: readonly SerialLeg[], patient: boolean): void {
    const request = this.#request;
    const found = this.found(legs);
    const nowMs = this.core.world.clock.nowMs();
    const idempotent = request.idempotencyKey.length > 0;
    const remembered = idempotent ? findOutcome(found.outcomes, request.idempotencyKey, nowMs) : null;
    if (remembered !== null) this.#repeat(found, remembered, patient);
    else if (this.#isOwn(found))
      this.#conclude(found, found.held, patient, Status.OK, this.ballot.version, '');
    else if (this.#isOvertaken(found, idempotent)) this.#unknown('another write came after it');
    else this.#judge(found, patient, idempotent, nowMs);
  }

  /** The newest record is what this operation proposed earlier, under whatever ballot it is now. */
  #isOwn({ record, former }: Found): boolean {
    if (record === null) return false;
    const { self } = this.core;
    const isMine = ({ version, origin }: Ballot): boolean =>
      origin === self && this.#proposed.includes(version);
    return isMine(ballotOf(record)) || former.some(isMine);
  }
  /** Whether an earlier proposal of this operation may have been accepted and replaced since, with nothing to tell by. */
  #isOvertaken({ record, outcomes, former }: Found, idempotent: boolean): boolean {
    const [first] = this.#proposed;
    if (first === undefined) return false;
    if (idempotent) return outcomes.droppedVersion >= first;
    // What was there before the first proposal, and was only proposed again since: whoever did that found nothing newer at a
    // quorum, so no proposal of this operation was ever accepted by one, nor will be.
    if (former.some(({ version }) => version < first)) return false;
    // One of the same version is another's: it is above the own by its origin, or beside it.
    return record !== null && versionOf(record) >= first;
  }

  /** The idempotency key has an outcome, perhaps this operation's own. */
  #repeat(found: Found, outcome: Outcome, patient: boolean): void {
    const request = this.#request;
    const { fingerprintHi, fingerprintLo, status, version } = outcome;
    if (fingerprintHi !== request.fingerprintHi || fingerprintLo !== request.fingerprintLo) {
      const name = JSON.stringify(Buffer.from(request.idempotencyKey).toString());
      const message = `the idempotency key ${name} was used for a different request${NOTHING_WRITTEN}`;
      this.#conclude(found, found.outcomesHeld, patient, Status.BAD_REQUEST, 0, message);
      return;
    }
    this.#repeats = this.#proposed.length === 0;
    const message = status === Status.OK ? '' : mismatch(request, version);
    this.#conclude(found, found.outcomesHeld, patient, status, version, message);
  }

  /** Answers at once where what it rests on is `held`, otherwise after it was proposed again. */
  #conclude(
    found: Found,
    held: boolean,
    patient: boolean,
    status: number,
    version: number,
    message: string,
  ): void {
    this.#status = status;
    this.#version = version;
    this.#message = message;
    if (held && found.record !== null && status === Status.OK && this.#isOwn(found))
      this.#version = versionOf(found.record);
    if (held) {
      this.#answer();
      // An accept of its own ended unknown: whom it missed was never told.
      if (this.#proposed.length > 0 && found.record !== null) this.catchUpAll(found.record, found.also);
    } else if (patient) this.waitForMore();
    else this.proposeAgain(found, found.outcomes.list, found.outcomes.droppedVersion);
  }

  #judge(found: Found, patient: boolean, idempotent: boolean, nowMs: number): void {
    const request = this.#request;
    const { record } = found;
    const live = record !== null && !isDead(record, nowMs);
    const current = live && record !== null ? versionOf(record) : 0;
    const { condition, version } = request;
    const holds =
      condition === Condition.NONE ||
      (condition === Condition.EXISTS
        ? live
        : version === current ||
          (live && version !== 0 && found.former.some((one) => one.version === version)));
    if (holds) {
      this.#write(found, idempotent, nowMs);
      return;
    }
    this.#status = Status.VERSION_MISMATCH;
    this.#version = current;
    this.#message = mismatch(request, current);
    const mayAnswer = !idempotent && this.#proposed.length === 0;
    if (mayAnswer && found.held) this.#answer();
    else if (mayAnswer && patient) this.waitForMore();
    else {
      // The record goes on under the ballot: this is the version that the client meets from now on.
      if (live) this.#version = this.ballot.version;
      this.#message = mismatch(request, this.#version);
      if (!idempotent) this.proposeAgain(found, found.outcomes.list, found.outcomes.droppedVersion);
      else {
        const next = withOutcome(found.outcomes, request, Status.VERSION_MISMATCH, this.#version, nowMs);
        this.core.metrics.outcomesEvicted += next.evicted;
        this.proposeAgain(found, next.list, next.droppedVersion);
      }
    }
  }

  #write(found: Found, idempotent: boolean, nowMs: number): void {
    const { version, origin } = this.ballot;
    this.#status = Status.OK;
    this.#version = version;
    this.#message = '';
    this.#proposed.push(version);
    const record = encodeWrite(this.#request, version, origin);
    if (!idempotent) {
      this.propose(record, [], found.outcomes.list, found.outcomes.droppedVersion);
      return;
    }
    const next = withOutcome(found.outcomes, this.#request, Status.OK, version, nowMs);
    this.core.metrics.outcomesEvicted += next.evicted;
    this.propose(record, [], next.list, next.droppedVersion);
  }

  protected onAccepted(): void {
    this.#answer();
  }
  #answer(): void {
    assert(!this.answered, 'a SERIAL write is answered twice');
    this.end();
    if (this.#repeats) this.core.metrics.outcomesRepeated++;
    this.#done({ status: this.#status, version: this.#version, sloppy: false, message: this.#message });
  }
  #unknown(why: string): void {
    this.end();
    this.core.metrics.unknownOutcomes++;
    this.core.metrics.unavailable++;
    const message = `the outcome is unknown: ${why}${MAYBE_WRITTEN}`;
    this.#done({ status: Status.UNAVAILABLE, version: 0, sloppy: false, message });
  }
  protected onFailed(status: number, why: string): void {
    this.end();
    const nothing = this.#proposed.length === 0 || this.tally.nothingWritten;
    const refusal = nothing && status !== Status.TIMEOUT ? this.tally.refusal : 0;
    if (refusal !== 0) this.core.metrics.refused++;
    else this.countFailure(status);
    if (!nothing) this.core.metrics.unknownOutcomes++;
    const message = this.failureMessage(why) + (nothing ? NOTHING_WRITTEN : MAYBE_WRITTEN);
    this.#done({ status: refusal !== 0 ? refusal : status, version: 0, sloppy: false, message });
  }
}

/** Whether a leg's outcomes are the newest that were found. */
function isSameAge(held: Uint8Array | null, newest: Outcomes): boolean {
  if (held === null) return newest.version === 0;
  return versionOf(held) === newest.version && originOf(held) === newest.origin;
}
const ballotOf = (record: Uint8Array): Ballot => ({ version: versionOf(record), origin: originOf(record) });

function mismatch(request: ClientWrite, current: number): string {
  const is = current === 0 ? 'the key is absent' : `the version is ${current}`;
  const wanted =
    request.condition === Condition.EXISTS
      ? 'it must be there'
      : request.version === 0
        ? 'the key must be absent'
        : `it must be ${request.version}`;
  return `${is}, and ${wanted}${NOTHING_WRITTEN}`;
}
