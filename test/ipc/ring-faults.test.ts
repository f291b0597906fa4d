/** What the two ends of a byte ring refuse, and when the consumer is woken. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import type { RingMemory } from '../../src/ipc/contract.ts';
import { RingReader, RingWriter } from '../../src/ipc/ring.ts';
import { createRing, RING_DATA, WORD_HEAD, WRAP } from '../../src/ipc/ring-layout.ts';

function pair(size: number): { memory: RingMemory; writer: RingWriter; reader: RingReader } {
  const memory = createRing(size);
  return { memory, writer: new RingWriter(memory), reader: new RingReader(memory) };
}
function put(writer: RingWriter, payload: Uint8Array, reserve = payload.length): void {
  expect(writer.reserve(reserve)).toBe(true);
  writer.bytes.set(payload, writer.offset);
  writer.commit(payload.length);
}

describe('a byte ring', () => {
  it('stops at a wrap marker that no record follows', () => {
    const { memory, writer, reader } = pair(64);
    for (let i = 0; i < 4; i++) {
      put(writer, new Uint8Array(8));
      writer.flush();
      if (i < 3) {
        reader.next();
        reader.release();
      }
    }
    new DataView(memory.buffer, RING_DATA).setUint32(48, WRAP, true);
    expect(() => reader.next()).toThrow('ring: no record follows a wrap marker');
  });

  it('stops at a record that is longer than what is visible, or than what is left of the ring', () => {
    const visible = pair(64);
    put(visible.writer, new Uint8Array(8));
    visible.writer.flush();
    new DataView(visible.memory.buffer, RING_DATA).setUint32(0, 16, true);
    expect(() => visible.reader.next()).toThrow('ring: a record of 16 bytes in 16 visible ones at 0');

    const left = pair(64);
    for (let i = 0; i < 5; i++) {
      put(left.writer, new Uint8Array(8));
      left.writer.flush();
      if (i < 3) left.reader.next();
      left.reader.release();
    }
    new DataView(left.memory.buffer, RING_DATA).setUint32(48, 24, true);
    expect(() => left.reader.next()).toThrow('ring: a record of 24 bytes in 32 visible ones at 48');
  });

  it('stops at a record that says that it was written elsewhere: one of a lap before', () => {
    const { memory, writer, reader } = pair(64);
    put(writer, new Uint8Array(8));
    writer.flush();
    new DataView(memory.buffer, RING_DATA).setUint32(4, 64, true);
    expect(() => reader.next()).toThrow('ring: a record is not where it was written');
  });

  it('is in memory of a size that is a power of two, within its bounds', () => {
    for (const size of [96, 32, 2 * limits.ringBytesMax]) expect(() => createRing(size)).toThrow(/^ring: /);
    const { buffer } = createRing(64);
    const other = { buffer: new SharedArrayBuffer(buffer.byteLength + 8) };
    for (const end of [RingWriter, RingReader])
      expect(() => new end(other)).toThrow('memory that createRing did not make');
  });

  it('has one reservation at a time, which is committed in part, or given up', () => {
    const { writer, reader } = pair(64);
    expect(writer.reserve(8)).toBe(true);
    expect(() => writer.reserve(8)).toThrow('a reservation is open');
    expect(() => writer.commit(9)).toThrow('longer than reserved');
    writer.cancel();
    expect(() => writer.commit(8)).toThrow('nothing is reserved');
    put(writer, Buffer.from('alone'), 24);
    writer.flush();
    expect(reader.next()).toBe(true);
    expect(Buffer.from(reader.bytes.subarray(reader.offset, reader.offset + reader.length)).toString()).toBe(
      'alone',
    );
    expect(reader.next()).toBe(false);
  });

  it('wakes the consumer when the records are there to be seen, and not for nothing', () => {
    const memory = createRing(64);
    const reader = new RingReader(memory);
    const seen: boolean[] = [];
    const writer = new RingWriter(memory, { ring: () => seen.push(reader.pending()) });
    put(writer, new Uint8Array(8));
    expect(seen).toEqual([]);
    writer.flush();
    writer.flush();
    expect(seen).toEqual([true]);
  });

  it('stops the consumer where the head stands within a record', () => {
    const { memory, reader } = pair(64);
    new Int32Array(memory.buffer)[WORD_HEAD] = 12;
    expect(() => reader.next()).toThrow(/ring: the head/);
  });
});
