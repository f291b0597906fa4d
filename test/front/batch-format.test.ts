import { describe, expect, it } from 'vitest';
import { encodeResults, parseBatch, parseOp } from '../../src/front/batch-format.ts';
import { CBOR_TYPE, JSON_TYPE } from '../../src/front/media.ts';

const VERSION = 1_795_578_130_682_085;
const text = (value: string): Buffer => Buffer.concat([Buffer.of(0x60 + value.length), Buffer.from(value)]);
const uint64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(9);
  bytes[0] = 0x1b;
  bytes.writeBigUInt64BE(value, 1);
  return bytes;
};
/** A batch of one conditional delete, as any CBOR library but cbor-x writes it. */
const deleteAt = (version: bigint): Buffer =>
  Buffer.concat([
    Buffer.of(0xa1),
    text('ops'),
    Buffer.of(0x81, 0xa3),
    text('op'),
    text('delete'),
    text('key'),
    text('k'),
    text('version'),
    uint64(version),
  ]);
const parsed = (body: Buffer): number => {
  const [op] = parseBatch(body, CBOR_TYPE);
  return parseOp(op, true, 1024, 1024).version;
};

describe('versions in batches of CBOR', () => {
  it('are read from 64-bit integers, which is what other libraries send', () => {
    expect(parsed(deleteAt(BigInt(VERSION)))).toBe(VERSION);
    expect(parsed(deleteAt(0n))).toBe(0);
  });
  it('are refused above what is a safe integer', () => {
    expect(() => parsed(deleteAt(2n ** 53n))).toThrow('is not an integer from 0');
    expect(() => parsed(deleteAt(2n ** 64n - 1n))).toThrow('is not an integer from 0');
  });
  it('are written as integers, not as floating-point numbers, also in errors', () => {
    const error = { code: 'VERSION_MISMATCH', message: 'm', version: VERSION };
    const body = Buffer.from(encodeResults([{ status: 409, error, version: VERSION }], CBOR_TYPE));
    const one = Buffer.concat([text('version'), uint64(BigInt(VERSION))]);
    expect(body.indexOf(one)).toBeGreaterThan(0);
    expect(body.indexOf(one, body.indexOf(one) + 1)).toBeGreaterThan(0);
    expect(body.includes(0xfb)).toBe(false);
  });
  it('stay numbers in JSON', () => {
    const body = Buffer.from(encodeResults([{ status: 204, version: VERSION }], JSON_TYPE));
    expect(body.toString()).toBe(`{"results":[{"status":204,"version":${VERSION}}]}`);
  });
});
