import { describe, expect, it } from 'vitest';
import { planChange } from '../../src/cluster/topology-operations.ts';
import { memberOf, ringOf } from './ring-fixtures.ts';

const NEW = 9;
const MOVED_TO = 'moved:7000';

/** All are up; node 3 has told another address than the ring's. */
const members = {
  isUp: () => true,
  addressOf: (node: number) => (node === 3 ? MOVED_TO : undefined),
};
const joinAt = (address: string) => ({ op: 'join', member: memberOf(NEW, { address }) }) as const;

describe('a change of the ring', () => {
  const ring = ringOf(3, 16);

  it('gives a new node the address that a member has left', () => {
    const { change } = planChange(ring, joinAt(memberOf(3).address), members).ring;
    expect(change?.node).toBe(NEW);
  });

  it('gives nobody the address that a member has, by what it told last or else by the ring', () => {
    expect(() => planChange(ring, joinAt(MOVED_TO), members)).toThrow(
      `address ${MOVED_TO} is that of node 00000003`,
    );
    const { address } = memberOf(2);
    expect(() => planChange(ring, joinAt(address), members)).toThrow(
      `address ${address} is that of node 00000002`,
    );
  });

  it('gives a node that replaces another the address of that, or one that a third has left', () => {
    const isUp = (node: number): boolean => node !== 2;
    for (const address of [memberOf(2).address, memberOf(3).address]) {
      const operation = { op: 'replace', node: 2, member: memberOf(NEW, { address }) } as const;
      const { change } = planChange(ring, operation, { ...members, isUp }).ring;
      expect(change?.members.map(({ number }) => number)).toContain(NEW);
    }
  });
});
