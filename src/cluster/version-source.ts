/**
 * Versions that this node gives once and never again, also after a crash and with a clock that went back: two ballots of
 * one version and origin would be two rounds of Paxos that take each other's promises for their own. Owned by the thread of
 * the coordinator.
 *
 * 1. No version above the ceiling on disk is given out. After a start all versions are above the ceiling that was found.
 * 2. Nodes give versions of different remainders (limits.versionSlots): a client that names a version to be replaced means one record, and
 *    two nodes that beat the same one would otherwise give the next one both.
 * 3. The ceiling is raised ahead of need, so that a write waits for it only after a start or a jump of the clock.
 *
 * The document `versions`: 1 byte format, 1; 7 bytes reserved, 0; 8 bytes the ceiling, little-endian.
 */
import type { HybridClock } from '../base/clock.ts';
import { CorruptionError } from '../base/errors.ts';
import { readInteger, writeInteger } from '../base/integers.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld } from './contract.ts';
import { viewOf } from './coordinator-records.ts';

const DOCUMENT = 'versions';
const FORMAT = 1;
const BYTES = 16;

export class VersionSource {
  readonly #world: ClusterWorld;
  readonly #versions: HybridClock;
  /** As of the last save that ended. */
  #ceiling = 0;
  #saving = false;

  /** Throws CorruptionError where the document is none of ours. */
  constructor(world: ClusterWorld, versions: HybridClock) {
    this.#world = world;
    this.#versions = versions;
    const found = world.documents.load(DOCUMENT);
    if (found !== null) {
      if (found.length !== BYTES || found[0] !== FORMAT)
        throw new CorruptionError(`document ${DOCUMENT}`, 0, `${found.length} bytes in an unknown format`);
      versions.observe(readInteger(viewOf(found), 8));
    }
    this.#raise();
  }

  /** The next version of a slot, or 0 where the ceiling has to be raised first: to be asked again in a moment. */
  next(slot: number): number {
    const next = this.#versions.next();
    const { versionSlots } = limits;
    const version = next + ((slot - (next % versionSlots) + versionSlots) % versionSlots);
    this.#versions.observe(version);
    if (version + limits.versionCeilingUs / 2 > this.#ceiling) this.#raise();
    return version <= this.#ceiling ? version : 0;
  }
  /** How old a version is at least, as far as this node knows: clocks of others may be ahead, and versions with them. */
  ageUs(version: number): number {
    return Math.max(this.#versions.last, this.#world.clock.nowUs()) - version;
  }
  observe(version: number): void {
    this.#versions.observe(version);
  }

  #raise(): void {
    if (this.#saving) return;
    this.#saving = true;
    const ceiling = Math.max(this.#versions.last, this.#world.clock.nowUs()) + limits.versionCeilingUs;
    const bytes = new Uint8Array(BYTES);
    bytes[0] = FORMAT;
    writeInteger(viewOf(bytes), 8, ceiling);
    this.#world.documents.save(DOCUMENT, bytes, (error) => {
      this.#saving = false;
      // Asked for again by the next that needs it: a write that waits does so until its deadline.
      if (error === null) this.#ceiling = ceiling;
      else this.#world.log('error', `the ceiling of versions cannot be saved: ${error.message}`);
    });
  }
}
