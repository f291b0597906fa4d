/**
 * The requests of one client that wait for a reply: a fixed table, so that nothing is allocated per request and
 * nothing waits without bound. Owned by the client's thread. Invariants:
 *
 * 1. A slot is free, in flight, or in between while its reply is being handed out.
 * 2. The generation of a slot rises whenever it stops being in flight: a reply that bears an older one came too
 *    late, and is dropped.
 */

import { assert } from '../base/assert.ts';
import { hasPassed, type MonotonicMs } from '../base/clock.ts';

const FREE = -1;

export class ClientSlots {
  readonly max: number;
  /** Free slots; those on top are taken next, so that few requests use few slots. */
  readonly #free: Int32Array;
  #freeCount: number;
  #inFlight = 0;
  /** All slots ever used lie below. */
  #used = 0;
  readonly #generation: Uint32Array;
  readonly #shard: Int16Array;
  readonly #op: Uint8Array;
  readonly #deadlineMs: Float64Array;

  constructor(max: number) {
    this.max = max;
    this.#free = new Int32Array(max).map((_, i) => max - 1 - i);
    this.#freeCount = max;
    this.#generation = new Uint32Array(max);
    this.#shard = new Int16Array(max).fill(FREE);
    this.#op = new Uint8Array(max);
    this.#deadlineMs = new Float64Array(max);
  }

  get inFlight(): number {
    return this.#inFlight;
  }
  /** The slot that `take` will give, -1 where all are taken. */
  next(): number {
    return this.#freeCount === 0 ? -1 : (this.#free[this.#freeCount - 1] as number);
  }
  generation(slot: number): number {
    return this.#generation[slot] as number;
  }
  op(slot: number): number {
    return this.#op[slot] as number;
  }

  take(shard: number, op: number, deadlineMs: MonotonicMs): void {
    const slot = this.next();
    assert(slot >= 0, 'client slots: all are taken');
    this.#freeCount--;
    this.#inFlight++;
    if (slot >= this.#used) this.#used = slot + 1;
    this.#shard[slot] = shard;
    this.#op[slot] = op;
    this.#deadlineMs[slot] = deadlineMs;
  }

  /** Takes a slot out of flight where its reply is still waited for. `free` follows when it was handed out. */
  end(slot: number, generation: number): boolean {
    assert(slot < this.max, 'client slots: a reply to a slot that is not there');
    if (this.#generation[slot] !== generation || this.#shard[slot] === FREE) return false;
    this.#generation[slot] = (generation + 1) >>> 0;
    this.#shard[slot] = FREE;
    this.#inFlight--;
    return true;
  }
  free(slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }

  /** The first slot at or after `from` in flight to `shard`, -1 where there is none. */
  ofShard(shard: number, from: number): number {
    for (let slot = from; slot < this.#used; slot++) if (this.#shard[slot] === shard) return slot;
    return -1;
  }
  /** The first slot at or after `from` in flight whose deadline is not after `nowMs`, -1 where there is none. */
  expired(nowMs: MonotonicMs, from: number): number {
    for (let slot = from; slot < this.#used; slot++)
      if (hasPassed(this.#deadlineMs[slot] as MonotonicMs, nowMs) && this.#shard[slot] !== FREE) return slot;
    return -1;
  }
}
