/**
 * The two ends of a byte ring (ring-layout.ts has the byte table and the invariants). A RingWriter belongs to
 * the producing thread, a RingReader to the consuming one; neither may be used by two. Nothing here allocates
 * per record, and each end reads the other's position only when its copy of it no longer suffices.
 */
import { assert } from '../base/assert.ts';
import type { RingConsumer, RingMemory, RingProducer } from './contract.ts';
import {
  RECORD_HEADER,
  RingViews,
  ringRecordBytes,
  ringRecordBytesMax,
  SIDE_BIT,
  WORD_HEAD,
  WORD_SIDE_TAIL,
  WORD_TAIL,
  WRAP,
} from './ring-layout.ts';

/** Wakes the consumer where it sleeps (doorbell.ts). */
export interface Ringer {
  ring(): void;
}

export class RingWriter implements RingProducer {
  readonly recordBytesMax: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset = 0;
  readonly #words: Int32Array;
  readonly #size: number;
  readonly #ringer: Ringer | null;
  #head = 0;
  #published = 0;
  /** The tail as last read; the true one is the same or further. */
  #tail = 0;
  /** Bytes of the wrap marker before the reserved record, 0 for none; -1 where nothing is reserved. */
  #gap = -1;
  #reserved = 0;

  /** `memory` must be new. */
  constructor(memory: RingMemory, ringer: Ringer | null = null) {
    const { size, words, bytes, view } = new RingViews(memory);
    this.#words = words;
    this.#size = size;
    this.#ringer = ringer;
    this.bytes = bytes;
    this.view = view;
    this.recordBytesMax = ringRecordBytesMax(size);
  }

  reserve(length: number): boolean {
    assert(this.#gap < 0, 'RingWriter.reserve: a reservation is open');
    assert(length >= 0 && length <= this.recordBytesMax, 'RingWriter.reserve: longer than recordBytesMax');
    const need = ringRecordBytes(length);
    const at = this.#head & (this.#size - 1);
    const gap = this.#size - at < need ? this.#size - at : 0;
    if (!this.#fits(gap + need)) return false;
    this.#gap = gap;
    this.#reserved = length;
    this.offset = (gap === 0 ? at : 0) + RECORD_HEADER;
    return true;
  }

  commit(length: number): void {
    this.#commit(length, 0);
  }
  /** Ends a record that stands for a payload beside the ring. */
  commitSide(length: number): void {
    this.#commit(length, SIDE_BIT);
  }
  /** Gives an open reservation up. */
  cancel(): void {
    this.#gap = -1;
  }

  flush(): void {
    if (this.#published === this.#head) return;
    this.#published = this.#head;
    Atomics.store(this.#words, WORD_HEAD, this.#head | 0);
    this.#ringer?.ring();
  }

  usedBytes(): number {
    this.#readTail();
    return (this.#head - this.#tail) >>> 0;
  }
  /** Bytes that the consumer took beside the ring, modulo 2^32. */
  sideTaken(): number {
    return Atomics.load(this.#words, WORD_SIDE_TAIL) >>> 0;
  }

  #fits(total: number): boolean {
    if (((this.#head - this.#tail) >>> 0) + total <= this.#size) return true;
    this.#readTail();
    return ((this.#head - this.#tail) >>> 0) + total <= this.#size;
  }

  #readTail(): void {
    const tail = Atomics.load(this.#words, WORD_TAIL) >>> 0;
    // Only memory between the tail known so far and what was published can have been given back.
    assert(
      (tail - this.#tail) >>> 0 <= (this.#published - this.#tail) >>> 0 && (tail & 7) === 0,
      'ring: the tail does not lie between the last one and the head',
    );
    this.#tail = tail;
  }

  #commit(length: number, bit: number): void {
    assert(this.#gap >= 0, 'RingWriter.commit: nothing is reserved');
    assert(length >= 0 && length <= this.#reserved, 'RingWriter.commit: longer than reserved');
    if (this.#gap > 0) {
      const at = this.#head & (this.#size - 1);
      this.view.setUint32(at, WRAP, true);
      this.view.setUint32(at + 4, this.#head, true);
      this.#head = (this.#head + this.#gap) >>> 0;
    }
    const at = this.offset - RECORD_HEADER;
    this.view.setUint32(at, length | bit, true);
    this.view.setUint32(at + 4, this.#head, true);
    this.#head = (this.#head + ringRecordBytes(length)) >>> 0;
    this.#gap = -1;
  }
}

export class RingReader implements RingConsumer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset = 0;
  length = 0;
  /** Whether the payload of the last record went beside the ring. */
  side = false;
  readonly #words: Int32Array;
  readonly #size: number;
  /** Next record to read. */
  #cursor = 0;
  #released = 0;
  /** The head as last read; the true one is the same or further. */
  #head = 0;

  /** `memory` must be new, and its producer the first. */
  constructor(memory: RingMemory) {
    const { size, words, bytes, view } = new RingViews(memory);
    this.#words = words;
    this.#size = size;
    this.bytes = bytes;
    this.view = view;
  }

  next(): boolean {
    if (this.#cursor === this.#head && !this.pending()) return false;
    let at = this.#cursor & (this.#size - 1);
    let word = this.#header(at);
    if (word === WRAP) {
      this.#cursor = (this.#cursor + this.#size - at) >>> 0;
      at = 0;
      word = this.#header(at);
    }
    // A second WRAP fails here too: its length lies above every ring.
    const length = word & ~SIDE_BIT;
    const taken = ringRecordBytes(length);
    const visible = (this.#head - this.#cursor) >>> 0;
    assert(
      length < this.#size && taken <= visible && taken <= this.#size - at,
      () => `ring: a record of ${length} bytes in ${visible} visible ones at ${at}`,
    );
    this.side = word !== length;
    this.offset = at + RECORD_HEADER;
    this.length = length;
    this.#cursor = (this.#cursor + taken) >>> 0;
    return true;
  }

  release(): void {
    if (this.#released === this.#cursor) return;
    this.#released = this.#cursor;
    Atomics.store(this.#words, WORD_TAIL, this.#cursor | 0);
  }

  /** Tells the producer how many bytes were taken beside the ring, in all and modulo 2^32. */
  releaseSide(taken: number): void {
    Atomics.store(this.#words, WORD_SIDE_TAIL, taken | 0);
  }

  /** Whether there is a record that `next` has not passed. Reads the shared head: for the check before sleep. */
  pending(): boolean {
    const head = Atomics.load(this.#words, WORD_HEAD) >>> 0;
    const visible = (head - this.#released) >>> 0;
    assert(
      visible <= this.#size && visible >= (this.#head - this.#released) >>> 0 && (head & 7) === 0,
      'ring: the head does not lie between the last one and the tail',
    );
    this.#head = head;
    return head !== this.#cursor;
  }

  /** First word of the record header at `at`, where the cursor stands. */
  #header(at: number): number {
    assert((this.#head - this.#cursor) >>> 0 <= this.#size, 'ring: a wrap marker reaches beyond the head');
    assert(this.#cursor !== this.#head, 'ring: no record follows a wrap marker');
    assert(this.view.getUint32(at + 4, true) === this.#cursor, 'ring: a record is not where it was written');
    return this.view.getUint32(at, true);
  }
}
