/** By vnode, the version below which dead records may go, beside their age (ShardEngine.setPurgeBefore). Shard's thread. */
import { assert } from '../base/assert.ts';

export class PurgeHorizons {
  readonly #vnodes: number;
  /** null while their age alone decides for all vnodes. */
  #before: Float64Array | null = null;

  constructor(vnodes: number) {
    this.#vnodes = vnodes;
  }

  set(vnode: number, version: number): void {
    assert(vnode >= 0 && vnode < this.#vnodes, () => `purge of vnode ${vnode} of ${this.#vnodes}`);
    this.#before ??= new Float64Array(this.#vnodes).fill(Number.POSITIVE_INFINITY);
    this.#before[vnode] = version;
  }
  of(vnode: number): number {
    return this.#before?.[vnode] ?? Number.POSITIVE_INFINITY;
  }
  /** For a compaction: as they are now. */
  forJob(): { readonly purgeBefore?: Float64Array } {
    return this.#before === null ? {} : { purgeBefore: this.#before.slice() };
  }
}
