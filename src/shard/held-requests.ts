/**
 * The requests that a shard has begun and not yet answered: a fixed table of limits.shardRequestsMax, so that
 * a shard holds a bounded number of them and allocates nothing for a write that waits for its sync. Owned by the
 * shard's thread. Invariants:
 *
 * 1. A slot is free, or waits for exactly one thing: a lookup or promise (no list), the durability of `seq` (the
 *    durable list, ordered by seq), room in the reply ring of its client (that link's list), a write to the same
 *    key before it (a chain, same-key-order.ts), or its next turn (the runnable list).
 * 2. Copies of requests never exceed limits.shardHeldBytesMax.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { ClientLink } from './client-link.ts';

export const NIL = -1;

/** Slots in order, through the table's `next` and `previous`. */
export interface HeldList {
  first: number;
  last: number;
}
export const newHeldList = (): HeldList => ({ first: NIL, last: NIL });

export class HeldRequests {
  readonly max: number;
  readonly #free: Int32Array;
  #freeCount: number;
  #copiedBytes = 0;

  readonly next: Int32Array;
  readonly #previous: Int32Array;
  /** Where the reply goes. */
  readonly link: (ClientLink | null)[];
  readonly clientSlot: Uint32Array;
  readonly generation: Uint32Array;
  /** The reply, once there is one. */
  readonly status: Uint8Array;
  readonly version: Float64Array;
  readonly body: (Uint8Array | null)[];
  /** Must be durable before the reply. */
  readonly seq: Float64Array;
  /** Run the request again instead of replying. */
  readonly again: Uint8Array;
  /** Where a write goes on after its lookup. */
  readonly stage: Uint8Array;
  /** A copy of the request's record, where it must outlive its place in the ring. */
  readonly #copy: (Uint8Array<ArrayBuffer> | null)[];

  constructor(max: number = limits.shardRequestsMax) {
    this.max = max;
    this.#free = new Int32Array(max).map((_, i) => max - 1 - i);
    this.#freeCount = max;
    this.next = new Int32Array(max).fill(NIL);
    this.#previous = new Int32Array(max).fill(NIL);
    this.link = new Array<null>(max).fill(null);
    this.clientSlot = new Uint32Array(max);
    this.generation = new Uint32Array(max);
    this.status = new Uint8Array(max);
    this.version = new Float64Array(max);
    this.body = new Array<null>(max).fill(null);
    this.seq = new Float64Array(max);
    this.again = new Uint8Array(max);
    this.stage = new Uint8Array(max);
    this.#copy = new Array<null>(max).fill(null);
  }

  get count(): number {
    return this.max - this.#freeCount;
  }
  get copiedBytes(): number {
    return this.#copiedBytes;
  }
  /** The slot that `take` will give, NIL where all are taken. */
  peek(): number {
    return this.#freeCount === 0 ? NIL : (this.#free[this.#freeCount - 1] as number);
  }

  take(link: ClientLink, clientSlot: number, generation: number): number {
    const slot = this.peek();
    assert(slot !== NIL, 'held requests: all slots are taken');
    this.#freeCount--;
    this.link[slot] = link;
    this.clientSlot[slot] = clientSlot;
    this.generation[slot] = generation;
    this.again[slot] = 0;
    this.stage[slot] = 0;
    return slot;
  }
  free(slot: number): void {
    this.dropCopy(slot);
    this.link[slot] = null;
    this.body[slot] = null;
    this.#free[this.#freeCount++] = slot;
  }

  /** Whether a request of `bytes` bytes may be copied. */
  mayCopy(bytes: number): boolean {
    return this.#copiedBytes + bytes <= limits.shardHeldBytesMax;
  }
  setCopy(slot: number, copy: Uint8Array<ArrayBuffer>): void {
    assert(this.#copy[slot] === null, 'held requests: a slot with two copies');
    this.#copy[slot] = copy;
    this.#copiedBytes += copy.length;
  }
  copy(slot: number): Uint8Array<ArrayBuffer> {
    const copy = this.#copy[slot] ?? null;
    assert(copy !== null, 'held requests: a slot without its request');
    return copy;
  }
  dropCopy(slot: number): void {
    const copy = this.#copy[slot] ?? null;
    if (copy === null) return;
    this.#copiedBytes -= copy.length;
    this.#copy[slot] = null;
  }

  append(list: HeldList, slot: number): void {
    this.#insertAfter(list, list.last, slot);
  }
  /** Keeps the list in order of seq; a slot goes behind those of the same seq. Writes come with rising seq: no step. */
  insertBySeq(list: HeldList, slot: number): void {
    const seq = this.seq[slot] as number;
    let before = list.last;
    while (before !== NIL && (this.seq[before] as number) > seq) before = this.#previous[before] as number;
    this.#insertAfter(list, before, slot);
  }
  /** Takes the first slot off, NIL where there is none. */
  shift(list: HeldList): number {
    const slot = list.first;
    if (slot === NIL) return NIL;
    list.first = this.next[slot] as number;
    if (list.first === NIL) list.last = NIL;
    else this.#previous[list.first] = NIL;
    return slot;
  }

  #insertAfter(list: HeldList, before: number, slot: number): void {
    const after = before === NIL ? list.first : (this.next[before] as number);
    this.#previous[slot] = before;
    this.next[slot] = after;
    if (before === NIL) list.first = slot;
    else this.next[before] = slot;
    if (after === NIL) list.last = slot;
    else this.#previous[after] = slot;
  }
}
