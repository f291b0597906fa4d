/**
 * XXH64 with seed 0 of fewer than 32 bytes, in 32-bit arithmetic: what most keys need of it (Collet, xxHash specification,
 * "XXH64 algorithm description", steps 1 and 5 to 7). xxhash-wasm takes the same time in a loop over keys of 14 bytes, but each call
 * asks for the memory's buffer and makes two BigInts: within a GET over HTTP that was 0.5 us (docs/performance.md). Any thread.
 */

export const SHORT_BYTES_MAX = 31;

// The primes of the specification, high and low halves.
const P1_HI = 0x9e3779b1 | 0;
const P1_LO = 0x85ebca87 | 0;
const P2_HI = 0xc2b2ae3d | 0;
const P2_LO = 0x27d4eb4f | 0;
const P3_HI = 0x165667b1 | 0;
const P3_LO = 0x9e3779f9 | 0;
const P4_HI = 0x85ebca77 | 0;
const P4_LO = 0xc2b2ae63 | 0;
const P5_HI = 0x27d4eb2f | 0;
const P5_LO = 0x165667c5 | 0;
const TWO_32 = 0x1_0000_0000;

/** The high half of the product of two unsigned 32-bit numbers. */
function productHi(a: number, b: number): number {
  const aLo = a & 0xffff;
  const aHi = a >>> 16;
  const bLo = b & 0xffff;
  const bHi = b >>> 16;
  const left = Math.imul(aHi, bLo);
  const right = Math.imul(aLo, bHi);
  const middle = (left & 0xffff) + (right & 0xffff) + (Math.imul(aLo, bLo) >>> 16);
  return (Math.imul(aHi, bHi) + (left >>> 16) + (right >>> 16) + (middle >>> 16)) | 0;
}

/** The high half of (hi, lo) * (primeHi, primeLo); the low one is Math.imul(lo, primeLo). */
const timesHi = (hi: number, lo: number, primeHi: number, primeLo: number): number =>
  (productHi(lo, primeLo) + Math.imul(lo, primeHi) + Math.imul(hi, primeLo)) | 0;

const wordAt = (key: Uint8Array, at: number): number =>
  (key[at] as number) |
  ((key[at + 1] as number) << 8) |
  ((key[at + 2] as number) << 16) |
  ((key[at + 3] as number) << 24);

/** Puts the hash of at most SHORT_BYTES_MAX bytes into `target`, as two unsigned halves. */
export function xxh64Short(key: Uint8Array, target: { hi: number; lo: number }): void {
  const { length } = key;
  let hi = P5_HI;
  let lo = (P5_LO + length) | 0;
  let at = 0;
  for (; at + 8 <= length; at += 8) {
    let laneLo = wordAt(key, at);
    let laneHi = timesHi(wordAt(key, at + 4), laneLo, P2_HI, P2_LO);
    laneLo = Math.imul(laneLo, P2_LO);
    // Rotated by 31.
    const turnedHi = (laneHi << 31) | (laneLo >>> 1);
    const turnedLo = (laneLo << 31) | (laneHi >>> 1);
    laneHi = timesHi(turnedHi, turnedLo, P1_HI, P1_LO);
    laneLo = Math.imul(turnedLo, P1_LO);
    hi ^= laneHi;
    lo ^= laneLo;
    // Rotated by 27.
    laneHi = (hi << 27) | (lo >>> 5);
    laneLo = (lo << 27) | (hi >>> 5);
    const sum = (Math.imul(laneLo, P1_LO) >>> 0) + (P4_LO >>> 0);
    hi = (timesHi(laneHi, laneLo, P1_HI, P1_LO) + P4_HI + (sum >= TWO_32 ? 1 : 0)) | 0;
    lo = sum | 0;
  }
  if (at + 4 <= length) {
    const word = wordAt(key, at);
    hi ^= timesHi(0, word, P1_HI, P1_LO);
    lo ^= Math.imul(word, P1_LO);
    // Rotated by 23.
    const turnedHi = (hi << 23) | (lo >>> 9);
    const turnedLo = (lo << 23) | (hi >>> 9);
    const sum = (Math.imul(turnedLo, P2_LO) >>> 0) + (P3_LO >>> 0);
    hi = (timesHi(turnedHi, turnedLo, P2_HI, P2_LO) + P3_HI + (sum >= TWO_32 ? 1 : 0)) | 0;
    lo = sum | 0;
    at += 4;
  }
  for (; at < length; at++) {
    const byte = key[at] as number;
    hi ^= timesHi(0, byte, P5_HI, P5_LO);
    lo ^= Math.imul(byte, P5_LO);
    // Rotated by 11.
    const turnedHi = (hi << 11) | (lo >>> 21);
    const turnedLo = (lo << 11) | (hi >>> 21);
    hi = timesHi(turnedHi, turnedLo, P1_HI, P1_LO);
    lo = Math.imul(turnedLo, P1_LO);
  }
  // Avalanche: shifts by 33, 29 and 32.
  lo ^= hi >>> 1;
  hi = timesHi(hi, lo, P2_HI, P2_LO);
  lo = Math.imul(lo, P2_LO);
  lo ^= (lo >>> 29) | (hi << 3);
  hi ^= hi >>> 29;
  hi = timesHi(hi, lo, P3_HI, P3_LO);
  lo = Math.imul(lo, P3_LO);
  target.hi = hi >>> 0;
  target.lo = (lo ^ hi) >>> 0;
}
