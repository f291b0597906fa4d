/**
 * What is still to be done behind answers that were given: calls to replicas that have not ended, hints that are not kept yet, keys that
 * are to be settled. A node that is drained or stopped waits for it (coming-to-rest.ts). Owned by the thread of the coordinator; pure.
 *
 * 1. Work is in the list from the turn of its answer until nothing more of it can be lost with this process: a replica has the write, a
 *    hint is on a disk, or the vnode is marked for repair. What follows from its end begins before it ends.
 * 2. Read repairs behind answers are not in it: whoever wrote what they bring has seen to it, or died.
 * 3. The list is bounded by what it consists of: calls (peerCallsTotalMax, slots of shards), hints of those, settlesWaitingMax.
 */
import type { Timers } from './contract.ts';

export interface BehindWork {
  /** Whose replicas may lack something where the work does not end well. */
  readonly vnode: number;
}

interface Waiter {
  readonly cancel: () => void;
  readonly done: () => void;
}

export class BehindAnswers {
  readonly #timers: Timers;
  /** Requests that are not answered yet: what they leave behind is still to come. */
  readonly #inFlight: () => number;
  readonly #open = new Set<BehindWork>();
  #waiters: Waiter[] = [];
  #isLooking = false;

  constructor(timers: Timers, inFlight: () => number) {
    this.#timers = timers;
    this.#inFlight = inFlight;
  }

  get size(): number {
    return this.#open.size;
  }
  get open(): ReadonlySet<BehindWork> {
    return this.#open;
  }
  begin(work: BehindWork): void {
    this.#open.add(work);
  }
  end(work: BehindWork): void {
    this.#open.delete(work);
    this.lookIdle();
  }
  /** Of what is left. */
  vnodes(): ReadonlySet<number> {
    return new Set(Array.from(this.#open, ({ vnode }) => vnode));
  }

  /** `done` when no request is in flight and nothing is left to be done behind answers, or after so long. */
  whenIdle(waitMs: number, done: () => void): void {
    const cancel = this.#timers.after(waitMs, () => this.#tell(waiter));
    const waiter: Waiter = { cancel, done };
    this.#waiters.push(waiter);
    this.lookIdle();
  }

  /** To be called when a request was answered. */
  lookIdle(): void {
    if (this.#waiters.length === 0 || this.#isLooking || !this.#isIdle()) return;
    // In a turn of its own: what ends now may begin something else in this one.
    this.#isLooking = true;
    this.#timers.after(0, () => {
      this.#isLooking = false;
      if (this.#isIdle()) for (const waiter of [...this.#waiters]) this.#tell(waiter);
    });
  }
  #isIdle(): boolean {
    return this.#open.size === 0 && this.#inFlight() === 0;
  }
  #tell(waiter: Waiter): void {
    waiter.cancel();
    this.#waiters = this.#waiters.filter((one) => one !== waiter);
    waiter.done();
  }
}
