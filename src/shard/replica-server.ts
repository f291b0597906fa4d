/**
 * Requests of coordinators to the replica of one shard, from its rings (replica-protocol.ts). Owned by the shard's thread.
 * Each takes a slot among the held requests from its start to its answer, so that there is a bounded number of them and
 * every answer finds its way, also where the ring is full.
 */
import { assert } from '../base/assert.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { PeerStatus, Status } from '../base/status.ts';
import {
  type PageAnswer,
  type ReplicaTree,
  type ReplicaTreeNodes,
  WriteMode,
  type WriteModeCode,
} from '../cluster/contract.ts';
import type { ClientLink } from './client-link.ts';
import { Op } from './contract.ts';
import { NIL } from './held-requests.ts';
import { readPage } from './replica-pages.ts';
import { emptyReply, encodeReplicaReply, type PageQuery, type ReplicaReply } from './replica-protocol.ts';
import { ReplicaStore } from './replica-store.ts';
import { ReplicaTrees } from './replica-trees.ts';
import { encodeMessage } from './replies.ts';
import { type ShardParts, TOO_MANY } from './shard-parts.ts';
import type { RequestView } from './shard-protocol.ts';

export interface ReplicaServerOptions {
  readonly vnodes: number;
  readonly gcGraceMs: number;
  readonly isRestart: boolean;
  readonly clock: Clock;
  readonly firstTicket: number;
}

export class ReplicaServer {
  readonly store: ReplicaStore;
  readonly #parts: ShardParts;
  readonly #trees: ReplicaTrees;

  constructor(parts: ShardParts, { vnodes, gcGraceMs, clock, firstTicket, isRestart }: ReplicaServerOptions) {
    this.#parts = parts;
    const { engine } = parts;
    this.#trees = new ReplicaTrees(engine, {
      vnodes,
      clock,
      gcGraceMs,
      defer: (run) => void setImmediate(run),
    });
    this.store = new ReplicaStore({
      engine,
      clock,
      vnodes,
      gcGraceMs,
      firstTicket,
      isRestart,
      appended: () => {
        parts.turn.appended = true;
        parts.schedule();
      },
    });
  }

  /** Takes a request that stands in its ring. */
  start(link: ClientLink, request: RequestView): void {
    const { held, replies } = this.#parts;
    if (held.peek() === NIL) {
      replies.answer(link, request, NIL, Status.OVERLOADED, 0, TOO_MANY);
      return;
    }
    const slot = held.take(link, request.slot, request.generation);
    const { tokenHi, tokenLo, deadlineMs, op } = request;
    switch (op) {
      case Op.REPLICA_WRITE: {
        if (request.condition === WriteMode.FRESH && this.#takeFresh(slot, request)) return;
        const value = request.value().slice();
        const also = request.limit < value.length ? value.subarray(request.limit) : null;
        const mode = request.condition as WriteModeCode;
        const record = value.subarray(0, request.limit);
        this.store.write({ record, also, mode, deadlineMs }, ({ status, beat, barred, newer, message }) =>
          this.#finish(slot, status, message, {
            number: beat,
            barred,
            ...(newer === null ? {} : { first: newer }),
          }),
        );
        return;
      }
      case Op.REPLICA_READ: {
        const key = request.key().slice();
        const read = {
          tokenHi,
          tokenLo,
          key,
          keyspace: request.snapshot,
          headOnly: !request.withValues,
          deadlineMs,
        };
        this.store.read(read, ({ status, record, message }) =>
          this.#finish(slot, status, message, record === null ? {} : { first: record }),
        );
        return;
      }
      case Op.PREPARE: {
        const ballot = { version: request.version, origin: request.snapshot };
        const prepare = { tokenHi, tokenLo, key: request.key().slice(), ballot, deadlineMs };
        this.store.prepare(prepare, ({ status, beat, record, outcomes, message }) =>
          this.#finish(slot, status, message, {
            number: beat,
            ...(record === null ? {} : { first: record }),
            ...(outcomes === null ? {} : { last: outcomes }),
          }),
        );
        return;
      }
      default:
        this.#startOther(slot, request);
    }
  }

  /** False: nothing was done. An answer of OK without more has no body. */
  #takeFresh(slot: number, request: RequestView): boolean {
    const record = request.value();
    if (record.length !== request.limit) return false;
    const seq = this.store.takeFresh(record, request.deadlineMs);
    if (seq === 0) return false;
    const { engine, held, replies } = this.#parts;
    held.status[slot] = Status.OK;
    held.version[slot] = 0;
    held.body[slot] = null;
    held.seq[slot] = seq;
    if (seq <= engine.durableSeq) replies.settle(slot);
    else this.#parts.waitDurable(slot);
    return true;
  }

  #startOther(slot: number, request: RequestView): void {
    const query = JSON.parse(Buffer.from(request.value()).toString()) as unknown;
    switch (request.op) {
      case Op.PAGE: {
        const { status, records, next, message } = this.#page(query as PageQuery, request.deadlineMs);
        this.#finish(slot, status, message, { first: records, place: next });
        return;
      }
      case Op.TREE:
        this.#trees.build(query as ReplicaTree, ({ status, records, ignoredDeadBeforeMs, message }) =>
          this.#finish(slot, status, message, { number: records, second: ignoredDeadBeforeMs }),
        );
        return;
      case Op.TREE_NODES: {
        const { status, hashes, message } = this.#trees.nodes(query as ReplicaTreeNodes);
        this.#finish(slot, status, message, { first: hashes });
        return;
      }
      case Op.END_TREE:
        this.#trees.end((query as { session: number }).session);
        this.#finish(slot, Status.OK, '', {});
        return;
      default: {
        assert(request.op === Op.SET_PURGE, () => `replica: the operation ${request.op}`);
        const { engine } = this.#parts;
        for (const { vnode, version } of query as { vnode: number; version: number | null }[])
          engine.setPurgeBefore(vnode, version ?? Number.POSITIVE_INFINITY);
        this.#finish(slot, Status.OK, '', { number: this.store.resurrections });
      }
    }
  }

  #page(query: PageQuery, deadlineMs: MonotonicMs): PageAnswer {
    const { after, prefix, ...rest } = query;
    const place =
      after === null
        ? null
        : {
            tokenHi: after.hi,
            tokenLo: after.lo,
            keyspace: after.keyspace,
            key: new Uint8Array(Buffer.from(after.key, 'base64')),
          };
    const bytes = new Uint8Array(Buffer.from(prefix, 'base64'));
    return readPage(this.#parts.engine, { ...rest, after: place, prefix: bytes, deadlineMs });
  }

  #finish(slot: number, status: number, message: string, reply: Partial<ReplicaReply>): void {
    const { replies } = this.#parts;
    const hasBody = status === Status.OK || status === PeerStatus.STALE_VERSION;
    const body = hasBody ? encodeReplicaReply({ ...emptyReply, ...reply }) : encodeMessage(message);
    replies.finish(slot, status, 0, body);
    // It may come from a callback of the engine, after the turn's flush.
    this.#parts.schedule();
  }
}
