/** Faults that strike a simulated cluster at random moments, until the end: what each does is its heir's. */
import type { Random } from '../../src/base/random.ts';
import type { Cluster } from './cluster.ts';

const SECOND_US = 1_000_000;

export abstract class Strikes<Fault extends string> {
  protected readonly cluster: Cluster;
  protected readonly random: Random;
  readonly #faults: readonly Fault[];
  readonly #meanUs: number;
  #isEnded = false;

  /** `meanUs`: between two of them. */
  constructor(cluster: Cluster, random: Random, faults: readonly Fault[], meanUs: number) {
    this.cluster = cluster;
    this.random = random;
    this.#faults = faults;
    this.#meanUs = meanUs;
  }

  protected abstract strike(fault: Fault): void;

  start(): void {
    if (this.#faults.length > 0) this.#next();
  }
  end(): void {
    this.#isEnded = true;
  }

  #next(): void {
    const us = -Math.log(1 - this.random.below(1000) / 1000) * this.#meanUs;
    this.after(us, () => {
      this.strike(this.random.pick(this.#faults));
      this.#next();
    });
  }
  /** Nothing comes after the end. */
  protected after(us: number, run: () => void): void {
    this.cluster.site.scheduler.after(us, () => {
      if (!this.#isEnded) run();
    });
  }
  /** Microseconds of so many seconds. */
  protected seconds(min: number, max: number): number {
    return (min + (this.random.below(1000) / 1000) * (max - min)) * SECOND_US;
  }
}
