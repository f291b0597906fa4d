/**
 * What is remembered of a write that bore an Idempotency-Key: a record in KEYSPACE_IDEMPOTENCY under the token of the
 * user's key, so that it lies in the same shard, in the same group of the commit log, and moves with its vnode.
 *
 * Key: the idempotency key, a zero byte, the user's key. An idempotency key has no zero byte
 * (shard-protocol.ts checks it), so two different pairs never make one record.
 *
 * Value:
 *
 *   offset size field
 *        0    1 format, 1
 *        1    1 status: OK or VERSION_MISMATCH, the two outcomes that are remembered
 *        2    6 reserved, 0
 *        8    4 fingerprintHi, little-endian as all
 *       12    4 fingerprintLo
 *       16    8 version of the reply, float
 */
import { CorruptionError } from '../base/errors.ts';
import { valueLengthAt, valueStartAt } from '../base/record.ts';
import { Status } from '../base/status.ts';
import type { FoundRecord } from '../engine/contract.ts';
import type { RequestView } from './shard-protocol.ts';

const FORMAT = 1;
const VALUE_BYTES = 24;

/** Outcome of the first write under a key; reused. */
export class RememberedOutcome {
  status = 0;
  version = 0;
  fingerprintHi = 0;
  fingerprintLo = 0;

  /** Throws CorruptionError: the bytes passed their checksum, and yet no version of RingKV wrote them so. */
  load({ view, offset }: FoundRecord): void {
    const at = valueStartAt(view, offset);
    const status = valueLengthAt(view, offset) === VALUE_BYTES ? view.getUint8(at + 1) : -1;
    if ((status !== Status.OK && status !== Status.VERSION_MISMATCH) || view.getUint8(at) !== FORMAT)
      throw new CorruptionError('an idempotency record', 0, `status ${status} in an unknown format`);
    this.status = status;
    this.fingerprintHi = view.getUint32(at + 8, true);
    this.fingerprintLo = view.getUint32(at + 12, true);
    this.version = view.getFloat64(at + 16, true);
  }

  /** Whether `request` asks for the same write. */
  answers(request: RequestView): boolean {
    return this.fingerprintHi === request.fingerprintHi && this.fingerprintLo === request.fingerprintLo;
  }
}

export function idempotencyRecordKey(request: RequestView): Uint8Array {
  const first = request.idempotencyKey();
  const second = request.key();
  const key = new Uint8Array(first.length + 1 + second.length);
  key.set(first);
  key.set(second, first.length + 1);
  return key;
}

export function idempotencyRecordValue(request: RequestView, status: number, version: number): Uint8Array {
  const value = new Uint8Array(VALUE_BYTES);
  const view = new DataView(value.buffer);
  view.setUint8(0, FORMAT);
  view.setUint8(1, status);
  view.setUint32(8, request.fingerprintHi, true);
  view.setUint32(12, request.fingerprintLo, true);
  view.setFloat64(16, version, true);
  return value;
}
