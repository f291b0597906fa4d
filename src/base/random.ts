/** Seeded random numbers (sfc32, PractRand). Nobody but this file draws randomness. */

export class Random {
  readonly seed: number;
  #a: number;
  #b = 0x9e3779b9 | 0;
  #c = 0x243f6a88 | 0;
  #counter = 1;
  constructor(seed: number) {
    this.seed = seed;
    this.#a = seed | 0;
    for (let i = 0; i < 12; i++) this.uint32();
  }
  uint32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum >>> 0;
  }
  /** An integer in [0, bound). */
  below(bound: number): number {
    return Math.floor((this.uint32() / 0x1_0000_0000) * bound);
  }
  /** An integer in [low, high]. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }
  chance(probability: number): boolean {
    return this.uint32() / 0x1_0000_0000 < probability;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) out[i] = this.uint32() >>> 24;
    return out;
  }
}

/** A seed from the system, for ids and for tests that print it. Web Crypto is there in browsers and in Node. */
export function systemSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] as number;
}
