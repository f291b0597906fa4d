/**
 * Requests to the shards and who waits for their replies. Front-end thread. Invariant: a slot has a sink from
 * `send` until its one reply.
 */
import { assert } from '../base/assert.ts';
import { Status } from '../base/status.ts';
import {
  Condition,
  Op,
  type ReplyHandler,
  type ShardClient,
  type ShardReply,
  type ShardRequest,
  Sloppy,
} from '../shard/contract.ts';
import type { ReplySink } from './exchange.ts';

const EMPTY = new Uint8Array(0);

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
    request.deadlineMs = 0;
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
