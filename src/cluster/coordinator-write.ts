/**
 * A plain write at ONE, QUORUM or ALL: one version, sent to all home replicas at once. Owned by the thread of the
 * coordinator.
 *
 * 1. Only answers to the present attempt count: W replicas hold one version, not W versions of one value. An attempt has a
 *    new version only where one was refused for its version: what may have been read under one must not come back
 *    under another, over what was acknowledged in between.
 * 2. All calls of an attempt leave in one turn, under one ring: W is met in each write group of that ring.
 * 3. A stand-in counts only where the request allows it, only where home replicas that may still answer in time do not
 *    suffice, only once, and the answer says so.
 * 4. After the answer each home replica that failed or was down gets a hint, and a silent one when its call ends without an answer: most
 *    silent ones are slow, because there is too much to do, and a hint for each of their writes would double that
 *    (docs/decisions/0023-overload.md). One that holds a higher version needs none; of one that only promised it the key is settled.
 * 5. Where a version was refused and some replica may hold it, the write goes on under another only where nobody can be shown it: so many refused it at
 *    its first attempt, and never held it, that no quorum is without one of them (src/shard/shown-versions.ts). Else the outcome is unknown.
 * 6. A replica with a newer record counts where that record cannot have been acknowledged before the write began: where as many as in 5 took
 *    the version, or answered an attempt before it, of which each version is above all that was met. The write is then one that was
 *    replaced at once, as in ABD (Attiya, Bar-Noy, Dolev: Sharing Memory Robustly in Message-Passing Systems, JACM 1995). So an attempt
 *    after the first ends, however hot the key is (docs/decisions/0024-writes-that-conflict.md).
 */
import { assert } from '../base/assert.ts';
import { hasPassed, type MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { vnodeOf } from '../base/token.ts';
import {
  type ClientWrite,
  type ClientWriteAnswer,
  Consistency,
  type NodeNumber,
  type WriteAnswer,
  WriteMode,
} from './contract.ts';
import { type CoordinatorCore, Operation } from './coordinator-core.ts';
import {
  isRefusal,
  MAYBE_WRITTEN,
  NOTHING_WRITTEN,
  replicasMessage,
  WriteTally,
} from './coordinator-errors.ts';
import { blockingOf, enoughOf, neededOf, unionOf } from './coordinator-groups.ts';
import { HintPlacement, liveStandIns, type UsedNodes } from './coordinator-hints.ts';
import { encodeWrite, NO_BYTES } from './coordinator-records.ts';
import { type Copies, countAnswers, countCopies, isLost, Leg, mayHold } from './coordinator-write-legs.ts';
import { quorumOf, writeGroups } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';

export class PlainWrite extends Operation {
  readonly #request: ClientWrite;
  readonly #done: (answer: ClientWriteAnswer) => void;
  readonly #sloppy: boolean;
  readonly #tally = new WriteTally();
  readonly #usedStandIns: UsedNodes = [];
  #ring: RingMap;
  #groups: readonly (readonly NodeNumber[])[] = [];
  #legs: Leg[] = [];
  #attempt = 0;
  #record: Uint8Array = NO_BYTES;
  /** A replica may have taken this version in an attempt before the present one. */
  #mayBeHeld = false;
  /** A majority has answered since the write began: all that was acknowledged before is below the present version. */
  #isProven = false;
  #isWritten = false;
  /** The first attempt under the version. */
  #versionAttempt = 0;
  #beat = 0;
  /** When silent replicas get hints; Infinity once they have. */
  #standInAtMs = Number.POSITIVE_INFINITY;
  #silent = false;
  #hinted = false;
  /** Nothing is out: the next attempt waits for a newer ring, or for a version. */
  #waits = false;

  constructor(core: CoordinatorCore, request: ClientWrite, done: (answer: ClientWriteAnswer) => void) {
    super(core, request.deadlineMs);
    this.#request = request;
    this.#done = done;
    const { consistency } = request;
    this.#sloppy = request.sloppy ?? (consistency === Consistency.ONE || consistency === Consistency.QUORUM);
    this.#ring = core.view.ring;
  }

  /** Starts in the turn of the request; never answers in it. */
  start(): void {
    this.core.add(this);
    this.#send();
  }

  #send(): void {
    const { core } = this;
    const { view } = core;
    this.#ring = view.ring;
    this.vnode = vnodeOf(this.#request.tokenHi, this.#ring.vnodes);
    this.#groups = writeGroups(this.#ring, this.vnode);
    if (this.version === 0) {
      this.version = core.nextVersion();
      if (this.version === 0) {
        this.#sendLater(limits.coordinatorTickMs);
        return;
      }
      this.#record = encodeWrite(this.#request, this.version, core.self);
      this.#mayBeHeld = false;
      this.#versionAttempt = this.#attempt + 1;
    } else if (this.#legs.some(mayHold)) this.#mayBeHeld = true;
    this.#attempt++;
    this.#waits = false;
    this.#silent = false;
    this.#usedStandIns.length = 0;
    this.#legs = [];
    for (const node of unionOf(this.#groups)) {
      const leg = new Leg(this, node, this.#attempt);
      if (!view.isUp(node)) leg.state = 'down';
      this.#legs.push(leg);
    }
    this.#standInAtMs = core.nowMs() + limits.writeStandInMs;
    this.#setWake();
    if (!this.#canSucceed()) {
      // In a turn of its own: an answer never comes before the call has returned.
      this.wakeMs = 0;
      return;
    }
    const { deadlineMs } = this;
    const write = { record: this.#record, also: null, mode: WriteMode.FRESH, deadlineMs };
    for (const leg of this.#legs)
      if (leg.state === 'pending') {
        this.#tally.sent();
        leg.send(view.replica(leg.node), write);
      }
    if (!this.answered) this.#coverLosses();
  }

  #sendLater(ms: number): void {
    this.#waits = true;
    this.wakeMs = Math.min(this.deadlineMs, this.core.nowMs() + ms);
  }

  onAnswer(leg: Leg, answer: WriteAnswer): void {
    const { status } = answer;
    this.#tally.answered(status, answer.message);
    if (leg.attempt !== this.#attempt) return;
    if (status === Status.OK) leg.state = 'ok';
    else if (status === PeerStatus.STALE_VERSION) {
      leg.state = 'stale';
      leg.barred = answer.barred;
      leg.passed = answer.newer !== null;
      if (answer.beat > this.#beat) this.#beat = answer.beat;
    } else if (status === PeerStatus.STALE_RING) leg.state = 'ring';
    else {
      leg.state = isRefusal(status) ? 'refused' : 'failed';
      leg.timedOut = status === Status.TIMEOUT;
      leg.cannot = status !== Status.UNAVAILABLE;
    }
    if (this.answered) {
      this.#noteWritten();
      this.#hintAfterAnswer(leg);
      this.callEnded();
      this.#endAsking();
    } else this.#evaluate();
  }
  onHint(leg: Leg): void {
    if (!this.answered) this.#evaluate();
    // No stand-in took it while only one that counts would do: by now any node will.
    else if (leg.hint === 'lost') this.#hintAfterAnswer(leg);
  }

  onTick(nowMs: MonotonicMs): void {
    if (hasPassed(this.deadlineMs, nowMs)) {
      this.#fail(Status.TIMEOUT, 'the deadline passed');
      return;
    }
    if (this.#waits) {
      this.#send();
      return;
    }
    if (nowMs >= this.#standInAtMs) {
      this.#silent = true;
      this.#standInAtMs = Number.POSITIVE_INFINITY;
    }
    this.#setWake();
    this.#evaluate();
  }
  #setWake(): void {
    this.wakeMs = Math.min(this.deadlineMs, this.#standInAtMs);
  }

  /** Copies of the present version at home replicas and stand-ins of one group, and what may still come. */
  #count(group: readonly NodeNumber[], isProven = this.#isProven): Copies {
    return countCopies(group, this.#legs, this.#silent, isProven);
  }

  #evaluate(): void {
    // It waits for a version: what is still heard of the last one decides nothing any more.
    if (this.version === 0) return;
    let home = true;
    let sloppy = this.#sloppy;
    for (const group of this.#groups) {
      const needed = neededOf(this.#request.consistency, group.length);
      const { held, soon, standIns } = this.#count(group);
      if (held >= needed) continue;
      home = false;
      if (held + soon >= needed || held + standIns < needed) sloppy = false;
    }
    if (home || sloppy) this.#acknowledge(!home);
    else if (!this.#coverLosses() && !this.#canSucceed()) this.#afterFailedAttempt();
  }

  /** Hints for what is lost while the answer is open: only where home replicas do not suffice. True where one is out. */
  #coverLosses(): boolean {
    const lacking = this.#sloppy ? this.#groups.filter((group) => !this.#suffices(group)) : [];
    if (lacking.length === 0 || !this.#canSucceed()) return false;
    let placed = false;
    for (const group of lacking) {
      for (const leg of this.#legs) {
        if (!group.includes(leg.node) || leg.hint !== 'none' || !isLost(leg, this.#silent)) continue;
        if (this.#hint(leg, true)) placed = true;
      }
    }
    return placed;
  }

  /** With what its home replicas hold, and may answer in time. */
  #suffices(group: readonly NodeNumber[]): boolean {
    const { held, soon } = this.#count(group);
    return held + soon >= neededOf(this.#request.consistency, group.length);
  }

  #canSucceed(): boolean {
    for (const group of this.#groups) {
      const needed = neededOf(this.#request.consistency, group.length);
      const { held, soon, late, standIns } = this.#count(group);
      if (held + soon + late >= needed) continue;
      if (!this.#sloppy || held + soon + late + standIns + this.#standInsFor(group) < needed) return false;
    }
    return true;
  }
  /** Losses of a group that a stand-in could still take. */
  #standInsFor(group: readonly NodeNumber[]): number {
    const isOpen = ({ node, hint, state }: Leg): boolean =>
      group.includes(node) && hint === 'none' && state !== 'pending';
    const losses = this.#legs.filter((leg) => isOpen(leg) && isLost(leg, this.#silent)).length;
    if (losses === 0) return 0;
    return Math.min(losses, liveStandIns(this.core, this.#ring, this.vnode, this.#usedStandIns));
  }

  #hint(leg: Leg, mustCount: boolean): boolean {
    leg.hint = 'pending';
    const { core } = this;
    const placement = new HintPlacement(
      core,
      this.#ring,
      this.vnode,
      leg.node,
      this.#record,
      null,
      this.#usedStandIns,
      mustCount,
      (kept, counts) => leg.onHint(kept, counts),
    );
    if (placement.place()) {
      this.#hinted = true;
      return true;
    }
    leg.hint = 'lost';
    return false;
  }
  #hintAfterAnswer(leg: Leg): void {
    if (leg.state === 'stale' && leg.barred) {
      const { tokenHi, tokenLo, key } = this.#request;
      // Below the promise in the way it would settle the key at the others alone, again and again.
      this.core.observeBeat(this.#beat);
      this.core.settleLater(tokenHi, tokenLo, key);
      return;
    }
    const open = leg.hint === 'none' || (leg.hint === 'lost' && !leg.gaveUp);
    // One that is pending is heard of again, at the latest by its deadline; who stops or drains the node waits for that.
    if (!open || leg.state === 'pending' || !(isLost(leg, this.#silent) || leg.state === 'ring')) return;
    leg.gaveUp = true;
    this.#hint(leg, false);
  }

  #afterFailedAttempt(): void {
    const { core } = this;
    const stale = this.#legs.some(({ state }) => state === 'stale');
    const ring = this.#legs.some(({ state }) => state === 'ring');
    const last = this.#attempt >= limits.writeAttemptsMax;
    // What is still out decides whether anything was written, and for a moment that is worth waiting for.
    if ((last || !(stale || ring)) && !this.#silent && this.#legs.some(({ state }) => state === 'pending'))
      return;
    if (last && (stale || ring)) {
      this.#fail(Status.UNAVAILABLE, `no quorum for one version in ${this.#attempt} attempts`);
      return;
    }
    if (stale && !core.observeBeat(this.#beat)) {
      const limit = limits.peerClockDriftUsMax;
      this.#fail(
        Status.UNAVAILABLE,
        `a replica holds version ${this.#beat}, more than ${limit} us ahead of this node's clock`,
      );
      return;
    }
    if (stale && !this.#leaveVersion()) return;
    if (ring && core.view.ring === this.#ring) {
      core.metrics.retriesOfRing++;
      this.#sendLater(limits.ringWaitMs);
    } else if (stale || ring) {
      if (stale) core.metrics.retriesAboveBeat++;
      else core.metrics.retriesOfRing++;
      this.#send();
    } else if (this.#legs.some(({ timedOut }) => timedOut)) this.#fail(Status.TIMEOUT, 'the deadline passed');
    else if (!last && this.#brokeOff()) {
      core.metrics.retriesOfConnections++;
      this.#sendLater(limits.reconnectWaitMs);
    } else this.#fail(Status.UNAVAILABLE, 'too few replicas answered');
  }

  /** The present version was refused: the next attempt has another. False where it cannot, or is to be waited for. */
  #leaveVersion(): boolean {
    const has = (counts: (leg: Leg) => boolean): boolean => {
      const nodes = this.#legs.filter(counts).map(({ node }) => node);
      return enoughOf(this.#groups, (node) => nodes.includes(node), blockingOf);
    };
    if (this.#mayBeHeld || this.#legs.some(mayHold)) {
      const isHidden = this.#attempt === this.#versionAttempt && has(({ passed }) => passed);
      if (!isHidden) {
        if (!this.#silent && this.#legs.some(({ state }) => state === 'pending')) return false;
        const { version } = this;
        this.#fail(
          Status.UNAVAILABLE,
          `version ${version} was passed by ${this.#beat}, and a replica may hold it`,
        );
        return false;
      }
      this.formers = [...this.formers, this.version];
    }
    if (has(({ state }) => state === 'ok' || state === 'stale')) this.#isProven = true;
    this.version = 0;
    return true;
  }

  #brokeOff(): boolean {
    const cannot = this.#legs.some(({ cannot: one }) => one);
    return !cannot && this.mayReconnect(this.#groups, this.#request.consistency);
  }

  /** Tells once that the version is written, whatever the level asked for: readers go by that. */
  #noteWritten(): void {
    if (this.#isWritten || this.version === 0) return;
    // What is newer need not have come after it, where nothing was promised of that.
    const isProven = this.#isProven || this.#request.consistency === Consistency.ONE;
    for (const group of this.#groups) {
      if (this.#count(group, isProven).held < quorumOf(group.length)) return;
    }
    this.#isWritten = true;
    for (const version of [...this.formers, this.version]) this.core.onWritten(version, this.version);
  }
  /** At ONE, and where stand-ins count, it is answered before it is known whether a majority takes it. */
  #endAsking(): void {
    if (this.#isWritten || !this.#legs.some(({ state }) => state === 'pending')) this.endVersion();
  }

  #end(): void {
    this.answered = true;
    this.leave(this.#legs);
    this.core.remove(this);
    this.#noteWritten();
    this.#endAsking();
  }
  #acknowledge(sloppy: boolean): void {
    const { core } = this;
    assert(this.version !== 0, 'a write would be acknowledged without a version');
    this.#end();
    if (sloppy) core.metrics.sloppyAcks++;
    if (this.#legs.some(({ passed }) => passed) && this.#isProven) core.metrics.writesPassed++;
    this.#done({ status: Status.OK, version: this.version, sloppy, message: '' });
    for (const leg of this.#legs) this.#hintAfterAnswer(leg);
  }

  #fail(status: number, why: string): void {
    const { core } = this;
    const { metrics } = core;
    this.#end();
    const tally = this.#tally;
    const nothing = tally.nothingWritten && !this.#hinted;
    const refusal = nothing && status !== Status.TIMEOUT ? tally.refusal : 0;
    if (status === Status.TIMEOUT) metrics.timeouts++;
    else if (refusal !== 0) metrics.refused++;
    else metrics.unavailable++;
    if (!nothing) metrics.unknownOutcomes++;
    const { up, answered } = countAnswers(this.#legs);
    const reason = tally.reason === '' ? why : `${why} (${tally.reason})`;
    const message = replicasMessage(this.#request.consistency, this.#groups, up, answered, reason);
    this.#done({
      status: refusal !== 0 ? refusal : status,
      version: 0,
      sloppy: false,
      message: message + (nothing ? NOTHING_WRITTEN : MAYBE_WRITTEN),
    });
  }
}
