/**
 * The client of a front end of a node that may become part of a cluster: asks the shards directly while the node is
 * alone, and from `coordinate` on the coordinator, which looks like one shard with all vnodes. Owned by the front
 * end's thread. Invariants:
 *
 * 1. Slots of the shards come first, those of the coordinator after them: a reply is never mistaken for another's.
 * 2. There is no way back. Requests that are at the shards when the way changes end there; `coordinate` says when the
 *    last one has.
 * 3. From `hold` to `release` no request for data leaves, whichever the way; `hold` says when the last one before has ended,
 *    at the shards and at the coordinator. Who asks meanwhile is told why. Questions about the cluster pass: one of them has asked
 *    for it.
 * 4. What the coordinator is asked for data is admitted first (admission.ts): refused, it was not begun. Scans are bounded by themselves
 *    (limits.scansInFlightMax), and take as long as they take.
 */
import { assert } from '../base/assert.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { Status } from '../base/status.ts';
import { TurnTime } from '../base/turn-time.ts';
import { type LookupOutcome, MEMTABLE_MISS } from '../ipc/contract.ts';
import { Admission } from './admission.ts';
import {
  type LocalReads,
  type LocalRecord,
  Op,
  type OpCode,
  type ReplyHandler,
  type ShardClient,
  type ShardReply,
  type ShardRequest,
} from './contract.ts';
import type { RingShardClient } from './shard-client.ts';

export class SwitchingClient implements ShardClient {
  readonly vnodes: number;
  readonly slotsMax: number;
  /** To the shards. */
  readonly direct: RingShardClient;
  /** To the coordinator, which answers questions about the cluster at all times. */
  readonly coordinator: RingShardClient;
  #coordinated = false;
  #held = '';
  #onDrained: (() => void) | null = null;
  #onHeld: (() => void) | null = null;
  /** By slot of the coordinator: a question about the cluster has it. */
  readonly #isQuestion: Uint8Array;
  #questions = 0;
  readonly admission: Admission;
  readonly #turn: TurnTime<MonotonicMs>;
  #refusal = '';

  /** Both share their request object. */
  constructor(direct: RingShardClient, coordinator: RingShardClient, clock: Clock) {
    assert(direct.request === coordinator.request, 'switching client: two request objects');
    this.direct = direct;
    this.coordinator = coordinator;
    this.vnodes = direct.vnodes;
    this.slotsMax = direct.slotsMax + coordinator.slotsMax;
    this.#isQuestion = new Uint8Array(coordinator.slotsMax);
    this.admission = new Admission(coordinator.slotsMax);
    this.#turn = new TurnTime(() => clock.monotonicMs());
  }

  get shards(): number {
    return this.direct.shards;
  }
  get scanSources(): number {
    return this.#coordinated ? 1 : this.direct.shards;
  }
  get request(): ShardRequest {
    return this.direct.request;
  }
  get local(): LocalRecord {
    return this.direct.local;
  }
  get localReads(): Readonly<LocalReads> {
    return this.direct.localReads;
  }
  /** Why requests for data are refused; '' where they are not. */
  get held(): string {
    return this.#held;
  }
  get refusal(): string {
    return this.#refusal;
  }

  /** Requests go to the coordinator from now on. `onDrained` is called when none is at the shards any more. */
  coordinate(onDrained: () => void): void {
    this.#coordinated = true;
    this.#onDrained = onDrained;
    this.#lookDrained();
  }

  /** Refuses requests for data with UNAVAILABLE from now on, for this reason. `onHeld` is called when none is under way any more. */
  hold(reason: string, onHeld: () => void): void {
    assert(reason !== '', 'switching client: held without a reason');
    this.#held = reason;
    this.#onHeld = onHeld;
    this.#lookDrained();
  }
  release(): void {
    this.#held = '';
    this.#onHeld = null;
  }

  getLocal(tokenHi: number, tokenLo: number, key: Uint8Array, nowMs: number): LookupOutcome {
    return this.#coordinated || this.#held !== ''
      ? MEMTABLE_MISS
      : this.direct.getLocal(tokenHi, tokenLo, key, nowMs);
  }
  submit(): number {
    const { op, key, value } = this.request;
    this.#refusal = '';
    if (this.#held !== '' && isForData(op)) {
      this.#refusal = `${this.#held}; nothing was done`;
      return -Status.UNAVAILABLE;
    }
    if (!this.#isForCoordinator(op)) return this.direct.submit();
    const bytes = key.length + value.length;
    if (op <= Op.DELETE) this.#refusal = this.admission.refusal(bytes);
    if (this.#refusal !== '') return -Status.OVERLOADED;
    const slot = this.coordinator.submit();
    if (slot < 0) return slot;
    if (op <= Op.DELETE) this.admission.begin(slot, bytes, this.#turn.ms);
    else if (op === Op.CLUSTER) {
      this.#isQuestion[slot] = 1;
      this.#questions++;
    }
    return this.direct.slotsMax + slot;
  }
  flush(): void {
    this.direct.flush();
    this.coordinator.flush();
  }
  setHandler(handler: ReplyHandler): void {
    this.direct.setHandler({
      onReply: (slot: number, reply: ShardReply) => {
        handler.onReply(slot, reply);
        this.#lookDrainedSoon();
      },
    });
    const first = this.direct.slotsMax;
    this.coordinator.setHandler({
      onReply: (slot, reply) => {
        this.admission.end(slot, this.#turn.ms);
        this.#questions -= this.#isQuestion[slot] as number;
        this.#isQuestion[slot] = 0;
        handler.onReply(first + slot, reply);
        this.#lookDrainedSoon();
      },
    });
  }
  close(): void {
    this.direct.close();
    this.coordinator.close();
  }

  #isForCoordinator(op: OpCode): boolean {
    return op === Op.CLUSTER || (this.#coordinated && isForData(op));
  }
  #lookDrainedSoon(): void {
    if (this.#onDrained !== null || this.#onHeld !== null) setImmediate(() => this.#lookDrained());
  }
  #lookDrained(): void {
    if (this.direct.inFlight > 0) return;
    const done = this.#onDrained;
    this.#onDrained = null;
    done?.();
    if (this.coordinator.inFlight > this.#questions) return;
    const held = this.#onHeld;
    this.#onHeld = null;
    held?.();
  }
}

const isForData = (op: OpCode): boolean => op <= Op.DELETE || op === Op.SCAN;
