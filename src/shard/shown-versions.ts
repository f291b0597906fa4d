/**
 * Whether anybody may have been shown a version that this replica refuses (docs/decisions/0024-writes-that-conflict.md). A coordinator whose write
 * some replica took, and others refused, may give its value another version only where nobody was, or will be, answered with the first: it would
 * come back over what was acknowledged since. Owned by the shard's thread. Invariants, for a version and a key:
 *
 * 1. A reader is answered with it once a majority held it, or its writer said that a majority has something as new; one of SERIAL after promises of a
 *    majority. So where so many replicas that no majority is without one never held it, and never will, nobody is.
 * 2. A replica that refuses it for a newer record, which is durable, takes it never more. It held it before only if a copy came: the write itself
 *    comes once. And who promised a ballot at or above it may have shown what another replica has of it.
 * 3. Copies are remembered for as long as a write may take. A shard that was restarted knows of none before, and says so for as long. A process that was
 *    restarted was sent no write that began before: its connections are new.
 *
 * Remembered is too much rather than too little: filters have false positives, which end in an outcome that is unknown.
 */
import { type Clock, MONOTONIC_ZERO, type MonotonicMs, msAfter } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { KEYSPACE_USER, keyspaceAt, tokenHiAt, tokenLoAt, versionAt } from '../base/record.ts';
import { bloomAdd, bloomMayContain } from '../engine/bloom.ts';
import { type Held, versionOf } from './replica-records.ts';

const BITS = limits.shownVersionsFilterBytes * 8;
const HASHES = 4;
const TWO_32 = 0x1_0000_0000;

/** Pairs of token and version: those of the last shownVersionsKeptMs, some of before, and few that were never added. */
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
    this.#present ??= new Uint8Array(limits.shownVersionsFilterBytes);
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
    if (nowMs < msAfter(this.#sinceMs, limits.shownVersionsKeptMs)) return;
    this.#last = this.#present;
    this.#present = null;
    this.#sinceMs = nowMs;
  }
}
/** Tokens are hashes: two pairs meet in both words no more often than two hashes do. */
const highOf = (view: DataView, version: number): number =>
  (tokenHiAt(view, 0) ^ Math.floor(version / TWO_32)) >>> 0;
const lowOf = (view: DataView, version: number): number => (tokenLoAt(view, 0) ^ (version % TWO_32)) >>> 0;

export class ShownVersions {
  readonly #clock: Clock;
  readonly #knowsFromMs: MonotonicMs;
  readonly #copies: RecentVersions;
  /** The newest of the copies that are not remembered one by one: of what is not above it, nothing is known. */
  #oldCopiesMax = 0;

  constructor(clock: Clock, isRestart: boolean) {
    this.#clock = clock;
    this.#knowsFromMs = isRestart ? msAfter(clock.monotonicMs(), limits.shownVersionsKeptMs) : MONOTONIC_ZERO;
    this.#copies = new RecentVersions(clock);
  }

  /**
   * A copy was taken, or was held already. Those that are older than any write still under way, of which repair brings many, only count
   * together: a node whose clock is far behind may give such a version today.
   */
  onCopy(view: DataView): void {
    if (keyspaceAt(view, 0) !== KEYSPACE_USER) return;
    const version = versionAt(view, 0);
    const ageUs = this.#clock.nowMs() * 1000 - version;
    if (ageUs > limits.peerClockDriftUsMax + limits.shownVersionsKeptMs * 2000)
      this.#oldCopiesMax = Math.max(this.#oldCopiesMax, version);
    else this.#copies.add(view, version);
  }
  /** Of a write that is refused for a newer record: whether this replica may have shown it. `promise`: the last one, expired or not. */
  mayBeShown(view: DataView, promise: Held | null): boolean {
    const version = versionAt(view, 0);
    if (version <= Math.max(versionOf(promise), this.#oldCopiesMax)) return true;
    return this.#clock.monotonicMs() < this.#knowsFromMs || this.#copies.has(view, version);
  }
}
