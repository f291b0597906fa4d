/**
 * Members of the ring that this node has not heard of in this life. A restarted node knows nobody: without them, nodes that were
 * started without seeds would never find each other again. They are asked until they are heard, a few each round, and
 * each at once when the transport has a connection with it. Pure; owned by the peer worker.
 *
 * 1. Whoever is in the member table, in whatever state, is asked no more: gossip looks after it.
 * 2. The address that a member told last comes before that in the ring, which is of the day on which it joined. Only
 *    addresses that differ from the ring's are kept, in the document `addresses`: CBOR, an array of [number, address].
 */
import { Decoder, Encoder } from 'cbor-x';
import { CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { ClusterWorld, NodeNumber } from './contract.ts';
import type { GossipSender } from './membership-sender.ts';
import type { MemberTable } from './membership-table.ts';

const DOCUMENT = 'addresses';
const encoder = new Encoder({ useRecords: false });
const decoder = new Decoder({ useRecords: false });

/** A member of the ring and its address there. */
export interface Contact {
  readonly number: NodeNumber;
  readonly address: string;
}

export class Contacts {
  readonly #world: ClusterWorld;
  readonly #table: MemberTable;
  readonly #sender: GossipSender;
  /** Of the ring, without this node. */
  readonly #ring = new Map<NodeNumber, string>();
  /** As told by the members, where it is another than in the ring. */
  #told: Map<NodeNumber, string>;
  #saving = false;
  #changed = false;
  #cancelSave: (() => void) | null = null;

  /** Throws CorruptionError where the document is none of ours. */
  constructor(world: ClusterWorld, table: MemberTable, sender: GossipSender) {
    this.#world = world;
    this.#table = table;
    this.#sender = sender;
    this.#told = decoded(world.documents.load(DOCUMENT));
  }

  /** The members of the ring in force, and of the one to come. */
  expect(contacts: Iterable<Contact>): void {
    this.#ring.clear();
    for (const { number, address } of contacts)
      if (number !== this.#world.self && this.#ring.size < 2 * limits.ringMembersMax)
        this.#ring.set(number, address);
    for (const [number, address] of this.#ring)
      if (this.#table.get(number) === undefined)
        this.#world.network.setAddress(number, this.#told.get(number) ?? address);
    for (const { number, address } of this.#table.values()) this.note(number, address);
  }

  /** Called each round. */
  ask(): void {
    const missing = [...this.#ring.keys()].filter((number) => this.#table.get(number) === undefined);
    for (let asked = 0; asked < limits.contactsAskedMax && missing.length > 0; asked++) {
      const [number] = missing.splice(this.#world.random.below(missing.length), 1) as [NodeNumber];
      this.#sender.sync(number);
      const address = this.#ring.get(number) as string;
      // It may be back at its old place.
      if (this.#told.has(number)) this.#sender.syncWithAddress(address);
    }
  }

  /** A member told its address. */
  note(number: NodeNumber, address: string): void {
    const ofRing = this.#ring.get(number);
    if (ofRing === undefined || address === '' || address === (this.#told.get(number) ?? ofRing)) return;
    if (address === ofRing) this.#told.delete(number);
    else this.#told.set(number, address);
    this.#changed = true;
    this.#saveSoon();
  }

  stop(): void {
    this.#cancelSave?.();
    this.#cancelSave = null;
  }

  #saveSoon(): void {
    if (this.#saving || this.#cancelSave !== null) return;
    this.#cancelSave = this.#world.timers.after(limits.addressesSaveMs, () => {
      this.#cancelSave = null;
      this.#save();
    });
  }
  #save(): void {
    this.#saving = true;
    this.#changed = false;
    for (const number of this.#told.keys()) if (!this.#ring.has(number)) this.#told.delete(number);
    const bytes = Uint8Array.from(encoder.encode([...this.#told]));
    this.#world.documents.save(DOCUMENT, bytes, (error) => {
      this.#saving = false;
      if (error !== null) {
        this.#changed = true;
        this.#world.log('warn', `addresses of other nodes cannot be kept: ${error.message}`);
      }
      if (this.#changed) this.#saveSoon();
    });
  }
}

function decoded(bytes: Uint8Array | null): Map<NodeNumber, string> {
  if (bytes === null) return new Map();
  const list: unknown = decoder.decode(bytes);
  const isPair = (pair: unknown): pair is [number, string] =>
    Array.isArray(pair) && pair.length === 2 && Number.isInteger(pair[0]) && typeof pair[1] === 'string';
  if (!Array.isArray(list) || !list.every(isPair))
    throw new CorruptionError(`document ${DOCUMENT}`, 0, 'no list of addresses');
  return new Map(list);
}
