/** In which round of gossip each other node was last heard by this one itself. Pure; owned by the peer worker. */
import type { NodeNumber } from './contract.ts';

/** As long as a round ago, and less than the shortest suspicion: whoever is down in truth is not heard for longer by then. */
const RECENT_ROUNDS = 2;

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
