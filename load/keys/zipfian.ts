/**
 * The distributions of YCSB (Cooper et al., SoCC 2010; its core/generator classes) over keys 0 to n - 1. Zipfian numbers by the
 * method of Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994: exact for the two most
 * popular items, an approximation that keeps the total for the others.
 */
import type { Random } from '../../src/base/random.ts';

/** YCSB's zipfian constant. */
export const THETA = 0.99;
/** YCSB scrambles a zipfian choice among so many items, whatever the number of records is; its zeta is known. */
export const SCRAMBLED_ITEMS = 10_000_000_000;
export const SCRAMBLED_ZETA = 26.46902820178302;

const TWO_32 = 0x1_0000_0000;
const TWO_26 = 2 ** 26;
const TWO_53 = 2 ** 53;

/** Uniform in [0, 1) with 53 bits. */
export function uniform(random: Random): number {
  return ((random.uint32() >>> 5) * TWO_26 + (random.uint32() >>> 6)) / TWO_53;
}

/** Sum of 1/i^theta for i from `from` + 1 to `to`, on top of `sum`. */
export function zetaOf(from: number, to: number, theta: number, sum = 0): number {
  let total = sum;
  for (let i = from; i < to; i++) total += 1 / (i + 1) ** theta;
  return total;
}

/** Ranks: 0 is the most popular. */
export class Zipfian {
  #items: number;
  #zeta: number;
  #eta = 0;
  readonly #theta: number;
  readonly #alpha: number;
  readonly #zeta2: number;
  readonly #second: number;

  /** `zeta`: of `items` and `theta`, where it is known; it takes a second for 10 million items. */
  constructor(items: number, theta = THETA, zeta = zetaOf(0, items, theta)) {
    if (!(items >= 1)) throw new Error(`a zipfian choice among ${items} items`);
    this.#items = items;
    this.#theta = theta;
    this.#zeta = zeta;
    this.#alpha = 1 / (1 - theta);
    this.#zeta2 = zetaOf(0, 2, theta);
    this.#second = 1 + 0.5 ** theta;
    this.#setEta();
  }

  get items(): number {
    return this.#items;
  }
  /** More items, as records are inserted; zeta grows by the new terms alone. Never fewer. */
  grow(items: number): void {
    if (items <= this.#items) return;
    this.#zeta = zetaOf(this.#items, items, this.#theta, this.#zeta);
    this.#items = items;
    this.#setEta();
  }

  next(random: Random): number {
    const u = uniform(random);
    const uz = u * this.#zeta;
    if (uz < 1) return 0;
    if (uz < this.#second) return Math.min(1, this.#items - 1);
    const rank = Math.floor(this.#items * (this.#eta * u - this.#eta + 1) ** this.#alpha);
    return Math.min(rank, this.#items - 1);
  }

  #setEta(): void {
    this.#eta = (1 - (2 / this.#items) ** (1 - this.#theta)) / (1 - this.#zeta2 / this.#zeta);
  }
}

const FNV_PRIME_LOW = 0x1b3;
/** The prime of 64-bit FNV is 2^40 + 0x1b3. */
const FNV_PRIME_SHIFT = 8;
const FNV_BASIS_HI = 0xcbf29ce4;
const FNV_BASIS_LO = 0x84222325;
const OCTETS = 8;

/** YCSB's fnvhash64: FNV-1a over the eight octets of `value`, lowest first, its sign taken off; modulo `modulus` (at most 2^26). */
export function fnvHash64Modulo(value: number, modulus: number): number {
  let hi = FNV_BASIS_HI;
  let lo = FNV_BASIS_LO;
  let restLo = value % TWO_32;
  let restHi = Math.floor(value / TWO_32);
  for (let octet = 0; octet < OCTETS; octet++) {
    lo = (lo ^ (restLo & 0xff)) >>> 0;
    restLo = ((restLo >>> 8) | (restHi << 24)) >>> 0;
    restHi >>>= 8;
    // (hi, lo) * (2^40 + 0x1b3) modulo 2^64.
    const low = lo * FNV_PRIME_LOW;
    const carry = Math.floor(low / TWO_32);
    hi = (Math.imul(hi, FNV_PRIME_LOW) + carry + (lo << FNV_PRIME_SHIFT)) >>> 0;
    lo = (low % TWO_32) >>> 0;
  }
  if (hi >= 0x8000_0000) {
    // Math.abs of a negative long.
    lo = (~lo + 1) >>> 0;
    hi = (~hi + (lo === 0 ? 1 : 0)) >>> 0;
  }
  return ((hi % modulus) * (TWO_32 % modulus) + (lo % modulus)) % modulus;
}
