/** Which key a request is for. `records` are there from the start; `settled` counts those and the inserts that may be chosen. */
import type { Random } from '../../src/base/random.ts';
import { fnvHash64Modulo, SCRAMBLED_ITEMS, SCRAMBLED_ZETA, THETA, uniform, Zipfian } from './zipfian.ts';

export type Distribution = 'zipfian' | 'latest' | 'uniform' | 'hotspot';

export interface KeyChoice {
  readonly distribution: Distribution;
  /** hotspot: so many keys get this share of the requests, the others share the rest evenly. */
  readonly hotKeys?: number;
  readonly hotShare?: number;
}
export interface KeyChooser {
  /** A key below `settled`. */
  next(random: Random, settled: number): number;
}

class Uniform implements KeyChooser {
  next(random: Random, settled: number): number {
    return Math.floor(uniform(random) * settled);
  }
}

/**
 * Popular keys lie anywhere. As YCSB does it, the choice is among records and those that may yet be inserted, and repeated where
 * it falls on one that is not there: so inserts do not change which keys are popular.
 */
export class ScrambledZipfian implements KeyChooser {
  readonly #ranks = new Zipfian(SCRAMBLED_ITEMS, THETA, SCRAMBLED_ZETA);
  readonly #space: number;
  constructor(space: number) {
    this.#space = space;
  }
  next(random: Random, settled: number): number {
    for (;;) {
      const key = fnvHash64Modulo(this.#ranks.next(random), this.#space);
      if (key < settled) return key;
    }
  }
}

/** The newest record is the most popular one. */
export class SkewedLatest implements KeyChooser {
  readonly #ranks: Zipfian;
  constructor(records: number) {
    this.#ranks = new Zipfian(records);
  }
  next(random: Random, settled: number): number {
    this.#ranks.grow(settled);
    return settled - 1 - this.#ranks.next(random);
  }
}

class Hotspot implements KeyChooser {
  readonly #keys: number;
  readonly #share: number;
  constructor(keys: number, share: number) {
    this.#keys = keys;
    this.#share = share;
  }
  next(random: Random, settled: number): number {
    const isHot = uniform(random) < this.#share || settled <= this.#keys;
    const at = uniform(random);
    return isHot
      ? Math.floor(at * Math.min(this.#keys, settled))
      : this.#keys + Math.floor(at * (settled - this.#keys));
  }
}

/** `room`: for inserts of the whole phase; YCSB takes twice as many as it expects. */
export function chooserOf(choice: KeyChoice, records: number, room: number): KeyChooser {
  const { distribution, hotKeys = 1, hotShare = 0.5 } = choice;
  if (distribution === 'uniform') return new Uniform();
  if (distribution === 'latest') return new SkewedLatest(records);
  if (distribution === 'hotspot') return new Hotspot(hotKeys, hotShare);
  return new ScrambledZipfian(records + room);
}
