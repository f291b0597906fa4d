import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { changeWaits, repairWaits, type WaitsView } from '../../src/cluster/change-waits.ts';
import type { NodeNumber } from '../../src/cluster/contract.ts';
import { beginJoin, beginLeave, nextPhase } from '../../src/cluster/ring-change.ts';
import { comingReplicasOf, type Gain, gains, replicasOf } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { TopologyFact } from '../../src/cluster/topology-facts.ts';
import { textOfBlock } from '../../src/cluster/topology-leaving.ts';
import { testMember, testRing } from './coordinator-world.ts';

const LEAVER = 3;
const NODES = [1, 2, 3, 4, 5, 6];
const BEFORE = testRing(NODES);
const LEAVING = { ...beginLeave(BEFORE, LEAVER), number: 6 };
const SWITCHING = { ...nextPhase(LEAVING), number: 7 };
const JOINING = { ...beginJoin(BEFORE, testMember(7)), number: 6 };

/** A ring that all hold, and who of them is down. */
class View {
  readonly down = new Set<NodeNumber>();
  readonly facts = new Map<string, string | number>();
  readonly ring: RingMap;
  constructor(ring: RingMap) {
    this.ring = ring;
    this.view = {
      ring,
      isUp: (node) => !this.down.has(node),
      fact: (node, name) => this.facts.get(`${node} ${name}`),
      idOf: (node) => `n${node}`,
    };
    for (const node of [...NODES, 7]) this.tell(node, TopologyFact.RING, ring.number);
  }
  tell(node: NodeNumber, name: string, value: string | number): void {
    this.facts.set(`${node} ${name}`, value);
  }
  readonly view: WaitsView;
  waits(): string[] {
    return changeWaits(this.view);
  }
}

describe('what a change of the ring waits for', () => {
  it('is nothing where there is none, and where it goes on', () => {
    for (const ring of [BEFORE, LEAVING, SWITCHING, JOINING]) expect(new View(ring).waits()).toEqual([]);
  });

  it('is named: votes, and nodes that do not hold the ring yet', () => {
    const view = new View(BEFORE);
    for (const ring of [LEAVING, SWITCHING]) {
      const some = new View(ring);
      for (const node of [1, 2, 4]) some.tell(node, TopologyFact.RING, ring.number - 1);
      some.down.add(2);
      expect(some.waits()).toEqual([
        `more nodes have to hold ring ${ring.number}; missing: n1, n2 (down), n4`,
      ]);
      for (const node of [1, 2, 4]) some.tell(node, TopologyFact.RING, ring.number);
      for (const node of [4, 5]) some.down.add(node);
      expect(some.waits()).toContain('its next step needs the votes of 4 of 6 members, and 3 are up');
    }
    view.down.add(1);
    expect(view.waits()).toEqual([]);
  });

  it('is named: nodes that come, where they do not hold the ring yet, and no node that holds a later one', () => {
    const joining = new View(JOINING);
    for (const node of NODES) joining.tell(node, TopologyFact.RING, JOINING.number + 1);
    expect(joining.waits()).toEqual([]);
    const [{ vnode }] = gains(JOINING, 7) as [Gain];
    const [other] = comingReplicasOf(JOINING, vnode).filter((node) => node !== 7) as [NodeNumber];
    for (const node of [7, other]) joining.tell(node, TopologyFact.RING, JOINING.number - 1);
    expect(joining.waits()).toEqual([
      `more nodes have to hold ring ${JOINING.number}; missing: n${other}, n7`,
    ]);
    // Enough of all present replicas hold it, and too few of those to come: 2 and 5 never meet before 3 has left.
    const leaving = new View(LEAVING);
    for (const node of [2, 5]) leaving.tell(node, TopologyFact.RING, LEAVING.number - 1);
    expect(leaving.waits()).toEqual([`more nodes have to hold ring ${LEAVING.number}; missing: n2, n5`]);
  });

  it('is no node that takes over vnodes and is down, once all have been copied', () => {
    const view = new View(SWITCHING);
    const taker = NODES.find((node) => gains(SWITCHING, node).length > 0) as NodeNumber;
    view.down.add(taker);
    expect(view.waits()).toEqual([]);
  });

  it('names so many nodes, and says of more how many they are', () => {
    const many = Array.from({ length: 12 }, (_, i) => i + 1);
    const ring = { ...beginLeave(testRing(many), 12), number: 6 };
    const view = new View(ring);
    for (const node of many) view.tell(node, TopologyFact.RING, node <= 9 ? 5 : 6);
    expect(view.waits()[0]).toMatch(/missing: n1, n2, n3, n4, n5, n6, n7, n8 and 1 more$/);
    view.tell(9, TopologyFact.RING, 6);
    expect(view.waits()[0]).toMatch(/missing: n1, n2, n3, n4, n5, n6, n7, n8$/);
  });

  it('is named: a node that takes over vnodes and is down, or finds too few of the replicas up', () => {
    const view = new View(JOINING);
    view.down.add(7);
    expect(view.waits()).toEqual(['node n7, which takes over vnodes, is down']);
    view.down.clear();
    const [{ vnode, sources }] = gains(JOINING, 7) as [Gain];
    for (const node of sources.slice(0, 2)) view.down.add(node);
    const waits = view.waits();
    expect(waits.length).toBe(1);
    expect(waits[0]).toBe(
      `node n7 cannot take over vnode ${vnode}: too few of its replicas are up: ${sources
        .slice(0, 2)
        .map((node) => `n${node} (down)`)
        .join(', ')}`,
    );
    // What it did for an earlier ring is not this.
    view.tell(7, TopologyFact.PULLED, JOINING.number - 1);
    expect(view.waits()).toEqual(waits);
    // It has done it, whoever is down now.
    view.tell(7, TopologyFact.PULLED, JOINING.number);
    expect(view.waits()).toEqual([]);
  });

  it('is named: a node that leaves and is down, or what its hints wait for', () => {
    for (const ring of [LEAVING, SWITCHING]) {
      const view = new View(ring);
      for (const node of NODES) view.tell(node, TopologyFact.PULLED, ring.number);
      view.tell(LEAVER, TopologyFact.LEAVE_BLOCK, textOfBlock({ vnode: 9, down: [5, 6] }));
      for (const node of [5, 6]) view.down.add(node);
      expect(view.waits()).toEqual([
        'node n3 has hints of vnode 9 that no other node takes, and too few replicas of it are up: n5 (down), n6 (down)',
      ]);
      const waits = view.waits();
      view.tell(LEAVER, TopologyFact.HANDED_ON, ring.number - 1);
      expect(view.waits()).toEqual(waits);
      view.tell(LEAVER, TopologyFact.HANDED_ON, ring.number);
      expect(view.waits()).toEqual([]);
    }
    const copying = new View(LEAVING);
    copying.down.add(LEAVER);
    expect(copying.waits()).toEqual([]);
    const view = new View(SWITCHING);
    view.down.add(LEAVER);
    expect(view.waits()).toEqual([
      `node n3 leaves and is down: it is waited for until it has been down for ${limits.leaverDownMsMax} ms`,
    ]);
  });
});

describe('what repairs wait for', () => {
  it('are replicas that are down, of vnodes that wait', () => {
    const view = new View(BEFORE);
    const all = Array.from({ length: BEFORE.vnodes }, (_, vnode) => vnode);
    expect(repairWaits(view.view, all)).toEqual([]);
    view.down.add(4);
    const of4 = all.filter((vnode) => replicasOf(BEFORE, vnode).includes(4));
    expect(repairWaits(view.view, [...all, BEFORE.vnodes])).toEqual([
      `${of4.length} vnodes wait for replicas that are down: n4 (down)`,
    ]);
    const others = all.filter((vnode) => !of4.includes(vnode));
    expect(repairWaits(view.view, others)).toEqual([]);
  });

  it('are replicas of now and those to come, and each vnode counts once, however many of its replicas are down', () => {
    const view = new View(JOINING);
    const [gained] = gains(JOINING, 7) as [Gain];
    for (const node of [7, ...gained.sources.slice(0, 2)]) view.down.add(node);
    const [first, second] = gained.sources;
    expect(repairWaits(view.view, [gained.vnode])).toEqual([
      `1 vnodes wait for replicas that are down: n${first} (down), n${second} (down), n7 (down)`,
    ]);
  });
});
