/** Batches that are not in use, at most peerSpareBatchesMax: a busy connection takes one each turn. Owned by one thread. */
import { limits } from '../base/limits.ts';
import { Batch } from './frame.ts';

export class BatchPool {
  readonly #spare: Batch[] = [];
  take(): Batch {
    return this.#spare.pop() ?? new Batch();
  }
  /** The batch's bytes must not be in use any more. */
  give(batch: Batch): void {
    batch.clear();
    if (this.#spare.length < limits.peerSpareBatchesMax) this.#spare.push(batch);
  }
}
