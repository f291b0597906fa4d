// One bloom filter page: adding a token, and asking for one that is there or not, at 10 bits a key.
//   node native-bench/bloom.mjs       Needs `npm run build`.
import b from 'benny';
import { Random } from '../dist/src/base/random.js';
import { bloomAdd, bloomBytes, bloomHashes, bloomMayContain } from '../dist/src/engine/bloom.js';

const KEYS = 3276;
const BITS_PER_KEY = 10;
const random = new Random(1);
const hashes = bloomHashes(BITS_PER_KEY);
const filter = new Uint8Array(bloomBytes(KEYS, BITS_PER_KEY));
const bits = 8 * filter.length;
const tokens = () => new Uint32Array(2 * KEYS).map(() => random.uint32());
const present = tokens();
const absent = tokens();
for (let i = 0; i < 2 * KEYS; i += 2) bloomAdd(filter, 0, bits, hashes, present[i], present[i + 1]);
let passed = 0;
for (let i = 0; i < 2 * KEYS; i += 2)
  if (bloomMayContain(filter, 0, bits, hashes, absent[i], absent[i + 1])) passed++;
console.log(`${((100 * passed) / KEYS).toFixed(2)}% of absent tokens pass`);

const scratch = filter.slice();
let at = 0;
const next = () => {
  at = at === 2 * KEYS - 2 ? 0 : at + 2;
  return at;
};
await b.suite(
  `filter of ${KEYS} tokens, ${hashes} hash functions`,
  b.add('add', () => {
    const i = next();
    bloomAdd(scratch, 0, bits, hashes, absent[i], absent[i + 1]);
  }),
  b.add('ask for one that is there', () => {
    const i = next();
    return bloomMayContain(filter, 0, bits, hashes, present[i], present[i + 1]);
  }),
  b.add('ask for one that is not', () => {
    const i = next();
    return bloomMayContain(filter, 0, bits, hashes, absent[i], absent[i + 1]);
  }),
  b.cycle(),
  b.complete(),
);
