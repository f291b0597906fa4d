import { describe, expect, it } from 'vitest';
import { ABSENT, ANY, KeyStates, type WriteTicket } from '../../load/key-states.ts';

const ticket = (): WriteTicket => ({ generation: 0, alone: false, before: 0 });
function begun(states: KeyStates, key: number): WriteTicket {
  const one = ticket();
  states.begin(key, one);
  return one;
}
const now = (states: KeyStates, key: number): number => states.expected(key, states.beginRead(key), 0, 0);

describe('what is known of a key', () => {
  it('after a write alone: exactly what it wrote; before: absent, or anything where the store was filled before', () => {
    const states = new KeyStates(10, ABSENT, false);
    expect(now(states, 3)).toBe(ABSENT);
    expect(now(new KeyStates(10, ANY, false), 3)).toBe(ANY);
    const write = begun(states, 3);
    expect(now(states, 3)).toBe(ANY);
    states.acknowledged(3, write, 42);
    expect(now(states, 3)).toBe(42);
    expect(now(states, 4)).toBe(ABSENT);
    states.acknowledged(3, begun(states, 3), ABSENT);
    expect(now(states, 3)).toBe(ABSENT);
  });

  it('writes that overlap leave it open, until one comes alone', () => {
    const states = new KeyStates(1, ABSENT, false);
    const first = begun(states, 0);
    const second = begun(states, 0);
    states.acknowledged(0, second, 2);
    expect(now(states, 0)).toBe(ANY);
    states.acknowledged(0, first, 1);
    expect(now(states, 0)).toBe(ANY);
    states.acknowledged(0, begun(states, 0), 3);
    expect(now(states, 0)).toBe(3);
  });

  it('a read beside which a write began says nothing, though it has ended', () => {
    const states = new KeyStates(1, ABSENT, false);
    states.acknowledged(0, begun(states, 0), 1);
    const read = states.beginRead(0);
    expect(states.expected(0, read, 0, 0)).toBe(1);
    states.acknowledged(0, begun(states, 0), 2);
    expect(states.expected(0, read, 0, 0)).toBe(ANY);
    expect(now(states, 0)).toBe(2);
  });

  it('a read that began beside a write says nothing, though the write ended first', () => {
    const states = new KeyStates(1, ABSENT, false);
    states.acknowledged(0, begun(states, 0), 1);
    const write = begun(states, 0);
    const read = states.beginRead(0);
    states.acknowledged(0, write, 2);
    expect(states.expected(0, read, 0, 0)).toBe(ANY);
    expect(now(states, 0)).toBe(2);
  });

  it('a write that was refused leaves what was there; one of unknown outcome leaves it open for good', () => {
    const states = new KeyStates(2, ABSENT, false);
    states.acknowledged(0, begun(states, 0), 1);
    states.refused(0, begun(states, 0));
    expect(now(states, 0)).toBe(1);
    begun(states, 0);
    states.unknown(0);
    expect(now(states, 0)).toBe(ANY);
    // It may be done yet, behind this one.
    states.acknowledged(0, begun(states, 0), 2);
    expect(now(states, 0)).toBe(ANY);
    expect(states.doubtfulKeys).toBe(1);
    expect(now(states, 1)).toBe(ABSENT);
  });

  it('a refused write beside another one does not bring back what was there before both', () => {
    const states = new KeyStates(1, ABSENT, false);
    const first = begun(states, 0);
    const second = begun(states, 0);
    states.refused(0, first);
    states.acknowledged(0, second, 2);
    expect(now(states, 0)).toBe(ANY);
  });

  it('what expires is there before its time, gone after it, and either in between', () => {
    const states = new KeyStates(1, ABSENT, true);
    // Sent at 1000, acknowledged at 1200, for 500 ms.
    states.acknowledged(0, begun(states, 0), 7, 1000, 1200, 500);
    const read = states.beginRead(0);
    expect(states.expected(0, read, 1250, 1300)).toBe(7);
    expect(states.expected(0, read, 1400, 1550)).toBe(ANY);
    expect(states.expected(0, read, 1650, 1700)).toBe(ANY);
    expect(states.expected(0, read, 1800, 1810)).toBe(ABSENT);
    states.acknowledged(0, begun(states, 0), 8, 2000, 2001, 0);
    expect(states.expected(0, states.beginRead(0), 1e9, 1e9)).toBe(8);
  });
});
