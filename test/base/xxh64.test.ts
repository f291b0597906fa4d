import { expect, it } from 'vitest';
import createXxhash from 'xxhash-wasm';
import { Random } from '../../src/base/random.ts';
import { xxh64 } from '../../src/base/xxh64.ts';
import { testSeed } from '../seed.ts';

it('XXH64 in plain JavaScript is XXH64, at every length and from any place in a buffer', async () => {
  const { h64Raw } = await createXxhash();
  const seed = testSeed();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  // Of the specification's reference implementation.
  expect(xxh64(new Uint8Array(0))).toBe(0xef46db3751d8e999n);
  for (let length = 0; length <= 200; length++) {
    const offset = random.below(9);
    const bytes = random.bytes(length + offset).subarray(offset);
    expect(xxh64(bytes), `${length} bytes`).toBe(h64Raw(bytes));
  }
});
