import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import type { ClientLink } from '../../src/shard/client-link.ts';
import { HeldRequests, NIL, newHeldList } from '../../src/shard/held-requests.ts';

const [one, other] = [{}, {}] as [ClientLink, ClientLink];

describe('a request that a shard holds', () => {
  it('finds nothing in its slot of the one before', () => {
    const held = new HeldRequests(1);
    const first = held.take(one, 7, 8);
    held.again[first] = 1;
    held.stage[first] = 2;
    held.body[first] = new Uint8Array(3);
    held.setCopy(first, new Uint8Array(5));
    expect([held.peek(), held.count, held.copiedBytes]).toEqual([NIL, 1, 5]);
    expect(() => held.take(other, 0, 0)).toThrow('all slots are taken');
    expect(() => held.setCopy(first, new Uint8Array(1))).toThrow('two copies');
    held.free(first);
    // What was held is let go at once, not when the slot is taken.
    expect([held.link[first], held.body[first], held.count, held.copiedBytes]).toEqual([null, null, 0, 0]);
    expect(() => held.copy(first)).toThrow('without its request');
    const second = held.take(other, 9, 10);
    expect(second).toBe(first);
    expect([held.link[second], held.clientSlot[second], held.generation[second]]).toEqual([other, 9, 10]);
    expect([held.again[second], held.stage[second], held.body[second]]).toEqual([0, 0, null]);
  });

  it('is copied while all copies stay within their limit, to the byte, and gives its bytes back', () => {
    const held = new HeldRequests(3);
    const slots = [0, 1].map((n) => held.take(one, n, 0));
    const most = limits.shardHeldBytesMax;
    held.setCopy(slots[0] as number, new Uint8Array(1000));
    expect([held.mayCopy(most - 1000), held.mayCopy(most - 999)]).toEqual([true, false]);
    held.setCopy(slots[1] as number, new Uint8Array(24));
    held.dropCopy(slots[0] as number);
    held.dropCopy(slots[0] as number);
    expect([held.copiedBytes, held.mayCopy(most - 24), held.mayCopy(most - 23)]).toEqual([24, true, false]);
  });
});

describe('a list of held requests', () => {
  const orderOf = (held: HeldRequests, list = newHeldList()): number[] => {
    const order: number[] = [];
    for (let slot = held.shift(list); slot !== NIL; slot = held.shift(list)) order.push(slot);
    return order;
  };

  it('is in order of seq, those of one seq in the order in which they came', () => {
    const held = new HeldRequests(16);
    const list = newHeldList();
    const seqs = [5, 3, 5, 9, 3, 1, 9, 5];
    for (const [slot, seq] of seqs.entries()) {
      held.seq[slot] = seq;
      held.insertBySeq(list, slot);
    }
    expect(orderOf(held, list)).toEqual([5, 1, 4, 0, 2, 7, 3, 6]);
    expect([list.first, list.last]).toEqual([NIL, NIL]);
  });

  it('forgets what was taken off: nothing is put behind it', () => {
    const held = new HeldRequests(8);
    const list = newHeldList();
    held.seq.set([3, 6, 4, 2]);
    for (const slot of [0, 1]) held.insertBySeq(list, slot);
    expect(held.shift(list)).toBe(0);
    held.insertBySeq(list, 2);
    expect(held.shift(list)).toBe(2);
    held.insertBySeq(list, 3);
    expect(orderOf(held, list)).toEqual([3, 1]);
    // Empty, it begins anew.
    held.append(list, 2);
    held.append(list, 0);
    expect(orderOf(held, list)).toEqual([2, 0]);
  });
});
