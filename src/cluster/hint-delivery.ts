/**
 * Delivers one hint. Owned by the thread of the coordinator; hint-replay.ts says in which order, and at what rate.
 *
 * 1. It goes to its target, or to all replicas where that is none any more, or the vnode moves.
 * 2. Where this node leaves the ring, or has left it, and the target does not take it, another node keeps it (hint-handover.ts).
 *    What none keeps, because it was written too long ago or because none has room, goes to the replicas that are there: once every
 *    quorum has one of them that holds it, a hint adds nothing to it but that the target lacks it, and for that its vnode is marked.
 */
import { deadlineIn, type MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { keyAt, tokenHiAt, tokenLoAt } from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { vnodeOf } from '../base/token.ts';
import {
  Consistency,
  type HintBatch,
  type NodeNumber,
  type ReplicaWrite,
  type WriteAnswer,
  WriteMode,
} from './contract.ts';
import type { Coordinator } from './coordinator.ts';
import type { CoordinatorOptions } from './coordinator-core.ts';
import { enoughOf, type Groups, neededOf, unionOf } from './coordinator-groups.ts';
import { viewOf } from './coordinator-records.ts';
import { resurrectionIn } from './coordinator-repair.ts';
import { handOver } from './hint-handover.ts';
import { meetingQuorums, type NodeList, stays, writeGroups } from './ring-lookup.ts';

export interface HintReplayMetrics {
  hintsReplayed: number;
  hintBytesReplayed: number;
  hintBatchesFailed: number;
  hintsExpired: number;
  hintsSettled: number;
  /** Hints whose target had lost the vnode, or was about to: delivered to its present replicas. */
  hintsRedirected: number;
  /** Hints that another node keeps now, because this one leaves. */
  hintsHandedOver: number;
  /** Hints of this node, which leaves, that no other keeps: the replicas that are there hold what was written. */
  hintsToReplicas: number;
  /** Hints that a replica refuses whenever they come. */
  hintsRefused: number;
  /** Bytes of files that could not be read as hints. */
  hintBytesDamaged: number;
  resurrections: number;
}

export type HintWrite = HintBatch['writes'][number];

/** Why a hint of a node that leaves stays with it: too few replicas of its vnode are up for every quorum to find it there. */
export interface HintBlock {
  readonly vnode: number;
  /** Replicas of it, with those to come, that are down. */
  readonly down: NodeList;
}

/** One target's part on its way. */
export interface HintDelivery {
  readonly batch: HintBatch;
  nextWrite: number;
  inFlight: number;
  /** Its writes are just being sent: what ends at once comes back to there. */
  isSending: boolean;
  bytes: number;
  failures: number;
  /** Writes that were refused for good, and why. */
  refused: number;
  refusal: string;
  /** Something was marked for repair. */
  hasMarked: boolean;
}

/** The same answer would come again. */
const isForGood = (status: number): boolean =>
  status === Status.BAD_REQUEST || status === Status.KEY_TOO_LARGE || status === Status.VALUE_TOO_LARGE;

/** Whether so many of each group as `needed` says are among `taken`. */
const isHeld = (groups: Groups, taken: NodeList, needed: (replicas: number) => number): boolean =>
  enoughOf(groups, (node) => taken.includes(node), needed);

export class HintSender {
  readonly #options: CoordinatorOptions;
  readonly #coordinator: Coordinator;
  readonly #metrics: HintReplayMetrics;
  /** Which hints of a part that failed others have already: with each further try they would get them once more. */
  readonly #elsewhere = new Map<number, Set<number>>();
  /** What the last try of a part was blocked by. */
  readonly #blocks = new Map<number, HintBlock>();

  constructor(options: CoordinatorOptions, coordinator: Coordinator, metrics: HintReplayMetrics) {
    this.#options = options;
    this.#coordinator = coordinator;
    this.#metrics = metrics;
  }

  /** Whether an earlier try has given this one of a part to others. */
  isDone(position: number, at: number): boolean {
    return this.#elsewhere.get(position)?.has(at) === true;
  }
  /** Whether there are such of a part. */
  remembers(position: number): boolean {
    return this.#elsewhere.has(position);
  }
  forget(position: number): void {
    this.#elsewhere.delete(position);
    this.#blocks.delete(position);
  }
  /** A try of a part begins. */
  begin(position: number): void {
    this.#blocks.delete(position);
  }
  blockOf(position: number): HintBlock | null {
    return this.#blocks.get(position) ?? null;
  }
  /** One of those that parts are blocked by. */
  get block(): HintBlock | null {
    for (const block of this.#blocks.values()) return block;
    return null;
  }

  /** The hint at a place of its part. `done` learns whether it is needed here no more, perhaps before the call has returned. */
  send(delivery: HintDelivery, at: number, { record, also }: HintWrite, done: (ok: boolean) => void): void {
    const { view } = this.#options;
    const { target, position } = delivery.batch;
    const vnode = vnodeOf(tokenHiAt(viewOf(record), 0), view.ring.vnodes);
    const groups = writeGroups(view.ring, vnode);
    const write: ReplicaWrite = { record, also, mode: WriteMode.MERGE, deadlineMs: this.#deadlineMs() };
    const isReplica = groups.some((group) => group.includes(target));
    const isLeaving = isReplica && !stays(view.ring, view.self);
    /** `taken`: by whom it was taken so far, where all were asked. */
    const ended = (ok: boolean, taken: NodeList | null): void => {
      if (ok || !isLeaving) done(ok);
      else
        this.#give(delivery, vnode, write, taken, (given) => {
          if (given) this.#remember(position, at);
          done(given);
        });
    };
    if (isLeaving && !view.isUp(target)) ended(false, null);
    else if (isReplica && groups.length === 1)
      this.#write(delivery, target, write, (ok) => ended(ok, ok ? [target] : null));
    else {
      this.#metrics.hintsRedirected++;
      this.#writeAll(delivery, vnode, groups, unionOf(groups), write, (taken) => {
        const quorum = isHeld(groups, taken, (replicas) => neededOf(Consistency.QUORUM, replicas));
        ended(quorum && (!isReplica || taken.includes(target)), taken);
      });
    }
  }

  /** To others, for a target that is a replica and does not take it. */
  #give(
    delivery: HintDelivery,
    vnode: number,
    hint: ReplicaWrite,
    taken: NodeList | null,
    done: (ok: boolean) => void,
  ): void {
    const write = { ...hint, deadlineMs: this.#deadlineMs() };
    handOver(this.#options, delivery.batch.target, vnode, write, (kept) => {
      if (kept) {
        this.#metrics.hintsHandedOver++;
        done(true);
        return;
      }
      // By the ring of now: it may have changed since.
      const { view } = this.#options;
      const groups = writeGroups(view.ring, vnode);
      const up = unionOf(groups).filter((node) => view.isUp(node));
      const judge = (holders: NodeList): void => {
        const isSafe = isHeld(groups, holders, meetingQuorums);
        if (isSafe) this.#metrics.hintsToReplicas++;
        done(isSafe);
      };
      if (taken !== null && isHeld(groups, taken, meetingQuorums)) judge(taken);
      else if (!isHeld(groups, up, meetingQuorums)) {
        this.#blocked(delivery, { vnode, down: unionOf(groups).filter((node) => !up.includes(node)) });
        done(false);
      } else this.#writeAll(delivery, vnode, groups, up, { ...write, deadlineMs: this.#deadlineMs() }, judge);
    });
  }

  /** To the replicas that are asked, at least one; marks the vnode where not all take it. */
  #writeAll(
    delivery: HintDelivery,
    vnode: number,
    groups: readonly NodeList[],
    asked: NodeList,
    write: ReplicaWrite,
    done: (taken: NodeList) => void,
  ): void {
    const taken: NodeNumber[] = [];
    let waiting = asked.length;
    for (const node of asked)
      this.#write(delivery, node, write, (ok) => {
        if (ok) taken.push(node);
        if (--waiting > 0) return;
        if (taken.length < unionOf(groups).length) {
          this.#options.markForRepair(vnode);
          delivery.hasMarked = true;
        }
        done(taken);
      });
  }

  #write(delivery: HintDelivery, node: NodeNumber, write: ReplicaWrite, done: (ok: boolean) => void): void {
    this.#options.view
      .replica(node)
      .write(write, (answer) => this.#onWritten(delivery, write.record, answer, done));
  }

  #onWritten(
    delivery: HintDelivery,
    record: Uint8Array,
    answer: WriteAnswer,
    done: (ok: boolean) => void,
  ): void {
    const { view: cluster, markForRepair } = this.#options;
    const view = viewOf(record);
    if (answer.status === PeerStatus.STALE_VERSION && answer.barred) {
      this.#metrics.hintsSettled++;
      this.#coordinator.settle(tokenHiAt(view, 0), tokenLoAt(view, 0), keyAt(view, record, 0), done);
      return;
    }
    if (isForGood(answer.status)) {
      this.#metrics.hintsRefused++;
      markForRepair(vnodeOf(tokenHiAt(view, 0), cluster.ring.vnodes));
      delivery.hasMarked = true;
      delivery.refused++;
      delivery.refusal = answer.message;
      done(true);
      return;
    }
    if (answer.status === Status.OK && resurrectionIn(record, answer.newer)) this.#metrics.resurrections++;
    done(answer.status === Status.OK);
  }

  #blocked({ batch }: HintDelivery, block: HintBlock): void {
    if (this.#blocks.size < limits.hintPartsRememberedMax) this.#blocks.set(batch.position, block);
  }
  #remember(position: number, at: number): void {
    const places = this.#elsewhere.get(position) ?? new Set();
    if (places.size === 0 && this.#elsewhere.size >= limits.hintPartsRememberedMax) return;
    this.#elsewhere.set(position, places.add(at));
  }

  #deadlineMs(): MonotonicMs {
    return deadlineIn(this.#options.world.clock, limits.behindMs);
  }
}
