/**
 * The client of a front end of a node that may become part of a cluster: asks the shards directly while the node is
 * alone, and from `coordinate` on the coordinator, which looks like one shard with all vnodes. Owned by the front
 * end's thread. Invariants:
 *
 * 1. Slots of the shards come first, those of the coordinator after them: a reply is never mistaken for another's.
 * 2. There is no way back. Requests that are at the shards when the way changes end there; `coordinate` says when the
 *    last one has.
 */
import { assert } from '../base/assert.ts';
import { type LookupOutcome, MEMTABLE_MISS } from '../ipc/contract.ts';
import {
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
  #onDrained: (() => void) | null = null;

  /** Both share their request object. */
  constructor(direct: RingShardClient, coordinator: RingShardClient) {
    assert(direct.request === coordinator.request, 'switching client: two request objects');
    this.direct = direct;
    this.coordinator = coordinator;
    this.vnodes = direct.vnodes;
    this.slotsMax = direct.slotsMax + coordinator.slotsMax;
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

  /** Requests go to the coordinator from now on. `onDrained` is called when none is at the shards any more. */
  coordinate(onDrained: () => void): void {
    this.#coordinated = true;
    this.#onDrained = onDrained;
    this.#lookDrained();
  }

  getLocal(tokenHi: number, tokenLo: number, key: Uint8Array, nowMs: number): LookupOutcome {
    return this.#coordinated ? MEMTABLE_MISS : this.direct.getLocal(tokenHi, tokenLo, key, nowMs);
  }
  submit(): number {
    if (!this.#isForCoordinator(this.request.op)) return this.direct.submit();
    const slot = this.coordinator.submit();
    return slot < 0 ? slot : this.direct.slotsMax + slot;
  }
  flush(): void {
    this.direct.flush();
    this.coordinator.flush();
  }
  setHandler(handler: ReplyHandler): void {
    this.direct.setHandler({
      onReply: (slot: number, reply: ShardReply) => {
        handler.onReply(slot, reply);
        if (this.#onDrained !== null) setImmediate(() => this.#lookDrained());
      },
    });
    const first = this.direct.slotsMax;
    this.coordinator.setHandler({ onReply: (slot, reply) => handler.onReply(first + slot, reply) });
  }
  close(): void {
    this.direct.close();
    this.coordinator.close();
  }

  #isForCoordinator(op: OpCode): boolean {
    return op === Op.CLUSTER || (this.#coordinated && (op <= Op.DELETE || op === Op.SCAN));
  }
  #lookDrained(): void {
    if (this.direct.inFlight > 0) return;
    const done = this.#onDrained;
    this.#onDrained = null;
    done?.();
  }
}
