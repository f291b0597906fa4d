/**
 * Hands hints back: for each target that is up, batch after batch, oldest first, at a limited rate. Owned by the thread of
 * the coordinator.
 *
 * 1. A batch is discarded after each of its writes was taken by its target, was settled by SERIAL, or is held by a quorum
 *    of each group where the target is no replica of it any more. Until then it stays, and comes again as a whole:
 *    delivery is idempotent.
 * 2. One batch of one target at a time; the wait after a batch is what its bytes take at the rate.
 * 3. What expires undelivered marks the target's vnodes for repair.
 */
import { limits } from '../base/limits.ts';
import { keyAt, tokenHiAt, tokenLoAt } from '../base/record.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { vnodeOf } from '../base/token.ts';
import {
  Consistency,
  type HintBatch,
  type HintStore,
  type NodeNumber,
  type WriteAnswer,
  WriteMode,
} from './contract.ts';
import type { Coordinator } from './coordinator.ts';
import type { CoordinatorOptions } from './coordinator-core.ts';
import { neededOf, unionOf } from './coordinator-groups.ts';
import { viewOf } from './coordinator-records.ts';
import { resurrectionIn } from './coordinator-repair.ts';
import { writeGroups } from './ring-lookup.ts';

export interface HintReplayMetrics {
  hintsReplayed: number;
  hintBytesReplayed: number;
  hintBatchesFailed: number;
  hintsExpired: number;
  hintsSettled: number;
  /** Hints whose target had lost the vnode: delivered to its present replicas. */
  hintsRedirected: number;
  resurrections: number;
}

type HintWrite = HintBatch['writes'][number];

/** One target's batch on its way. */
interface Delivery {
  readonly batch: HintBatch;
  nextWrite: number;
  inFlight: number;
  bytes: number;
  failed: boolean;
}

export class HintReplay {
  readonly metrics: HintReplayMetrics = {
    hintsReplayed: 0,
    hintBytesReplayed: 0,
    hintBatchesFailed: 0,
    hintsExpired: 0,
    hintsSettled: 0,
    hintsRedirected: 0,
    resurrections: 0,
  };
  readonly #options: CoordinatorOptions;
  readonly #coordinator: Coordinator;
  readonly #store: HintStore;
  /** Monotonic milliseconds before which a target gets nothing more, and failures in a row. */
  readonly #pauses = new Map<NodeNumber, { untilMs: number; failures: number }>();
  readonly #busy = new Set<NodeNumber>();
  #cancel: (() => void) | null = null;

  constructor(options: CoordinatorOptions, coordinator: Coordinator, store: HintStore) {
    this.#options = options;
    this.#coordinator = coordinator;
    this.#store = store;
  }

  start(): void {
    this.#cancel ??= this.#options.world.timers.after(limits.hintReplayTickMs, this.#tick);
  }
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  readonly #tick = (): void => {
    const { world } = this.#options;
    this.#cancel = world.timers.after(limits.hintReplayTickMs, this.#tick);
    this.#expire();
    for (const target of this.#store.targets().keys()) this.#next(target);
    for (const target of this.#pauses.keys())
      if (!this.#store.targets().has(target) && !this.#busy.has(target)) this.#pauses.delete(target);
  };

  #expire(): void {
    const { world, view, markForRepair } = this.#options;
    for (const { target, hints } of this.#store.expire(world.clock.nowMs())) {
      this.metrics.hintsExpired += hints;
      world.log(
        'warn',
        `${hints} hints for node ${target.toString(16)} expired; its vnodes are marked for repair`,
      );
      const { ring } = view;
      for (let vnode = 0; vnode < ring.vnodes; vnode++)
        if (unionOf(writeGroups(ring, vnode)).includes(target)) markForRepair(vnode);
    }
  }

  #isMember(target: NodeNumber): boolean {
    const { ring } = this.#options.view;
    const is = ({ number }: { readonly number: NodeNumber }): boolean => number === target;
    return ring.members.some(is) || (ring.change?.members.some(is) ?? false);
  }

  #next(target: NodeNumber): void {
    if (this.#cancel === null || this.#busy.has(target)) return;
    const { world, view } = this.#options;
    if ((this.#pauses.get(target)?.untilMs ?? 0) > world.clock.monotonicMs()) return;
    // A node that left for good is never up: its hints go to who has its vnodes now.
    if (!view.isUp(target) && this.#isMember(target)) return;
    this.#busy.add(target);
    this.#store.next(target, limits.hintReplayBatchBytes, (batch, error) => {
      if (error !== null) {
        world.log('error', `hints for node ${target.toString(16)} cannot be read: ${error.message}`);
        this.#ended(target, 0, true);
      } else if (batch === null || batch.writes.length === 0) this.#ended(target, 0, false);
      else this.#deliver({ batch, nextWrite: 0, inFlight: 0, bytes: 0, failed: false });
    });
  }

  #deliver(delivery: Delivery): void {
    const { batch } = delivery;
    while (
      delivery.inFlight < limits.hintReplayInFlightMax &&
      delivery.nextWrite < batch.writes.length &&
      !delivery.failed
    ) {
      const write = batch.writes[delivery.nextWrite++] as HintWrite;
      delivery.inFlight++;
      delivery.bytes += write.record.length + (write.also?.length ?? 0);
      this.#send(batch.target, write, (ok) => {
        delivery.inFlight--;
        if (ok) this.metrics.hintsReplayed++;
        else delivery.failed = true;
        this.#deliver(delivery);
      });
    }
    if (delivery.inFlight > 0 || (delivery.nextWrite < batch.writes.length && !delivery.failed)) return;
    if (delivery.failed) {
      this.metrics.hintBatchesFailed++;
      this.#ended(batch.target, delivery.bytes, true);
      return;
    }
    this.metrics.hintBytesReplayed += delivery.bytes;
    this.#store.discard(batch, (error) => this.#ended(batch.target, delivery.bytes, error !== null));
  }

  /** One hint to its target, or, where that is no replica of it any more, to those that are. */
  #send(target: NodeNumber, { record, also }: HintWrite, done: (ok: boolean) => void): void {
    const { world, view } = this.#options;
    const vnode = vnodeOf(tokenHiAt(viewOf(record), 0), view.ring.vnodes);
    const groups = writeGroups(view.ring, vnode);
    const deadlineMs = world.clock.nowMs() + limits.behindMs;
    const write = { record, also, mode: WriteMode.MERGE, deadlineMs };
    if (unionOf(groups).includes(target)) {
      view.replica(target).write(write, (answer) => this.#onWritten(record, answer, done));
      return;
    }
    this.metrics.hintsRedirected++;
    const nodes = unionOf(groups);
    const taken: NodeNumber[] = [];
    let waiting = nodes.length;
    for (const node of nodes)
      view.replica(node).write(write, (answer) =>
        this.#onWritten(record, answer, (ok) => {
          if (ok) taken.push(node);
          if (--waiting > 0) return;
          done(
            groups.every((group) => {
              const held = group.filter((one) => taken.includes(one)).length;
              return held >= neededOf(Consistency.QUORUM, group.length);
            }),
          );
        }),
      );
  }

  #onWritten(record: Uint8Array, answer: WriteAnswer, done: (ok: boolean) => void): void {
    if (answer.status === PeerStatus.STALE_VERSION && answer.barred) {
      const view = viewOf(record);
      this.metrics.hintsSettled++;
      this.#coordinator.settle(tokenHiAt(view, 0), tokenLoAt(view, 0), keyAt(view, record, 0), done);
      return;
    }
    if (answer.status === Status.OK && resurrectionIn(record, answer.newer)) this.metrics.resurrections++;
    done(answer.status === Status.OK);
  }

  #ended(target: NodeNumber, bytes: number, failed: boolean): void {
    this.#busy.delete(target);
    const failures = failed ? (this.#pauses.get(target)?.failures ?? 0) + 1 : 0;
    const retryMs = Math.min(
      limits.hintReplayRetryMsMax,
      limits.hintReplayTickMs * 2 ** Math.min(16, failures),
    );
    const rateMs = (bytes / limits.hintReplayBytesPerSecond) * 1000;
    const waitMs = failed ? retryMs : rateMs;
    const { clock, timers } = this.#options.world;
    this.#pauses.set(target, { untilMs: clock.monotonicMs() + waitMs, failures });
    // More of the same target without waiting for the next tick.
    if (!failed && bytes > 0) timers.after(Math.ceil(rateMs) + 1, () => this.#next(target));
  }
}
