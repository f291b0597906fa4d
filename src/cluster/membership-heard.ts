/** In which round of gossip each other node was last heard by this one itself. Pure; owned by the peer worker. */
import type { NodeNumber } from './contract.ts';

/**
 * Two rounds may pass between two messages of a peer that is well: its rounds may take 1.1 of a period while ours take
 * 0.9. Three of ours (2.7 to 3.3 s) are over before the shortest suspicion can be, which begins with a probe that failed.
 */
const RECENT_ROUNDS = 3;

export class Heard {
  readonly #rounds = new Map<NodeNumber, number>();

  note(node: NodeNumber, round: number): void {
    this.#rounds.set(node, round);
  }
  forget(node: NodeNumber): void {
    this.#rounds.delete(node);
  }
  isRecent(node: NodeNumber, round: number): boolean {
    return round - (this.#rounds.get(node) ?? -RECENT_ROUNDS) < RECENT_ROUNDS;
  }
}
