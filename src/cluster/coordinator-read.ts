/**
 * A read at ONE, QUORUM or ALL: one replica is asked for the record, the others for its head. Owned by the thread of the
 * coordinator.
 *
 * 1. At QUORUM and ALL the answer is held by as many replicas as were asked for, in each write group, before it is given:
 *    whoever of them is stale is repaired first. So a later read finds it, or something newer.
 * 2. A replica that refused a repair because it holds something newer does not count for what it was sent: that may be the
 *    leftover of a conditional write which was overtaken and refused. The newer record is what the read goes on with.
 * 3. During a change of the ring that means the present replicas and those to come: what an unfinished write left with the
 *    present ones alone could otherwise be read now, and be gone when reads move.
 * 4. Everything that an answer rests on was asked under one ring; where the ring moved on meanwhile, the read starts anew.
 * 5. Of a key that changes faster than replicas can be asked, no two would ever show the same record. So before a record that is young is brought
 *    to others, the node that wrote it is asked: once that has acknowledged it, a majority has held it, and no later read finds anything
 *    older (docs/decisions/0024-writes-that-conflict.md). It waits for a write that is on its way, and knows those of the last moments.
 */

import { assert } from '../base/assert.ts';
import { earlier, hasPassed, type MonotonicMs, msAfter } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { KEYSPACE_USER } from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { vnodeOf } from '../base/token.ts';
import {
  type ClientRead,
  type ClientReadAnswer,
  Consistency,
  type NodeNumber,
  type ReadAnswer,
  type ReplicaRead,
} from './contract.ts';
import { type CoordinatorCore, Operation } from './coordinator-core.ts';
import { replicasMessage } from './coordinator-errors.ts';
import { type Groups, neededOf, unionOf } from './coordinator-groups.ts';
import {
  bringsRecord,
  holds,
  isAnswered,
  isAnsweredOrRepairing,
  isSame,
  Leg,
  type LegOwner,
  newest,
} from './coordinator-read-legs.ts';
import { compareHeads, isDead, originOf, versionOf, withVersion } from './coordinator-records.ts';
import type { RepairResult } from './coordinator-repair.ts';
import { readReplicas, writeGroups } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';

export class PlainRead extends Operation implements LegOwner {
  readonly #request: ClientRead;
  readonly #done: (answer: ClientReadAnswer) => void;
  #ring: RingMap;
  #groups: Groups = [];
  #legs: Leg[] = [];
  #attempt = 0;
  #restartAtMs = Number.POSITIVE_INFINITY;
  #reason = '';
  #timedOut = false;
  /** A replica said that it cannot: asking it again helps nobody. */
  #refused = false;
  /** Whose writer was asked, and until when its answer is waited for: invariant 5. It may have known of no majority. */
  #asked: Uint8Array | null = null;
  #askedUntilMs = Number.NEGATIVE_INFINITY;

  constructor(core: CoordinatorCore, request: ClientRead, done: (answer: ClientReadAnswer) => void) {
    super(core, request.deadlineMs);
    this.#request = request;
    this.#done = done;
    this.#ring = core.view.ring;
  }

  start(): void {
    this.core.add(this);
    this.#begin();
  }

  #begin(): void {
    const { core } = this;
    const { view } = core;
    this.#ring = view.ring;
    this.#attempt++;
    this.#restartAtMs = Number.POSITIVE_INFINITY;
    this.#askedUntilMs = Number.NEGATIVE_INFINITY;
    const vnode = vnodeOf(this.#request.tokenHi, this.#ring.vnodes);
    const one = this.#request.consistency === Consistency.ONE;
    const nearest = readReplicas(this.#ring, vnode);
    this.#groups = one ? [nearest] : writeGroups(this.#ring, vnode);
    this.#legs = [];
    for (const node of unionOf(this.#groups)) this.#legs.push(new Leg(this, node, this.#attempt));
    this.#sortLegs(nearest);
    // The failure comes in a turn of its own: an answer never comes before the call has returned.
    if (!this.#askEnough()) this.wakeMs = 0;
  }

  /**
   * Replicas of both groups first, then this node, then the quickest; those to come last: they may have nothing yet. By
   * insertion: there are a handful, and a sort with a comparison of its own costs more than all the rest of a leg.
   */
  #sortLegs(nearest: readonly NodeNumber[]): void {
    const legs = this.#legs;
    for (const leg of legs) {
      let groups = 0;
      for (const group of this.#groups) if (group.includes(leg.node)) groups++;
      leg.rank = (this.#groups.length - groups) * 2 + (nearest.includes(leg.node) ? 0 : 1);
    }
    for (let i = 1; i < legs.length; i++) {
      const leg = legs[i] as Leg;
      let at = i;
      for (; at > 0 && this.#isBefore(leg, legs[at - 1] as Leg); at--) legs[at] = legs[at - 1] as Leg;
      legs[at] = leg;
    }
  }
  #isBefore(a: Leg, b: Leg): boolean {
    const { self, latencies } = this.core;
    if (a.rank !== b.rank) return a.rank < b.rank;
    if (a.node === self || b.node === self) return a.node === self;
    return latencies.average(a.node) < latencies.average(b.node);
  }

  /** Asks further replicas until those that answered or may soon suffice for each group. False where they cannot. */
  #askEnough(): boolean {
    for (const group of this.#groups) {
      const needed = neededOf(this.#request.consistency, group.length);
      let possible = 0;
      let late = 0;
      for (const leg of this.#legs) {
        if (!group.includes(leg.node) || leg.state === 'idle' || leg.state === 'failed') continue;
        if (leg.slow && leg.state === 'asked') late++;
        else possible++;
      }
      for (const leg of this.#legs) {
        if (possible >= needed) break;
        if (leg.state !== 'idle' || !group.includes(leg.node) || !this.core.view.isUp(leg.node)) continue;
        this.#ask(leg, !this.#legs.some(bringsRecord));
        possible++;
      }
      if (possible + late < needed) return false;
    }
    this.#setWake();
    return true;
  }

  #ask(leg: Leg, full: boolean): void {
    leg.state = 'asked';
    leg.full = full;
    leg.slow = false;
    leg.askedMs = this.core.nowMs();
    leg.ask(this.core.view.replica(leg.node), this.#readOf(!full));
  }
  #readOf(headOnly: boolean): ReplicaRead {
    const { tokenHi, tokenLo, key } = this.#request;
    const { deadlineMs } = this;
    return { tokenHi, tokenLo, keyspace: KEYSPACE_USER, key, headOnly, deadlineMs };
  }

  #setWake(): void {
    let wakeMs = Math.min(this.deadlineMs, this.#restartAtMs);
    if (this.#askedUntilMs > this.core.nowMs()) wakeMs = Math.min(wakeMs, this.#askedUntilMs);
    for (const { node, state, slow, askedMs } of this.#legs)
      if (state === 'asked' && !slow)
        wakeMs = Math.min(wakeMs, askedMs + this.core.latencies.speculationMs(node));
    this.wakeMs = wakeMs;
  }

  onTick(nowMs: MonotonicMs): void {
    const { core } = this;
    if (hasPassed(this.deadlineMs, nowMs)) this.#fail(Status.TIMEOUT, 'the deadline passed');
    else if (this.#restartAtMs !== Number.POSITIVE_INFINITY) {
      if (nowMs >= this.#restartAtMs) this.#begin();
    } else {
      let speculates = false;
      for (const leg of this.#legs) {
        if (leg.state !== 'asked' || leg.slow) continue;
        if (nowMs < leg.askedMs + core.latencies.speculationMs(leg.node)) continue;
        leg.slow = true;
        if (this.#legs.some(({ node, state }) => state === 'idle' && core.view.isUp(node))) speculates = true;
      }
      if (speculates) core.metrics.readSpeculations++;
      this.#advance();
    }
  }

  onAnswer(leg: Leg, answer: ReadAnswer): void {
    const { core } = this;
    core.latencies.note(leg.node, core.nowMs() - leg.askedMs);
    if (leg.attempt !== this.#attempt) return;
    if (answer.status === Status.OK) {
      leg.state = 'answered';
      leg.record = answer.record;
    } else {
      leg.state = 'failed';
      if (answer.status === Status.TIMEOUT) this.#timedOut = true;
      if (answer.status !== Status.UNAVAILABLE && answer.status !== PeerStatus.STALE_RING)
        this.#refused = true;
      if (answer.message !== '') this.#reason = answer.message;
    }
    if (this.answered) this.#lateAnswer(leg);
    else if (answer.status === PeerStatus.STALE_RING) this.#restart();
    else this.#advance();
  }

  onRepaired(leg: Leg, result: RepairResult, newer: Uint8Array | null): void {
    if (result === 'done') this.core.metrics.readRepairsBefore++;
    if (leg.attempt !== this.#attempt || this.answered) return;
    if (result === 'barred') {
      this.#settle();
      return;
    }
    leg.state = result === 'failed' ? 'failed' : 'answered';
    leg.full = true;
    // What the replica holds instead, where that is newer: then it never took what was sent, which may have been overtaken
    // by a ballot and never have been written at all. Or the tombstone of what it knows to be deleted.
    leg.record = newer ?? leg.sent;
    this.#advance();
  }

  #restart(): void {
    this.core.metrics.retriesOfRing++;
    this.#restartAtMs = this.core.view.ring === this.#ring ? this.core.nowMs() + limits.ringWaitMs : 0;
    this.wakeMs = Math.min(this.deadlineMs, this.#restartAtMs);
  }

  /** Answers where that is possible now; otherwise sees to it that something is out. */
  #advance(): void {
    if (this.#restartAtMs !== Number.POSITIVE_INFINITY) return;
    if (this.core.view.ring !== this.#ring) this.#restart();
    else if (this.#reached(isAnswered)) this.#decide();
    else if (this.#reached(isAnsweredOrRepairing)) this.#setWake();
    else if (!this.#askEnough()) {
      const { core } = this;
      if (this.#timedOut) this.#fail(Status.TIMEOUT, 'the deadline passed');
      else if (!this.#refused && this.mayReconnect(this.#groups, this.#request.consistency)) {
        core.metrics.retriesOfConnections++;
        this.#restartAtMs = core.nowMs() + limits.reconnectWaitMs;
        this.wakeMs = this.#restartAtMs;
      } else this.#fail(Status.UNAVAILABLE, 'too few replicas answered');
    }
  }
  #reached(counts: (leg: Leg) => boolean): boolean {
    for (const group of this.#groups) {
      let count = 0;
      for (const leg of this.#legs) if (counts(leg) && group.includes(leg.node)) count++;
      if (count < neededOf(this.#request.consistency, group.length)) return false;
    }
    return true;
  }

  #decide(): void {
    const best = newest(this.#legs);
    if (best === null) {
      this.#answer(null);
      return;
    }
    const whole = this.#legs.find((leg) => leg.full && holds(leg, best));
    if (whole === undefined) {
      this.core.metrics.readRefetches++;
      this.#ask(best, true);
      this.#setWake();
      return;
    }
    const needsRepair = this.#request.consistency !== Consistency.ONE;
    if (!needsRepair || this.#reached((leg) => holds(leg, best))) {
      this.#answer(whole.record);
      return;
    }
    if (!this.#asksFurther(best) && !this.#asksWriter(whole.record)) this.#repairAsNeeded(best, whole);
    this.#setWake();
  }

  /** Asks who wrote a young record, once. True while the answer may come. */
  #asksWriter(record: Uint8Array | null): boolean {
    const { core } = this;
    // What was the newest when it was asked for stays good enough, though newer ones are met meanwhile.
    if (core.nowMs() < this.#askedUntilMs) return true;
    if (record === null) return false;
    if (this.#asked !== null && compareHeads(this.#asked, record) === 0) return false;
    const writer = originOf(record);
    if (core.versions.ageUs(versionOf(record)) > limits.writerAskedMs * 1000) return false;
    if (!core.view.isUp(writer)) return false;
    this.#asked = record;
    const untilMs = earlier(this.deadlineMs, msAfter(core.nowMs(), limits.writerWaitMs));
    this.#askedUntilMs = untilMs;
    const attempt = this.#attempt;
    core.view.askWriter(writer, versionOf(record), untilMs, (version) => {
      if (this.answered || this.#asked !== record || attempt !== this.#attempt) return;
      if (core.view.ring !== this.#ring) this.#restart();
      // It ended otherwise: by now most replicas may have something newer, which is worth a look before this is brought to them.
      else if (version === 0) this.#begin();
      else {
        core.metrics.readsVouched++;
        this.#answer(version === versionOf(record) ? record : withVersion(record, version, writer));
      }
    });
    return true;
  }

  /**
   * Asks those who were not asked yet, where they may hold the newest too, so that nobody need be repaired: a write on its way has mostly
   * reached one more. True while there is one whose answer may come soon.
   */
  #asksFurther(best: Leg): boolean {
    const mayHold = (leg: Leg): boolean =>
      holds(leg, best) ||
      (leg.state === 'asked' && !leg.slow) ||
      (leg.state === 'idle' && this.core.view.isUp(leg.node));
    if (!this.#reached(mayHold)) return false;
    let waits = false;
    for (const leg of this.#legs) {
      if (leg.state === 'idle' && mayHold(leg)) this.#ask(leg, false);
      if (leg.state === 'asked' && !leg.slow) waits = true;
    }
    return waits;
  }

  /** Of each group as many as lack until enough of it hold the newest. */
  #repairAsNeeded(best: Leg, { node, record }: Leg): void {
    assert(record !== null, 'a read would repair with nothing');
    const { deadlineMs } = this;
    for (const group of this.#groups) {
      let lacking = neededOf(this.#request.consistency, group.length);
      for (const leg of this.#legs) {
        if (group.includes(leg.node) && (holds(leg, best) || leg.state === 'repairing')) lacking--;
      }
      for (const leg of this.#legs) {
        if (lacking <= 0) break;
        if (leg.state !== 'answered' || isSame(leg, best) || !group.includes(leg.node)) continue;
        leg.repair(this.core, node, record, deadlineMs);
        lacking--;
      }
    }
  }

  /** A promise bars the repair: who promised may be about to overtake the record. SERIAL finds out. */
  #settle(): void {
    const { core } = this;
    this.answered = true;
    core.remove(this);
    core.metrics.settles++;
    core.readSerial({ ...this.#request, deadlineMs: this.deadlineMs }, this.#done);
  }

  #answer(record: Uint8Array | null): void {
    const { core } = this;
    this.answered = true;
    core.remove(this);
    if (record === null || isDead(record, core.world.clock.nowMs()))
      this.#done({ status: Status.NOT_FOUND, record: null, message: '' });
    else this.#done({ status: Status.OK, record, message: '' });
    for (const other of this.#legs) if (other.state === 'answered') this.#lateAnswer(other);
    if (core.world.random.below(1000) < limits.readRepairPerMille) this.#lookAtOthers();
  }

  /** Behind the answer: the sample of reads looks at all replicas. */
  #lookAtOthers(): void {
    const { core } = this;
    const vnode = vnodeOf(this.#request.tokenHi, this.#ring.vnodes);
    if (core.view.ring !== this.#ring) return;
    for (const node of unionOf(writeGroups(this.#ring, vnode)))
      if (!this.#legs.some((leg) => leg.node === node)) this.#legs.push(new Leg(this, node, this.#attempt));
    for (const leg of this.#legs) if (leg.state === 'idle' && core.view.isUp(leg.node)) this.#ask(leg, false);
  }
  /** What a replica holds was learnt after the answer was decided: repair it, or the others by it, behind. */
  #lateAnswer(leg: Leg): void {
    const best = newest(this.#legs);
    if (best === null || leg.state !== 'answered') return;
    const stale = isSame(leg, best) ? this.#legs : [leg];
    for (const other of stale) {
      if (other.state !== 'answered' || isSame(other, best) || best.record === null) continue;
      other.state = 'repairing';
      this.core.repairLater(best.node, other.node, best.record);
    }
  }

  #fail(status: number, why: string): void {
    const { core } = this;
    this.answered = true;
    core.remove(this);
    if (status === Status.TIMEOUT) core.metrics.timeouts++;
    else core.metrics.unavailable++;
    let up = 0;
    let answered = 0;
    for (const { node, state } of this.#legs) {
      if (core.view.isUp(node)) up++;
      if (state === 'answered' || state === 'repairing') answered++;
    }
    const reason = this.#reason === '' ? why : `${why} (${this.#reason})`;
    const message = replicasMessage(this.#request.consistency, this.#groups, up, answered, reason);
    this.#done({ status, record: null, message });
  }
}
