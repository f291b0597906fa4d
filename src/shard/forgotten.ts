/**
 * What a replica may have forgotten: dead records below their vnode's horizon and older than gc_grace (invariant 5 of
 * replica-store.ts). Owned by the shard's thread.
 */
import type { Clock } from '../base/clock.ts';
import { isBelow, isDeadAt, KEYSPACE_USER, keyspaceAt, tokenHiAt, versionAt } from '../base/record.ts';
import { vnodeOf } from '../base/token.ts';
import type { ShardEngine } from '../engine/contract.ts';
import type { Held } from './replica-records.ts';

export interface ForgottenOptions {
  readonly engine: Pick<ShardEngine, 'purgeBefore'>;
  readonly clock: Clock;
  readonly vnodes: number;
  readonly gcGraceMs: number;
}

export class Forgotten {
  readonly #options: ForgottenOptions;
  constructor(options: ForgottenOptions) {
    this.#options = options;
  }

  /** A live user record of which this replica holds nothing although it had it, or a tombstone: that is gone. */
  isResurrection(view: DataView): boolean {
    const { clock, gcGraceMs } = this.#options;
    if (keyspaceAt(view, 0) !== KEYSPACE_USER || isDeadAt(view, 0, clock.nowMs())) return false;
    return versionAt(view, 0) < this.#horizon(tokenHiAt(view, 0), gcGraceMs);
  }
  /**
   * Whether outcomes that come alone may be taken: beside the record that they were accepted with, or a newer one, or where they are
   * so old that it may have died and gone where they come from. Only what all replicas had was purged, so they vouch for a
   * write that was made. This replica's own horizon says nothing of that: it has none of a vnode that it only gains.
   */
  isBacked(outcomes: DataView, user: Held | null): boolean {
    if (user !== null && !isBelow(user.view, outcomes)) return true;
    const { clock, gcGraceMs } = this.#options;
    return versionAt(outcomes, 0) < (clock.nowMs() - gcGraceMs) * 1000;
  }
  /** Whether a new write is below `oldestWrite`. Mostly without a look at the clock: it is above the horizon. */
  isTooOld(tokenHi: number, version: number): boolean {
    const { engine, vnodes } = this.#options;
    return version < engine.purgeBefore(vnodeOf(tokenHi, vnodes)) && version < this.oldestWrite(tokenHi);
  }
  /** The lowest version of a new write. */
  oldestWrite(tokenHi: number): number {
    return this.#horizon(tokenHi, this.#options.gcGraceMs / 2);
  }
  /** The vnode's horizon, but no version younger than `ageMs`; 0 where there are no other replicas. */
  #horizon(tokenHi: number, ageMs: number): number {
    const { clock, engine, vnodes } = this.#options;
    const before = engine.purgeBefore(vnodeOf(tokenHi, vnodes));
    return Number.isFinite(before) ? Math.max(0, Math.min(before, (clock.nowMs() - ageMs) * 1000)) : 0;
  }
}
