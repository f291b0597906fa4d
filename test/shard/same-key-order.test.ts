import { describe, expect, it } from 'vitest';
import { HeldRequests, NIL } from '../../src/shard/held-requests.ts';
import { SameKeyOrder } from '../../src/shard/same-key-order.ts';

describe('writes of one key', () => {
  it('wait while one of them waits for a lookup, go on in their order, and wait no more', () => {
    const order = new SameKeyOrder(new HeldRequests(8));
    for (let round = 0; round < 3; round++) {
      expect([order.waits(1, 2), order.size]).toEqual([false, 0]);
      order.begin(1, 2);
      expect(() => order.begin(1, 2)).toThrow('two heads of one key');
      for (const slot of [3, 1, 5]) order.follow(1, 2, slot);
      expect([order.end(1, 2), order.end(1, 2), order.waits(1, 2)]).toEqual([3, 1, true]);
      expect([order.end(1, 2), order.end(1, 2)]).toEqual([5, NIL]);
    }
    expect(() => order.follow(1, 2, 0)).toThrow('nothing to wait for');
    expect(() => order.end(1, 2)).toThrow('the end of nothing');
  });

  it('do not wait for those of another, told apart by 53 bits of its token', () => {
    const order = new SameKeyOrder(new HeldRequests(8));
    const [hi, lo] = [0xffff_ffff, 0xffff_f800];
    order.begin(hi, lo);
    expect(order.waits(hi, lo | 0x7ff)).toBe(true);
    for (const [otherHi, otherLo] of [
      [hi - 1, lo],
      [0x7fff_ffff, lo],
      [hi, lo - 0x800],
      [hi, 0x7fff_f800],
      [0, 0],
    ] as const)
      expect(order.waits(otherHi, otherLo), `${otherHi} ${otherLo}`).toBe(false);
    order.begin(hi, 0);
    order.follow(hi, 0, 1);
    order.follow(hi, lo, 2);
    expect([order.end(hi, lo), order.end(hi, 0)]).toEqual([2, 1]);
  });
});
