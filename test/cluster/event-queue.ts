import type { Network, Timers } from '../../src/cluster/contract.ts';
import { FEATURES } from '../../src/cluster/features.ts';

interface Event {
  readonly ms: number;
  /** Breaks ties: first in, first out. */
  readonly order: number;
  readonly run: () => void;
}

/** A binary heap of what is to happen, by time and then by order of entry. */
export class EventQueue {
  readonly #heap: Event[] = [];
  #order = 0;
  /** Whether promises are given time after each event: costs as much as the event. */
  settles = false;

  get nextMs(): number {
    return this.#heap[0]?.ms ?? Number.POSITIVE_INFINITY;
  }
  add(ms: number, run: () => void): void {
    const heap = this.#heap;
    const event = { ms, order: this.#order++, run };
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Event;
      if (!isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }
  runNext(): void {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined) return;
    if (heap.length > 0) this.#sink(last);
    first.run();
  }
  #sink(event: Event): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++;
      const below = heap[child] as Event;
      if (!isBefore(below, event)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = event;
  }
}
const isBefore = (a: Event, b: Event): boolean => a.ms < b.ms || (a.ms === b.ms && a.order < b.order);

/** Timers by a queue whose time is that of `nowMs`. */
export function timersOf(queue: EventQueue, nowMs: () => number): Timers {
  return {
    after: (ms, run) => {
      let isCancelled = false;
      queue.add(nowMs() + ms, () => !isCancelled && run());
      return () => {
        isCancelled = true;
      };
    },
  };
}

/** For what sends nothing, or is to find nobody. */
export const NO_NETWORK: Network = {
  send: () => false,
  sendTo: () => false,
  features: () => FEATURES,
  setAddress: () => undefined,
  forget: () => undefined,
};
