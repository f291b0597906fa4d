/** What the manifest and the footer say about a table, gathered record by record: for builder and verification. */
import type { TableMeta } from './contract.ts';

export class TableStatistics {
  records = 0;
  #tombstones = 0;
  #expiring = 0;
  #firstHi = 0;
  #firstLo = 0;
  #lastHi = 0;
  #lastLo = 0;
  #versionMin = 0;
  #versionMax = 0;
  #expiresMsMin = 0;
  #expiresMsMax = 0;
  #tombstoneVersionMin = 0;

  /** The next record in order; `expiresMs` 0 where it does not expire. */
  add(tokenHi: number, tokenLo: number, version: number, tombstone: boolean, expiresMs: number): void {
    if (this.records === 0) {
      this.#firstHi = tokenHi;
      this.#firstLo = tokenLo;
      this.#versionMin = version;
    }
    this.#lastHi = tokenHi;
    this.#lastLo = tokenLo;
    if (version < this.#versionMin) this.#versionMin = version;
    if (version > this.#versionMax) this.#versionMax = version;
    if (tombstone) {
      if (this.#tombstones === 0 || version < this.#tombstoneVersionMin) this.#tombstoneVersionMin = version;
      this.#tombstones++;
    }
    if (expiresMs !== 0) {
      if (this.#expiring === 0 || expiresMs < this.#expiresMsMin) this.#expiresMsMin = expiresMs;
      if (expiresMs > this.#expiresMsMax) this.#expiresMsMax = expiresMs;
      this.#expiring++;
    }
    this.records++;
  }

  meta(number: number, bytes: number): TableMeta {
    return {
      number,
      bytes,
      records: this.records,
      tombstones: this.#tombstones,
      expiring: this.#expiring,
      range: {
        firstHi: this.#firstHi,
        firstLo: this.#firstLo,
        lastHi: this.#lastHi,
        lastLo: this.#lastLo,
      },
      versionMin: this.#versionMin,
      versionMax: this.#versionMax,
      expiresMsMin: this.#expiresMsMin,
      expiresMsMax: this.#expiresMsMax,
      tombstoneVersionMin: this.#tombstoneVersionMin,
    };
  }
}

/** Names of the fields in which two descriptions of one table differ, the number aside. */
export function metaDifferences(a: TableMeta, b: TableMeta): string[] {
  const flat = ({ range, number: _, ...rest }: TableMeta): Record<string, number> => ({ ...rest, ...range });
  const left = flat(a);
  const right = flat(b);
  return Object.keys(left)
    .filter((name) => left[name] !== right[name])
    .map((name) => `${name} ${left[name]} and ${right[name]}`);
}
