/**
 * Slots that can take a request. The one that has waited longest is next, so that every connection is used in turn, as independent clients
 * use theirs: by the last one first, a rate that few connections can carry would leave the others idle until the node ends them.
 */
import type { Slot } from '../transports/transport.ts';

export class IdleSlots {
  readonly #ring: (Slot | undefined)[];
  #first = 0;
  #count = 0;

  /** Room for `slots`: a slot is in it once at most. */
  constructor(slots: number) {
    this.#ring = Array.from({ length: slots }, () => undefined);
  }

  add(slot: Slot): void {
    if (slot.queued) return;
    slot.queued = true;
    this.#ring[(this.#first + this.#count++) % this.#ring.length] = slot;
  }
  /** Undefined where there is none. */
  take(): Slot | undefined {
    if (this.#count === 0) return undefined;
    const slot = this.#ring[this.#first];
    this.#first = (this.#first + 1) % this.#ring.length;
    this.#count--;
    if (slot !== undefined) slot.queued = false;
    return slot;
  }
}
