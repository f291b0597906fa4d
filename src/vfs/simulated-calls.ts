/**
 * Asynchronous calls of the simulated disk that have not ended. They take effect and come back when they are
 * run: one by one in an order that a test chooses, or, in the automatic mode, all in order on a later turn of
 * the event loop. A caller never gets its answer before its call has returned.
 */
import type { Random } from '../base/random.ts';
import type { IoCallback } from './file-system.ts';
import { Crash } from './simulated-faults.ts';

/** Code that asks again and again for what fails is found out. */
const SETTLE_CALLS_MAX = 100_000;
/** Turns of the microtask queue without a new call after which there will be none. */
const IDLE_TURNS = 3;

interface Call {
  readonly run: () => number;
  readonly done: IoCallback;
  /** After the effect, before the callback; also where the call failed. */
  readonly ended: () => void;
}

export class CallQueue {
  #waiting: Call[] = [];
  readonly #isAutomatic: boolean;
  readonly #drain = (): void => {
    for (const call of this.#waiting.splice(0)) perform(call);
  };

  constructor(isAutomatic: boolean) {
    this.#isAutomatic = isAutomatic;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  add(call: Call): void {
    if (this.#isAutomatic && this.#waiting.length === 0) setImmediate(this.#drain);
    this.#waiting.push(call);
  }

  /** Runs one call, by default the first in the line; nothing where there is no such call. */
  step(index = 0): void {
    for (const call of this.#waiting.splice(index, 1)) perform(call);
  }

  /** Runs calls until none is left, in order, or in an order drawn from `random`. */
  async settle(random: Random | null): Promise<void> {
    for (let idle = 0, calls = 0; idle < IDLE_TURNS; calls++) {
      if (calls > SETTLE_CALLS_MAX) throw new Error(`still busy after ${SETTLE_CALLS_MAX} calls`);
      idle = this.#waiting.length === 0 ? idle + 1 : 0;
      this.step(random === null ? 0 : random.below(this.#waiting.length));
      await Promise.resolve();
    }
  }
}

function perform({ run, done, ended }: Call): void {
  let bytes = 0;
  try {
    bytes = run();
  } catch (error) {
    // The process is dead: nobody is there for the callback to come back to.
    if (error instanceof Crash) return;
    ended();
    done(error as Error, 0);
    return;
  }
  ended();
  done(null, bytes);
}
