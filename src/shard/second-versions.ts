/**
 * What a replica remembers for writes that go on under a second version (docs/decisions/0024-writes-that-conflict.md). A coordinator whose
 * write one replica took, and a majority refused, gives it a second version; where anybody was answered with the first by then, it would come
 * back over what was acknowledged since. Owned by the shard's thread. Invariants, each for one key and the `was` of one write:
 *
 * 1. A replica that refused `was` can only have held it, before that, as a copy. Where one came, it refuses the second version; where the second version
 *    came first, or something newer, it takes no copy of `was` any more.
 * 2. A reader answers with `was` only once a majority held it, or the writer said that it was acknowledged. The first cannot be beside a majority that
 *    refused `was` and then took the second version, by 1; the second not at all.
 * 3. Who promised a ballot at or above `was` may have told it to SERIAL: that is refused too.
 * 4. It forgets nothing within the time that a write may take. A shard that was restarted refuses for so long; of a process that was, the
 *    coordinator's connection was lost, after which it does not ask.
 *
 * Remembered is too much rather than too little: filters have false positives, which end in an outcome that is unknown.
 */
import { type Clock, MONOTONIC_ZERO, type MonotonicMs, msAfter } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { KEYSPACE_USER, keyspaceAt, tokenHiAt, tokenLoAt, versionAt } from '../base/record.ts';
import { bloomAdd, bloomMayContain } from '../engine/bloom.ts';
import { type Held, versionOf } from './replica-records.ts';

const BITS = limits.secondVersionsFilterBytes * 8;
const HASHES = 4;
const TWO_32 = 0x1_0000_0000;

/** Pairs of token and version: those of the last secondVersionsKeptMs, some of before, and few that were never added. */
class RecentVersions {
  readonly #clock: Clock;
  #present: Uint8Array | null = null;
  #last: Uint8Array | null = null;
  #sinceMs: MonotonicMs;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.monotonicMs();
  }

  add(view: DataView, version: number): void {
    this.#turn();
    this.#present ??= new Uint8Array(limits.secondVersionsFilterBytes);
    bloomAdd(this.#present, 0, BITS, HASHES, highOf(view, version), lowOf(view, version));
  }
  has(view: DataView, version: number): boolean {
    this.#turn();
    const [hi, lo] = [highOf(view, version), lowOf(view, version)];
    for (const bytes of [this.#present, this.#last])
      if (bytes !== null && bloomMayContain(bytes, 0, BITS, HASHES, hi, lo)) return true;
    return false;
  }
  /** Once however long nothing happened: what a process had read before it was stopped is still to be judged after that. */
  #turn(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < msAfter(this.#sinceMs, limits.secondVersionsKeptMs)) return;
    this.#last = this.#present;
    this.#present = null;
    this.#sinceMs = nowMs;
  }
}
/** Tokens are hashes: two pairs meet in both words no more often than two hashes do. */
const highOf = (view: DataView, version: number): number =>
  (tokenHiAt(view, 0) ^ Math.floor(version / TWO_32)) >>> 0;
const lowOf = (view: DataView, version: number): number => (tokenLoAt(view, 0) ^ (version % TWO_32)) >>> 0;

export class SecondVersions {
  readonly #clock: Clock;
  readonly #knowsFromMs: MonotonicMs;
  readonly #copies: RecentVersions;

  constructor(clock: Clock, isRestart: boolean) {
    this.#clock = clock;
    this.#knowsFromMs = isRestart
      ? msAfter(clock.monotonicMs(), limits.secondVersionsKeptMs)
      : MONOTONIC_ZERO;
    this.#copies = new RecentVersions(clock);
  }

  /** A copy was taken, or was held already. Those that are older than any write still under way need not be remembered. */
  onCopy(view: DataView): void {
    if (keyspaceAt(view, 0) !== KEYSPACE_USER) return;
    const version = versionAt(view, 0);
    const ageUs = this.#clock.nowMs() * 1000 - version;
    if (ageUs > limits.peerClockDriftUsMax + limits.secondVersionsKeptMs * 2000) return;
    this.#copies.add(view, version);
  }
  /** Why a second version must not be taken, '' where it may. */
  faultOf(view: DataView, was: number, promise: Held | null): string {
    if (promise !== null && versionOf(promise) >= was)
      return `a promise of version ${versionOf(promise)} may have shown version ${was}`;
    if (this.#copies.has(view, was)) return `version ${was} has been copied`;
    if (this.#clock.monotonicMs() >= this.#knowsFromMs) return '';
    return `the shard was restarted, and does not know whether version ${was} was copied before`;
  }
}
