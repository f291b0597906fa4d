/**
 * Requests to the shards and who waits for their replies. Front-end thread. Invariant: a slot has a sink from
 * `send` until its one reply.
 */

import { assert } from '../base/assert.ts';
import { MONOTONIC_ZERO, type MonotonicMs } from '../base/clock.ts';
import { Status } from '../base/status.ts';
import { token } from '../base/token.ts';
import {
  Condition,
  type ConditionCode,
  Op,
  type OpCode,
  type ReplyHandler,
  type ShardClient,
  type ShardReply,
  type ShardRequest,
  Sloppy,
} from '../shard/contract.ts';
import type { ReplySink } from './exchange.ts';
import { setFingerprint } from './fingerprint.ts';
import type { WriteOptions } from './request-options.ts';

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();

export class Requests implements ReplyHandler {
  readonly client: ShardClient;
  readonly #sinks: (ReplySink | null)[];
  readonly #tags: Int32Array;
  #inFlight = 0;

  constructor(client: ShardClient) {
    this.client = client;
    this.#sinks = new Array<null>(client.slotsMax).fill(null);
    this.#tags = new Int32Array(client.slotsMax);
    client.setHandler(this);
  }

  get inFlight(): number {
    return this.#inFlight;
  }
  /** Of a `send` that was refused just now: why; '' where its status says all. */
  get refusal(): string {
    return this.client.refusal;
  }

  /** The client's request with every option of the one before taken back. */
  blank(): ShardRequest {
    const { request } = this.client;
    request.op = Op.GET;
    request.tokenHi = 0;
    request.tokenLo = 0;
    request.key = EMPTY;
    request.value = EMPTY;
    request.expiresMs = 0;
    request.condition = Condition.NONE;
    request.version = 0;
    request.deadlineMs = MONOTONIC_ZERO;
    request.idempotencyKey = EMPTY;
    request.fingerprintHi = 0;
    request.fingerprintLo = 0;
    request.shard = 0;
    request.exclusive = false;
    request.limit = 0;
    request.withValues = false;
    request.snapshot = 0;
    request.consistency = 0;
    request.sloppy = Sloppy.UNSAID;
    return request;
  }

  /** The client's request as a read of `key`, whose token is in `token`. */
  setRead(key: Uint8Array, deadlineMs: MonotonicMs, consistency: number): void {
    const request = this.blank();
    request.key = key;
    request.tokenHi = token.hi;
    request.tokenLo = token.lo;
    request.deadlineMs = deadlineMs;
    request.consistency = consistency;
  }

  /** The same as a write, PUT or DELETE. Changes `token` where there is an idempotency key. */
  setWrite(
    op: OpCode,
    key: Uint8Array,
    value: Uint8Array,
    expiresMs: number,
    condition: ConditionCode,
    version: number,
    deadlineMs: MonotonicMs,
    options: WriteOptions,
  ): void {
    const request = this.blank();
    request.op = op;
    request.key = key;
    request.tokenHi = token.hi;
    request.tokenLo = token.lo;
    request.value = value;
    request.expiresMs = expiresMs;
    request.condition = condition;
    request.version = version;
    request.deadlineMs = deadlineMs;
    request.consistency = options.consistency;
    request.sloppy = options.sloppy;
    if (options.idempotencyKey === '') return;
    request.idempotencyKey = encoder.encode(options.idempotencyKey);
    setFingerprint(request, options.ttlMs);
  }

  /** Sends the client's request. OK: its reply comes to `sink` with `tag`. Otherwise nothing was done. */
  send(sink: ReplySink, tag: number): number {
    const slot = this.client.submit();
    if (slot < 0) return -slot;
    assert(this.#sinks[slot] === null, () => `slot ${slot} is in flight already`);
    this.#sinks[slot] = sink;
    this.#tags[slot] = tag;
    this.#inFlight++;
    return Status.OK;
  }

  onReply(slot: number, reply: ShardReply): void {
    const sink = this.#sinks[slot] ?? null;
    assert(sink !== null, () => `a reply for slot ${slot}, which waits for none`);
    this.#sinks[slot] = null;
    this.#inFlight--;
    sink.takeReply(reply, this.#tags[slot] as number);
  }
}

/** The text of an error reply, '' where it has none. */
export function messageOf(reply: ShardReply): string {
  if (reply.length === 0) return '';
  return Buffer.from(reply.bytes.buffer, reply.bytes.byteOffset + reply.start, reply.length).toString('utf8');
}
