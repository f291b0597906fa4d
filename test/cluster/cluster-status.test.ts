/** What a node says of its cluster: made of the ring, of what gossip tells of other nodes, and of what it does itself. */
import { describe, expect, it } from 'vitest';
import { deadlineIn, ManualClock } from '../../src/base/clock.ts';
import type { ClusterStatus, NodeStatus } from '../../src/cluster/administration.ts';
import { ClusterAnswers } from '../../src/cluster/cluster-answers.ts';
import type { ClusterNode } from '../../src/cluster/cluster-node.ts';
import { NodeFact } from '../../src/cluster/cluster-node-options.ts';
import type { NodeNumber } from '../../src/cluster/contract.ts';
import { beginJoin, beginLeave, beginReplace, nextPhase } from '../../src/cluster/ring-change.ts';
import { gains, replicasOf } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import { TopologyFact } from '../../src/cluster/topology-facts.ts';
import { testMember, testRing } from './coordinator-world.ts';

type Facts = Readonly<Record<string, string | number>>;
const SELF = 1;
const BEFORE = { ...testRing([1, 2, 3, 4]), number: 5 };
const JOINING = { ...beginJoin(BEFORE, testMember(7)), number: 6 };
const clock = new ManualClock(1_700_000_000_000);
const IDLE = { running: false, waiting: 0, done: 0, lastEndMs: 0, vnodes: [] as number[] };

interface Node {
  readonly ring: RingMap;
  /** Of nodes that gossip knows. */
  readonly facts?: Readonly<Record<number, Facts>>;
  readonly down?: readonly NodeNumber[];
  readonly standing?: string;
  readonly repairs?: Partial<typeof IDLE>;
  readonly hintBytes?: ReadonlyMap<NodeNumber, number>;
}

async function statusOf({
  ring,
  facts = {},
  down = [],
  standing = 'member',
  repairs = {},
  hintBytes = new Map(),
}: Node): Promise<ClusterStatus> {
  const numbers = Object.keys(facts).map(Number);
  const { vnodes, ...counts } = { ...IDLE, ...repairs };
  const node = {
    ring,
    standing,
    hintBytes,
    // From the last to the first: nothing is said of their order.
    members: () => numbers.map((number) => ({ number })).reverse(),
    membership: {
      isUp: (number: NodeNumber) => !down.includes(number),
      member: (number: NodeNumber) =>
        facts[number] === undefined
          ? undefined
          : {
              number,
              address: `told-${number}:1`,
              liveness: down.includes(number) ? 'down' : 'up',
              facts: new Map(Object.entries(facts[number])),
            },
    },
    repairs: {
      ...counts,
      vnodes: () => vnodes,
      statistics: { recordsSent: 11, recordsReceived: 12, resurrections: 13 },
    },
    topology: { status: () => ({ refusal: 'node d is down' }) },
  };
  const answers = new ClusterAnswers(node as unknown as ClusterNode, testMember(SELF), clock, () =>
    Promise.reject(new Error('nobody joins')),
  );
  return (await answers.answer({ ask: 'status' }, deadlineIn(clock, 5000))) as ClusterStatus;
}
const nodeIn = ({ nodes }: ClusterStatus, number: NodeNumber): NodeStatus | undefined =>
  nodes.find(({ nodeId }) => nodeId === testMember(number).nodeId);
const holding = (ring: RingMap, over: Readonly<Record<number, Facts>> = {}): Record<number, Facts> =>
  Object.fromEntries(
    [...new Set([...ring.members, ...(ring.change?.members ?? [])].map(({ number }) => number))].map(
      (number) => [number, { [TopologyFact.RING]: ring.number, ...over[number] }],
    ),
  );

describe('what a node says of its cluster', () => {
  it('is the ring, and of each member what it owns and holds', async () => {
    const status = await statusOf({ ring: BEFORE, facts: holding(BEFORE), hintBytes: new Map([[2, 9]]) });
    expect(status).toMatchObject({ ring: 5, vnodes: BEFORE.vnodes, replicas: 3, change: null, refusal: '' });
    expect(status.nodes.map(({ nodeId }) => nodeId)).toEqual([1, 2, 3, 4].map((n) => testMember(n).nodeId));
    const all = Array.from({ length: BEFORE.vnodes }, (_, vnode) => replicasOf(BEFORE, vnode));
    for (const number of [1, 2, 3, 4])
      expect(nodeIn(status, number)).toMatchObject({
        vnodes: all.filter(([owner]) => owner === number).length,
        replicas: all.filter((nodes) => nodes.includes(number)).length,
        hintBytes: number === 2 ? 9 : 0,
        member: true,
        gains: 0,
      });
  });

  it('tells of nodes that are no members what they tell of themselves', async () => {
    const told = {
      [NodeFact.ID]: testMember(9).nodeId,
      [NodeFact.RACK]: 'a',
      [NodeFact.ZONE]: 'z',
      [NodeFact.WEIGHT]: 2,
      [NodeFact.URL]: 'http://h:1',
    };
    // Those of a ring need not be in order.
    const ring = { ...testRing([12, 2, 3]), number: 5 };
    const status = await statusOf({ ring, facts: { 9: told, ...holding(ring) } });
    expect(status.nodes.map(({ nodeId }) => nodeId)).toEqual([2, 3, 9, 12].map((n) => testMember(n).nodeId));
    expect(nodeIn(status, 9)).toMatchObject({
      member: false,
      address: 'told-9:1',
      rack: 'z/a',
      weight: 2,
      url: 'http://h:1',
      state: 'up',
      ring: 0,
    });
  });

  it('tells who is down, drains, or is not known yet; the node itself is up', async () => {
    const facts = holding(BEFORE, { 3: { [NodeFact.DRAINING]: 1 } });
    delete facts[4];
    const status = await statusOf({ ring: BEFORE, facts, down: [1, 2] });
    expect(status.nodes.map(({ state }) => state)).toEqual(['up', 'down', 'draining', 'unknown']);
  });

  it('has a refusal only while the node waits for its cluster to take it', async () => {
    expect((await statusOf({ ring: BEFORE, standing: 'waiting' })).refusal).toBe('node d is down');
    expect((await statusOf({ ring: BEFORE, standing: 'left' })).refusal).toBe('');
  });

  it('tells of repairs how far they are, and what they wait for', async () => {
    const repairs = { running: true, waiting: 4, done: 5, lastEndMs: 6, vnodes: [0] };
    const [down] = replicasOf(BEFORE, 0) as [NodeNumber];
    const { repair } = await statusOf({ ring: BEFORE, facts: holding(BEFORE), repairs, down: [down] });
    expect(repair).toEqual({
      running: true,
      vnodesWaiting: 4,
      vnodesDone: 5,
      recordsSent: 11,
      recordsReceived: 12,
      resurrections: 13,
      lastEndMs: 6,
      waitsFor: [`1 vnodes wait for replicas that are down: ${testMember(down).nodeId} (down)`],
    });
  });
});

describe('what a node says of a change of the ring', () => {
  const gained = gains(JOINING, 7).length;
  const pulled = (ring: number, vnodes: number): Facts => ({
    [TopologyFact.RING]: ring,
    [TopologyFact.PULLED_VNODES]: vnodes,
    [TopologyFact.PULLED_BYTES]: 1000,
  });

  it('is how much each node has of what it gains, as far as it tells it of this ring', async () => {
    expect(gained).toBeGreaterThan(2);
    for (const [told, has, bytes] of [
      [pulled(JOINING.number, 2), 2, 1000],
      [pulled(JOINING.number, gained + 5), gained, 1000],
      [pulled(JOINING.number - 1, 2), 0, 0],
    ] as const) {
      const status = await statusOf({ ring: JOINING, facts: holding(JOINING, { 7: told }) });
      expect(nodeIn(status, 7)).toMatchObject({
        gains: gained,
        gained: has,
        gainedBytes: bytes,
        member: true,
      });
      expect(nodeIn(status, 1)).toMatchObject({ gains: gains(JOINING, 1).length });
    }
    const switching = { ...nextPhase(JOINING), number: 7 };
    const status = await statusOf({ ring: switching, facts: holding(switching) });
    expect(nodeIn(status, 7)).toMatchObject({ gains: gained, gained });
  });

  it('lists who joins, known to gossip or not, and names who is changed, by whom, and what is waited for', async () => {
    const joining = await statusOf({ ring: JOINING });
    expect(nodeIn(joining, 7)).toMatchObject({ address: testMember(7).address, state: 'unknown' });
    expect(joining.change).toMatchObject({
      kind: 'join',
      node: testMember(7).nodeId,
      by: '',
      phase: 'copying',
    });
    const replacing = { ...beginReplace(BEFORE, 2, testMember(7)), number: 6 };
    const status = await statusOf({ ring: replacing, facts: holding(replacing), down: [7] });
    expect(status.change).toEqual({
      kind: 'replace',
      node: testMember(2).nodeId,
      by: testMember(7).nodeId,
      phase: 'copying',
      waitsFor: [`node ${testMember(7).nodeId}, which takes over vnodes, is down`],
    });
  });

  it('is what a node that leaves has to hand on, of which no other tells anything', async () => {
    const ring = { ...beginLeave(BEFORE, 3), number: 6 };
    const left = {
      [TopologyFact.LEAVE_HINTS]: 1,
      [TopologyFact.LEAVE_HINTS_MOST]: 2,
      [TopologyFact.LEAVE_MARKS]: 3,
      [TopologyFact.LEAVE_MARKS_MOST]: 4,
    };
    const status = await statusOf({ ring, facts: holding(ring, { 2: left, 3: left }) });
    const figures = (leaveHintBytes: number, most: number, leaveMarks: number, leaveMarksMost: number) => ({
      leaveHintBytes,
      leaveHintBytesMost: most,
      leaveMarks,
      leaveMarksMost,
    });
    expect(nodeIn(status, 3)).toMatchObject(figures(1, 2, 3, 4));
    // Of a change that was undone.
    expect(nodeIn(status, 2)).toMatchObject(figures(0, 0, 0, 0));
  });
});
