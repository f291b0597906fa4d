/**
 * Buffers that tables are read into and written from, used again: one set for each thread that does so. A scan page over a dozen
 * tables needs a megabyte for the time of one turn. Allocated anew for each, that was garbage outside of the heap by the hundred
 * megabytes a second, of which tens of megabytes floated until V8 collected them. Invariants:
 *
 * 1. A buffer belongs to whoever took it until it is given back, once. Who never does that costs its memory only until it is
 *    collected.
 * 2. Idle buffers hold limits.tableBuffersBytesMax together at most, and none is longer than limits.tableReadAheadBytesMax.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';

export interface TableBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

const newBuffer = (length: number): TableBuffer => {
  const bytes = new Uint8Array(length);
  return { bytes, view: new DataView(bytes.buffer) };
};

export const NO_BUFFER: TableBuffer = newBuffer(0);

export class TableBuffers {
  /** By length, limits.tableReadAheadBytesMin times a power of two. */
  readonly #idle = new Map<number, TableBuffer[]>();
  idleBytes = 0;

  /** A buffer of at least `length` bytes, with whatever they hold. */
  take(length: number): TableBuffer {
    if (length > limits.tableReadAheadBytesMax) return newBuffer(length);
    let size: number = limits.tableReadAheadBytesMin;
    while (size < length) size *= 2;
    const idle = this.#idle.get(size)?.pop();
    if (idle === undefined) return newBuffer(size);
    this.idleBytes -= size;
    return idle;
  }

  /** Takes a buffer back that `take` gave. */
  give(buffer: TableBuffer): void {
    const { length } = buffer.bytes;
    if (length === 0 || length > limits.tableReadAheadBytesMax) return;
    if (this.idleBytes + length > limits.tableBuffersBytesMax) return;
    let list = this.#idle.get(length);
    if (list === undefined) {
      list = [];
      this.#idle.set(length, list);
    }
    assert(!list.includes(buffer), 'table buffers: one was given back twice');
    list.push(buffer);
    this.idleBytes += length;
  }
}
