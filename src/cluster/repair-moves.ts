/** A bounded number of records on their way at a time, and others that wait until those have arrived. Pure. */
import { limits } from '../base/limits.ts';

export class Moves {
  readonly #running = new Set<Promise<void>>();
  #later: (() => Promise<void>)[] = [];
  #error: Error | null = null;

  /** Resolves when there is room for the next. Throws the first error of any, once none is on its way. */
  async add(move: Promise<void>): Promise<void> {
    const one = move
      .catch((error: unknown) => {
        this.#error ??= error as Error;
      })
      .then(() => {
        this.#running.delete(one);
      });
    this.#running.add(one);
    if (this.#running.size >= limits.repairWritesInFlightMax) await Promise.race(this.#running);
    if (this.#error !== null) await this.drain();
  }

  /** Starts it after all that was added before has arrived. */
  async later(start: () => Promise<void>): Promise<void> {
    this.#later.push(start);
    if (this.#later.length >= limits.repairPageRecordsMax) await this.end();
  }

  async end(): Promise<void> {
    await this.drain();
    const later = this.#later;
    this.#later = [];
    for (const start of later) await this.add(start());
    await this.drain();
  }
  /** Waits for what is on its way. */
  async drain(): Promise<void> {
    await Promise.all(this.#running);
    if (this.#error !== null) throw this.#error;
  }
}
