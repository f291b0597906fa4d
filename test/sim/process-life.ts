/**
 * One life of a simulated process, from its start to its end, and what of the outside reaches it: nothing any more once
 * it has ended, and only later while it is stopped (SIGSTOP). Its timers run by the clock of its machine.
 *
 * 1. What a process that has ended had set going never comes back to it: its promises hang for ever, and are collected.
 * 2. What comes to a stopped process waits in the order in which it came.
 */
import type { Timers } from '../../src/cluster/contract.ts';
import type { Scheduler } from './scheduler.ts';
import type { SimClock } from './sim-clock.ts';

export class ProcessLife implements Timers {
  readonly #scheduler: Scheduler;
  readonly #clock: SimClock;
  #isAlive = true;
  #held: (() => void)[] | null = null;

  constructor(scheduler: Scheduler, clock: SimClock) {
    this.#scheduler = scheduler;
    this.#clock = clock;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }
  get isStopped(): boolean {
    return this.#held !== null;
  }

  /** Something comes from outside: runs now, when the process goes on, or never. */
  receive(run: () => void): void {
    if (!this.#isAlive) return;
    if (this.#held === null) run();
    else this.#held.push(run);
  }

  after(ms: number, run: () => void): () => void {
    if (!this.#isAlive) return () => undefined;
    let isWanted = true;
    const fire = (): void => {
      if (isWanted) run();
    };
    const us = Math.max(1, this.#clock.trueUs(ms * 1000));
    const scheduled = this.#scheduler.after(us, () => this.receive(fire));
    return () => {
      isWanted = false;
      scheduled.run = null;
    };
  }

  stop(): void {
    this.#held ??= [];
  }
  /** Goes on: what has come meanwhile happens one by one, each as an event of its own. */
  resume(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const run of held) this.#scheduler.after(0, () => this.receive(run));
  }
  end(): void {
    this.#isAlive = false;
    this.#held = null;
  }
}
