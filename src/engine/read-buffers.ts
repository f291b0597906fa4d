/**
 * Buffers that frames of tables are read into, used again: one set for each thread that reads tables. A scan page over a dozen
 * tables needs a megabyte for the time of one turn. Allocated anew for each, that was garbage outside of the heap by the hundred
 * megabytes a second, of which tens of megabytes floated until V8 collected them. Invariants:
 *
 * 1. A buffer belongs to whoever took it until it is given back, once. Who never does that costs its memory only until it is
 *    collected.
 * 2. Idle buffers hold limits.tableBuffersBytesMax together at most, and none is longer than limits.tableReadAheadBytesMax.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';

export interface ReadBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

const newBuffer = (length: number): ReadBuffer => {
  const bytes = new Uint8Array(length);
  return { bytes, view: new DataView(bytes.buffer) };
};

export const NO_BUFFER: ReadBuffer = newBuffer(0);

export class ReadBuffers {
  /** By length, limits.tableReadAheadBytesMin times a power of two. */
  readonly #idle = new Map<number, ReadBuffer[]>();
  idleBytes = 0;

  /** A buffer of at least `length` bytes, with whatever they hold. */
  take(length: number): ReadBuffer {
    if (length > limits.tableReadAheadBytesMax) return newBuffer(length);
    let size: number = limits.tableReadAheadBytesMin;
    while (size < length) size *= 2;
    const idle = this.#idle.get(size)?.pop();
    if (idle === undefined) return newBuffer(size);
    this.idleBytes -= size;
    return idle;
  }

  /** Takes a buffer back that `take` gave. */
  give(buffer: ReadBuffer): void {
    const { length } = buffer.bytes;
    if (length === 0 || length > limits.tableReadAheadBytesMax) return;
    if (this.idleBytes + length > limits.tableBuffersBytesMax) return;
    let list = this.#idle.get(length);
    if (list === undefined) {
      list = [];
      this.#idle.set(length, list);
    }
    assert(!list.includes(buffer), 'read buffers: one was given back twice');
    list.push(buffer);
    this.idleBytes += length;
  }
}
