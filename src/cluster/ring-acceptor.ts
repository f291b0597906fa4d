/**
 * What an acceptor of Paxos must not forget: for one ring number the highest ballot promised, and the last acceptance.
 * Saved before it is told; saves take effect in order (contract of Documents), so later state never goes back.
 */
import { Encoder } from 'cbor-x';
import { CorruptionError } from '../base/errors.ts';
import type { Documents } from './contract.ts';
import type { RingBallot } from './ring-messages.ts';

const cbor = new Encoder({ useRecords: false, mapsAsObjects: true, tagUint8Array: false });
const DOCUMENT = 'ring-acceptor';
const NONE: RingBallot = { round: 0, node: 0 };

/** Below 0 where `a` is before `b`. */
export function ballotOrder(a: RingBallot, b: RingBallot): number {
  return a.round - b.round || a.node - b.node;
}

export class AcceptorState {
  readonly #documents: Documents;
  #slot = 0;
  #promised: RingBallot = NONE;
  #acceptedAt: RingBallot = NONE;
  #ring: Uint8Array | null = null;

  constructor(documents: Documents) {
    this.#documents = documents;
    const saved = documents.load(DOCUMENT);
    if (saved === null) return;
    const fields: unknown = cbor.decode(saved);
    if (!Array.isArray(fields) || fields.length !== 6)
      throw new CorruptionError(DOCUMENT, 0, 'no acceptor of a ring');
    const [slot, round, node, acceptedRound, acceptedNode, ring] = fields as [
      number,
      number,
      number,
      number,
      number,
      Uint8Array | null,
    ];
    this.#slot = slot;
    this.#promised = { round, node };
    this.#acceptedAt = { round: acceptedRound, node: acceptedNode };
    this.#ring = ring === null ? null : Uint8Array.from(ring);
  }

  /** The highest ballot promised for a ring number; round 0 where none was. */
  promisedFor(slot: number): RingBallot {
    return slot === this.#slot ? this.#promised : NONE;
  }

  /** The ballot is at or above what was promised. */
  promise(
    slot: number,
    ballot: RingBallot,
    done: (error: Error | null, acceptedAt: RingBallot, ring: Uint8Array | null) => void,
  ): void {
    this.#turnTo(slot);
    this.#promised = ballot;
    // As of now: a later acceptance under a lower ballot is refused, under a higher one it is another's to find.
    const acceptedAt = this.#acceptedAt;
    const ring = this.#ring;
    this.#save((error) => done(error, acceptedAt, ring));
  }

  accept(slot: number, ballot: RingBallot, ring: Uint8Array, done: (error: Error | null) => void): void {
    this.#turnTo(slot);
    this.#promised = ballot;
    this.#acceptedAt = ballot;
    this.#ring = Uint8Array.from(ring);
    this.#save(done);
  }

  /** Votes for older numbers are worth nothing any more: those rings are decided. */
  #turnTo(slot: number): void {
    if (slot === this.#slot) return;
    this.#slot = slot;
    this.#promised = NONE;
    this.#acceptedAt = NONE;
    this.#ring = null;
  }

  #save(done: (error: Error | null) => void): void {
    const { round, node } = this.#promised;
    const fields = [this.#slot, round, node, this.#acceptedAt.round, this.#acceptedAt.node, this.#ring];
    this.#documents.save(DOCUMENT, Uint8Array.from(cbor.encode(fields)), done);
  }
}
