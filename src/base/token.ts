/**
 * Tokens: XXH64, seed 0, of the key bytes, as two unsigned 32-bit halves (a BigInt per request would be an
 * allocation). Short keys are hashed by our own code, longer ones by xxhash-wasm, which takes a fifth of the time of
 * xxhash-addon; all give the same value (native-bench/hashing.mjs, decision 2).
 */
import createXxhash from 'xxhash-wasm';
import { SHORT_BYTES_MAX, xxh64Short } from './xxh64-short.ts';

export { shardOf, vnodeOf } from './vnode.ts';

const { h64Raw } = await createXxhash();

const scratch64 = new BigUint64Array(1);
const scratch32 = new Uint32Array(scratch64.buffer);
const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const HI = LITTLE ? 1 : 0;

/** Result of hashToken: read both before the next call. One per thread, so it is never shared. */
export const token = { hi: 0, lo: 0 };

/** Puts the token of `key` into `token.hi` and `token.lo`. */
export function hashToken(key: Uint8Array): void {
  if (key.length <= SHORT_BYTES_MAX) {
    xxh64Short(key, token);
    return;
  }
  scratch64[0] = h64Raw(key);
  token.hi = scratch32[HI] as number;
  token.lo = scratch32[1 - HI] as number;
}
