/**
 * The rounds of SERIAL for one key, without the decision between them: a ballot is promised by a quorum of each write
 * group, then a record is accepted by a quorum of each (CASPaxos, Rystsov 2018; docs/decisions/0009-replication.md).
 * Owned by the thread of the coordinator.
 *
 * 1. Ballots are versions of this node: each is above all that it made or saw before.
 * 2. All calls of one round leave in one turn. Both rounds of a ballot happen under one ring, or it is given up: promises
 *    of the old groups say nothing about the new ones.
 * 3. `accepted` is told once a quorum of each group holds the record; `lost` otherwise, and then it may be held by some.
 */

import { assert } from '../base/assert.ts';
import { hasPassed, type MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { vnodeOf } from '../base/token.ts';
import {
  type Ballot,
  Consistency,
  type NodeNumber,
  type PrepareAnswer,
  type WriteAnswer,
  WriteMode,
} from './contract.ts';
import { type CoordinatorCore, Operation } from './coordinator-core.ts';
import { isRefusal, WriteTally } from './coordinator-errors.ts';
import { enoughUp, type Groups, neededOf, unionOf } from './coordinator-groups.ts';
import { HintPlacement, type UsedNodes } from './coordinator-hints.ts';
import { writeGroups } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';

type LegState = 'down' | 'pending' | 'ok' | 'lost';
const PENDING = -1;
type Phase = 'prepare' | 'accept' | 'wait';

/** One replica in both rounds of one ballot. */
export class SerialLeg {
  state: LegState = 'pending';
  record: Uint8Array | null = null;
  outcomes: Uint8Array | null = null;
  /** The replica said that it could not, and did nothing. */
  refusal = 0;
  /** It is ahead of the ballot by its record, or by a promise alone (`barred`). */
  stale = false;
  barred = false;
  readonly node: NodeNumber;
  readonly attempt: number;
  readonly #rounds: SerialRounds;
  constructor(rounds: SerialRounds, node: NodeNumber, attempt: number) {
    this.#rounds = rounds;
    this.node = node;
    this.attempt = attempt;
  }
  readonly onPromise = (answer: PrepareAnswer): void => this.#rounds.onPromise(this, answer);
  readonly onAccept = (answer: WriteAnswer): void => this.#rounds.onAccept(this, answer);
}

export interface SerialKey {
  readonly tokenHi: number;
  readonly tokenLo: number;
  readonly key: Uint8Array;
  readonly deadlineMs: MonotonicMs;
}

export abstract class SerialRounds extends Operation {
  protected readonly place: SerialKey;
  protected ballot: Ballot = { version: 0, origin: 0 };
  protected groups: Groups = [];
  /** What replicas said to accepts of all ballots. */
  protected readonly tally = new WriteTally();
  /** What kept the last round from its quorum. */
  protected reason = '';
  #ring: RingMap;
  #legs: SerialLeg[] = [];
  #attempt = 0;
  #phase: Phase = 'wait';
  #beat = 0;
  #contended = false;
  /** In the prepare phase: until when further promises are waited for. */
  #patientUntilMs = Number.POSITIVE_INFINITY;
  #record: Uint8Array | null = null;
  #also: Uint8Array | null = null;
  readonly #usedStandIns: UsedNodes = [];

  constructor(core: CoordinatorCore, place: SerialKey) {
    super(core, place.deadlineMs);
    this.place = place;
    this.#ring = core.view.ring;
  }

  /** A quorum of each group promised `ballot`. `patient`: more promises may come; false is the last time. */
  protected abstract onPromised(legs: readonly SerialLeg[], patient: boolean): void;
  /** A quorum of each group accepted what `accept` was called with. */
  protected abstract onAccepted(): void;
  /** The operation ends without success; `tally` says whether anything may have been written. */
  protected abstract onFailed(status: number, why: string): void;

  start(): void {
    this.core.add(this);
    this.#prepare(true);
  }

  onTick(nowMs: MonotonicMs): void {
    if (hasPassed(this.deadlineMs, nowMs))
      this.onFailed(Status.TIMEOUT, `the deadline passed${this.#because()}`);
    else if (this.#phase === 'wait') this.#prepare(false);
    else if (this.#phase === 'prepare' && nowMs >= this.#patientUntilMs) {
      this.wakeMs = this.deadlineMs;
      this.onPromised(this.#promised(), false);
    } else this.#again();
  }
  /** Messages get lost: neither round is waited for until the deadline. */
  #setRoundEnd(): void {
    const ms = Math.min(
      limits.serialRoundMsMax,
      limits.serialRoundMsMin * 2 ** (Math.min(16, this.#attempt) - 1),
    );
    this.wakeMs = Math.min(this.deadlineMs, this.core.nowMs() + ms);
  }

  /** `starts`: in the turn of the request, in which nothing may be answered. */
  #prepare(starts: boolean): void {
    const { core } = this;
    const { view } = core;
    this.#ring = view.ring;
    this.vnode = vnodeOf(this.place.tokenHi, this.#ring.vnodes);
    this.groups = writeGroups(this.#ring, this.vnode);
    if (this.#attempt >= limits.serialAttemptsMax) {
      this.onFailed(Status.UNAVAILABLE, `${limits.serialAttemptsMax} ballots lost${this.#because()}`);
      return;
    }
    this.#legs = unionOf(this.groups).map((node) => new SerialLeg(this, node, this.#attempt + 1));
    for (const leg of this.#legs) if (!view.isUp(leg.node)) leg.state = 'down';
    if (!enoughUp(view, this.groups, Consistency.QUORUM)) {
      if (starts) this.wakeMs = 0;
      else this.onFailed(Status.UNAVAILABLE, `too few replicas are up${this.#because()}`);
      return;
    }
    const version = core.nextVersion();
    if (version === 0) {
      this.#phase = 'wait';
      this.wakeMs = Math.min(this.deadlineMs, core.nowMs() + limits.coordinatorTickMs);
      return;
    }
    this.#attempt++;
    this.ballot = { version, origin: core.self };
    core.metrics.prepares++;
    this.#phase = 'prepare';
    this.#patientUntilMs = Number.POSITIVE_INFINITY;
    this.#setRoundEnd();
    const { tokenHi, tokenLo, key } = this.place;
    const { deadlineMs } = this;
    const prepare = { tokenHi, tokenLo, key, ballot: this.ballot, deadlineMs };
    for (const leg of this.#legs)
      if (leg.state === 'pending') view.replica(leg.node).prepare(prepare, leg.onPromise);
  }

  onPromise(leg: SerialLeg, answer: PrepareAnswer): void {
    if (leg.attempt !== this.#attempt || this.#phase !== 'prepare' || this.answered) return;
    if (answer.status === Status.OK) {
      leg.state = 'ok';
      leg.record = answer.record;
      leg.outcomes = answer.outcomes;
    } else this.#note(leg, answer.status, answer.beat, answer.message);
    if (!this.#hasQuorum()) this.#giveUpWithoutHope();
    else if (this.core.view.ring !== this.#ring) this.#again();
    else
      this.onPromised(
        this.#promised(),
        this.#legs.some(({ state }) => state === 'pending'),
      );
  }
  /** From `onPromised`: further promises would help. */
  protected waitForMore(): void {
    if (this.#patientUntilMs !== Number.POSITIVE_INFINITY) return;
    this.#patientUntilMs = Math.min(this.deadlineMs, this.core.nowMs() + limits.serialWaitMs);
    this.wakeMs = this.#patientUntilMs;
  }

  /** From `onPromised`: the second round. `also` is durable with the record or not at all. */
  protected accept(record: Uint8Array, also: Uint8Array): void {
    const { core } = this;
    assert(this.#phase === 'prepare', 'an accept without promises');
    if (core.view.ring !== this.#ring) {
      this.#again();
      return;
    }
    this.#phase = 'accept';
    this.#record = record;
    this.#also = also;
    this.#setRoundEnd();
    core.metrics.accepts++;
    const write = { record, also, mode: WriteMode.FRESH, deadlineMs: this.deadlineMs };
    for (const leg of this.#legs) {
      // Also those that did not promise: a quorum did, and they may take it too.
      if (!core.view.isUp(leg.node)) {
        leg.state = 'down';
        continue;
      }
      leg.state = 'pending';
      leg.stale = false;
      this.tally.sent();
      core.view.replica(leg.node).write(write, leg.onAccept);
    }
    this.#giveUpWithoutHope();
  }

  onAccept(leg: SerialLeg, answer: WriteAnswer): void {
    this.tally.answered(answer.status, answer.message);
    if (leg.attempt !== this.#attempt || this.#phase !== 'accept') return;
    leg.barred = answer.barred;
    if (answer.status === Status.OK) leg.state = 'ok';
    else this.#note(leg, answer.status, answer.beat, answer.message);
    if (this.answered) {
      if (leg.state === 'lost') this.#catchUp(leg);
      this.callEnded();
      return;
    }
    if (!this.#hasQuorum()) {
      this.#giveUpWithoutHope();
      return;
    }
    this.leave(this.#legs);
    this.core.onWritten(this.ballot.version, this.ballot.version);
    this.onAccepted();
    for (const other of this.#legs)
      if (other.state === 'down' || other.state === 'lost') this.#catchUp(other);
  }

  #note(leg: SerialLeg, status: number, beat: number, message: string): void {
    leg.state = 'lost';
    if (isRefusal(status)) leg.refusal = status;
    if (status === PeerStatus.STALE_VERSION) {
      leg.stale = true;
      this.#contended = true;
      this.#beat = Math.max(this.#beat, beat);
    }
    if (message !== '') this.reason = message;
  }
  #because(): string {
    return this.reason === '' ? '' : ` (${this.reason})`;
  }

  #count(state: LegState, group: readonly NodeNumber[]): number {
    let count = 0;
    for (const leg of this.#legs) if (leg.state === state && group.includes(leg.node)) count++;
    return count;
  }
  #hasQuorum(): boolean {
    for (const group of this.groups)
      if (this.#count('ok', group) < neededOf(Consistency.QUORUM, group.length)) return false;
    return true;
  }
  #promised(): SerialLeg[] {
    return this.#legs.filter(({ state }) => state === 'ok');
  }
  #giveUpWithoutHope(): void {
    for (const group of this.groups) {
      const possible = this.#count('ok', group) + this.#count('pending', group);
      if (possible >= neededOf(Consistency.QUORUM, group.length)) continue;
      const refusal = this.#phase === 'prepare' ? this.#refusalOfAll() : 0;
      if (refusal === PENDING) return;
      if (refusal !== 0) this.onFailed(refusal, `every replica refused${this.#because()}`);
      else this.#again();
      return;
    }
  }

  /** Where every replica that was asked refused to promise: what to say of it; PENDING where some may. Otherwise 0. */
  #refusalOfAll(): number {
    let all = 0;
    let pending = false;
    for (const { state, refusal } of this.#legs) {
      if (state === 'pending') pending = true;
      if (state === 'down' || state === 'pending') continue;
      if (refusal === 0) return 0;
      all = all === 0 || all === refusal ? refusal : Status.OVERLOADED;
    }
    if (pending) return all === 0 ? 0 : PENDING;
    return all === Status.READ_ONLY ? Status.UNAVAILABLE : all;
  }

  /** A new ballot after a random wait, twice as long each time: whoever contends gets out of the way. */
  #again(): void {
    const { core } = this;
    if (this.#contended) {
      core.metrics.contention++;
      if (!core.observeBeat(this.#beat)) {
        const { peerClockDriftUsMax } = limits;
        const why = `a replica holds version ${this.#beat}, more than ${peerClockDriftUsMax} us ahead of this node's clock`;
        // In a turn of its own, and for good: the next attempt would meet the same.
        this.onFailed(Status.UNAVAILABLE, why);
        return;
      }
    }
    this.#contended = false;
    this.#phase = 'wait';
    const bound = Math.min(
      limits.serialBackoffMsMax,
      limits.serialBackoffMsMin * 2 ** Math.min(16, this.#attempt),
    );
    this.wakeMs = Math.min(
      this.deadlineMs,
      core.nowMs() + core.world.random.between(limits.serialBackoffMsMin, bound),
    );
  }

  /**
   * After the answer: whoever missed the accepted record gets it later. A hint would be barred by the promise that made a
   * replica refuse; and whoever that was given to need not propose anything.
   */
  #catchUp(leg: SerialLeg): void {
    if (this.#record === null) return;
    const { core } = this;
    if (leg.stale) {
      if (!leg.barred) return;
      const { tokenHi, tokenLo, key } = this.place;
      // As after a plain write: the ballot that settles it has to pass the promise.
      core.observeBeat(this.#beat);
      core.settleLater(tokenHi, tokenLo, key);
      return;
    }
    new HintPlacement(
      core,
      this.#ring,
      this.vnode,
      leg.node,
      this.#record,
      this.#also,
      this.#usedStandIns,
      false,
      () => undefined,
    ).place();
  }

  /**
   * After the answer: a quorum holds this, and nobody can tell who else does. Those that are down get it as a hint; settling the
   * key sees to the others.
   */
  protected catchUpAll(record: Uint8Array, also: Uint8Array | null): void {
    this.#record = record;
    this.#also = also;
    for (const leg of this.#legs) if (leg.state === 'down') this.#catchUp(leg);
    const { tokenHi, tokenLo, key } = this.place;
    this.core.settleLater(tokenHi, tokenLo, key);
  }

  protected get repliesUp(): { readonly up: number; readonly answered: number } {
    let up = 0;
    let answered = 0;
    for (const { node, state } of this.#legs) {
      if (this.core.view.isUp(node)) up++;
      if (state === 'ok' || state === 'lost') answered++;
    }
    return { up, answered };
  }
}
