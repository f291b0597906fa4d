/** What a pull finds at this node alone: see invariant 3 of repairs.ts. Pure. */
import { limits } from '../base/limits.ts';
import { FLAG_TOMBSTONE, flagsAt, KEYSPACE_USER, keyspaceAt, versionAt } from '../base/record.ts';

const FLAGS_AT = 6;
const EXPIRY_AT = 32;
const EXPIRY_BYTES = 8;

/** Heads of live records that this node holds and the sources of a pull do not, by how many of them lack each. */
export class Leftovers {
  readonly #youngest: number;
  readonly #missing = new Map<string, { readonly head: Uint8Array; count: number }>();

  constructor(nowMs: number) {
    // Younger ones may be writes of the time of the change, on their way to the sources.
    this.#youngest = (nowMs - limits.repairHorizonMarginMs) * 1000;
  }

  readonly take = (head: Uint8Array): void => {
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    if (keyspaceAt(view, 0) !== KEYSPACE_USER || (flagsAt(view, 0) & FLAG_TOMBSTONE) !== 0) return;
    if (versionAt(view, 0) >= this.#youngest) return;
    const name = Buffer.from(head).toString('latin1');
    const known = this.#missing.get(name);
    if (known === undefined) this.#missing.set(name, { head, count: 1 });
    else known.count++;
  };

  /** Tombstones, of the same version, of what so many sources lack. */
  missedBy(sources: number): Uint8Array[] {
    const found = [...this.#missing.values()].filter(({ count }) => count >= sources);
    return found.map(({ head }) => {
      const tombstone = head.slice();
      tombstone[FLAGS_AT] = FLAG_TOMBSTONE;
      tombstone.fill(0, EXPIRY_AT, EXPIRY_AT + EXPIRY_BYTES);
      return tombstone;
    });
  }
}
