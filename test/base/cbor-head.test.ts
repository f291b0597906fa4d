import { Encoder } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { UNSIGNED, writeHead } from '../../src/base/cbor-head.ts';

describe('the head of a CBOR item', () => {
  it.each([0, 23, 24, 255, 256, 65_535, 65_536, 0xffff_ffff])(
    'of the integer %i is what another encoder writes',
    (value) => {
      const bytes = new Uint8Array(9);
      const end = writeHead(bytes, 0, UNSIGNED, value);
      expect(Buffer.from(bytes.subarray(0, end))).toEqual(Buffer.from(new Encoder().encode(value)));
    },
  );

  it('of an integer beyond 32 bits is the 8 bytes of RFC 8949', () => {
    const bytes = new Uint8Array(9);
    expect(writeHead(bytes, 0, UNSIGNED, Number.MAX_SAFE_INTEGER)).toBe(9);
    expect(Buffer.from(bytes).toString('hex')).toBe('1b001fffffffffffff');
  });
});
