/**
 * Bloom filters over tokens, one to a page (table-format.ts). A token is a hash already: it is remixed, not
 * computed again from the key. The remix is needed because the tokens of one page follow each other and so
 * share their upper bits. Positions by enhanced double hashing (Dillinger and Manolios, Bloom Filters in
 * Probabilistic Verification, FMCAD 2004): about 1% of absent keys pass at 10 bits a key and 7 functions.
 */
const TWO_32 = 0x1_0000_0000;
const HASHES_MAX = 30;

/** Hash functions that let the fewest absent keys pass: bits a key times ln 2, rounded. */
export function bloomHashes(bitsPerKey: number): number {
  return Math.min(HASHES_MAX, Math.max(1, Math.round(bitsPerKey * Math.LN2)));
}

/** Bytes of a filter, a multiple of 8. */
export function bloomBytes(keys: number, bitsPerKey: number): number {
  return Math.ceil((keys * bitsPerKey) / 64) * 8;
}

/** Finaliser of MurmurHash3, 32 bits: every bit of the input reaches every bit of the output. */
function mix(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Adds a token to the filter of `bits` bits, a multiple of 8, at `start`. */
export function bloomAdd(
  bytes: Uint8Array,
  start: number,
  bits: number,
  hashes: number,
  tokenHi: number,
  tokenLo: number,
): void {
  let step = mix(tokenLo ^ 0x9e3779b9);
  let hash = mix(tokenHi ^ step);
  step = mix(step ^ hash);
  for (let i = 0; i < hashes; i++) {
    const bit = Math.floor((hash * bits) / TWO_32);
    const at = start + (bit >>> 3);
    bytes[at] = (bytes[at] as number) | (1 << (bit & 7));
    hash = (hash + step) >>> 0;
    step = (step + i) >>> 0;
  }
}

/** False where the token was certainly not added. */
export function bloomMayContain(
  bytes: Uint8Array,
  start: number,
  bits: number,
  hashes: number,
  tokenHi: number,
  tokenLo: number,
): boolean {
  let step = mix(tokenLo ^ 0x9e3779b9);
  let hash = mix(tokenHi ^ step);
  step = mix(step ^ hash);
  for (let i = 0; i < hashes; i++) {
    const bit = Math.floor((hash * bits) / TWO_32);
    if (((bytes[start + (bit >>> 3)] as number) & (1 << (bit & 7))) === 0) return false;
    hash = (hash + step) >>> 0;
    step = (step + i) >>> 0;
  }
  return true;
}
