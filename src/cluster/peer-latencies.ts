/**
 * How long each node takes to answer a read, as a moving average: whom to ask first, and when to stop waiting for it.
 * Owned by the thread of the coordinator.
 */
import { limits } from '../base/limits.ts';
import type { NodeNumber } from './contract.ts';

/** Weight of a new answer: about the last ten count. */
const WEIGHT = 0.1;
/** An answer later than so many usual delays is slow. */
const SLOW = 4;

export class PeerLatencies {
  readonly #averages = new Map<NodeNumber, number>();

  note(node: NodeNumber, ms: number): void {
    const known = this.#averages.get(node);
    this.#averages.set(node, known === undefined ? ms : known + WEIGHT * (ms - known));
  }
  /** Milliseconds; 0 where nothing is known, so that everyone is tried. */
  average(node: NodeNumber): number {
    return this.#averages.get(node) ?? 0;
  }
  /** After how long the next replica is asked in the place of this one. */
  speculationMs(node: NodeNumber): number {
    const wait = SLOW * this.average(node);
    return Math.min(limits.readSpeculationMsMax, Math.max(limits.readSpeculationMsMin, wait));
  }
  forget(node: NodeNumber): void {
    this.#averages.delete(node);
  }
}
