// Which hash for what: XXH64 of keys by xxhash-addon and xxhash-wasm (the same value), as a token in two halves,
// and XXH3 or XXH64 of whole blocks.
//   node native-bench/hashing.mjs
import assert from 'node:assert';
import b from 'benny';
import xxhash from 'xxhash-addon';
import createXxhash from 'xxhash-wasm';

const wasm = await createXxhash();
const KEYS = 1024;
const BLOCK_BYTES = 16_384;
const scratch = new BigUint64Array(1);
const halves = new Uint32Array(scratch.buffer);
const blocks = Array.from({ length: 8 }, (_, index) => Buffer.alloc(BLOCK_BYTES, index + 1));
let at = 0;

function keysOf(length) {
  return Array.from({ length: KEYS }, (_, index) => Buffer.from(`${index}`.padEnd(length, 'user:session:')));
}
for (const key of keysOf(14))
  assert.strictEqual(xxhash.XXHash64.hash(key).readBigUInt64BE(), wasm.h64Raw(key), 'the two differ');

const report = [b.cycle(), b.complete()];
for (const length of [14, 64, 1024]) {
  const keys = keysOf(length);
  await b.suite(
    `token of a key of ${length} bytes`,
    b.add('xxhash-wasm h64Raw', () => {
      scratch[0] = wasm.h64Raw(keys[at++ % KEYS]);
      return halves[0] ^ halves[1];
    }),
    b.add('xxhash-addon XXH64', () => {
      const digest = xxhash.XXHash64.hash(keys[at++ % KEYS]);
      return digest.readUInt32BE(0) ^ digest.readUInt32BE(4);
    }),
    ...report,
  );
}
await b.suite(
  `checksum of a block of ${BLOCK_BYTES} bytes`,
  b.add('xxhash-addon XXH3', () => xxhash.XXHash3.hash(blocks[at++ % 8])),
  b.add('xxhash-addon XXH64', () => xxhash.XXHash64.hash(blocks[at++ % 8])),
  b.add('xxhash-wasm h64Raw', () => wasm.h64Raw(blocks[at++ % 8])),
  ...report,
);
