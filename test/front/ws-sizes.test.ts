import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { WsClosing } from '../../src/front/ws-closing.ts';
import { nextSize, roomOf, sizesOf, type WsSize } from '../../src/front/ws-sizes.ts';
import { decode } from './ws-client.ts';

const told = (size: WsSize): Record<string, number> =>
  (decode(Buffer.from(size.greeting)) as unknown as { limits: Record<string, number> }).limits;
const { keyBytesMax, valueBytesMax, keyBytesCeiling, valueBytesCeiling } = limits;

describe('how long messages may be', () => {
  it.each([
    ['of the defaults', keyBytesMax, valueBytesMax, limits.wsUnfinishedBytesMax],
    ['of the largest settings', keyBytesCeiling, valueBytesCeiling, limits.wsUnfinishedBytesMax],
    ['of the smallest settings', 1, 1, limits.wsUnfinishedBytesMax],
    ['of little memory', keyBytesMax, valueBytesMax, 64 * 2 ** 20],
  ])('falls as connections come, and all of %s stay within what is told', (_, key, value, bytesMax) => {
    const sizes = sizesOf(key, value, bytesMax);
    const most = sizes.reduce((sum, size) => sum + size.connectionsMax * size.payloadBytesMax, 0);
    expect(most).toBeLessThanOrEqual(bytesMax);
    const lengths = sizes.map(({ messageBytesMax }) => messageBytesMax);
    expect(lengths).toEqual([...lengths].sort((a, b) => b - a));
    expect(lengths[0]).toBeGreaterThanOrEqual(limits.wsMessageBytesMax);
    for (const size of sizes) {
      const { keyBytesMax: toldKey = 0, valueBytesMax: toldValue = 0, messageBytesMax } = told(size);
      expect(messageBytesMax).toBe(size.messageBytesMax);
      expect(size.payloadBytesMax).toBeGreaterThan(size.messageBytesMax);
      // A put of the longest key and value that it is told of always fits.
      expect(toldKey).toBe(key);
      expect(toldKey + toldValue + limits.wsMessageOverheadBytes).toBeLessThanOrEqual(size.messageBytesMax);
      expect(toldValue).toBeGreaterThanOrEqual(Math.min(value, limits.wsSmallValueBytesMax));
    }
    expect(told(sizes[0] as WsSize).valueBytesMax).toBe(value);
  });

  it('leaves room, by default, for all connections, and a thousand with the longest value', () => {
    const sizes = sizesOf(keyBytesMax, valueBytesMax);
    expect(roomOf(sizes)).toBeGreaterThanOrEqual(limits.wsConnectionsMax);
    expect(roomOf(sizes.filter((size) => told(size).valueBytesMax === valueBytesMax))).toBeGreaterThan(1000);
  });

  it('is the longest of those that have room, and room comes back', () => {
    const sizes = sizesOf(keyBytesMax, valueBytesMax, 64 * 2 ** 20);
    const taken: WsSize[] = [];
    for (let next = nextSize(sizes); next !== null; next = nextSize(sizes)) {
      next.connections++;
      taken.push(next);
    }
    expect(taken).toHaveLength(roomOf(sizes));
    expect([...new Set(taken)]).toEqual(sizes);
    const second = sizes[1] as WsSize;
    second.connections--;
    expect(nextSize(sizes)).toBe(second);
  });
  it('has room again for a sixteenth that is closing, and for more when those are over', () => {
    const [size] = sizesOf(keyBytesMax, valueBytesMax);
    if (size === undefined) throw new Error('no size');
    const counts = { closing: 0, closingBytes: 0 };
    const closing = new WsClosing(counts);
    size.connections = size.connectionsMax;
    const beside = Math.ceil(size.connectionsMax / limits.wsClosingDivisor);
    for (let i = 0; i < beside + 2; i++) {
      expect(size.full).toBe(true);
      size.connections--;
      closing.add(size, 10, i);
      expect(size.full).toBe(i >= beside);
      if (i < beside) size.connections++;
    }
    // Two more than may be beside are closing, and two less open.
    expect([size.full, size.closing, counts]).toEqual([
      true,
      beside + 2,
      { closing: beside + 2, closingBytes: 10 * (beside + 2) },
    ]);
    closing.sweep(limits.wsClosingMs - 1);
    expect([size.full, size.closing]).toEqual([true, beside + 2]);
    closing.sweep(limits.wsClosingMs);
    expect([size.full, size.closing]).toEqual([false, beside + 1]);
    closing.sweep(Number.POSITIVE_INFINITY);
    closing.sweep(Number.POSITIVE_INFINITY);
    expect([size.closing, counts]).toEqual([0, { closing: 0, closingBytes: 0 }]);
  });
});
