import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as record from '../../src/base/record.ts';

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const fields: fc.Arbitrary<record.RecordFields> = fc.record({
  tokenHi: u32,
  tokenLo: u32,
  keyspace: fc.constantFrom(0, 1),
  key: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  value: fc.uint8Array({ maxLength: 60 }),
  version: fc.maxSafeNat(),
  origin: u32,
  flags: fc.constantFrom(0, 1, 2, 3),
  expiresMs: fc.maxSafeNat(),
});
const few = fields.map((one) => ({
  ...one,
  version: one.version % 3,
  origin: one.origin % 2,
  value: one.value.subarray(0, 1),
}));

function encode(one: record.RecordFields): { view: DataView; bytes: Uint8Array } {
  const bytes = new Uint8Array(record.recordBytes(one.key.length, one.value.length)).fill(0xaa);
  const view = new DataView(bytes.buffer);
  expect(record.writeRecord(bytes, 0, one)).toBe(bytes.length);
  return { view, bytes };
}
const age = (a: record.RecordFields, b: record.RecordFields): number => {
  const x = encode(a);
  const y = encode(b);
  return Math.sign(record.compareRecordAge(x.view, x.bytes, 0, y.view, y.bytes, 0));
};

describe('a record', () => {
  it('gives the fields that are read without a view as with one', () => {
    fc.assert(
      fc.property(fields, (one) => {
        const { view, bytes } = encode(one);
        expect(record.versionIn(bytes)).toBe(record.versionAt(view, 0));
        expect(record.originIn(bytes)).toBe(record.originAt(view, 0));
        expect(record.tokenHiIn(bytes)).toBe(record.tokenHiAt(view, 0));
        expect(record.flagsIn(bytes)).toBe(record.flagsAt(view, 0));
      }),
    );
  });

  it('reads back as it was written, with zeroed padding', () => {
    fc.assert(
      fc.property(fields, (one) => {
        const { view, bytes } = encode(one);
        expect({
          tokenHi: record.tokenHiAt(view, 0),
          tokenLo: record.tokenLoAt(view, 0),
          keyspace: record.keyspaceAt(view, 0),
          key: new Uint8Array(record.keyAt(view, bytes, 0)),
          value: new Uint8Array(record.valueAt(view, bytes, 0)),
          version: record.versionAt(view, 0),
          origin: record.originAt(view, 0),
          flags: record.flagsAt(view, 0),
          expiresMs: record.expiresMsAt(view, 0),
        }).toEqual(one);
        expect(record.recordFault(bytes, 0, bytes.length)).toBe('');
        const used = record.RECORD_HEADER_BYTES + one.key.length + one.value.length;
        expect(bytes.subarray(used).every((byte) => byte === 0)).toBe(true);
      }),
    );
  });

  it('with any mutated header is either refused or stays inside its bytes', () => {
    fc.assert(
      fc.property(fields, fc.nat(39), fc.nat(255), (one, at, byte) => {
        const { view, bytes } = encode(one);
        bytes[at] = byte;
        if (record.recordFault(bytes, 0, bytes.length) !== '') return;
        expect(record.valueStartAt(view, 0) + record.valueLengthAt(view, 0)).toBeLessThanOrEqual(
          bytes.length,
        );
        expect(record.keyLengthAt(view, 0)).toBeGreaterThan(0);
      }),
    );
  });

  it('has one place in the order of (token, keyspace, key)', () => {
    fc.assert(
      fc.property(fields, fields, (a, b) => {
        const x = encode(a);
        const y = encode(b);
        const place = Math.sign(record.compareRecordPlaces(x.view, x.bytes, 0, y.view, y.bytes, 0));
        expect(
          Math.sign(record.comparePlace(x.view, x.bytes, 0, b.tokenHi, b.tokenLo, b.keyspace, b.key)),
        ).toBe(place);
        expect(Math.sign(record.compareRecordPlaces(y.view, y.bytes, 0, x.view, x.bytes, 0))).toBe(
          -place + 0,
        );
        const tuple = (one: record.RecordFields) =>
          Buffer.concat([uint32(one.tokenHi), uint32(one.tokenLo), Buffer.from([one.keyspace]), one.key]);
        expect(place).toBe(Buffer.compare(tuple(a), tuple(b)));
      }),
    );
  });

  it('merges commutatively, associatively and idempotently', () => {
    fc.assert(
      fc.property(few, few, few, (a, b, c) => {
        expect(age(a, a)).toBe(0);
        expect(age(a, b)).toBe(-age(b, a) + 0);
        if (age(a, b) > 0 && age(b, c) > 0) expect(age(a, c)).toBe(1);
      }),
      { numRuns: 1000 },
    );
  });
});

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}
