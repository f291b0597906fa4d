/**
 * What lies outside a compaction, asked in rising order of tokens: the lowest version that any source which
 * covers a token may hold. Each source enters and leaves the set in view once. Owned by the job's thread.
 */
import type { CompactJob, TokenRange } from './contract.ts';
import { compareFirst, compareTokens } from './token-range.ts';

type Source = TokenRange & { readonly versionMin: number };

export class OutsideSources {
  readonly #sources: readonly Source[];
  #next = 0;
  #inView: Source[] = [];
  #versionMin = Number.POSITIVE_INFINITY;
  /** The first last-token in view: nothing leaves before the sweep has passed it. */
  #endHi = 0;
  #endLo = 0;

  constructor(outside: CompactJob['outside']) {
    this.#sources = [...outside].sort(compareFirst);
  }

  /** Infinity where no source covers the token. Tokens must not fall from call to call. */
  versionMinAt(hi: number, lo: number): number {
    let changed = false;
    for (;;) {
      const source = this.#sources[this.#next];
      if (source === undefined || compareTokens(source.firstHi, source.firstLo, hi, lo) > 0) break;
      this.#inView.push(source);
      this.#next++;
      changed = true;
    }
    if (!changed && (this.#inView.length === 0 || compareTokens(this.#endHi, this.#endLo, hi, lo) >= 0))
      return this.#versionMin;
    this.#look(hi, lo);
    return this.#versionMin;
  }

  #look(hi: number, lo: number): void {
    this.#inView = this.#inView.filter((one) => compareTokens(one.lastHi, one.lastLo, hi, lo) >= 0);
    this.#versionMin = Number.POSITIVE_INFINITY;
    this.#endHi = 0xffff_ffff;
    this.#endLo = 0xffff_ffff;
    for (const { versionMin, lastHi, lastLo } of this.#inView) {
      if (versionMin < this.#versionMin) this.#versionMin = versionMin;
      if (compareTokens(lastHi, lastLo, this.#endHi, this.#endLo) > 0) continue;
      this.#endHi = lastHi;
      this.#endLo = lastLo;
    }
  }
}
