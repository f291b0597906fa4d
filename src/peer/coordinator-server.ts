/**
 * The coordinator's side of the rings from the front ends: takes their requests, has the cluster carry them out, and
 * sends replies. To a front end it looks like a shard that has all vnodes. Owned by the peer worker. Invariants:
 *
 * 1. Every request gets one reply. Where the reply ring of a client is full, its replies wait in order, and no
 *    further request of it is taken: it holds no more than it had in flight, which its own slots bound.
 * 2. A turn takes at most limits.shardBatchMax requests, limits.shardClientBatchMax of a client before the next. Only behind a turn
 *    that took none the thread sleeps: what comes while it is busy with sockets finds it awake.
 */

import { assert } from '../base/assert.ts';
import { copyBytes } from '../base/bytes.ts';
import type { MonotonicMs } from '../base/clock.ts';
import { Consistency, type ConsistencyCode } from '../base/consistency.ts';
import { limits } from '../base/limits.ts';
import { expiresMsIn, KEYSPACE_USER, valueLengthIn, valueStartIn, versionIn } from '../base/record.ts';
import { Status } from '../base/status.ts';
import type {
  ClientRead,
  ClientReadAnswer,
  ClientScan,
  ClientScanAnswer,
  ClientWrite,
  ClientWriteAnswer,
  PagePlace,
} from '../cluster/contract.ts';
import { type DoorbellMemory, DoorbellSleeper } from '../ipc/doorbell.ts';
import { ClientLink } from '../shard/client-link.ts';
import { Op, Sloppy } from '../shard/contract.ts';
import { encodeMessage } from '../shard/replies.ts';
import type { ShardServerEnds } from '../shard/shard-ends.ts';
import { newReplyHead, type ReplyHead, RequestView, setPlain, writeReply } from '../shard/shard-protocol.ts';

/** What carries requests out; every `done` is called once. */
export interface Coordination {
  write(request: ClientWrite, done: (answer: ClientWriteAnswer) => void): void;
  read(request: ClientRead, done: (answer: ClientReadAnswer) => void): void;
  scan(request: ClientScan, done: (answer: ClientScanAnswer) => void): void;
  /** A question or a change as JSON; answers with a status and JSON, or a message where the status is not OK. */
  administer(
    request: Uint8Array,
    deadlineMs: MonotonicMs,
    done: (status: number, answer: string) => void,
  ): void;
}

interface WaitingReply {
  readonly head: ReplyHead;
  readonly body: Uint8Array;
  readonly start: number;
  readonly length: number;
}

/** A client, and the replies that wait for room. */
interface Served {
  readonly link: ClientLink;
  readonly waiting: WaitingReply[];
}

const EMPTY = new Uint8Array(0);
const NO_PLACE: PagePlace = { tokenHi: 0, tokenLo: 0, keyspace: KEYSPACE_USER, key: EMPTY };

export class CoordinatorServer {
  readonly #sleeper: DoorbellSleeper;
  readonly #coordination: Coordination;
  readonly #served: Served[] = [];
  readonly #request = new RequestView();
  /** Of the reply that is being sent: one for all. */
  readonly #head = newReplyHead();
  #first = 0;
  #turnDue = false;
  #flushDue = false;
  #closed = false;
  #retry: NodeJS.Timeout | null = null;
  readonly #onTurnDue = (): void => {
    this.#turnDue = false;
    this.#turn();
  };
  readonly #onWake = (): void => this.#turn();
  readonly #pending = (): boolean => this.#served.some((served) => mayTake(served));

  constructor(doorbell: DoorbellMemory, coordination: Coordination) {
    this.#sleeper = new DoorbellSleeper(doorbell);
    this.#coordination = coordination;
  }

  attach(ends: ShardServerEnds): void {
    assert(this.#served.length < limits.frontendsMax, 'coordinator: more clients than frontendsMax');
    this.#served.push({ link: new ClientLink(ends, this.#onWake), waiting: [] });
    this.#schedule();
  }

  /** Replies that are still to come go nowhere. */
  close(): void {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    for (const { link } of this.#served) {
      link.flush();
      link.close();
    }
  }

  #schedule(): void {
    if (this.#turnDue || this.#closed) return;
    this.#turnDue = true;
    setImmediate(this.#onTurnDue);
  }

  #turn(): void {
    if (this.#closed) return;
    this.#sleeper.wake();
    let left: number = limits.shardBatchMax;
    for (let idle = 0; left > 0 && idle < this.#served.length; ) {
      const served = this.#served[this.#first % this.#served.length] as Served;
      const taken = this.#takeFrom(served, Math.min(left, limits.shardClientBatchMax));
      left -= taken;
      idle = taken === 0 ? idle + 1 : 0;
      this.#first = (this.#first + 1) % this.#served.length;
    }
    for (const { link } of this.#served) link.release();
    if (this.#turnDue) return;
    const tookSome = left < limits.shardBatchMax;
    if (tookSome || !this.#sleeper.sleep(this.#pending)) this.#schedule();
  }

  #takeFrom(served: Served, max: number): number {
    const { link } = served;
    const { reader } = link;
    let count = 0;
    while (count < max && served.waiting.length === 0 && reader.next()) {
      count++;
      this.#request.load(reader.view, reader.bytes, reader.offset, reader.length);
      this.#start(served, this.#request);
    }
    return count;
  }

  #start(served: Served, request: RequestView): void {
    const { slot, generation } = request;
    switch (request.op) {
      case Op.GET:
        this.#coordination.read(readOf(request), (answer) =>
          this.#answerRead(served, slot, generation, answer),
        );
        return;
      case Op.PUT:
      case Op.DELETE:
        this.#coordination.write(writeOf(request), (answer) =>
          this.#answerWrite(served, slot, generation, answer),
        );
        return;
      case Op.SCAN:
        this.#coordination.scan(scanOf(request), (answer) =>
          this.#answerScan(served, slot, generation, answer),
        );
        return;
      case Op.CLUSTER:
        this.#coordination.administer(request.valueCopy(), request.deadlineMs, (status, text) => {
          const body = Buffer.from(text);
          this.#headOf(slot, generation, status);
          this.#reply(served, body, 0, body.length);
        });
        return;
      default:
        this.#fail(
          served,
          slot,
          generation,
          Status.BAD_REQUEST,
          `a coordinator has no operation ${request.op}`,
        );
    }
  }

  #answerRead(served: Served, slot: number, generation: number, answer: ClientReadAnswer): void {
    const { status, record, message } = answer;
    if (status !== Status.OK || record === null) {
      this.#fail(served, slot, generation, status === Status.OK ? Status.NOT_FOUND : status, message);
      return;
    }
    const head = this.#headOf(slot, generation, Status.OK);
    head.version = versionIn(record);
    head.expiresMs = expiresMsIn(record);
    this.#reply(served, record, valueStartIn(record), valueLengthIn(record));
  }

  #answerWrite(served: Served, slot: number, generation: number, answer: ClientWriteAnswer): void {
    const head = this.#headOf(slot, generation, answer.status);
    head.version = answer.version;
    head.sloppy = answer.sloppy;
    const body = answer.message === '' ? EMPTY : encodeMessage(answer.message);
    this.#reply(served, body, 0, body.length);
  }

  #answerScan(served: Served, slot: number, generation: number, answer: ClientScanAnswer): void {
    const { status, records, next, message } = answer;
    if (status !== Status.OK) {
      this.#fail(served, slot, generation, status, message);
      return;
    }
    const head = this.#headOf(slot, generation, status);
    const { tokenHi, tokenLo, key } = next ?? NO_PLACE;
    head.done = next === null;
    head.tokenHi = tokenHi;
    head.tokenLo = tokenLo;
    head.key = key;
    this.#reply(served, records, 0, records.length);
  }

  #fail(served: Served, slot: number, generation: number, status: number, message: string): void {
    const body = message === '' ? EMPTY : encodeMessage(message);
    this.#headOf(slot, generation, status);
    this.#reply(served, body, 0, body.length);
  }

  /** `#head` for a reply that says no more than its status; to be sent before the next. */
  #headOf(slot: number, generation: number, status: number): ReplyHead {
    const head = this.#head;
    head.slot = slot;
    head.generation = generation;
    setPlain(head, status, 0);
    return head;
  }

  /** Sends `#head` with its body. */
  #reply(served: Served, body: Uint8Array, start: number, length: number): void {
    const { link, waiting } = served;
    if (this.#closed || link.closed) return;
    if (waiting.length > 0 || !writeReply(link.out, this.#head, body, start, length)) {
      waiting.push({ head: { ...this.#head }, body, start, length });
      this.#retry ??= setTimeout(() => this.#sendWaiting(), limits.replyRetryMs);
      return;
    }
    link.dirty = true;
    if (this.#flushDue) return;
    this.#flushDue = true;
    setImmediate(() => {
      this.#flushDue = false;
      for (const one of this.#served) one.link.flush();
    });
  }

  #sendWaiting(): void {
    this.#retry = null;
    if (this.#closed) return;
    for (const { link, waiting } of this.#served) {
      let sent = 0;
      for (const { head, body, start, length } of waiting) {
        if (!writeReply(link.out, head, body, start, length)) break;
        link.dirty = true;
        sent++;
      }
      waiting.splice(0, sent);
      link.flush();
    }
    if (this.#served.some(({ waiting }) => waiting.length > 0))
      this.#retry = setTimeout(() => this.#sendWaiting(), limits.replyRetryMs);
    this.#schedule();
  }
}

const mayTake = ({ link, waiting }: Served): boolean => waiting.length === 0 && link.reader.pending();

const levelOf = ({ consistency }: RequestView): ConsistencyCode =>
  consistency === 0 ? Consistency.QUORUM : (consistency as ConsistencyCode);

/** The coordinator keeps key and value beyond the turn: they are copied out of the ring. */
function writeOf(request: RequestView): ClientWrite {
  const { tokenHi, tokenLo, sloppy } = request;
  return {
    tokenHi,
    tokenLo,
    key: request.keyCopy(),
    value: request.op === Op.PUT ? request.valueCopy() : null,
    expiresMs: request.expiresMs,
    consistency: levelOf(request),
    sloppy: sloppy === Sloppy.UNSAID ? undefined : sloppy === Sloppy.YES,
    condition: request.condition,
    version: request.version,
    idempotencyKey: copyBytes(request.idempotencyKey()),
    fingerprintHi: request.fingerprintHi,
    fingerprintLo: request.fingerprintLo,
    deadlineMs: request.deadlineMs,
  };
}

function readOf(request: RequestView): ClientRead {
  const { tokenHi, tokenLo, deadlineMs } = request;
  return { tokenHi, tokenLo, key: request.keyCopy(), consistency: levelOf(request), deadlineMs };
}

function scanOf(request: RequestView): ClientScan {
  const { tokenHi, tokenLo, deadlineMs, limit } = request;
  const key = request.keyCopy();
  return {
    after: request.exclusive ? { tokenHi, tokenLo, keyspace: KEYSPACE_USER, key } : null,
    prefix: request.valueCopy(),
    headOnly: !request.withValues,
    recordsMax: limit,
    bytesMax: limits.scanPageBytesMax,
    consistency: levelOf(request),
    deadlineMs,
  };
}
