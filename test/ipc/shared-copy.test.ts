import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import { copyToShared } from '../../src/ipc/shared-copy.ts';
import { testSeed } from '../seed.ts';

describe('a copy into shared memory', () => {
  const seed = testSeed();
  it(`is the source, and changes nothing beside it, wherever either lies (seed ${seed})`, () => {
    const random = new Random(seed);
    const lengths = [0, 1, 7, 511, 512, 513, 2048, 16_383, 16_384, 16_385, 32_768, 50_001];
    for (const length of lengths)
      for (let lies = 0; lies < 64; lies++) {
        const offset = lies >> 3;
        const at = 16 + (lies & 7);
        const bytes = random.bytes(offset + length);
        const shared = new Uint8Array(new SharedArrayBuffer(offset + length));
        shared.set(bytes);
        for (const from of [bytes, shared])
          for (const buffer of [new SharedArrayBuffer(length + 64), new ArrayBuffer(length + 64)]) {
            // A view that does not begin where its memory does.
            const target = new Uint8Array(buffer, offset);
            target.fill(0xa5);
            copyToShared(target, at, from.subarray(offset));
            const wanted = new Uint8Array(target.length).fill(0xa5);
            wanted.set(bytes.subarray(offset), at);
            expect(Buffer.compare(Buffer.from(target), wanted), `${length} from ${offset} to ${at}`).toBe(0);
          }
      }
  });
  it('that has no room is refused, as by TypedArray.set', () => {
    const target = new Uint8Array(new SharedArrayBuffer(1024));
    expect(() => copyToShared(target, 1, new Uint8Array(1024))).toThrow(RangeError);
  });
});
