/**
 * What all operations of a coordinator share: the view of the cluster, versions, counters, and one timer for all
 * operations in flight instead of one or more for each. Owned by the thread of the coordinator.
 *
 * 1. An operation is in the list from `add` until it was answered. Calls to replicas may still be out after that: those that hints or
 *    repairs may follow from are in `behind`.
 * 2. An operation ends by the deadline of whoever asked for it, which its replicas are told as it is.
 */
import { AssertionError } from '../base/assert.ts';
import { deadlineIn, type HybridClock, type MonotonicMs } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { Status } from '../base/status.ts';
import { vnodeOf } from '../base/token.ts';
import { BehindAnswers, type BehindWork } from './behind-answers.ts';
import {
  type ClientRead,
  type ClientReadAnswer,
  type ClusterView,
  type ClusterWorld,
  Consistency,
  type ConsistencyCode,
  type NodeNumber,
} from './contract.ts';
import { enoughUp, type Groups } from './coordinator-groups.ts';
import { type CoordinatorMetrics, newCoordinatorMetrics } from './coordinator-metrics.ts';
import { OnceLater } from './once-later.ts';
import { PeerLatencies } from './peer-latencies.ts';
import type { RingMap } from './ring-map.ts';
import { VersionSource } from './version-source.ts';

export interface CoordinatorOptions {
  readonly world: ClusterWorld;
  readonly view: ClusterView;
  /** This node's clock of versions. Nobody but the coordinator takes versions from it: see version-source.ts. */
  readonly versions: HybridClock;
  /** Replicas of this vnode missed something that no hint holds. */
  readonly markForRepair: (vnode: number) => void;
  /** `done` once all that was marked so far is still marked after a crash. */
  readonly whenMarksKept: (done: () => void) => void;
}

/** The version under which a write is held by a majority; 0: none is known. */
export type OnWritten = (version: number) => void;

/** `why` says what was in the way, where something was. */
export type OnSettled = (ok: boolean, why: string) => void;

const ignore = (): void => undefined;
const NONE: readonly number[] = [];

/** Behind its answer it is work of its key's vnode. */
export abstract class Operation {
  protected readonly core: CoordinatorCore;
  /** When the operation began, ends at the latest, and next wants `onTick`. */
  protected readonly startMs: MonotonicMs;
  readonly deadlineMs: MonotonicMs;
  wakeMs: number;
  answered = false;
  /** The version under which a plain write is out; 0 for others. And those before, which some replica may hold. */
  version = 0;
  formers: readonly number[] = NONE;
  /** Who waits to hear under which version it is written. */
  asking: OnWritten[] | null = null;
  previous: Operation | null = null;
  next: Operation | null = null;
  /** Of its key; 0 of one that writes nothing. */
  vnode = 0;
  #callsLeft = 0;

  constructor(core: CoordinatorCore, deadlineMs: MonotonicMs) {
    this.core = core;
    this.startMs = core.nowMs();
    this.deadlineMs = deadlineMs;
    this.wakeMs = deadlineMs;
  }
  /**
   * Whether an attempt that too few replicas answered is worth another one: enough of them are up, so what broke is a
   * connection, which is made anew within moments. Not where a replica refused: asking it again helps nobody.
   */
  protected mayReconnect(groups: Groups, consistency: ConsistencyCode): boolean {
    const againMs = this.core.nowMs() + limits.reconnectWaitMs;
    return (
      againMs < Math.min(this.deadlineMs, this.startMs + limits.reconnectedMs) &&
      enoughUp(this.core.view, groups, consistency)
    );
  }
  /** It is being answered: hints may follow from the end of those of its calls that are pending. */
  protected leave(legs: readonly { readonly state: string }[]): void {
    for (const { state } of legs) if (state === 'pending') this.#callsLeft++;
    if (this.#callsLeft > 0) this.core.behind.begin(this);
  }
  /** One of those has ended, and what follows from it has begun. */
  protected callEnded(): void {
    if (this.#callsLeft > 0 && --this.#callsLeft === 0) this.core.behind.end(this);
  }
  /** The operation ends: whoever asked for its version hears of it. */
  protected endVersion(): void {
    const { asking } = this;
    if (asking === null) return;
    this.asking = null;
    const version = this.core.writtenAs(this.version);
    for (const tell of asking) tell(version);
  }
  /** `wakeMs` has passed: it must be set anew, or the operation be answered. */
  abstract onTick(nowMs: MonotonicMs): void;
}

export class CoordinatorCore {
  readonly world: ClusterWorld;
  readonly view: ClusterView;
  readonly versions: VersionSource;
  readonly markForRepair: (vnode: number) => void;
  readonly metrics: CoordinatorMetrics = newCoordinatorMetrics();
  readonly latencies = new PeerLatencies();
  readonly behind: BehindAnswers;
  /** Reads at SERIAL: given by the coordinator, which knows all kinds of operations. */
  readSerial: (request: ClientRead, done: (answer: ClientReadAnswer) => void) => void = () => {
    throw new AssertionError('a core without a coordinator');
  };
  /** The same for SerialSettle. */
  settleSerial: (request: ClientRead, done: (answer: ClientReadAnswer) => void) => void = () => {
    throw new AssertionError('a core without a coordinator');
  };
  /** LaterRepairs.add. */
  repairLater: (source: NodeNumber, target: NodeNumber, record: Uint8Array) => void = () => {
    throw new AssertionError('a core without a coordinator');
  };
  #first: Operation | null = null;
  /** Keys that wait for `settleLater`. */
  readonly #settling: OnceLater;
  #inFlight = 0;
  /** The last versions that were written, in turn. */
  readonly #written = new Float64Array(limits.writtenVersionsKept);
  readonly #writtenAs = new Float64Array(limits.writtenVersionsKept);
  #writtenAt = 0;
  #slot = 0;
  #slotRing: RingMap | null = null;
  #ticking = false;

  constructor(options: CoordinatorOptions) {
    this.world = options.world;
    this.view = options.view;
    this.versions = new VersionSource(options.world, options.versions);
    this.markForRepair = options.markForRepair;
    this.behind = new BehindAnswers(this.world.timers, () => this.#inFlight);
    this.#settling = new OnceLater(this.world.timers, limits.settleLaterMs, limits.settlesWaitingMax);
  }

  get inFlight(): number {
    return this.#inFlight;
  }
  get self(): NodeNumber {
    return this.world.self;
  }
  nowMs(): MonotonicMs {
    return this.world.clock.monotonicMs();
  }

  /** VersionSource.next, of this node's slot: its place among the members of the ring, so that no other of the first few has it. */
  nextVersion(): number {
    const { ring } = this.view;
    if (ring !== this.#slotRing) {
      this.#slotRing = ring;
      const at = ring.members.findIndex(({ number }) => number === this.self);
      this.#slot = (at < 0 ? this.self : at) % limits.versionSlots;
    }
    return this.versions.next(this.#slot);
  }

  /**
   * Takes note of a version that has to be beaten. False where it lies so far ahead that believing it would do more harm
   * than the write is worth: one node's broken clock would become everybody's.
   */
  observeBeat(beat: number): boolean {
    if (beat - this.world.clock.nowUs() > limits.peerClockDriftUsMax) {
      this.metrics.beatsRefused++;
      return false;
    }
    this.versions.observe(beat);
    return true;
  }

  add(operation: Operation): void {
    operation.next = this.#first;
    if (this.#first !== null) this.#first.previous = operation;
    this.#first = operation;
    this.#inFlight++;
    if (!this.#ticking) this.#schedule();
  }
  remove(operation: Operation): void {
    const { previous, next } = operation;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next !== null) next.previous = previous;
    operation.previous = null;
    // `next` stays: a tick that stands at this operation goes on from it.
    this.#inFlight--;
    this.behind.lookIdle();
  }

  /** A majority of each write group holds `version` or something newer, and what this node wrote under `was` is now that. */
  onWritten(was: number, version: number): void {
    this.#written[this.#writtenAt] = was;
    this.#writtenAs[this.#writtenAt] = version;
    this.#writtenAt = (this.#writtenAt + 1) % limits.writtenVersionsKept;
  }
  /** 0: it was not, or so long ago that it is forgotten, or in an earlier life. */
  writtenAs(version: number): number {
    const at = version === 0 ? -1 : this.#written.lastIndexOf(version);
    return at < 0 ? 0 : (this.#writtenAs[at] as number);
  }
  /** The same, told before this returns, or of a write that is out once it ends. */
  askWritten(version: number, done: OnWritten): void {
    const found = version === 0 ? null : this.#operationOf(version);
    if (found === null) done(this.writtenAs(version));
    else {
      found.asking ??= [];
      found.asking.push(done);
    }
  }

  #operationOf(version: number): Operation | null {
    const isOf = (one: Operation): boolean => one.version === version || one.formers.includes(version);
    for (let one = this.#first; one !== null; one = one.next) if (isOf(one)) return one;
    // Answered at ONE, or by stand-ins: a majority may take it yet.
    for (const one of this.behind.open) if (one instanceof Operation && isOf(one)) return one;
    return null;
  }

  /**
   * Settles a key behind an answer: afterwards no unfinished write of it can surface, and all its replicas that are up
   * hold the same.
   */
  settle(tokenHi: number, tokenLo: number, key: Uint8Array, done: OnSettled = ignore): void {
    this.metrics.settles++;
    const deadlineMs = deadlineIn(this.world.clock, limits.behindMs);
    const request = { tokenHi, tokenLo, key, consistency: Consistency.SERIAL, deadlineMs };
    this.settleSerial(request, ({ status, message }) =>
      done(status === Status.OK || status === Status.NOT_FOUND, message),
    );
  }

  /** Settles a key in a while, once, however often that is asked for meanwhile. What fails is left to a repair. */
  settleLater(tokenHi: number, tokenLo: number, key: Uint8Array): void {
    const vnode = vnodeOf(tokenHi, this.view.ring.vnodes);
    const isTaken = this.#settling.add(Buffer.from(key).toString('latin1'), () => {
      const kept = Uint8Array.from(key);
      const work: BehindWork = { vnode };
      this.behind.begin(work);
      return () =>
        this.settle(tokenHi, tokenLo, kept, (ok) => {
          if (!ok) this.markForRepair(vnode);
          this.behind.end(work);
        });
    });
    if (!isTaken) this.markForRepair(vnode);
  }

  #schedule(): void {
    this.#ticking = true;
    this.world.timers.after(limits.coordinatorTickMs, this.#tick);
  }
  readonly #tick = (): void => {
    const now = this.nowMs();
    let operation = this.#first;
    while (operation !== null) {
      const { next } = operation;
      if (!operation.answered && operation.wakeMs <= now) operation.onTick(now);
      operation = next;
    }
    if (this.#first === null) this.#ticking = false;
    else this.#schedule();
  };
}
