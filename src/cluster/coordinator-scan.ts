/**
 * One page of a scan of the whole ring: live user records in token order. Vnodes one after another, each from R replicas,
 * merged. Owned by the thread of the coordinator.
 *
 * 1. What the replicas' pages cover together ends where the first of them ends: records beyond are left for the next
 *    round, since another replica may hold something before them.
 * 2. Dead records are asked for too: they hide what a stale replica still holds. Where the pages differ about a key that lives in one of
 *    them, it is read as a client's read at the same level would (coordinator-read.ts), repair included: the newest may be a write that
 *    is under way, or the leftover of a conditional one that is refused in the end. At ONE the newest is given as it is.
 * 3. A cursor is a place in token order. It knows nothing of nodes or rings, so it stays valid through all changes.
 * 4. Runs of vnodes with the same replicas are asked for at once: in a cluster of as many nodes as replicas that is the
 *    whole ring.
 */
import { hasPassed, type MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import {
  headAt,
  isDeadAt,
  KEYSPACE_USER,
  keyAt,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
} from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { vnodeOf } from '../base/token.ts';
import {
  type ClientScan,
  type ClientScanAnswer,
  Consistency,
  type NodeNumber,
  type PageAnswer,
  type PagePlace,
} from './contract.ts';
import { type CoordinatorCore, Operation } from './coordinator-core.ts';
import { replicasMessage } from './coordinator-errors.ts';
import { type Groups, neededOf, unionOf } from './coordinator-groups.ts';
import { PlainRead } from './coordinator-read.ts';
import { NO_BYTES, viewOf } from './coordinator-records.ts';
import { readReplicas, writeGroups } from './ring-lookup.ts';
import type { RingMap } from './ring-map.ts';
import { ScanMerge } from './scan-merge.ts';

class Leg {
  state: 'idle' | 'asked' | 'answered' | 'failed' = 'idle';
  records: Uint8Array = NO_BYTES;
  next: PagePlace | null = null;
  readonly node: NodeNumber;
  readonly round: number;
  readonly #scan: ClusterScan;
  constructor(scan: ClusterScan, node: NodeNumber, round: number) {
    this.#scan = scan;
    this.node = node;
    this.round = round;
  }
  readonly onPage = (answer: PageAnswer): void => this.#scan.onPage(this, answer);
}

/** A key that the pages of a round have, in order. */
interface Found {
  readonly place: PagePlace;
  /** null: dead, or not known yet. */
  record: Uint8Array | null;
  readonly isDoubtful: boolean;
  /** Why it could not be read; OK where it was, or needed no reading. */
  status: number;
}

export class ClusterScan extends Operation {
  readonly #request: ClientScan;
  readonly #done: (answer: ClientScanAnswer) => void;
  readonly #chunks: Uint8Array[] = [];
  #records = 0;
  #bytes = 0;
  #pages = 0;
  #round = 0;
  #ring: RingMap;
  #groups: Groups = [];
  #legs: Leg[] = [];
  /** Go on after this place; null at the start of `#vnode`. */
  #after: PagePlace | null;
  #vnode = 0;
  #lastVnode = 0;
  #slowAtMs = Number.POSITIVE_INFINITY;
  #restartAtMs = Number.POSITIVE_INFINITY;
  #reason = '';
  /** Keys of this round that are being read. */
  #reading = 0;

  constructor(core: CoordinatorCore, request: ClientScan, done: (answer: ClientScanAnswer) => void) {
    super(core, request.deadlineMs);
    this.#request = request;
    this.#done = done;
    this.#ring = core.view.ring;
    this.#after = request.after;
    if (request.after !== null) this.#vnode = vnodeOf(request.after.tokenHi, this.#ring.vnodes);
  }

  start(): void {
    this.core.add(this);
    if (!this.#ask()) this.wakeMs = 0;
  }

  #groupsOf(vnode: number): Groups {
    return this.#request.consistency === Consistency.ONE
      ? [readReplicas(this.#ring, vnode)]
      : writeGroups(this.#ring, vnode);
  }

  /** Asks for the next run of vnodes. False where too few replicas are up. */
  #ask(): boolean {
    const { core } = this;
    this.#ring = core.view.ring;
    this.#round++;
    this.#restartAtMs = Number.POSITIVE_INFINITY;
    this.#groups = this.#groupsOf(this.#vnode);
    this.#lastVnode = this.#vnode;
    while (this.#lastVnode + 1 < this.#ring.vnodes && this.#isSame(this.#groupsOf(this.#lastVnode + 1)))
      this.#lastVnode++;
    this.#legs = unionOf(this.#groups).map((node) => new Leg(this, node, this.#round));
    const { latencies, self } = core;
    this.#legs.sort(
      (a, b) =>
        this.#groupsWith(b.node) - this.#groupsWith(a.node) ||
        Number(b.node === self) - Number(a.node === self) ||
        latencies.average(a.node) - latencies.average(b.node),
    );
    return this.#askEnough();
  }
  #groupsWith(node: NodeNumber): number {
    let count = 0;
    for (const group of this.#groups) if (group.includes(node)) count++;
    return count;
  }
  #isSame(groups: Groups): boolean {
    if (groups.length !== this.#groups.length) return false;
    for (let g = 0; g < groups.length; g++) {
      const group = groups[g] ?? [];
      const mine = this.#groups[g] ?? [];
      if (group.length !== mine.length || !group.every((node) => mine.includes(node))) return false;
    }
    return true;
  }

  /** Asks until those that answered or may still suffice; with `more`, one further replica for each group that waits. */
  #askEnough(more = 0): boolean {
    const { core } = this;
    for (const group of this.#groups) {
      const needed = neededOf(this.#request.consistency, group.length);
      const members = this.#legs.filter(({ node }) => group.includes(node));
      let possible = members.filter(({ state }) => state === 'asked' || state === 'answered').length;
      const waits = members.some(({ state }) => state === 'asked');
      for (const leg of members) {
        if (possible >= needed + (waits ? more : 0)) break;
        if (leg.state !== 'idle' || !core.view.isUp(leg.node)) continue;
        this.#send(leg);
        possible++;
      }
      if (possible < needed) return false;
    }
    this.#slowAtMs = more > 0 ? Number.POSITIVE_INFINITY : core.nowMs() + limits.readSpeculationMsMax;
    this.wakeMs = Math.min(this.deadlineMs, this.#slowAtMs);
    return true;
  }

  #send(leg: Leg): void {
    const { vnodes } = this.#ring;
    const span = 0x1_0000_0000 / vnodes;
    const { prefix, headOnly, recordsMax, bytesMax } = this.#request;
    leg.state = 'asked';
    this.#pages++;
    this.core.view.replica(leg.node).page(
      {
        firstHi: this.#vnode * span,
        firstLo: 0,
        lastHi: (this.#lastVnode + 1) * span - 1,
        lastLo: 0xffff_ffff,
        after: this.#after,
        userOnly: true,
        prefix,
        headOnly,
        recordsMax: Math.max(1, recordsMax - this.#records),
        bytesMax: Math.max(1, bytesMax - this.#bytes),
        deadlineMs: this.deadlineMs,
      },
      leg.onPage,
    );
  }

  onPage(leg: Leg, answer: PageAnswer): void {
    if (leg.round !== this.#round || this.answered) return;
    if (answer.status === PeerStatus.STALE_RING || this.core.view.ring !== this.#ring) {
      this.core.metrics.retriesOfRing++;
      this.#round++;
      this.#restartAtMs = this.core.nowMs() + (this.core.view.ring === this.#ring ? limits.ringWaitMs : 0);
      this.wakeMs = Math.min(this.deadlineMs, this.#restartAtMs);
      return;
    }
    if (answer.status === Status.OK) {
      leg.state = 'answered';
      leg.records = answer.records;
      leg.next = answer.next;
    } else {
      leg.state = 'failed';
      if (answer.message !== '') this.#reason = answer.message;
    }
    if (this.#isComplete()) this.#take();
    else if (answer.status !== Status.OK && !this.#askEnough())
      this.#fail(Status.UNAVAILABLE, 'too few replicas answered');
  }
  #isComplete(): boolean {
    for (const group of this.#groups) {
      let answered = 0;
      for (const leg of this.#legs) if (leg.state === 'answered' && group.includes(leg.node)) answered++;
      if (answered < neededOf(this.#request.consistency, group.length)) return false;
    }
    return true;
  }

  onTick(nowMs: MonotonicMs): void {
    if (hasPassed(this.deadlineMs, nowMs)) this.#fail(Status.TIMEOUT, 'the deadline passed');
    else if (this.#reading > 0) this.wakeMs = this.deadlineMs;
    else if (nowMs >= this.#restartAtMs) {
      if (!this.#ask()) this.#fail(Status.UNAVAILABLE, 'too few replicas are up');
    } else if (!this.#askEnough(nowMs >= this.#slowAtMs ? 1 : 0))
      this.#fail(Status.UNAVAILABLE, 'too few replicas are up');
  }

  /** All that is needed of this round is there. */
  #take(): void {
    const { recordsMax, bytesMax, consistency } = this.#request;
    const nowMs = this.core.world.clock.nowMs();
    const answered = this.#legs.filter(({ state }) => state === 'answered');
    const merge = new ScanMerge(answered, nowMs);
    const found: Found[] = [];
    let records = this.#records;
    let bytes = this.#bytes;
    let doubts = 0;
    let isCut = false;
    while (!isCut && merge.next()) {
      const { view, offset } = merge;
      const place = placeOf(view, merge.bytes, offset);
      const isDoubtful = !merge.agreed && merge.someLive && consistency !== Consistency.ONE;
      if (!isDoubtful && isDeadAt(view, offset, nowMs)) {
        found.push({ place, record: null, isDoubtful, status: Status.OK });
        continue;
      }
      const size = recordBytesAt(view, offset);
      const isFull = records >= recordsMax || (records > 0 && bytes + size > bytesMax);
      isCut = isFull || (isDoubtful && doubts >= limits.scanDoubtsMax);
      if (isCut) continue;
      const record = isDoubtful ? null : merge.bytes.subarray(offset, offset + size);
      found.push({ place, record, isDoubtful, status: Status.OK });
      records++;
      bytes += size;
      if (isDoubtful) doubts++;
    }
    const { end } = merge;
    if (doubts === 0) this.#goOn(found, end, isCut);
    else this.#read(found, () => this.#goOn(found, end, isCut));
  }

  /** Reads what the pages differ about. */
  #read(found: readonly Found[], then: () => void): void {
    const { consistency, headOnly } = this.#request;
    const { deadlineMs } = this;
    // Pages that are still out come too late.
    this.#round++;
    this.wakeMs = this.deadlineMs;
    for (const one of found) {
      if (!one.isDoubtful) continue;
      this.#reading++;
      const { tokenHi, tokenLo, key } = one.place;
      this.core.metrics.scanDoubts++;
      new PlainRead(this.core, { tokenHi, tokenLo, key, consistency, deadlineMs }, (answer) => {
        this.#reading--;
        const { status, record, message } = answer;
        if (record !== null) one.record = headOnly ? headAt(viewOf(record), record, 0) : record;
        else if (status !== Status.NOT_FOUND) {
          one.status = status;
          this.#reason = message;
        }
        if (this.#reading === 0 && !this.answered) then();
      }).start();
    }
  }

  /** Takes what was found, up to `end` of the pages, and goes on behind it; with `isCut` the page ends there. */
  #goOn(found: readonly Found[], end: PagePlace | null, isCut: boolean): void {
    const { recordsMax, bytesMax } = this.#request;
    for (const { place, record, status } of found) {
      if (status !== Status.OK) {
        this.#fail(status, 'a key about which its replicas differ could not be read');
        return;
      }
      if (record !== null) {
        // What was read may be longer than what the pages had.
        if (this.#records > 0 && this.#bytes + record.length > bytesMax) {
          this.#answerHere();
          return;
        }
        this.#chunks.push(record);
        this.#records++;
        this.#bytes += record.length;
      }
      this.#after = place;
    }
    if (isCut) {
      this.#answerHere();
      return;
    }
    if (end !== null) this.#after = end;
    else if (this.#lastVnode + 1 < this.#ring.vnodes) {
      this.#vnode = this.#lastVnode + 1;
      this.#after = null;
    } else {
      this.#answer(null);
      return;
    }
    const full = this.#records >= recordsMax || this.#bytes >= bytesMax;
    if (full || this.#pages >= limits.coordinatorScanPagesMax) this.#answerHere();
    else if (!this.#ask()) this.#fail(Status.UNAVAILABLE, 'too few replicas are up');
  }

  /** Ends the page where it stands, which may be before all of the vnode that comes next. */
  #answerHere(): void {
    this.#answer(this.#after ?? startOfVnode(this.#vnode, this.#ring.vnodes));
  }
  /** `next` null: nothing comes behind it. */
  #answer(next: PagePlace | null): void {
    this.answered = true;
    this.core.remove(this);
    const records = Buffer.concat(this.#chunks);
    this.#done({ status: Status.OK, records, next, message: '' });
  }
  #fail(status: number, why: string): void {
    // What was found so far is a page, and where it ends a cursor.
    if (this.#records > 0) {
      this.#answerHere();
      return;
    }
    this.answered = true;
    this.core.remove(this);
    if (status === Status.TIMEOUT) this.core.metrics.timeouts++;
    else this.core.metrics.unavailable++;
    let up = 0;
    let answered = 0;
    for (const { node, state } of this.#legs) {
      if (this.core.view.isUp(node)) up++;
      if (state === 'answered') answered++;
    }
    const reason = this.#reason === '' ? why : `${why} (${this.#reason})`;
    const message = replicasMessage(this.#request.consistency, this.#groups, up, answered, reason);
    this.#done({ status, records: NO_BYTES, next: null, message });
  }
}

function placeOf(view: DataView, bytes: Uint8Array, offset: number): PagePlace {
  return {
    tokenHi: tokenHiAt(view, offset),
    tokenLo: tokenLoAt(view, offset),
    keyspace: KEYSPACE_USER,
    key: keyAt(view, bytes, offset).slice(),
  };
}
/** The place before every record of a vnode: no key is empty. */
function startOfVnode(vnode: number, vnodes: number): PagePlace {
  return { tokenHi: vnode * (0x1_0000_0000 / vnodes), tokenLo: 0, keyspace: KEYSPACE_USER, key: NO_BYTES };
}
