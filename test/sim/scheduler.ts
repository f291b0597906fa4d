/**
 * Virtual time and the one queue of everything that will happen. Nothing else in a simulation waits.
 *
 * 1. Events happen in the order (time, order of scheduling): a tie is never broken by chance or by the machine.
 * 2. Time moves only between events, and stands still while an event and all the promises it settles run to their end.
 * 3. A cancelled event does not happen, and does not move time.
 */
import { assert } from '../../src/base/assert.ts';

/** Events of one simulation beyond which something loops. */
const EVENTS_MAX = 5_000_000;
const EVENTS_PER_TURN = 256;

export interface Scheduled {
  readonly atUs: number;
  readonly order: number;
  /** Null: taken back, or done. */
  run: (() => void) | null;
}

/** After each event: looks at what it has set going, e.g. calls to disks. */
export type AfterEvent = () => void;

export class Scheduler {
  readonly #heap: Scheduled[] = [];
  readonly #afterEvent: AfterEvent[] = [];
  #nowUs = 0;
  #order = 0;
  #events = 0;
  #failure: unknown = null;

  /** Microseconds since the start of the simulation. */
  get nowUs(): number {
    return this.#nowUs;
  }
  get events(): number {
    return this.#events;
  }
  get waiting(): number {
    return this.#heap.length;
  }

  onAfterEvent(look: AfterEvent): void {
    this.#afterEvent.push(look);
  }
  /** Ends the run with this error at the next event: for what goes wrong where nobody could catch it. */
  fail(error: unknown): void {
    this.#failure ??= error;
  }

  after(us: number, run: () => void): Scheduled {
    return this.at(this.#nowUs + us, run);
  }
  at(us: number, run: () => void): Scheduled {
    const atUs = Math.max(this.#nowUs, Math.round(us));
    assert(Number.isSafeInteger(atUs), () => `scheduler: ${us} us is no time`);
    const scheduled: Scheduled = { atUs, order: this.#order++, run };
    this.#up(scheduled);
    return scheduled;
  }

  /** Runs events until `isDone`, looked at after each of them, or until the time is `untilUs`. */
  async run(untilUs: number, isDone: () => boolean = () => false): Promise<void> {
    for (const look of this.#afterEvent) look();
    while (!isDone()) {
      const next = this.#heap[0];
      if (next === undefined || next.atUs > untilUs) {
        this.#nowUs = Math.max(this.#nowUs, untilUs);
        return;
      }
      this.#pop();
      const { run } = next;
      if (run === null) continue;
      next.run = null;
      this.#nowUs = next.atUs;
      if (++this.#events > EVENTS_MAX) throw new Error(`more than ${EVENTS_MAX} events: something loops`);
      run();
      // Promises that the event has settled run before anything else happens: Node empties their queue before the next tick.
      // That takes a third of what a turn of the event loop does, which only what runs beside the simulation needs.
      await new Promise<void>(this.#events % EVENTS_PER_TURN === 0 ? setImmediate : process.nextTick);
      if (this.#failure !== null) throw this.#failure;
      for (const look of this.#afterEvent) look();
    }
  }

  #up(scheduled: Scheduled): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above] as Scheduled;
      if (isBefore(parent, scheduled)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = scheduled;
  }
  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Scheduled;
    const length = heap.length;
    if (length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= length) break;
      if (below + 1 < length && isBefore(heap[below + 1] as Scheduled, heap[below] as Scheduled)) below++;
      if (isBefore(last, heap[below] as Scheduled)) break;
      heap[at] = heap[below] as Scheduled;
      at = below;
    }
    heap[at] = last;
  }
}

const isBefore = (a: Scheduled, b: Scheduled): boolean =>
  a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
