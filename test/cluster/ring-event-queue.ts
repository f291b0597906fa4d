/** Simulated time for tests of the ring: one queue of events, timers on it, and documents that a crash may lose. */
import { ManualClock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import type { Documents, Timers } from '../../src/cluster/contract.ts';

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class EventQueue {
  readonly clock = new ManualClock(1_700_000_000_000);
  readonly random: Random;
  #events: Event[] = [];
  #order = 0;
  constructor(random: Random) {
    this.random = random;
  }

  at(atMs: number, run: () => void): void {
    this.#events.push({ atMs: Math.max(atMs, this.clock.monotonicMs()), order: this.#order++, run });
  }
  after(ms: number, run: () => void): void {
    this.at(this.clock.monotonicMs() + ms, run);
  }

  /** Timers of one life of a node: none fires when `isAlive` is false. */
  timers(isAlive: () => boolean): Timers {
    return {
      after: (ms, run) => {
        let isWanted = true;
        this.after(ms, () => {
          if (isWanted && isAlive()) run();
        });
        return () => {
          isWanted = false;
        };
      },
    };
  }

  /** Runs events until `until` holds or `ms` have passed; whether it holds. */
  async run(ms: number, until: () => boolean = () => false): Promise<boolean> {
    const endMs = this.clock.monotonicMs() + ms;
    while (!until()) {
      let next = -1;
      this.#events.forEach((event, i) => {
        const best = this.#events[next];
        if (
          best === undefined ||
          event.atMs < best.atMs ||
          (event.atMs === best.atMs && event.order < best.order)
        )
          next = i;
      });
      const event = this.#events[next];
      if (event === undefined || event.atMs > endMs) {
        this.clock.advanceMs(Math.max(0, endMs - this.clock.monotonicMs()));
        return until();
      }
      this.#events[next] = this.#events[this.#events.length - 1] as Event;
      this.#events.pop();
      this.clock.advanceMs(event.atMs - this.clock.monotonicMs());
      event.run();
      // Promises of pulls and requests go on before the next event.
      for (let i = 0; i < 4; i++) await Promise.resolve();
    }
    return true;
  }
}

export interface DiskFaults {
  /** Probability. */
  readonly saveFailure: number;
  readonly saveMsMax: number;
}

/** What survives a crash of a node; a save takes effect some time after it was asked for, or is lost with the life. */
export class VolatileDisk implements Documents {
  readonly saved = new Map<string, Uint8Array>();
  readonly #events: EventQueue;
  readonly #life: () => number;
  readonly #faults: () => DiskFaults;
  readonly #onSaved: (name: string, bytes: Uint8Array) => void;
  #freeAtMs = 0;
  constructor(
    events: EventQueue,
    life: () => number,
    faults: () => DiskFaults,
    onSaved: (name: string, bytes: Uint8Array) => void,
  ) {
    this.#events = events;
    this.#life = life;
    this.#faults = faults;
    this.#onSaved = onSaved;
  }
  load(name: string): Uint8Array | null {
    return this.saved.get(name) ?? null;
  }
  save(name: string, bytes: Uint8Array, done: (error: Error | null) => void): void {
    const life = this.#life();
    const copy = bytes.slice();
    const { random, clock } = this.#events;
    this.#freeAtMs =
      Math.max(this.#freeAtMs, clock.monotonicMs()) + random.between(0, this.#faults().saveMsMax);
    this.#events.at(this.#freeAtMs, () => {
      if (life !== this.#life()) return;
      if (random.chance(this.#faults().saveFailure)) {
        done(new Error('disk full'));
        return;
      }
      this.saved.set(name, copy);
      this.#onSaved(name, copy);
      // Durable, and perhaps nobody hears of it: a crash may come in between.
      this.#events.after(random.between(0, 3), () => {
        if (life === this.#life()) done(null);
      });
    });
  }
}
