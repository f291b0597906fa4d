import { describe, expect, it } from 'vitest';
import { keyNumber, keyText } from '../../load/transports/transport.ts';
import { Values } from '../../load/values.ts';
import { Random } from '../../src/base/random.ts';
import { testSeed } from '../seed.ts';

describe('values of a load', () => {
  it('say which write they are from', () => {
    const seed = testSeed();
    const random = new Random(seed);
    const values = new Values({ seed: 9, min: 64, max: 5000 });
    for (let i = 0; i < 500; i++) {
      const key = random.below(2 ** 25);
      const serial = random.below(2 ** 31);
      const length = values.bytesOf(3, serial);
      const value = Buffer.alloc(length);
      values.write(value, 0, length, key, 3, serial);
      expect(values.serialOf(value, key, 3), `seed ${seed}`).toBe(serial);
      expect(values.serialOf(value, key, 4), `seed ${seed}: of another thread`).toBe(-2);
      expect(values.serialOf(value, key + 1, 3), `seed ${seed}: for another key`).toBe(-1);
    }
  });

  it('are not taken with any byte changed, cut, longer, or from another run', () => {
    const values = new Values({ seed: 9, min: 300, max: 300 });
    const value = Buffer.alloc(300);
    values.write(value, 0, 300, 77, 1, 12_345);
    for (let at = 0; at < value.length; at++) {
      value[at] = (value[at] as number) ^ 0x10;
      expect(values.serialOf(value, 77, 1), `byte ${at}`).toBe(-1);
      value[at] = (value[at] as number) ^ 0x10;
    }
    expect(values.serialOf(value, 77, 1)).toBe(12_345);
    // A stamp that says another key by damage, read under that key.
    value.writeUInt32LE(78, 0);
    expect(values.serialOf(value, 78, 1)).toBe(-1);
    value.writeUInt32LE(77, 0);
    for (const length of [0, 4, 19, 20, 299])
      expect(values.serialOf(value.subarray(0, length), 77, 1)).toBe(-1);
    expect(values.serialOf(Buffer.concat([value, Buffer.alloc(1)]), 77, 1)).toBe(-1);
    expect(new Values({ seed: 10, min: 300, max: 300 }).serialOf(value, 77, 1)).toBe(-1);
  });

  it('have sizes in their range, as many small as large on a logarithmic scale, and the same for the same write', () => {
    const values = new Values({ seed: 5, min: 1024, max: 65_536 });
    const sizes = Array.from({ length: 5000 }, (_, serial) => values.bytesOf(0, serial));
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(1024);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(65_536);
    expect(sizes.filter((size) => size < 8192).length / sizes.length).toBeCloseTo(0.5, 1);
    expect(sizes).toEqual(sizes.map((_, serial) => values.bytesOf(0, serial)));
    expect(new Values({ seed: 5, min: 2048, max: 2048 }).bytesOf(0, 3)).toBe(2048);
  });

  it('a compressor saves about half of them', async () => {
    const { gzipSync } = await import('node:zlib');
    const values = new Values({ seed: 6, min: 2048, max: 2048 });
    const value = Buffer.alloc(2048);
    values.write(value, 0, 2048, 1, 0, 1);
    const share = gzipSync(value).length / 2048;
    expect(share).toBeGreaterThan(0.45);
    expect(share).toBeLessThan(0.6);
  });

  it('keys are told by their number and back; others are not keys', () => {
    for (const number of [0, 7, 123_456, 2 ** 25])
      expect(keyNumber(Buffer.from(keyText(number)))).toBe(number);
    for (const text of [
      '',
      'user',
      'user000000001',
      'user00000000012',
      'vser0000000001',
      'user 000000001',
      'user1e00000001',
    ])
      expect(keyNumber(Buffer.from(text)), text).toBe(-1);
  });
});
