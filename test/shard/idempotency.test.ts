/** The record that an idempotency key leaves behind: it is on disk, so its bytes stay as they are. */
import { describe, expect, it } from 'vitest';
import { CorruptionError } from '../../src/base/errors.ts';
import { KEYSPACE_IDEMPOTENCY, recordBytes, writeRecord } from '../../src/base/record.ts';
import { Status } from '../../src/base/status.ts';
import type { FoundRecord } from '../../src/engine/contract.ts';
import { RingReader, RingWriter } from '../../src/ipc/ring.ts';
import { createRing } from '../../src/ipc/ring-layout.ts';
import { Op } from '../../src/shard/contract.ts';
import {
  idempotencyRecordKey,
  idempotencyRecordValue,
  RememberedOutcome,
} from '../../src/shard/idempotency.ts';
import { RequestView, writeRequest } from '../../src/shard/shard-protocol.ts';
import { BEGIN_MS, type Fields, requestOf } from './harness.ts';

/** As the shard takes it out of the ring. */
function requested(fields: Fields): RequestView {
  const memory = createRing(1 << 12);
  const writer = new RingWriter(memory);
  expect(writeRequest(writer, 0, 0, requestOf(Op.PUT, { key: 'k', value: 'v', ...fields }, BEGIN_MS))).toBe(
    true,
  );
  writer.flush();
  const reader = new RingReader(memory);
  expect(reader.next()).toBe(true);
  const request = new RequestView();
  request.load(reader.view, reader.bytes, reader.offset, reader.length);
  return request;
}
/** A record with this value, behind others in its block. */
function found(value: Uint8Array): FoundRecord {
  const key = Buffer.from('once\0k');
  const bytes = new Uint8Array(24 + recordBytes(key.length, value.length));
  const view = new DataView(bytes.buffer);
  const fields = { tokenHi: 1, tokenLo: 2, version: 3, origin: 4, flags: 0, expiresMs: 0 };
  writeRecord(bytes, 24, { ...fields, keyspace: KEYSPACE_IDEMPOTENCY, key, value });
  return { view, bytes, offset: 24 } as unknown as FoundRecord;
}

const request = requested({ fingerprintHi: 0xf1f2_f3f4, fingerprintLo: 0x0102_0304 });
const VERSION = 1_764_000_000_000_001;
const BYTES: readonly (readonly [number, string])[] = [
  [Status.OK, '0100000000000000f4f3f2f1040302010400890565111943'],
  [Status.VERSION_MISMATCH, '0102000000000000f4f3f2f1040302010400890565111943'],
];

describe('what is remembered under an idempotency key', () => {
  it.each(BYTES)('has these bytes for status %i, and comes back from them', (status, hex) => {
    const value = idempotencyRecordValue(request, status, VERSION);
    expect(Buffer.from(value).toString('hex')).toBe(hex);
    const outcome = new RememberedOutcome();
    outcome.load(found(Buffer.from(hex, 'hex')));
    expect([outcome.status, outcome.version]).toEqual([status, VERSION]);
    expect(outcome.answers(request)).toBe(true);
  });

  it('answers the same request alone: the fingerprint is compared in both halves', () => {
    const outcome = new RememberedOutcome();
    outcome.load(found(idempotencyRecordValue(request, Status.OK, VERSION)));
    const { fingerprintHi, fingerprintLo } = request;
    expect(outcome.answers(requested({ fingerprintHi: fingerprintHi - 1, fingerprintLo }))).toBe(false);
    expect(outcome.answers(requested({ fingerprintHi, fingerprintLo: fingerprintLo + 1 }))).toBe(false);
  });

  it('lies under both keys, of which no two pairs share one', () => {
    const keyOf = (idempotencyKey: string, key: string): string =>
      Buffer.from(idempotencyRecordKey(requested({ idempotencyKey, key }))).toString();
    expect(keyOf('once', 'k')).toBe('once\0k');
    expect(keyOf('on', 'cek')).not.toBe(keyOf('once', 'k'));
    expect(keyOf('once', '\0k')).not.toBe(keyOf('once', 'k'));
  });

  it.each<readonly [string, (value: Buffer) => Buffer]>([
    ['another format', (value) => Buffer.concat([Buffer.from([2]), value.subarray(1)])],
    ['a status that is not remembered', (value) => Buffer.concat([Buffer.from([1, 9]), value.subarray(2)])],
    ['another length', (value) => Buffer.concat([value, Buffer.alloc(1)])],
  ])('is corrupt with %s, though its checksum held', (_, change) => {
    const value = Buffer.from(idempotencyRecordValue(request, Status.OK, VERSION));
    expect(() => new RememberedOutcome().load(found(change(value)))).toThrow(CorruptionError);
  });
});
