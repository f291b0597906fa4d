/**
 * Keeps a coordinator from giving a version twice after a restart with a clock that went back: a mark above the versions
 * given is kept durably, and the clock starts above it. Two records of one key with the same version and origin could not be told
 * apart as what they are, two writes. Owned by the peer worker; pure.
 */
import type { HybridClock } from '../base/clock.ts';
import type { ClusterWorld } from './contract.ts';

const DOCUMENT = 'versions';
const MARK_BYTES = 8;
/** The mark lies so far ahead of the versions given, more than what passes between two marks. */
const AHEAD_US = 30_000_000;
const TICK_MS = 10_000;

export class VersionMark {
  readonly #world: ClusterWorld;
  readonly #versions: HybridClock;
  #cancel: () => void = () => undefined;

  /** Moves `versions` above the mark that is there. */
  constructor(world: ClusterWorld, versions: HybridClock) {
    this.#world = world;
    this.#versions = versions;
    const saved = world.documents.load(DOCUMENT);
    if (saved?.length === MARK_BYTES)
      versions.observe(new DataView(saved.buffer, saved.byteOffset).getFloat64(0, true));
  }

  start(): void {
    const { clock, documents, timers, log } = this.#world;
    const bytes = new Uint8Array(MARK_BYTES);
    new DataView(bytes.buffer).setFloat64(0, Math.max(clock.nowUs(), this.#versions.last) + AHEAD_US, true);
    documents.save(DOCUMENT, bytes, (error) => {
      if (error !== null) log('warn', `the mark of versions cannot be kept: ${error.message}`);
    });
    this.#cancel = timers.after(TICK_MS, () => this.start());
  }
  stop(): void {
    this.#cancel();
  }
}
