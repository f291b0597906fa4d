/**
 * How a single-producer single-consumer byte ring lies in shared memory. Head and tail stand on cache lines of
 * their own, so that the two threads do not fight over one line.
 *
 *   byte        size  holds                                                   written by
 *      0           4  head: position after the last visible record            producer
 *     64           4  tail: position up to which memory is given back         consumer
 *     68           4  side tail: bytes taken beside the ring, modulo 2^32     consumer
 *    128        size  records                                                 producer
 *
 * Positions count bytes from 0 modulo 2^32 and never turn back; position p lies at byte 128 + p mod size. A
 * record starts at a multiple of 8:
 *
 *   offset size field
 *        0    4 payload length, or WRAP; SIDE_BIT is set where the payload went beside the ring (channel.ts)
 *        4    4 position of the record: what stood here a lap before never passes for a record
 *        8    n payload, then nothing up to a multiple of 8
 *
 * Invariants:
 * 1. 0 <= head - tail <= size, and all three are multiples of 8.
 * 2. Bytes in [tail, head) belong to the consumer, the others to the producer. A record is complete before the
 *    store of a head behind it.
 * 3. A payload is contiguous. Where the bytes up to the end of the ring are too few, a WRAP header fills
 *    them, and a record at byte 0 follows under the same head.
 * 4. A record with its header takes at most half the ring, so an empty ring takes every record wherever its
 *    head stands.
 * 5. A header that breaks these rules stops the consumer by an assertion: it never reads outside the ring and
 *    never steps more than twice for one record.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import type { RingMemory } from './contract.ts';

export const RING_DATA = 128;
export const WORD_HEAD = 0;
export const WORD_TAIL = 16;
export const WORD_SIDE_TAIL = 17;

export const RECORD_HEADER = 8;
export const WRAP = 0xffff_ffff;
export const SIDE_BIT = 0x8000_0000;

const RING_BYTES_MIN = 64;

/** Bytes that a record with a payload of `length` takes. */
export const ringRecordBytes = (length: number): number => (RECORD_HEADER + length + 7) & ~7;

/** Longest payload that a ring of `size` bytes takes. */
export const ringRecordBytesMax = (size: number): number =>
  Math.min(size / 2 - RECORD_HEADER, limits.ringRecordBytesMax);

/** Memory of an empty ring. `size` is a power of two from 64 to limits.ringBytesMax. */
export function createRing(size: number): RingMemory {
  assert(Number.isInteger(Math.log2(size)), () => `ring: ${size} bytes is not a power of two`);
  assert(
    size >= RING_BYTES_MIN && size <= limits.ringBytesMax,
    () => `ring: ${size} bytes outside ${RING_BYTES_MIN} to ${limits.ringBytesMax}`,
  );
  return { buffer: new SharedArrayBuffer(RING_DATA + size) };
}

/** One thread's sight of a ring. */
export class RingViews {
  readonly size: number;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(memory: RingMemory) {
    this.size = memory.buffer.byteLength - RING_DATA;
    assert(Number.isInteger(Math.log2(this.size)), 'ring: memory that createRing did not make');
    this.words = new Int32Array(memory.buffer, 0, RING_DATA / 4);
    this.bytes = new Uint8Array(memory.buffer, RING_DATA);
    this.view = new DataView(memory.buffer, RING_DATA);
  }
}
