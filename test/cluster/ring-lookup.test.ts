import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { beginJoin, beginLeave, beginReplace, firstRing, nextPhase } from '../../src/cluster/ring-change.ts';
import {
  comingReplicasOf,
  confirmedEverywhere,
  gainers,
  gains,
  readReplicas,
  replicasOf,
  standIns,
  writeGroups,
} from '../../src/cluster/ring-lookup.ts';
import type { RingMap, RingMember } from '../../src/cluster/ring-map.ts';
import { testSeed } from '../seed.ts';
import { memberOf, ringOf, shapeOf } from './ring-fixtures.ts';

function places(ring: RingMap, nodes: readonly number[], place: (member: RingMember) => string): Set<string> {
  return new Set(
    nodes.map((node) => place(ring.members.find(({ number }) => number === node) as RingMember)),
  );
}
const rackOf = ({ zone, rack }: RingMember): string => `${zone}/${rack}`;

describe('the replicas of a vnode', () => {
  it('are the owner and then nodes clockwise, distinct, in as many zones and racks as there are', () => {
    const seed = testSeed();
    console.log(`replica spread: seed ${seed}`);
    const random = new Random(seed);
    for (let run = 0; run < 60; run++) {
      const zones = random.between(1, 3);
      const racks = random.between(1, 5);
      const members = Array.from({ length: random.between(1, 30) }, (_, i) =>
        memberOf(i + 1, {
          zone: `z${random.below(zones)}`,
          rack: `r${random.below(racks)}`,
          weight: random.between(1, 3),
        }),
      );
      const ring = firstRing(shapeOf(256, random.between(1, 5)), members);
      const wanted = Math.min(ring.replicas, members.length);
      const racksThere = new Set(members.map(rackOf)).size;
      const zonesThere = new Set(members.map(({ zone }) => zone)).size;
      for (let vnode = 0; vnode < ring.vnodes; vnode++) {
        const nodes = replicasOf(ring, vnode);
        expect(nodes[0]).toBe(members[ring.owners[vnode] as number]?.number);
        expect(new Set(nodes).size).toBe(wanted);
        expect(places(ring, nodes, rackOf).size).toBe(Math.min(wanted, racksThere));
        expect(places(ring, nodes, ({ zone }) => zone).size).toBe(Math.min(wanted, zonesThere));
      }
    }
  });

  it.each([
    [150, 16_384, 3, 12],
    [1000, 16_384, 3, 40],
    [1000, 4096, 2, 7],
  ])(
    'lie in distinct zones and racks among %i nodes on %i vnodes, %i zones and %i racks, whoever joins or leaves',
    (count, vnodes, zones, racks) => {
      const seed = testSeed();
      console.log(`replica spread among ${count}: seed ${seed}`);
      const random = new Random(seed);
      const somewhere = (number: number): RingMember => {
        const rack = random.below(racks);
        return memberOf(number, {
          zone: `z${rack % zones}`,
          rack: `r${rack}`,
          weight: random.pick([0.5, 1, 1, 2]),
        });
      };
      const members = Array.from({ length: count }, (_, i) => somewhere(i + 1));
      const ring = firstRing(shapeOf(vnodes, zones + 1), members);
      const rings = [ring];
      const wanted = [zones + 1, zones + 1, zones];
      for (const begun of [beginJoin(ring, somewhere(count + 1)), beginLeave(ring, random.between(1, count))])
        rings.push(nextPhase(nextPhase(begun)));
      for (const one of rings) {
        const byNumber = new Map(one.members.map((member) => [member.number, member]));
        for (let vnode = 0; vnode < vnodes; vnode++) {
          const nodes = replicasOf(one, vnode).map((number) => byNumber.get(number) as RingMember);
          const found = [new Set(nodes).size, new Set(nodes.map(rackOf)).size];
          found.push(new Set(nodes.map(({ zone }) => zone)).size);
          if (found.some((size, i) => size !== wanted[i]))
            expect(found, `vnode ${vnode} of ring ${one.number}`).toEqual(wanted);
        }
      }
    },
  );

  it('take the next neighbour that fits', () => {
    const members = [1, 2, 3, 4].map((number) => memberOf(number, { rack: number < 3 ? 'a' : `b${number}` }));
    const ring: RingMap = {
      ...ringOf(1, 4),
      members,
      owners: Uint16Array.of(0, 1, 2, 3),
    };
    expect(replicasOf(ring, 0)).toEqual([1, 3, 4]);
    expect(replicasOf(ring, 1)).toEqual([2, 3, 4]);
    expect(replicasOf(ring, 2)).toEqual([3, 4, 1]);
    expect(standIns(ring, 0)).toEqual([2]);
    expect(standIns(ring, 2)).toEqual([2]);
  });

  it('leave out members that own nothing', () => {
    const ring = firstRing(shapeOf(64), [memberOf(1), memberOf(2, { weight: 0 }), memberOf(3)]);
    for (let vnode = 0; vnode < 64; vnode++) expect([...replicasOf(ring, vnode)].sort()).toEqual([1, 3]);
  });

  it('are worked out once: a second look gives the same list', () => {
    const ring = beginJoin(ringOf(5, 64), memberOf(6));
    expect(replicasOf(ring, 7)).toBe(replicasOf(ring, 7));
    expect(writeGroups(ring, 7)).toBe(writeGroups(ring, 7));
    expect(standIns(ring, 7)).toBe(standIns(ring, 7));
    expect(readReplicas(ring, 7)).toBe(readReplicas(ring, 7));
  });

  it('spread evenly: each node holds replicas in proportion, beside many others', () => {
    for (const [count, vnodes, racks] of [
      [30, 4096, 3],
      [150, 16_384, 10],
    ] as const) {
      const ring = ringOf(count, vnodes, racks);
      const held = new Map<number, number>();
      const partners = new Map<number, Set<number>>();
      for (let vnode = 0; vnode < vnodes; vnode++)
        for (const node of replicasOf(ring, vnode)) {
          held.set(node, (held.get(node) ?? 0) + 1);
          const known = partners.get(node) ?? new Set();
          for (const other of replicasOf(ring, vnode)) known.add(other);
          partners.set(node, known);
        }
      const mean = (vnodes * 3) / count;
      for (const copies of held.values()) expect(Math.abs(copies - mean) / mean).toBeLessThan(0.1);
      const others = count - count / racks;
      for (const known of partners.values()) expect(known.size - 1).toBeGreaterThan(others * 0.85);
    }
  });
});

describe('stand-ins', () => {
  it('are the other nodes, never a home of either group, and bounded', () => {
    const ring = beginJoin(ringOf(40, 256), memberOf(99));
    for (let vnode = 0; vnode < 256; vnode++) {
      const found = standIns(ring, vnode);
      expect(found.length).toBe(limits.standInsMax);
      expect(new Set(found).size).toBe(found.length);
      for (const node of writeGroups(ring, vnode).flat()) expect(found).not.toContain(node);
    }
    expect(standIns(ringOf(3, 64), 5)).toEqual([]);
    expect(standIns(ringOf(5, 64), 5).length).toBe(2);
  });
});

describe('during a change', () => {
  it('reads ask the old replicas while copying and the new ones while switching; writes go to both', () => {
    const ring = ringOf(4, 64);
    const copying = beginLeave(ring, 2);
    const switching = nextPhase(copying);
    let differing = 0;
    for (let vnode = 0; vnode < 64; vnode++) {
      const old = replicasOf(ring, vnode);
      const coming = comingReplicasOf(copying, vnode);
      expect(readReplicas(copying, vnode)).toEqual(old);
      expect(readReplicas(switching, vnode)).toEqual(coming);
      const same = [...old].sort().join() === [...coming].sort().join();
      if (!same) differing++;
      expect(writeGroups(copying, vnode)).toEqual(same ? [old] : [old, coming]);
    }
    expect(differing).toBeGreaterThan(0);
  });

  it('gains are what a node holds in the map to come and not in the present one', () => {
    const ring = beginReplace(ringOf(5, 128), 4, memberOf(9, { rack: 'rack-0' }));
    const held = Array.from({ length: 128 }, (_, vnode) => vnode).filter((vnode) =>
      replicasOf(ring, vnode).includes(4),
    );
    expect(gains(ring, 9).map(({ vnode }) => vnode)).toEqual(held);
    expect(gains(ring, 9)[0]?.sources).toEqual(replicasOf(ring, held[0] as number));
    expect(gainers(ring)).toEqual([9]);
    expect(gains(ring, 4)).toEqual([]);
    expect(gains(ringOf(5, 128), 1)).toEqual([]);
  });

  it('a quorum must confirm among the old and among the new replicas of every vnode', () => {
    const ring = beginReplace(ringOf(3, 64), 3, memberOf(4));
    const held =
      (...nodes: number[]): ((node: number) => boolean) =>
      (node) =>
        nodes.includes(node);
    expect(confirmedEverywhere(ring, false, held(1, 2))).toBe(true);
    expect(confirmedEverywhere(ring, false, held(1, 3))).toBe(false);
    expect(confirmedEverywhere(ring, false, held(1, 4))).toBe(false);
    expect(confirmedEverywhere(ring, false, held(1, 3, 4))).toBe(true);
    expect(confirmedEverywhere(ring, true, held(1, 3))).toBe(true);
  });
});
