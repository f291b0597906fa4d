import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import type { NodeNumber } from '../../src/cluster/contract.ts';
import { beginLeave, nextPhase } from '../../src/cluster/ring-change.ts';
import { TopologyFact } from '../../src/cluster/topology-facts.ts';
import { TopologyLeaving } from '../../src/cluster/topology-leaving.ts';
import { testRing } from './coordinator-world.ts';

const LEAVER = 3;
const BEFORE = testRing([1, 2, 3, 4]);
const SWITCHING = { ...nextPhase(beginLeave(BEFORE, LEAVER)), number: 7 };

/** One node's view of who leaves. */
class Node {
  readonly clock = new ManualClock(0);
  readonly logged: string[] = [];
  readonly facts = new Map<string, string | number>();
  readonly down = new Set<NodeNumber>();
  handedOn: number | undefined;
  hintBytes = 0;
  marksLeft = 0;
  readonly leaving: TopologyLeaving;

  constructor(self: NodeNumber) {
    this.leaving = new TopologyLeaving(
      { self, clock: this.clock, log: (_, message) => void this.logged.push(message) },
      {
        isUp: (node) => !this.down.has(node),
        fact: (node, name) =>
          node === LEAVER && name === TopologyFact.HANDED_ON ? this.handedOn : undefined,
        setFact: (name, value) => void this.facts.set(name, value),
        hintBytes: () => this.hintBytes,
        marksLeft: () => this.marksLeft,
      },
    );
  }
  /** Time passes, and the node looks every second; whether the change may end then. */
  passes(ms: number, ring = SWITCHING): boolean {
    for (let passed = 0; passed < ms; passed += limits.topologyTickMs) {
      this.clock.advanceMs(limits.topologyTickMs);
      this.leaving.tell(ring);
    }
    return this.leaving.mayEnd(ring);
  }
}

describe('a change by which a node leaves', () => {
  it('says once for each ring that it waits no longer for what who leaves has, however often it is asked', () => {
    const { clock, leaving, logged } = new Node(1);
    for (const [round, number] of [7, 9].entries()) {
      const ring = { ...SWITCHING, number };
      expect(leaving.mayEnd(ring)).toBe(false);
      clock.advanceMs(limits.leaveHintsMsMax);
      for (let asked = 0; asked < 50; asked++) expect(leaving.mayEnd(ring)).toBe(true);
      expect(logged.length).toBe(round + 1);
    }
    expect(logged[0]).toContain('node 00000003 leaves with hints for others');
  });

  it('waits for one that is called down for a moment, each time anew, and for as long as it may be down', () => {
    const node = new Node(1);
    node.leaving.tell(SWITCHING);
    for (let times = 0; times < 3; times++) {
      node.down.add(LEAVER);
      expect(node.passes(limits.leaverDownMsMax - 2 * limits.topologyTickMs)).toBe(false);
      node.down.delete(LEAVER);
      expect(node.passes(limits.topologyTickMs)).toBe(false);
    }
    node.down.add(LEAVER);
    expect(node.passes(limits.leaverDownMsMax - limits.topologyTickMs)).toBe(false);
    expect(node.passes(2 * limits.topologyTickMs)).toBe(true);
    expect(node.logged).toEqual([]);
    node.down.delete(LEAVER);
    expect(node.passes(limits.topologyTickMs)).toBe(false);
    node.handedOn = SWITCHING.number;
    expect(node.leaving.mayEnd(SWITCHING)).toBe(true);
  });

  it('does not wait for one that was down long before it began', () => {
    const node = new Node(1);
    node.down.add(LEAVER);
    node.passes(limits.leaverDownMsMax + limits.topologyTickMs, BEFORE);
    expect(node.leaving.mayEnd(SWITCHING)).toBe(true);
  });

  it('is not held up by one that comes and goes for longer than by one that is there', () => {
    const node = new Node(1);
    let mayEnd = node.leaving.mayEnd(SWITCHING);
    for (let ms = 0; ms < limits.leaveHintsMsMax; ms += 20_000) {
      expect(mayEnd).toBe(false);
      if (node.down.has(LEAVER)) node.down.delete(LEAVER);
      else node.down.add(LEAVER);
      mayEnd = node.passes(20_000);
    }
    expect(mayEnd).toBe(true);
  });
});

describe('a node that leaves', () => {
  it('tells that it has handed all on when it has neither hints nor vnodes to be repaired, under a ring that is switching', () => {
    const node = new Node(LEAVER);
    const copying = { ...beginLeave(BEFORE, LEAVER), number: 6 };
    const isTold = (ring = SWITCHING): boolean => {
      node.leaving.tell(ring);
      return node.facts.get(TopologyFact.HANDED_ON) === ring.number;
    };
    expect(isTold(copying)).toBe(false);
    node.hintBytes = 1;
    expect(isTold()).toBe(false);
    node.marksLeft = 1;
    node.hintBytes = 0;
    expect(isTold()).toBe(false);
    node.marksLeft = 0;
    expect(isTold()).toBe(true);
  });
});
