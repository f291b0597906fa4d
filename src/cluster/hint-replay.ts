/**
 * Hands hints back: for each target that is up, part after part, oldest first, at a limited rate. Owned by the thread of
 * the coordinator.
 *
 * 1. A part is discarded after each of its writes was taken by its target, was settled by SERIAL, or is held by a quorum
 *    of each group where the target is no replica of it any more, or the vnode moves. Until then it stays, and comes again as a
 *    whole: delivery is idempotent.
 * 2. What expires undelivered, cannot be read, is refused for good, or is held by fewer than all replicas then, marks its vnodes
 *    for repair. Only when that is kept over a crash is the part discarded.
 * 3. One part of one target at a time; what all targets get together is limited by limits.hintReplayBytesPerSecond.
 * 4. Nothing holds the others up: a part that failed comes after those behind it, and a write that fails leaves the next
 *    ones of its part to be tried.
 * 5. A node that is no member of the ring any more never returns: its hints go to who has its vnodes now.
 * 6. What failed is tried again after a pause that doubles, or as soon as one of the nodes is back that it failed for.
 * 7. Where this node leaves, or has left, it may be stopped for good: what it has for nodes that are down goes to others.
 *
 * How one hint is delivered: hint-delivery.ts.
 */
import { limits } from '../base/limits.ts';
import { vnodeOf } from '../base/token.ts';
import type { HintBatch, HintPart, HintStore, NodeNumber } from './contract.ts';
import type { Coordinator } from './coordinator.ts';
import type { CoordinatorOptions } from './coordinator-core.ts';
import { unionOf } from './coordinator-groups.ts';
import {
  type HintBlock,
  type HintDelivery,
  type HintReplayMetrics,
  HintSender,
  type HintWrite,
} from './hint-delivery.ts';
import { nodeName } from './node-name.ts';
import { type NodeList, stays, writeGroups } from './ring-lookup.ts';

/** Hints that are left for a node. */
export interface HintsLeft {
  readonly target: NodeNumber;
  readonly bytes: number;
  /** It is up, or its hints go to others: they are on their way. Otherwise they wait for it. */
  readonly isDeliverable: boolean;
}
interface Pause {
  /** Monotonic milliseconds before which the target gets nothing more. */
  readonly untilMs: number;
  /** In a row. */
  readonly failures: number;
  /** Nodes that were down when it failed, and had to be up. */
  readonly down: NodeList;
}
interface Waiter {
  readonly untilMs: number;
  readonly done: (left: readonly HintsLeft[]) => void;
  /** Its timers, which would keep a thread alive. */
  readonly cancel: readonly (() => void)[];
}

export class HintReplay {
  readonly metrics: HintReplayMetrics = {
    hintsReplayed: 0,
    hintBytesReplayed: 0,
    hintBatchesFailed: 0,
    hintsExpired: 0,
    hintsSettled: 0,
    hintsRedirected: 0,
    hintsHandedOver: 0,
    hintsToReplicas: 0,
    hintsRefused: 0,
    hintBytesDamaged: 0,
    resurrections: 0,
  };
  readonly #options: CoordinatorOptions;
  readonly #store: HintStore;
  readonly #pauses = new Map<NodeNumber, Pause>();
  readonly #busy = new Set<NodeNumber>();
  /** Monotonic milliseconds at which what was sent so far is paid for, at the rate. */
  #pacedUntilMs = 0;
  /** Damaged parts whose vnodes are marked: they may come again before they can be discarded. */
  readonly #damaged = new Set<number>();
  readonly #sender: HintSender;
  #waiters: Waiter[] = [];
  #cancel: (() => void) | null = null;

  constructor(options: CoordinatorOptions, coordinator: Coordinator, store: HintStore) {
    this.#options = options;
    this.#store = store;
    this.#sender = new HintSender(options, coordinator, this.metrics);
  }

  /** What hints of this node, which leaves, wait for; null where they do for nothing. */
  get block(): HintBlock | null {
    return this.#sender.block;
  }

  /** The ring must be known by then. Idempotent. */
  start(): void {
    this.#cancel ??= this.#options.world.timers.after(limits.hintReplayTickMs, this.#tick);
  }
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#tellWaiters();
  }

  /** `done` when no hints are left that can be delivered now, or after so long; with those that are left then. */
  whenHandedOut(waitMs: number, done: (left: readonly HintsLeft[]) => void): void {
    const { clock, timers } = this.#options.world;
    // A timer may fire a little before its time.
    const cancel = [0, Math.ceil(waitMs) + 1].map((ms) => timers.after(ms, () => this.#tellWaiters()));
    this.#waiters.push({ untilMs: clock.monotonicMs() + waitMs, done, cancel });
    for (const target of this.#store.targets().keys()) this.#next(target);
  }

  readonly #tick = (): void => {
    const { world } = this.#options;
    this.#cancel = world.timers.after(limits.hintReplayTickMs, this.#tick);
    this.#expire();
    for (const target of this.#store.targets().keys()) this.#next(target);
    for (const target of this.#pauses.keys())
      if (!this.#store.targets().has(target) && !this.#busy.has(target)) this.#pauses.delete(target);
    this.#tellWaiters();
  };

  #tellWaiters(): void {
    if (this.#waiters.length === 0) return;
    const nowMs = this.#options.world.clock.monotonicMs();
    // Before the start there is no ring to ask, and nothing is handed out; nor is it after the end.
    const isRunning = this.#cancel !== null;
    const left = [...this.#store.targets()].map(([target, bytes]) => ({
      target,
      bytes,
      isDeliverable: !isRunning || this.#isDeliverable(target),
    }));
    const isDone = !isRunning || left.every(({ isDeliverable }) => !isDeliverable);
    const told = this.#waiters.filter(({ untilMs }) => isDone || untilMs <= nowMs);
    this.#waiters = this.#waiters.filter((waiter) => !told.includes(waiter));
    for (const { done, cancel } of told) {
      for (const take of cancel) take();
      done(left);
    }
  }

  #expire(): void {
    const { world, whenMarksKept } = this.#options;
    const losses = this.#store.expire(world.clock.nowMs());
    if (losses.length === 0) return;
    for (const target of new Set(losses.map((loss) => loss.target))) {
      const own = losses.filter((loss) => loss.target === target);
      const hints = own.reduce((sum, loss) => sum + loss.hints, 0);
      this.metrics.hintsExpired += hints;
      const isDamaged = own.some((loss) => loss.isDamaged);
      const what = isDamaged ? `${hints} hints, and some that cannot be read,` : `${hints} hints`;
      world.log('warn', `${what} for node ${nodeName(target)} expired; their vnodes are marked for repair`);
      if (isDamaged) this.#markAllOf(target);
      for (const { tokens } of own) for (const tokenHi of tokens) this.#mark(tokenHi);
    }
    whenMarksKept(() => {
      for (const loss of losses) this.#discard(loss);
    });
  }
  #discard(part: HintPart): void {
    this.#damaged.delete(part.position);
    this.#sender.forget(part.position);
    this.#store.discard(part);
  }

  #mark(tokenHi: number): void {
    const { view, markForRepair } = this.#options;
    markForRepair(vnodeOf(tokenHi, view.ring.vnodes));
  }
  /** All vnodes that hints for a node may be of: of one that left, nobody knows which it had. */
  #markAllOf(target: NodeNumber): void {
    const { view, markForRepair } = this.#options;
    const { ring } = view;
    const all = Array.from({ length: ring.vnodes }, (_, vnode) => vnode);
    const held = all.filter((vnode) => unionOf(writeGroups(ring, vnode)).includes(target));
    for (const vnode of this.#isMember(target) && held.length > 0 ? held : all) markForRepair(vnode);
  }

  #isMember(target: NodeNumber): boolean {
    const { ring } = this.#options.view;
    const is = ({ number }: { readonly number: NodeNumber }): boolean => number === target;
    return ring.members.some(is) || (ring.change?.members.some(is) ?? false);
  }
  #isDeliverable(target: NodeNumber): boolean {
    const { view } = this.#options;
    return view.isUp(target) || !this.#isMember(target) || !stays(view.ring, view.self);
  }

  #next(target: NodeNumber): void {
    if (this.#cancel === null || this.#busy.has(target)) return;
    const { world } = this.#options;
    if (!this.#isDeliverable(target) || this.#isPaused(target)) return;
    this.#busy.add(target);
    this.#store.next(target, (batch, error) => {
      if (error !== null) {
        world.log('error', `hints for node ${nodeName(target)} cannot be read: ${error.message}`);
        this.#ended(target, 0, true);
      } else if (batch === null) this.#ended(target, 0, false);
      else this.#begin(batch);
    });
  }

  /** Who has come back ends a pause, but for what was sent at the rate. */
  #isPaused(target: NodeNumber): boolean {
    const { world, view } = this.#options;
    const nowMs = world.clock.monotonicMs();
    const pause = this.#pauses.get(target);
    if (pause === undefined || pause.untilMs <= nowMs) return false;
    return !pause.down.some((node) => view.isUp(node)) || this.#pacedUntilMs > nowMs;
  }

  #begin(batch: HintBatch): void {
    const { target, position, bytesDamaged } = batch;
    this.#sender.begin(position);
    if (bytesDamaged > 0 && !this.#damaged.has(position)) {
      this.#damaged.add(position);
      this.metrics.hintBytesDamaged += bytesDamaged;
      this.#markAllOf(target);
      this.#options.world.log(
        'error',
        `${bytesDamaged} bytes of hints for node ${nodeName(target)} are damaged; its vnodes are marked for repair`,
      );
    }
    this.#deliver({
      batch,
      nextWrite: 0,
      inFlight: 0,
      isSending: false,
      bytes: 0,
      failures: 0,
      refused: 0,
      refusal: '',
      // An earlier try may have marked what this one leaves out.
      hasMarked: bytesDamaged > 0 || this.#sender.remembers(position),
    });
  }

  #deliver(delivery: HintDelivery): void {
    if (delivery.isSending) return;
    const { batch } = delivery;
    delivery.isSending = true;
    const isOver = (): boolean =>
      delivery.nextWrite === batch.writes.length || delivery.failures >= limits.hintReplayFailuresMax;
    while (delivery.inFlight < limits.hintReplayInFlightMax && !isOver()) {
      const at = delivery.nextWrite++;
      if (this.#sender.isDone(batch.position, at)) continue;
      const write = batch.writes[at] as HintWrite;
      delivery.inFlight++;
      delivery.bytes += write.record.length + (write.also?.length ?? 0);
      this.#sender.send(delivery, at, write, (ok) => {
        delivery.inFlight--;
        if (ok) this.metrics.hintsReplayed++;
        else delivery.failures++;
        this.#deliver(delivery);
      });
    }
    delivery.isSending = false;
    if (delivery.inFlight === 0 && isOver()) this.#delivered(delivery);
  }

  #delivered({ batch, bytes, failures, refused, refusal, hasMarked }: HintDelivery): void {
    if (refused > 0) {
      const what = `${refused} hints for node ${nodeName(batch.target)} are refused`;
      this.#options.world.log('error', `${what}; their vnodes are marked for repair: ${refusal}`);
    }
    if (failures > 0) {
      this.metrics.hintBatchesFailed++;
      this.#store.postpone(batch);
      const { down = [] } = this.#sender.blockOf(batch.position) ?? {};
      const isAway = !this.#options.view.isUp(batch.target);
      this.#ended(batch.target, bytes, true, isAway ? [batch.target, ...down] : down);
      return;
    }
    this.metrics.hintBytesReplayed += bytes;
    const discard = (): void => {
      this.#discard(batch);
      this.#ended(batch.target, bytes, false);
    };
    if (hasMarked) this.#options.whenMarksKept(discard);
    else discard();
  }

  #ended(target: NodeNumber, bytes: number, failed: boolean, down: NodeList = []): void {
    this.#busy.delete(target);
    const { clock, timers } = this.#options.world;
    const nowMs = clock.monotonicMs();
    const failures = failed ? (this.#pauses.get(target)?.failures ?? 0) + 1 : 0;
    const retryMs = failed
      ? Math.min(limits.hintReplayRetryMsMax, limits.hintReplayTickMs * 2 ** Math.min(16, failures))
      : 0;
    const rateMs = (bytes / limits.hintReplayBytesPerSecond) * 1000;
    if (bytes > 0) this.#pacedUntilMs = Math.max(nowMs, this.#pacedUntilMs) + rateMs;
    const waitMs = Math.max(retryMs, bytes > 0 ? this.#pacedUntilMs - nowMs : 0);
    this.#pauses.set(target, { untilMs: nowMs + waitMs, failures, down });
    // More of the same target without waiting for the next tick.
    if (!failed && bytes > 0) timers.after(Math.ceil(waitMs) + 1, () => this.#next(target));
    this.#tellWaiters();
  }
}
