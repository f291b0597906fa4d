/**
 * Brings the purge horizons of vnodes to their shards, until each has the newest. Owned by the peer worker's thread. Invariants:
 *
 * 1. What waits is one number a vnode, the newest, and never a queue: a shard that takes nothing for long costs no more.
 * 2. One request a shard is under way at a time. Whatever was not taken is sent again after limits.purgeHorizonRetryMs.
 * 3. A shard that was started again knows nothing (EngineOptions.purgeBefore): `attached` sends it everything anew.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { Timers } from '../cluster/contract.ts';

export interface Horizon {
  readonly vnode: number;
  readonly version: number;
}
/** Sends horizons to a shard; `done` says whether it took them, and is called once, in a later turn. */
export type SendHorizons = (
  shard: number,
  horizons: readonly Horizon[],
  done: (taken: boolean) => void,
) => void;

export class PurgeDelivery {
  readonly #shards: number;
  readonly #timers: Timers;
  readonly #send: SendHorizons;
  /** By vnode; NaN: nothing is known. */
  readonly #newest: Float64Array;
  /** By vnode: the shard has the newest. */
  readonly #taken: Uint8Array;
  /** By shard: something is under way, waits for its turn, or for the next attempt. */
  readonly #busy: Uint8Array;
  /** By shard, counted: what was sent to an earlier life says nothing of this one. */
  readonly #lives: Uint32Array;
  /** By shard: takes back what waits for its turn. */
  readonly #cancels: (() => void)[];
  #closed = false;

  constructor(vnodes: number, shards: number, timers: Timers, send: SendHorizons) {
    this.#shards = shards;
    this.#timers = timers;
    this.#send = send;
    this.#newest = new Float64Array(vnodes).fill(Number.NaN);
    this.#taken = new Uint8Array(vnodes);
    this.#busy = new Uint8Array(shards);
    this.#lives = new Uint32Array(shards);
    this.#cancels = Array.from({ length: shards }, () => () => undefined);
  }

  /** Sends nothing more. */
  close(): void {
    this.#closed = true;
    for (const cancel of this.#cancels) cancel();
  }

  set(vnode: number, version: number): void {
    assert(vnode >= 0 && vnode < this.#newest.length, () => `horizon of vnode ${vnode}`);
    if (this.#newest[vnode] === version) return;
    this.#newest[vnode] = version;
    this.#taken[vnode] = 0;
    this.#sendSoon(vnode % this.#shards, 0);
  }

  /** The shard takes requests, and is a new one. */
  attached(shard: number): void {
    const lives = this.#lives[shard];
    assert(lives !== undefined, () => `horizons of shard ${shard} of ${this.#shards}`);
    this.#lives[shard] = lives + 1;
    for (let vnode = shard; vnode < this.#newest.length; vnode += this.#shards) this.#taken[vnode] = 0;
    this.#cancels[shard]?.();
    this.#busy[shard] = 0;
    this.#sendSoon(shard, 0);
  }

  /** Many vnodes are set in one turn: they go together. */
  #sendSoon(shard: number, ms: number): void {
    if (this.#busy[shard] === 1 || this.#closed) return;
    this.#busy[shard] = 1;
    this.#cancels[shard] = this.#timers.after(ms, () => {
      this.#busy[shard] = 0;
      this.#sendNow(shard);
    });
  }

  #sendNow(shard: number): void {
    const horizons = this.#missing(shard);
    if (horizons.length === 0) return;
    this.#busy[shard] = 1;
    const life = this.#lives[shard];
    this.#send(shard, horizons, (taken) => {
      if (this.#lives[shard] !== life) return;
      this.#busy[shard] = 0;
      if (taken)
        for (const { vnode, version } of horizons)
          if (this.#newest[vnode] === version) this.#taken[vnode] = 1;
      this.#sendSoon(shard, taken ? 0 : limits.purgeHorizonRetryMs);
    });
  }

  #missing(shard: number): Horizon[] {
    const horizons: Horizon[] = [];
    for (let vnode = shard; vnode < this.#newest.length; vnode += this.#shards) {
      const version = this.#newest[vnode] as number;
      if (this.#taken[vnode] === 1 || Number.isNaN(version)) continue;
      horizons.push({ vnode, version });
      if (horizons.length === limits.purgeHorizonsPerRequestMax) break;
    }
    return horizons;
  }
}
