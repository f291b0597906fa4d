import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import {
  beginJoin,
  beginLeave,
  beginReplace,
  beginReweigh,
  firstRing,
  nextPhase,
  ownerMoves,
  undone,
} from '../../src/cluster/ring-change.ts';
import { encodeRing } from '../../src/cluster/ring-codec.ts';
import type { RingMap, RingMember } from '../../src/cluster/ring-map.ts';
import { testSeed } from '../seed.ts';
import { memberOf, ownedBy, ringOf, shapeOf } from './ring-fixtures.ts';

/** Rounded-down shares, worked out here once more in exact integers. */
function shares(members: readonly RingMember[], vnodes: number): { floor: number; exact: boolean }[] {
  const units = members.map(({ weight }) => BigInt(Math.round(weight * 1000)));
  const total = units.reduce((sum, one) => sum + one, 0n);
  return units.map((one) => {
    const product = one * BigInt(vnodes);
    return { floor: Number(product / total), exact: product % total === 0n };
  });
}

function expectBalanced(members: readonly RingMember[], owners: Uint16Array): void {
  const owned = ownedBy(members, owners);
  shares(members, owners.length).forEach(({ floor, exact }, i) => {
    expect(owned[i]).toBeGreaterThanOrEqual(floor);
    expect(owned[i]).toBeLessThanOrEqual(exact ? floor : floor + 1);
  });
}

/**
 * The fewest moves that reach any balanced map: every member keeps at most its share, rounded up for as many of those
 * that own more than the rounded-down one as vnodes are left over.
 */
function fewestMoves(
  before: RingMap,
  members: readonly RingMember[],
  takesOver: (number: number) => number,
): number {
  const owned = new Map<number, number>();
  for (const owner of before.owners) {
    const number = takesOver((before.members[owner] as RingMember).number);
    owned.set(number, (owned.get(number) ?? 0) + 1);
  }
  const parts = shares(members, before.vnodes);
  const extra = before.vnodes - parts.reduce((sum, { floor }) => sum + floor, 0);
  let kept = 0;
  let roundedUp = 0;
  members.forEach(({ number }, i) => {
    const { floor, exact } = parts[i] as { floor: number; exact: boolean };
    const has = owned.get(number) ?? 0;
    kept += Math.min(has, floor);
    if (!exact && has > floor) roundedUp++;
  });
  return before.vnodes - kept - Math.min(extra, roundedUp);
}

function randomChange(ring: RingMap, random: Random, fresh: number): RingMap {
  const weight = random.pick([1, 1, 1, 0.5, 2, 3.25, 0.125]);
  const one = random.pick(ring.members);
  switch (random.below(4)) {
    case 0:
      return beginJoin(ring, memberOf(fresh, { weight, rack: `rack-${random.below(4)}` }));
    case 1:
      if (ring.members.length > 2) return beginLeave(ring, one.number);
      return beginJoin(ring, memberOf(fresh, { weight }));
    case 2:
      return beginReplace(ring, one.number, memberOf(fresh, { weight: one.weight, rack: one.rack }));
    default:
      return beginReweigh(ring, { ...one, weight });
  }
}

describe('a change of the ring', () => {
  it('leaves every member with its share rounded down or up, by the fewest moves', () => {
    const seed = testSeed();
    console.log(`ring balance: seed ${seed}`);
    const random = new Random(seed);
    for (let run = 0; run < 40; run++) {
      let ring = ringOf(1 + random.below(12), 2 ** random.between(4, 10), random.between(1, 4));
      for (let step = 0; step < 20; step++) {
        const begun = randomChange(ring, random, 1000 + step);
        const change = begun.change;
        if (change === null) throw new Error('no change was begun');
        expectBalanced(change.members, change.owners);
        const takesOver = (number: number): number =>
          change.kind === 'replace' && number === change.node ? change.by : number;
        const renamed =
          change.kind === 'replace'
            ? (ownedBy(ring.members, ring.owners)[
                ring.members.findIndex(({ number }) => number === change.node)
              ] ?? 0)
            : 0;
        expect(ownerMoves(begun)).toBe(fewestMoves(ring, change.members, takesOver) + renamed);
        ring = nextPhase(nextPhase(begun));
        expect(ring.change).toBeNull();
      }
    }
  });

  it('is what makes the first ring of several members, one after another', () => {
    const seed = testSeed();
    console.log(`first ring: seed ${seed}`);
    const random = new Random(seed);
    for (let run = 0; run < 200; run++) {
      const shape = shapeOf(2 ** random.between(4, 6), random.between(1, 6));
      const members = Array.from({ length: random.between(2, 12) }, (_, i) =>
        memberOf(i + 1, { rack: `rack-${random.below(3)}`, zone: `zone-${random.below(2)}` }),
      );
      let ring = firstRing(shape, members.slice(0, 1));
      // Chance comes from the number of the ring.
      for (const [step, member] of members.entries())
        if (step > 0) ring = nextPhase(nextPhase(beginJoin({ ...ring, number: step }, member)));
      const first = firstRing(shape, members);
      expect([...first.owners], `run ${run}`).toEqual([...ring.owners]);
      expect(first.members).toEqual(ring.members);
    }
  });

  it('gives the same ring, byte by byte, whoever computes it', () => {
    const make = (): Uint8Array => {
      let ring = ringOf(7, 256, 3);
      ring = nextPhase(nextPhase(beginJoin(ring, memberOf(99, { rack: 'rack-1', weight: 2 }))));
      return encodeRing(beginLeave(ring, 3));
    };
    expect(make()).toEqual(make());
  });

  it('moves nothing but the vnodes of the node that is replaced', () => {
    const ring = ringOf(5, 256);
    const begun = beginReplace(ring, 3, memberOf(77));
    expect([...(begun.change?.owners ?? [])]).toEqual([...ring.owners]);
    expect(ownerMoves(begun)).toBe(ownedBy(ring.members, ring.owners)[2]);
  });

  it('moves no vnode where only the rack changes', () => {
    const ring = ringOf(5, 256);
    expect(ownerMoves(beginReweigh(ring, memberOf(3, { rack: 'other' })))).toBe(0);
  });

  it('goes from copying to switching to the new owners, one number at a time', () => {
    const ring = ringOf(3, 64);
    const copying = beginJoin(ring, memberOf(4));
    const switching = nextPhase(copying);
    const final = nextPhase(switching);
    expect([copying.number, switching.number, final.number]).toEqual([2, 3, 4]);
    expect([copying.change?.phase, switching.change?.phase, final.change]).toEqual([
      'copying',
      'switching',
      null,
    ]);
    expect(copying.owners).toBe(ring.owners);
    expect(final.members.map(({ number }) => number)).toEqual([1, 2, 3, 4]);
  });

  it('is undone while it is copying, and not any more when it is switching', () => {
    const ring = ringOf(3, 64);
    const copying = beginJoin(ring, memberOf(4));
    expect(undone(copying)).toEqual({ ...ring, number: 3 });
    expect(() => undone(nextPhase(copying))).toThrow('ring 3 is switching');
    expect(() => undone(ring)).toThrow('ring 1 has no change in progress');
  });

  it('leaves a member of weight 0 without vnodes, and refuses to leave nobody with any', () => {
    const ring = ringOf(3, 64);
    const drained = nextPhase(nextPhase(beginReweigh(ring, memberOf(2, { weight: 0 }))));
    expect(ownedBy(drained.members, drained.owners)[1]).toBe(0);
    const alone = firstRing(shapeOf(64), [memberOf(1)]);
    expect(() => beginReweigh(alone, memberOf(1, { weight: 0 }))).toThrow(
      'node 00000001 is the last with vnodes',
    );
  });

  it.each([
    [150, 1024],
    [150, 16_384],
    [1000, 1024],
    [1000, 16_384],
    [1000, 65_536],
  ])('keeps %i nodes on %i vnodes balanced when one joins and one leaves', (count, vnodes) => {
    const ring = ringOf(count, vnodes, 10);
    expectBalanced(ring.members, ring.owners);
    const joining = beginJoin(ring, memberOf(5000, { rack: 'rack-3' }));
    expectBalanced(joining.change?.members ?? [], joining.change?.owners ?? new Uint16Array(0));
    expect(ownerMoves(joining)).toBe(fewestMoves(ring, joining.change?.members ?? [], (number) => number));
    const leaving = beginLeave(ring, 17);
    expectBalanced(leaving.change?.members ?? [], leaving.change?.owners ?? new Uint16Array(0));
    expect(ownerMoves(leaving)).toBe(fewestMoves(ring, leaving.change?.members ?? [], (number) => number));
  });
});
