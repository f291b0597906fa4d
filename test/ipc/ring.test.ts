import { afterAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { ChannelReader, ChannelWriter, createChannel } from '../../src/ipc/channel.ts';
import type { RingConsumer, RingMemory, RingProducer } from '../../src/ipc/contract.ts';
import { createDoorbell, DoorbellRinger, DoorbellSleeper } from '../../src/ipc/doorbell.ts';
import { RingReader, RingWriter } from '../../src/ipc/ring.ts';
import { createRing, RING_DATA, WORD_HEAD, WORD_TAIL, WRAP } from '../../src/ipc/ring-layout.ts';
import { testSeed } from '../seed.ts';

const seed = testSeed();
const named = (name: string): string => `${name} (seed ${seed})`;
const closers: (() => void)[] = [];
afterAll(() => {
  for (const close of closers) close();
});

function put(writer: RingProducer, payload: Uint8Array, reserve = payload.length): boolean {
  if (!writer.reserve(reserve)) return false;
  writer.bytes.set(payload, writer.offset);
  writer.commit(payload.length);
  return true;
}
function taken(reader: RingConsumer): Uint8Array | null {
  return reader.next() ? reader.bytes.slice(reader.offset, reader.offset + reader.length) : null;
}
function same(got: Uint8Array | null, expected: Uint8Array | undefined): boolean {
  if (got === null || expected === undefined) return got === null && expected === undefined;
  return Buffer.compare(got, expected) === 0;
}
function pair(size: number): { memory: RingMemory; writer: RingWriter; reader: RingReader } {
  const memory = createRing(size);
  return { memory, writer: new RingWriter(memory), reader: new RingReader(memory) };
}

interface Model {
  readonly writer: RingProducer;
  readonly reader: RingConsumer;
  readonly random: Random;
  readonly steps: number;
  readonly size: () => number;
}
/** Random steps against an array; counts how often a reservation was refused. */
function runModel({ writer, reader, random, steps, size }: Model): number {
  const committed: Uint8Array[] = [];
  const visible: Uint8Array[] = [];
  let refused = 0;
  let held: { readonly at: number; readonly bytes: Uint8Array; readonly expected: Uint8Array } | null = null;
  for (let step = 0; step < steps; step++) {
    const dice = random.below(10);
    if (dice < 5) {
      const payload = random.bytes(size());
      const reserve = Math.min(writer.recordBytesMax, payload.length + random.below(9));
      if (put(writer, payload, reserve)) committed.push(payload);
      else refused++;
    } else if (dice < 6) {
      writer.flush();
      visible.push(...committed.splice(0));
    } else if (dice < 9) {
      const expected = visible.shift();
      const got = taken(reader);
      if (!same(got, expected)) throw new Error(`step ${step}: not the record of the model`);
      if (expected !== undefined) {
        expect(reader.offset % 8).toBe(0);
        held = { at: reader.offset, bytes: reader.bytes, expected };
      }
    } else {
      // What was read last stays in place until it is given back, whatever the producer did since.
      if (held !== null)
        expect(same(held.bytes.subarray(held.at, held.at + held.expected.length), held.expected)).toBe(true);
      held = null;
      reader.release();
    }
  }
  writer.flush();
  visible.push(...committed);
  for (const expected of visible) expect(same(taken(reader), expected)).toBe(true);
  expect(reader.next()).toBe(false);
  reader.release();
  expect(writer.usedBytes()).toBe(0);
  return refused;
}

describe('a byte ring', () => {
  it(named('gives what an array queue gives, through wraps and full rings'), () => {
    const random = new Random(seed);
    for (const bytes of [64, 128, 1024, 65_536]) {
      const { writer, reader } = pair(bytes);
      const size = (): number =>
        random.chance(0.1) ? writer.recordBytesMax : random.below(Math.min(300, writer.recordBytesMax + 1));
      const refused = runModel({ writer, reader, random, steps: 8000, size });
      if (bytes <= 1024) expect(refused).toBeGreaterThan(0);
    }
  });

  it('takes the longest record wherever its head stands', () => {
    const { writer, reader } = pair(128);
    for (let start = 0; start < 128; start += 8) {
      expect(put(writer, new Uint8Array(0))).toBe(true);
      writer.flush();
      expect(taken(reader)).toEqual(new Uint8Array(0));
      reader.release();
      const longest = new Uint8Array(writer.recordBytesMax).fill(start);
      expect(put(writer, longest)).toBe(true);
      writer.flush();
      expect(taken(reader)).toEqual(longest);
      reader.release();
    }
  });

  it('shows nothing before flush', () => {
    const { writer, reader } = pair(128);
    put(writer, new Uint8Array([1]));
    expect(reader.next()).toBe(false);
    writer.flush();
    expect(taken(reader)).toEqual(new Uint8Array([1]));
  });

  it('is full until the consumer releases', () => {
    const { writer, reader } = pair(64);
    expect(put(writer, new Uint8Array(24))).toBe(true);
    expect(put(writer, new Uint8Array(24))).toBe(true);
    expect(writer.reserve(0)).toBe(false);
    writer.flush();
    expect(reader.next()).toBe(true);
    expect(writer.reserve(0)).toBe(false);
    reader.release();
    expect(writer.reserve(24)).toBe(true);
  });

  it('goes on where its positions pass 2^32', () => {
    const { writer, reader } = pair(limits.ringBytes);
    const payload = new Uint8Array(writer.recordBytesMax);
    const laps = Math.ceil(2 ** 32 / payload.length) + 40;
    for (let lap = 0; lap < laps; lap++) {
      if (!writer.reserve(payload.length)) throw new Error(`refused in lap ${lap}`);
      writer.bytes[writer.offset] = lap & 255;
      writer.commit(payload.length);
      writer.flush();
      if (!reader.next() || reader.bytes[reader.offset] !== (lap & 255))
        throw new Error(`lost in lap ${lap}`);
      reader.release();
    }
    expect(writer.usedBytes()).toBe(0);
  });

  it(named('stops the consumer by an assertion where bytes are damaged, and never reads outside'), () => {
    const random = new Random(seed);
    let stopped = 0;
    for (let round = 0; round < 3000; round++) {
      const { memory, writer, reader } = pair(256);
      const bytes = new Uint8Array(memory.buffer);
      let records = 0;
      for (let i = random.below(12); i > 0; i--) {
        put(writer, random.bytes(random.below(60)));
        writer.flush();
        if (random.chance(0.7)) while (reader.next()) reader.release();
      }
      for (let i = 0; i < 3; i++) {
        const at = random.pick([random.below(4), RING_DATA + random.below(256)]);
        bytes[at] = random.below(256);
      }
      try {
        while (reader.next()) {
          expect(reader.offset + reader.length).toBeLessThanOrEqual(256);
          expect(++records).toBeLessThan(64);
        }
      } catch (error) {
        expect((error as Error).name).toBe('AssertionError');
        stopped++;
      }
    }
    expect(stopped).toBeGreaterThan(100);
  });

  it('stops at a wrap marker that leads to another, to nothing or beyond the head', () => {
    for (const target of [0, 8]) {
      const { memory, writer, reader } = pair(64);
      put(writer, new Uint8Array(0));
      put(writer, new Uint8Array(0));
      writer.flush();
      const view = new DataView(memory.buffer, RING_DATA);
      view.setUint32(target, WRAP, true);
      if (target === 8) reader.next();
      expect(() => reader.next()).toThrow(/ring: a wrap marker reaches beyond the head/);
    }
  });

  it('stops the producer where the tail is not one that a consumer can have stored', () => {
    for (const tail of [-8, 4, 64]) {
      const { memory, writer } = pair(64);
      put(writer, new Uint8Array(24));
      writer.flush();
      new Int32Array(memory.buffer)[WORD_TAIL] = tail;
      expect(() => writer.usedBytes()).toThrow(/ring: the tail/);
    }
  });

  it('stops the consumer where the head turns back', () => {
    const { memory, writer, reader } = pair(64);
    put(writer, new Uint8Array(8));
    writer.flush();
    reader.next();
    new Int32Array(memory.buffer)[WORD_HEAD] = 8;
    expect(() => reader.next()).toThrow(/ring: the head/);
  });
});

describe('a channel', () => {
  const open = (ringBytes: number): { writer: ChannelWriter; reader: ChannelReader } => {
    const { writer, reader } = createChannel(createDoorbell(), ringBytes);
    const ends = { writer: new ChannelWriter(writer), reader: new ChannelReader(reader, () => undefined) };
    closers.push(() => {
      ends.writer.close();
      ends.reader.close();
    });
    return ends;
  };

  it(named('keeps the order of records in the ring and beside it'), () => {
    const random = new Random(seed);
    const { writer, reader } = open(1024);
    const size = (): number => (random.chance(0.1) ? random.between(505, 5000) : random.below(200));
    expect(runModel({ writer, reader, random, steps: 8000, size })).toBeGreaterThan(0);
  });

  it('bounds the bytes beside the ring until the consumer releases them', () => {
    const { writer, reader } = open(1024);
    const half = limits.sideBytesMax / 2;
    for (let i = 0; i < 2; i++) {
      expect(writer.reserve(half)).toBe(true);
      writer.commit(half - i);
    }
    expect(writer.reserve(505)).toBe(false);
    expect(writer.reserve(504)).toBe(true);
    writer.commit(1);
    writer.flush();
    expect(reader.next() && reader.length).toBe(half);
    expect(writer.reserve(half)).toBe(false);
    reader.release();
    expect(writer.reserve(half)).toBe(true);
    writer.commit(half);
    expect(reader.next() && reader.length).toBe(half - 1);
    expect(reader.next() && reader.length).toBe(1);
  });

  it('refuses a record beside the ring where the ring has no room for its stub', () => {
    const { writer } = open(64);
    for (let i = 0; i < 4; i++) expect(put(writer, new Uint8Array(8))).toBe(true);
    expect(writer.reserve(100)).toBe(false);
  });
});

describe('a doorbell', () => {
  const setUp = (onPost: () => void): { ringer: DoorbellRinger; sleeper: DoorbellSleeper } => {
    const memory = createDoorbell();
    return {
      ringer: new DoorbellRinger(memory, { postMessage: onPost }),
      sleeper: new DoorbellSleeper(memory),
    };
  };

  it('rings once for all that is published while the consumer sleeps', () => {
    let posts = 0;
    const { ringer, sleeper } = setUp(() => posts++);
    ringer.ring();
    expect(posts).toBe(0);
    expect(sleeper.sleep(() => false)).toBe(true);
    ringer.ring();
    ringer.ring();
    expect(posts).toBe(1);
    sleeper.wake();
    ringer.ring();
    expect(posts).toBe(1);
  });

  it('does not sleep where a record came before the epoch was odd', () => {
    const memory = createRing(64);
    let posts = 0;
    const { ringer, sleeper } = setUp(() => posts++);
    const writer = new RingWriter(memory, ringer);
    const reader = new RingReader(memory);
    expect(reader.next()).toBe(false);
    put(writer, new Uint8Array(1));
    writer.flush();
    expect(posts).toBe(0);
    expect(sleeper.sleep(() => reader.pending())).toBe(false);
    expect(reader.next()).toBe(true);
  });

  it('is told by a message where a record comes after the last look', () => {
    let posts = 0;
    const { ringer, sleeper } = setUp(() => posts++);
    let published = false;
    const sleeps = sleeper.sleep(() => {
      const seen = published;
      published = true;
      ringer.ring();
      return seen;
    });
    expect([sleeps, posts]).toEqual([true, 1]);
  });

  it('keeps a new sleep that began between a post and the step that ends the old one', () => {
    let posts = 0;
    const { ringer, sleeper } = setUp(() => {
      if (++posts > 1) return;
      sleeper.wake();
      sleeper.sleep(() => false);
    });
    sleeper.sleep(() => false);
    ringer.ring();
    ringer.ring();
    expect(posts).toBe(2);
  });

  it('stays odd where a producer was terminated as it posted, so that the next one rings', () => {
    let posts = 0;
    const { ringer, sleeper } = setUp(() => {
      if (++posts === 1) throw new Error('terminated');
    });
    sleeper.sleep(() => false);
    expect(() => ringer.ring()).toThrow('terminated');
    ringer.ring();
    expect(posts).toBe(2);
  });
});
