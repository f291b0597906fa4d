/** Work that is done a while from now, once for each name however often it is asked for meanwhile, and bounded in number. Pure. */
import type { Timers } from './contract.ts';

export class OnceLater {
  readonly #timers: Timers;
  readonly #delayMs: number;
  readonly #max: number;
  readonly #waiting = new Set<string>();

  constructor(timers: Timers, delayMs: number, max: number) {
    this.#timers = timers;
    this.#delayMs = delayMs;
    this.#max = max;
  }

  /** `prepare` gives what is to be done; it is called only where nothing waits under the name. False: as many wait as may. */
  add(name: string, prepare: () => () => void): boolean {
    if (this.#waiting.has(name)) return true;
    if (this.#waiting.size >= this.#max) return false;
    this.#waiting.add(name);
    const run = prepare();
    this.#timers.after(this.#delayMs, () => {
      this.#waiting.delete(name);
      run();
    });
    return true;
  }
}
