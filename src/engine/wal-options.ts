/** What a commit log is given, and what it does with calls that may fail. */
import type { Clock } from '../base/clock.ts';
import { RingKvError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { Durability } from './contract.ts';

export type LogCallback = (error: Error | null) => void;

export interface CommitLogOptions {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly durability: Durability;
  /** Mode `interval`: ms between syncs. */
  readonly syncIntervalMs: number;
  /** Bytes of a segment: those of a memtable arena. */
  readonly segmentBytes: number;
  readonly clock: Clock;
  /** Fires once after `ms`; by default an unreferenced timer. */
  readonly setTimer?: (ms: number, fire: () => void) => void;
  /** Hears of a background sync that failed, when no group is there to report it. */
  readonly onFailure?: (error: Error) => void;
  /** Draws the salts of segments. */
  readonly random?: Random;
  /** As GroupPace; 0 where it is missing. */
  readonly inlineUsMax?: number;
  /** As GroupPace; always 0 where it is missing. */
  readonly processorWaitUs?: () => number;
  /** Runs the end of an inline group after the call that started it has returned; by default queueMicrotask. */
  readonly defer?: (run: () => void) => void;
}

/** The error of a call to the file system, null where it succeeds. */
export function attempted(call: () => void): Error | null {
  try {
    call();
    return null;
  } catch (error) {
    if (error instanceof RingKvError) return error;
    throw error;
  }
}

export function setUnreferencedTimer(ms: number, fire: () => void): void {
  setTimeout(fire, ms).unref();
}
