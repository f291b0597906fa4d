/**
 * Snapshots by number: each holds the version of the table set that it was taken of, so that its tables stay.
 * Owned by the shard's thread. A snapshot is taken right after a flush, so tables alone hold its state: all
 * records up to some seq, and none above it.
 */
import { BadRequestError, OverloadedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { TableSet, TableVersion } from './table-set.ts';

export class Snapshots {
  readonly #tables: TableSet;
  readonly #versions = new Map<number, TableVersion>();
  #last = 0;
  /** Snapshots whose flush is at work. */
  #reserved = 0;

  constructor(tables: TableSet) {
    this.#tables = tables;
  }

  get count(): number {
    return this.#versions.size;
  }

  /** Keeps a place, to be filled with `take` or given up. */
  reserve(): void {
    const count = this.#versions.size + this.#reserved;
    if (count >= limits.snapshotsMax)
      throw new OverloadedError(`${count} snapshots are held; the limit is ${limits.snapshotsMax}`);
    this.#reserved++;
  }
  giveUp(): void {
    this.#reserved--;
  }

  /** Pins what is in force now. */
  take(): number {
    this.#reserved--;
    this.#last++;
    this.#versions.set(this.#last, this.#tables.acquire());
    return this.#last;
  }

  versionOf(snapshot: number): TableVersion {
    const version = this.#versions.get(snapshot);
    if (version === undefined)
      throw new BadRequestError(`there is no snapshot ${snapshot}: it was released, or never taken`);
    return version;
  }

  /** No error for one that is released already. */
  release(snapshot: number): void {
    const version = this.#versions.get(snapshot);
    if (version === undefined) return;
    this.#versions.delete(snapshot);
    this.#tables.release(version);
  }
}
