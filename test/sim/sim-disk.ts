/**
 * The disk of one simulated machine (src/vfs/simulated.ts), whose calls take virtual time. A power cut leaves what was
 * synced and of the rest what chance will have it; the process that used the disk before is left with a disk of its own,
 * that nobody sees any more.
 */
import type { Random } from '../../src/base/random.ts';
import type { FileSystem } from '../../src/vfs/file-system.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import type { ProcessLife } from './process-life.ts';
import type { Scheduler } from './scheduler.ts';
import { withoutSync } from './without-sync.ts';

export interface DiskProfile {
  readonly callUsMin: number;
  readonly callUsMean: number;
  /** Calls that come back out of their order. */
  readonly reorderChance: number;
}

export const FAST_DISK: DiskProfile = { callUsMin: 20, callUsMean: 80, reorderChance: 0.1 };

export class SimDisk {
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  #files: SimulatedFileSystem;
  /** Steps scheduled for calls that wait. */
  #stepping = 0;
  #life: ProcessLife | null = null;
  profile: DiskProfile;
  /** Multiplies what calls take. */
  slowness = 1;
  /** Files whose syncs do nothing: a deliberate defect. */
  unsynced: RegExp | null = null;

  constructor(scheduler: Scheduler, random: Random, profile: DiskProfile = FAST_DISK) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.profile = profile;
    this.#files = new SimulatedFileSystem({ seed: random.uint32() });
    scheduler.onAfterEvent(() => this.#pump());
  }

  get used(): SimulatedFileSystem {
    return this.#files;
  }
  /** The file system for one process, which its calls come back to. */
  open(life: ProcessLife): FileSystem {
    this.#life = life;
    return this.unsynced === null ? this.#files : withoutSync(this.#files, this.unsynced);
  }
  /** The power fails: calls under way never come back. */
  powerCut(): void {
    this.#replace(this.#files.powerCut(this.#random));
  }
  /** Everything is on its way to the disk, which keeps its power; nobody waits for what had not come back. */
  processEnded(): void {
    this.#replace(this.#files.afterProcess());
  }
  /** Another disk is put in, an empty one. */
  wipe(): void {
    this.#replace(new SimulatedFileSystem({ seed: this.#random.uint32() }));
  }

  #replace(files: SimulatedFileSystem): void {
    this.#files = files;
    this.#stepping = 0;
    this.#life = null;
  }

  #pump(): void {
    const files = this.#files;
    while (this.#stepping < files.waiting) {
      this.#stepping++;
      const { callUsMin, callUsMean } = this.profile;
      const us = callUsMin - Math.log(1 - this.#random.below(1_000_000) / 1_000_000) * callUsMean;
      this.#scheduler.after(us * this.slowness, () => this.#life?.receive(() => this.#step(files)));
    }
  }
  #step(files: SimulatedFileSystem): void {
    if (files !== this.#files) return;
    this.#stepping--;
    const isReordered = files.waiting > 1 && this.#random.chance(this.profile.reorderChance);
    files.step(isReordered ? this.#random.below(files.waiting) : 0);
  }
}
