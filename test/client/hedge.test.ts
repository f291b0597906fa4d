import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Hedge } from '../../src/client/hedge.ts';
import { Budget } from '../../src/client/retry.ts';

const takes = (one: Hedge | Budget): number => {
  let count = 0;
  while (count < 1e6 && one.take()) count++;
  return count;
};

describe('the time after which a read is asked of a second node', () => {
  it('is known after some reads, and is the 95th percentile of them', () => {
    const hedge = new Hedge({});
    // 1 to 32, in no order.
    for (let n = 0; n < limits.clientLatenciesMin; n++) {
      expect(hedge.afterMs).toBe(Number.POSITIVE_INFINITY);
      hedge.answered(((n * 7) % 32) + 1);
    }
    expect([limits.clientLatenciesMin, hedge.afterMs]).toEqual([32, 31]);
  });
  it('is of the last reads alone', () => {
    const hedge = new Hedge({});
    for (let n = 0; n < limits.clientLatenciesKept; n++) hedge.answered(1000);
    expect(hedge.afterMs).toBe(1000);
    for (let n = 0; n < limits.clientLatenciesKept; n++) hedge.answered(5);
    expect(hedge.afterMs).toBe(5);
  });
  it('is what was asked for, whatever reads take', () => {
    const hedge = new Hedge({ afterMs: 7 });
    for (let n = 0; n < 100; n++) hedge.answered(1000);
    expect(hedge.afterMs).toBe(7);
  });
});

describe('second requests', () => {
  it('are some at first, and a share of the reads after that', () => {
    const hedge = new Hedge({ share: 0.25 });
    expect(takes(hedge)).toBe(limits.clientHedgesBurst);
    for (let n = 0; n < 7; n++) hedge.answered(1);
    expect(takes(hedge)).toBe(1);
    hedge.answered(1);
    expect(takes(hedge)).toBe(1);
  });
});

describe('a budget', () => {
  it('is full at first and never more than full, however long nothing is taken', () => {
    const budget = new Budget(5, 0.5);
    for (let n = 0; n < 100; n++) budget.add();
    expect(takes(budget)).toBe(5);
    budget.add();
    expect(budget.take()).toBe(false);
    budget.add();
    expect([budget.take(), budget.take()]).toEqual([true, false]);
  });
});
