/**
 * By vnode, the version below which dead records may go, beside their age (ShardEngine.setPurgeBefore). Owned by the shard's
 * thread. Kept in memory alone: an engine starts from EngineOptions.purgeBefore, and whoever knows more tells it again.
 */
import { assert } from '../base/assert.ts';
import type { EngineOptions, Ownership } from './contract.ts';

export class PurgeHorizons {
  readonly #ownership: Ownership;
  readonly #defer: (run: () => void) => void;
  readonly #onRaised: () => void;
  /** null while their age alone decides for all vnodes. */
  #before: Float64Array | null = null;
  /** null: to be looked for again. */
  #highest: number | null = null;
  #raised = false;

  /**
   * `onRaised`: more may go than before. Horizons come for many vnodes in one turn: it is told once, after other work
   * (`defer`).
   */
  constructor(
    { ownership, purgeBefore }: Pick<EngineOptions, 'ownership' | 'purgeBefore'>,
    defer: (run: () => void) => void,
    onRaised: () => void,
  ) {
    this.#ownership = ownership;
    this.#defer = defer;
    this.#onRaised = onRaised;
    if (purgeBefore !== Number.POSITIVE_INFINITY)
      this.#before = new Float64Array(ownership.vnodes).fill(purgeBefore);
  }

  set(vnode: number, version: number): void {
    const { vnodes } = this.#ownership;
    assert(vnode >= 0 && vnode < vnodes, () => `purge of vnode ${vnode} of ${vnodes}`);
    const before = this.of(vnode);
    if (version === before) return;
    this.#before ??= new Float64Array(vnodes).fill(Number.POSITIVE_INFINITY);
    this.#before[vnode] = version;
    this.#highest = null;
    if (version < before || this.#raised) return;
    this.#raised = true;
    this.#defer(() => {
      this.#raised = false;
      this.#onRaised();
    });
  }
  of(vnode: number): number {
    return this.#before?.[vnode] ?? Number.POSITIVE_INFINITY;
  }
  /** Of the shard's own vnodes: what has this version or a higher one may go in none of them. */
  get highest(): number {
    this.#highest ??= this.#findHighest();
    return this.#highest;
  }
  #findHighest(): number {
    const { vnodes, shards, shard } = this.#ownership;
    let highest = 0;
    for (let vnode = shard; vnode < vnodes; vnode += shards) highest = Math.max(highest, this.of(vnode));
    return highest;
  }
  /** For a compaction: as they are now. */
  forJob(): { readonly purgeBefore?: Float64Array } {
    return this.#before === null ? {} : { purgeBefore: this.#before.slice() };
  }
}
