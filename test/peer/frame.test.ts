import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CorruptionError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { MessageError } from '../../src/cluster/message-bytes.ts';
import {
  Batch,
  eachMessage,
  FRAME_HEADER_BYTES,
  FrameKind,
  FrameReader,
  frameOf,
  frameOfMessage,
  sealFrame,
} from '../../src/peer/frame.ts';
import { testSeed } from '../seed.ts';

const reader = (): FrameReader => new FrameReader(limits.peerMessageBytesMax);
function messagesOf(payload: Buffer): string[] {
  const found: string[] = [];
  eachMessage(payload, (message) => found.push(Buffer.from(message).toString('hex')) > 0);
  return found;
}

describe('a frame', () => {
  const seed = testSeed();
  it(`is cut out of a stream wherever its chunks end (seed ${seed})`, () => {
    const random = new Random(seed);
    for (let round = 0; round < 200; round++) {
      const payloads = Array.from({ length: random.between(1, 8) }, () =>
        random.bytes(random.chance(0.2) ? random.below(40_000) : random.below(60)),
      );
      const stream = Buffer.concat(payloads.map((payload) => frameOf(FrameKind.HELLO, payload)));
      const frames = reader();
      const found: Buffer[] = [];
      for (let at = 0; at < stream.length; ) {
        const end = Math.min(
          stream.length,
          at + (random.chance(0.5) ? random.between(1, 20) : random.below(9000)),
        );
        // Each chunk has memory of its own, as a socket's have.
        frames.push(Buffer.from(stream.subarray(at, end)), (kind, payload) => {
          expect(kind).toBe(FrameKind.HELLO);
          found.push(payload);
          return true;
        });
        at = end;
      }
      expect(found.map((one) => one.toString('hex'))).toEqual(
        payloads.map((one) => Buffer.from(one).toString('hex')),
      );
      expect(frames.held).toBe(0);
    }
  });

  it('with any flipped bit is not delivered', () => {
    const frame = frameOfMessage(Buffer.from('a message of some length'));
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const wrong = Buffer.from(frame);
      wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7));
      let delivered = false;
      try {
        reader().push(wrong, () => (delivered = true));
      } catch (error) {
        expect(error instanceof CorruptionError || error instanceof MessageError).toBe(true);
      }
      expect(delivered).toBe(false);
    }
  });

  it('that is too long is refused at its header, before its bytes are kept', () => {
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    header.writeUInt32LE(4097, 8);
    const frames = new FrameReader(4096);
    expect(() => frames.push(header, () => true)).toThrow('a frame of 4097 bytes; the limit is 4096');
    expect(frames.held).toBe(0);
  });

  it('takes memory only for bytes that came', () => {
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    header.writeUInt32LE(limits.peerMessageBytesMax, 8);
    const frames = reader();
    frames.push(header, () => true);
    expect(frames.held).toBe(FRAME_HEADER_BYTES);
  });

  it('ends the reading where its receiver says so', () => {
    let count = 0;
    const two = Buffer.concat([
      frameOf(FrameKind.HEARTBEAT, new Uint8Array(0)),
      frameOf(1, Buffer.from('x')),
    ]);
    reader().push(two, () => {
      count++;
      return false;
    });
    expect(count).toBe(1);
  });
});

describe('messages in a frame', () => {
  it('come out as they went in, in order', () => {
    const batch = new Batch();
    expect(batch.bytes).toBe(0);
    const messages = ['01', '', 'ab'.repeat(300)];
    for (const one of messages) expect(batch.add(Buffer.from(one, 'hex'))).toBe(true);
    expect(batch.messages).toBe(3);
    let payload = Buffer.alloc(0);
    reader().push(Buffer.from(batch.seal()), (kind, bytes) => {
      expect(kind).toBe(FrameKind.MESSAGES);
      payload = Buffer.from(bytes);
      return true;
    });
    expect(messagesOf(payload)).toEqual(messages);
  });

  it('fill a batch to its limit and not beyond', () => {
    const batch = new Batch();
    const message = Buffer.alloc(1000);
    let count = 0;
    while (batch.add(message)) count++;
    expect(count).toBe(Math.floor((limits.peerBatchBytes - FRAME_HEADER_BYTES) / 1004));
    expect(batch.seal()).toHaveLength(FRAME_HEADER_BYTES + count * 1004);
    batch.clear();
    expect(batch.bytes).toBe(0);
    const longest = Buffer.alloc(limits.peerBatchBytes - FRAME_HEADER_BYTES - 4);
    expect([Batch.fits(longest), batch.add(longest)]).toEqual([true, true]);
    expect(Batch.fits(Buffer.alloc(longest.length + 1))).toBe(false);
  });

  it('whose lengths do not fit their frame are refused', () => {
    for (const [payload, message] of [
      ['', /ends with 0 bytes, no length/],
      ['000000', /ends with 3 bytes, no length/],
      ['05000000aabb', /a message of 5 bytes in a frame that has 2 left/],
      ['01000000aa0000', /ends with 2 bytes, no length/],
      ['ffffffff', /a message of 4294967295 bytes/],
    ] as const)
      expect(() => messagesOf(Buffer.from(payload, 'hex'))).toThrow(message);
  });

  it('have the bytes that the documentation shows', () => {
    const batch = new Batch();
    batch.add(Buffer.from('820100', 'hex'));
    batch.add(Buffer.from('820101', 'hex'));
    const frame = Buffer.from(batch.seal());
    const text = readFileSync(join(import.meta.dirname, '../../docs/peer-protocol.md'), 'utf8');
    const shown = /^ {4}(0e000000 .*)$/m.exec(text)?.[1]?.replaceAll(' ', '');
    expect(shown).toBe(frame.toString('hex').slice(16));
    const again = Buffer.from(frame).fill(0, 0, 8);
    sealFrame(again, again.length, FrameKind.MESSAGES);
    expect(again.equals(frame)).toBe(true);
  });
});
