/**
 * How requests and replies lie in the records of a channel (src/ipc/channel.ts). Written and read by both ends
 * with flyweights; nothing here allocates per record but the views of key and value. All integers and floats are
 * little-endian; a float holds a safe integer.
 *
 * Request, from a client to a shard:
 *
 *   offset size field
 *        0    4 slot of the client; the reply bears it
 *        4    4 generation of the slot: tells a reply that came too late from one that is waited for
 *        8    1 op
 *        9    1 condition
 *       10    1 flags: 1 exclusive, 2 withValues
 *       11    1 consistency, and sloppy shifted by 4
 *       12    2 keyLength
 *       14    2 idempotencyLength
 *       16    4 valueLength
 *       20    4 tokenHi
 *       24    4 tokenLo
 *       28    4 limit
 *       32    8 deadlineMs, float: monotonic, with its fraction
 *       40    8 expiresMs, float
 *       48    8 version, float
 *       56    8 snapshot, float
 *       64    4 fingerprintHi
 *       68    4 fingerprintLo
 *       72    k key, then idempotency key, then value (SCAN: prefix)
 *
 * Reply, from a shard to a client:
 *
 *        0    4 slot
 *        4    4 generation
 *        8    1 status
 *        9    1 flags: 1 done, 2 sloppy
 *       10    2 keyLength
 *       12    4 bodyLength
 *       16    8 version, float
 *       24    8 expiresMs, float
 *       32    4 tokenHi
 *       36    4 tokenLo
 *       40    k key (SCAN: place of the last record looked at), then the body
 *
 * The lengths add up to the record's: both ends check it, for a record that does not was overwritten.
 */

import { assert } from '../base/assert.ts';
import { copyRange } from '../base/bytes.ts';
import { MONOTONIC_ZERO, type MonotonicMs } from '../base/clock.ts';
import { Consistency } from '../base/consistency.ts';
import { limits } from '../base/limits.ts';
import { PeerStatus, Status } from '../base/status.ts';
import { WriteMode } from '../cluster/contract.ts';
import type { RingProducer } from '../ipc/contract.ts';
import { copyToShared } from '../ipc/shared-copy.ts';
import { Condition, Op, type ShardReply, type ShardRequest, Sloppy } from './contract.ts';

export const REQUEST_HEADER_BYTES = 72;
export const REPLY_HEADER_BYTES = 40;
const FLAG_EXCLUSIVE = 1;
const FLAG_WITH_VALUES = 2;
const FLAG_DONE = 1;
const FLAG_SLOPPY = 2;
const CONSISTENCY_MASK = 0xf;
const SLOPPY_SHIFT = 4;
const OPS: ReadonlySet<number> = new Set(Object.values(Op));
/** Of REPLICA_WRITE it is a WriteMode. */
const CONDITION_MAX: number = Math.max(Condition.EXISTS, WriteMode.FILL);
const CONSISTENCY_MAX: number = Consistency.SERIAL;
const SLOPPY_MAX: number = Sloppy.NO;
const STATUS_MAX = Math.max(...Object.values(Status), ...Object.values(PeerStatus));

const EMPTY = new Uint8Array(0);

/** Whether `op` changes a record: such a request may have been done though its reply is lost. */
export const isWrite = (op: number): boolean => op === Op.PUT || op === Op.DELETE;
/** Whether `op` may leave something in the log: where its answer is lost, nobody knows. */
export const mayWrite = (op: number): boolean => isWrite(op) || op === Op.REPLICA_WRITE || op === Op.PREPARE;
/** Whether `op` is asked by a coordinator. */
export const isForReplica = (op: number): boolean => op >= Op.REPLICA_WRITE && op <= Op.SET_PURGE;

/** Copies a request into the channel; false where that is full. */
export function writeRequest(
  out: RingProducer,
  slot: number,
  generation: number,
  request: ShardRequest,
): boolean {
  const { key, value, idempotencyKey } = request;
  assert(key.length <= limits.keyBytesCeiling, 'request: a key above keyBytesCeiling');
  assert(value.length <= 2 * limits.peerRecordBytesMax, 'request: a value above two of the longest records');
  assert(
    idempotencyKey.length <= limits.idempotencyKeyBytesMax,
    'request: an idempotency key above idempotencyKeyBytesMax',
  );
  assert(
    idempotencyKey.length === 0 || idempotencyKey.indexOf(0) < 0,
    'request: a zero byte in an idempotency key',
  );
  const length = REQUEST_HEADER_BYTES + key.length + idempotencyKey.length + value.length;
  if (!out.reserve(length)) return false;
  const { view, bytes, offset } = out;
  view.setUint32(offset, slot, true);
  view.setUint32(offset + 4, generation, true);
  view.setUint8(offset + 8, request.op);
  view.setUint8(offset + 9, request.condition);
  view.setUint8(
    offset + 10,
    (request.exclusive ? FLAG_EXCLUSIVE : 0) | (request.withValues ? FLAG_WITH_VALUES : 0),
  );
  view.setUint8(offset + 11, request.consistency | (request.sloppy << SLOPPY_SHIFT));
  view.setUint16(offset + 12, key.length, true);
  view.setUint16(offset + 14, idempotencyKey.length, true);
  view.setUint32(offset + 16, value.length, true);
  view.setUint32(offset + 20, request.tokenHi, true);
  view.setUint32(offset + 24, request.tokenLo, true);
  view.setUint32(offset + 28, request.limit, true);
  view.setFloat64(offset + 32, request.deadlineMs, true);
  view.setFloat64(offset + 40, request.expiresMs, true);
  view.setFloat64(offset + 48, request.version, true);
  view.setFloat64(offset + 56, request.snapshot, true);
  view.setUint32(offset + 64, request.fingerprintHi, true);
  view.setUint32(offset + 68, request.fingerprintLo, true);
  const keyAt = offset + REQUEST_HEADER_BYTES;
  bytes.set(key, keyAt);
  if (idempotencyKey.length > 0) bytes.set(idempotencyKey, keyAt + key.length);
  if (value.length > 0) copyToShared(bytes, keyAt + key.length + idempotencyKey.length, value);
  out.commit(length);
  return true;
}

/** A request as the shard reads it, in a ring or in a copy that it holds. Valid as long as those bytes are. */
export class RequestView {
  slot = 0;
  generation = 0;
  op = 0;
  condition = 0;
  exclusive = false;
  withValues = false;
  tokenHi = 0;
  tokenLo = 0;
  limit = 0;
  deadlineMs = MONOTONIC_ZERO;
  expiresMs = 0;
  version = 0;
  snapshot = 0;
  consistency = 0;
  sloppy = 0;
  fingerprintHi = 0;
  fingerprintLo = 0;
  idempotencyLength = 0;
  /** The whole record. */
  bytes: Uint8Array = EMPTY;
  start = 0;
  length = 0;
  #keyLength = 0;
  #valueLength = 0;

  load(view: DataView, bytes: Uint8Array, offset: number, length: number): void {
    assert(length >= REQUEST_HEADER_BYTES, 'request: a record shorter than its header');
    this.slot = view.getUint32(offset, true);
    this.generation = view.getUint32(offset + 4, true);
    this.op = view.getUint8(offset + 8);
    this.condition = view.getUint8(offset + 9);
    const flags = view.getUint8(offset + 10);
    this.exclusive = (flags & FLAG_EXCLUSIVE) !== 0;
    this.withValues = (flags & FLAG_WITH_VALUES) !== 0;
    this.#keyLength = view.getUint16(offset + 12, true);
    this.idempotencyLength = view.getUint16(offset + 14, true);
    this.#valueLength = view.getUint32(offset + 16, true);
    this.tokenHi = view.getUint32(offset + 20, true);
    this.tokenLo = view.getUint32(offset + 24, true);
    this.limit = view.getUint32(offset + 28, true);
    this.deadlineMs = view.getFloat64(offset + 32, true) as MonotonicMs;
    this.expiresMs = view.getFloat64(offset + 40, true);
    this.version = view.getFloat64(offset + 48, true);
    this.snapshot = view.getFloat64(offset + 56, true);
    this.fingerprintHi = view.getUint32(offset + 64, true);
    this.fingerprintLo = view.getUint32(offset + 68, true);
    this.bytes = bytes;
    this.start = offset;
    this.length = length;
    assert(
      REQUEST_HEADER_BYTES + this.#keyLength + this.idempotencyLength + this.#valueLength === length,
      'request: lengths that do not add up to the record',
    );
    assert(OPS.has(this.op), 'request: an unknown op');
    assert(this.condition <= CONDITION_MAX, 'request: an unknown condition');
    const level = view.getUint8(offset + 11);
    this.consistency = level & CONSISTENCY_MASK;
    this.sloppy = level >> SLOPPY_SHIFT;
    assert((flags & ~3) === 0, 'request: unknown flags');
    assert(
      this.consistency <= CONSISTENCY_MAX && this.sloppy <= SLOPPY_MAX,
      'request: an unknown consistency',
    );
    assert(this.op > Op.DELETE || this.#keyLength > 0, 'request: an empty key');
  }

  key(): Uint8Array {
    const at = this.start + REQUEST_HEADER_BYTES;
    return this.bytes.subarray(at, at + this.#keyLength);
  }
  idempotencyKey(): Uint8Array {
    if (this.idempotencyLength === 0) return EMPTY;
    const at = this.start + REQUEST_HEADER_BYTES + this.#keyLength;
    return this.bytes.subarray(at, at + this.idempotencyLength);
  }
  /** Copies for whoever keeps them beyond the record. */
  keyCopy(): Uint8Array {
    const at = this.start + REQUEST_HEADER_BYTES;
    return copyRange(this.bytes, at, at + this.#keyLength);
  }
  valueCopy(): Uint8Array {
    const end = this.start + this.length;
    return copyRange(this.bytes, end - this.#valueLength, end);
  }
  value(): Uint8Array {
    const end = this.start + this.length;
    return this.bytes.subarray(end - this.#valueLength, end);
  }
  /** The record in bytes of its own, for `load` at 0. */
  copy(): Uint8Array<ArrayBuffer> {
    const copy = new Uint8Array(this.length);
    copy.set(this.bytes.subarray(this.start, this.start + this.length));
    return copy;
  }
}

/** What a reply says besides its body; reused. */
export interface ReplyHead {
  slot: number;
  generation: number;
  status: number;
  version: number;
  expiresMs: number;
  done: boolean;
  sloppy: boolean;
  tokenHi: number;
  tokenLo: number;
  key: Uint8Array;
}

export const newReplyHead = (): ReplyHead => ({
  slot: 0,
  generation: 0,
  status: 0,
  version: 0,
  expiresMs: 0,
  done: true,
  sloppy: false,
  tokenHi: 0,
  tokenLo: 0,
  key: EMPTY,
});

/** Makes `head` say a status and a version, and nothing else; slot and generation stay. */
export function setPlain(head: ReplyHead, status: number, version: number): void {
  head.status = status;
  head.version = version;
  head.expiresMs = 0;
  head.done = true;
  head.sloppy = false;
  head.tokenHi = 0;
  head.tokenLo = 0;
  head.key = EMPTY;
}

/** Copies a reply with the body bytes[start, start + length) into the channel; false where that is full. */
export function writeReply(
  out: RingProducer,
  head: ReplyHead,
  bytes: Uint8Array,
  start: number,
  length: number,
): boolean {
  const keyLength = head.key.length;
  const total = REPLY_HEADER_BYTES + keyLength + length;
  if (!out.reserve(total)) return false;
  const { view, offset } = out;
  view.setUint32(offset, head.slot, true);
  view.setUint32(offset + 4, head.generation, true);
  view.setUint8(offset + 8, head.status);
  view.setUint8(offset + 9, (head.done ? FLAG_DONE : 0) | (head.sloppy ? FLAG_SLOPPY : 0));
  view.setUint16(offset + 10, keyLength, true);
  view.setUint32(offset + 12, length, true);
  view.setFloat64(offset + 16, head.version, true);
  view.setFloat64(offset + 24, head.expiresMs, true);
  view.setUint32(offset + 32, head.tokenHi, true);
  view.setUint32(offset + 36, head.tokenLo, true);
  if (keyLength > 0) out.bytes.set(head.key, offset + REPLY_HEADER_BYTES);
  if (length > 0)
    copyToShared(out.bytes, offset + REPLY_HEADER_BYTES + keyLength, bytes.subarray(start, start + length));
  out.commit(total);
  return true;
}

/** A reply as the client reads it. Valid until its record is released. */
export class ReplyView implements ShardReply {
  slot = 0;
  generation = 0;
  status = 0;
  version = 0;
  expiresMs = 0;
  bytes: Uint8Array = EMPTY;
  start = 0;
  length = 0;
  done = true;
  sloppy = false;
  tokenHi = 0;
  tokenLo = 0;
  key: Uint8Array = EMPTY;

  load(view: DataView, bytes: Uint8Array, offset: number, length: number): void {
    assert(length >= REPLY_HEADER_BYTES, 'reply: a record shorter than its header');
    this.slot = view.getUint32(offset, true);
    this.generation = view.getUint32(offset + 4, true);
    this.status = view.getUint8(offset + 8);
    const flags = view.getUint8(offset + 9);
    this.done = (flags & FLAG_DONE) !== 0;
    this.sloppy = (flags & FLAG_SLOPPY) !== 0;
    const keyLength = view.getUint16(offset + 10, true);
    this.length = view.getUint32(offset + 12, true);
    this.version = view.getFloat64(offset + 16, true);
    this.expiresMs = view.getFloat64(offset + 24, true);
    this.tokenHi = view.getUint32(offset + 32, true);
    this.tokenLo = view.getUint32(offset + 36, true);
    this.bytes = bytes;
    this.start = offset + REPLY_HEADER_BYTES + keyLength;
    this.key = keyLength === 0 ? EMPTY : bytes.subarray(offset + REPLY_HEADER_BYTES, this.start);
    assert(
      REPLY_HEADER_BYTES + keyLength + this.length === length,
      'reply: lengths that do not add up to the record',
    );
    assert(
      this.status <= STATUS_MAX && (flags & ~(FLAG_DONE | FLAG_SLOPPY)) === 0,
      'reply: an unknown status',
    );
  }

  /** A reply that the client makes itself. */
  fail(slot: number, status: number, message: Uint8Array): void {
    this.slot = slot;
    this.status = status;
    this.version = 0;
    this.expiresMs = 0;
    this.bytes = message;
    this.start = 0;
    this.length = message.length;
    this.done = true;
    this.sloppy = false;
    this.key = EMPTY;
  }

  /** Lets go of bytes that may be large. */
  clear(): void {
    this.bytes = EMPTY;
    this.key = EMPTY;
  }
}
