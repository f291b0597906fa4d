/**
 * Keeps writes to one key in the order in which they came, while one of them waits for a lookup. Owned by the
 * shard's thread. Without it a write could pass another that waits for a file, and what that one was told about
 * the key would no longer hold when it goes on.
 *
 * Keys are told apart by 53 bits of their token: two keys that share them only wait for each other. The chains
 * hold the writes that wait and nothing else, so a shard whose keys are in memory never touches them but to see
 * that there are none.
 *
 * Invariant: a token has a chain exactly as long as a write to it waits for a lookup; that write is its head, and
 * no other write to the token is executed.
 */
import { assert } from '../base/assert.ts';
import { type HeldList, type HeldRequests, NIL, newHeldList } from './held-requests.ts';

const placeOf = (tokenHi: number, tokenLo: number): number => tokenHi * 2 ** 21 + (tokenLo >>> 11);

export class SameKeyOrder {
  readonly #held: HeldRequests;
  /** Those that wait behind the head. */
  readonly #chains = new Map<number, HeldList>();

  constructor(held: HeldRequests) {
    this.#held = held;
  }

  get size(): number {
    return this.#chains.size;
  }
  waits(tokenHi: number, tokenLo: number): boolean {
    return this.#chains.size > 0 && this.#chains.has(placeOf(tokenHi, tokenLo));
  }
  /** A write begins to wait for a lookup. */
  begin(tokenHi: number, tokenLo: number): void {
    const place = placeOf(tokenHi, tokenLo);
    assert(!this.#chains.has(place), 'same-key order: two heads of one key');
    this.#chains.set(place, newHeldList());
  }
  /** A write comes behind those that wait. */
  follow(tokenHi: number, tokenLo: number, slot: number): void {
    const chain = this.#chains.get(placeOf(tokenHi, tokenLo));
    assert(chain !== undefined, 'same-key order: nothing to wait for');
    this.#held.append(chain, slot);
  }
  /** The head is through: the next to be executed, NIL (and the chain is gone) where there is none. */
  end(tokenHi: number, tokenLo: number): number {
    const place = placeOf(tokenHi, tokenLo);
    const chain = this.#chains.get(place);
    assert(chain !== undefined, 'same-key order: the end of nothing');
    const slot = this.#held.shift(chain);
    if (slot === NIL) this.#chains.delete(place);
    return slot;
  }
}
