/** When requests are due, in microseconds from the start of a phase, whatever the answers do. */
import type { Random } from '../src/base/random.ts';
import { uniform } from './keys/zipfian.ts';

export type ArrivalKind = 'constant' | 'poisson';

export interface Arrivals {
  /** When the next request is due; never before the one before it. */
  nextUs(): number;
}

const US = 1e6;

class ConstantArrivals implements Arrivals {
  readonly #rate: number;
  #count = 0;
  constructor(rate: number) {
    this.#rate = rate;
  }
  /** By multiplication: sums of an interval would drift. */
  nextUs(): number {
    return (this.#count++ * US) / this.#rate;
  }
}

/** Independent clients: gaps are exponential, with the mean 1/rate. */
class PoissonArrivals implements Arrivals {
  readonly #meanUs: number;
  readonly #random: Random;
  #us = 0;
  constructor(rate: number, random: Random) {
    this.#meanUs = US / rate;
    this.#random = random;
  }
  nextUs(): number {
    this.#us -= Math.log(1 - uniform(this.#random)) * this.#meanUs;
    return this.#us;
  }
}

/** `rate` a second. */
export function arrivalsOf(kind: ArrivalKind, rate: number, random: Random): Arrivals {
  return kind === 'constant' ? new ConstantArrivals(rate) : new PoissonArrivals(rate, random);
}
