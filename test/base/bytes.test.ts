import { describe, expect, it } from 'vitest';
import { copyBytes, copyRange, POOL_BYTES, pooledBytes } from '../../src/base/bytes.ts';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';

const LENGTHS = [
  0,
  1,
  7,
  8,
  9,
  63,
  64,
  65,
  500,
  2104,
  POOL_BYTES / 4 - 8,
  POOL_BYTES / 4,
  POOL_BYTES / 4 + 1,
  POOL_BYTES + 1,
];
const BYTES = POOL_BYTES + 1000;

describe('pooled bytes', () => {
  it('belong to one taker alone, over many pools and at every length', () => {
    const random = new Random(testSeed());
    const taken = Array.from({ length: 600 }, (_, at) => {
      const bytes = pooledBytes(LENGTHS[random.below(LENGTHS.length)] as number).fill(at % 251);
      return { bytes, mark: at % 251 };
    });
    for (const { bytes, mark } of taken) expect(bytes.every((byte) => byte === mark)).toBe(true);
  });

  it('are no Buffer, start at multiples of 8, and own no more than a pool or themselves', () => {
    for (const length of LENGTHS) {
      const bytes = pooledBytes(length);
      expect(bytes.constructor).toBe(Uint8Array);
      expect(bytes.length).toBe(length);
      expect(bytes.byteOffset % 8).toBe(0);
      expect(bytes.buffer.byteLength).toBeLessThanOrEqual(Math.max(POOL_BYTES, length));
    }
  });
});

describe('a copy of bytes', () => {
  it.each([
    ['in memory of this thread', () => new Uint8Array(BYTES)],
    ['in shared memory', () => new Uint8Array(new SharedArrayBuffer(BYTES))],
  ])('%s is the same at every length and from anywhere, and stays so', (_, make) => {
    const random = new Random(testSeed());
    const from = make();
    for (let at = 0; at < from.length; at++) from[at] = random.below(256);
    const copies = LENGTHS.flatMap((length) =>
      [0, 1, 5, 8, 13].map((start) => ({ start, length, copy: copyRange(from, start, start + length) })),
    );
    for (const start of [1, 8, BYTES - 70])
      copies.push({ start, length: BYTES - start, copy: copyRange(from, start, BYTES) });
    const whole = copyBytes(from.subarray(3, 3003));
    const before = Buffer.from(from);
    from.fill(0);
    for (const { start, length, copy } of copies)
      expect(before.compare(copy, 0, length, start, start + length)).toBe(0);
    for (const { start, length, copy } of copies)
      if (length > 64) expect(copy.byteOffset % 8, 'as its source lies within a word').toBe(start % 8);
    expect(before.compare(whole, 0, 3000, 3, 3003)).toBe(0);
  });
});
