import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import type { NodeNumber } from '../../src/cluster/contract.ts';
import type { HintBlock } from '../../src/cluster/hint-delivery.ts';
import { beginLeave, nextPhase } from '../../src/cluster/ring-change.ts';
import { TopologyFact } from '../../src/cluster/topology-facts.ts';
import { blockOfText, TopologyLeaving } from '../../src/cluster/topology-leaving.ts';
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
  hintBlock: HintBlock | null = null;
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
        hintBlock: () => this.hintBlock,
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

  it('tells how much is left of the most that it had, and begins anew with another change', () => {
    const node = new Node(LEAVER);
    const { LEAVE_HINTS, LEAVE_HINTS_MOST, LEAVE_MARKS, LEAVE_MARKS_MOST } = TopologyFact;
    const told = (bytes: number, marks: number, ring = SWITCHING): unknown[] => {
      node.hintBytes = bytes;
      node.marksLeft = marks;
      node.leaving.tell(ring);
      return [LEAVE_HINTS, LEAVE_HINTS_MOST, LEAVE_MARKS, LEAVE_MARKS_MOST].map((name) =>
        node.facts.get(name),
      );
    };
    expect(told(100, 3)).toEqual([100, 100, 3, 3]);
    // What hints leave behind is marked.
    expect(told(40, 7)).toEqual([40, 100, 7, 7]);
    expect(told(0, 2)).toEqual([0, 100, 2, 7]);
    told(9, 9, BEFORE);
    expect(told(5, 1)).toEqual([5, 5, 1, 1]);
  });

  it('tells what its hints wait for, and not any more when they wait for nothing', () => {
    const node = new Node(LEAVER);
    const told = (hintBlock: HintBlock | null): HintBlock | null => {
      node.hintBlock = hintBlock;
      node.leaving.tell(SWITCHING);
      return blockOfText(node.facts.get(TopologyFact.LEAVE_BLOCK));
    };
    const block = { vnode: 65_535, down: [1, 0xfedc_ba98] };
    expect(told(block)).toEqual(block);
    expect(told(null)).toBeNull();
    for (const strange of [undefined, 7, 'x', '1 2', '1 0000000g', '123456', ' 00000001'])
      expect(blockOfText(strange)).toBeNull();
  });
});
