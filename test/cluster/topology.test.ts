import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { replicasOf } from '../../src/cluster/ring-lookup.ts';
import type { RingMap } from '../../src/cluster/ring-map.ts';
import type { TopologyOperation } from '../../src/cluster/ring-messages.ts';
import { memberOf, shapeOf } from './ring-fixtures.ts';
import { RingNetwork } from './ring-network.ts';

const SEEDS = [memberOf(1).address];

async function clusterOf(count: number, vnodes = 16, seed = 7): Promise<RingNetwork> {
  const network = new RingNetwork(seed, shapeOf(vnodes));
  network.add(memberOf(1));
  for (let number = 2; number <= count; number++) network.add(memberOf(number), SEEDS);
  expect(await network.run(120_000, () => settled(network, count))).toBe(true);
  return network;
}
/** All nodes that live hold one ring without a change, of `count` members. */
function settled(network: RingNetwork, count: number): boolean {
  const rings = [...network.nodes.values()].flatMap(({ topology }) =>
    topology === null ? [] : [topology.ring],
  );
  return rings.every(
    (ring) =>
      ring !== null &&
      ring.change === null &&
      ring.members.length === count &&
      ring.number === rings[0]?.number,
  );
}
function topologyOf(network: RingNetwork, number: number) {
  const { topology } = network.node(number);
  if (topology === null) throw new Error(`node ${number} is down`);
  return topology;
}
/** Asks a node for a change while the network runs. */
async function request(
  network: RingNetwork,
  at: number,
  operation: TopologyOperation,
): Promise<readonly string[]> {
  let ended = false;
  const asked = topologyOf(network, at)
    .request(operation)
    .finally(() => {
      ended = true;
    });
  asked.catch(() => undefined);
  await network.run(120_000, () => ended);
  return asked;
}
const numbersOf = (ring: RingMap | null | undefined): number[] =>
  (ring?.members ?? []).map(({ number }) => number).sort((a, b) => a - b);

describe('the topology', () => {
  it('starts with one node, and nodes with seeds join it one after another', async () => {
    const network = await clusterOf(5);
    expect(numbersOf(topologyOf(network, 3).ring)).toEqual([1, 2, 3, 4, 5]);
    expect(topologyOf(network, 4).standing).toBe('member');
    expect(network.violations).toEqual([]);
  });

  it('takes in the next of nodes that were started together soon after the one before', async () => {
    const network = new RingNetwork(11, shapeOf(16));
    network.add(memberOf(1));
    for (let number = 2; number <= 6; number++) network.add(memberOf(number), SEEDS);
    const ring = () => topologyOf(network, 1).ring;
    const hasTaken = (count: number): boolean => ring()?.change === null && ring()?.members.length === count;
    expect(await network.run(60_000, () => hasTaken(2))).toBe(true);
    for (let members = 2; members < 6; members++) {
      const endedMs = network.nowMs;
      expect(await network.run(60_000, () => ring()?.change !== null)).toBe(true);
      // The pauses between requests have grown beyond this meanwhile.
      expect(network.nowMs - endedMs).toBeLessThan(2 * limits.joinRetryMsMin);
      const begunMs = network.nowMs;
      expect(await network.run(60_000, () => hasTaken(members + 1))).toBe(true);
      // Two steps, each as soon as gossip told that it may be taken, not at the ticks after that.
      expect(network.nowMs - begunMs).toBeLessThan(2 * limits.topologyTickMs);
    }
    expect(network.violations).toEqual([]);
  });

  it('lets a member leave; it is removed then, also after a restart, and asks for nothing', async () => {
    const network = await clusterOf(4);
    expect(await request(network, 1, { op: 'leave', node: 3 })).toEqual([]);
    expect(await network.run(60_000, () => settled(network, 3))).toBe(true);
    expect(topologyOf(network, 3).standing).toBe('removed');
    network.crash(3);
    network.restart(3);
    await network.run(120_000);
    expect(topologyOf(network, 3).standing).toBe('removed');
    expect(numbersOf(topologyOf(network, 1).ring)).toEqual([1, 2, 4]);
    expect(network.violations).toEqual([]);
  });

  it('lets a member go when it keeps no hints for others any more', async () => {
    const network = await clusterOf(4);
    network.node(3).hintBytes = 500;
    await request(network, 1, { op: 'leave', node: 3 });
    await network.run(60_000);
    expect(topologyOf(network, 1).ring?.change?.phase).toBe('switching');
    network.crash(1);
    await network.run(60_000);
    expect(topologyOf(network, 2).ring?.change?.phase).toBe('switching');
    network.restart(1);
    network.node(3).hintBytes = 0;
    expect(await network.run(20_000, () => settled(network, 3))).toBe(true);
    expect(network.violations).toEqual([]);
  });

  it('waits neither for a member that is down nor for ever until one that leaves keeps no hints', async () => {
    for (const isDown of [true, false]) {
      const network = await clusterOf(4);
      network.node(3).hintBytes = 500;
      await request(network, 1, { op: 'leave', node: 3 });
      expect(
        await network.run(60_000, () => topologyOf(network, 1).ring?.change?.phase === 'switching'),
      ).toBe(true);
      const begunMs = network.nowMs;
      if (isDown) network.crash(3);
      expect(await network.run(2 * limits.leaveHintsMsMax, () => settled(network, 3))).toBe(true);
      const tookMs = network.nowMs - begunMs;
      expect(network.violations).toEqual([]);
      if (isDown) expect(tookMs).toBeLessThan(60_000);
      else {
        expect(tookMs).toBeGreaterThan(limits.leaveHintsMsMax / 2);
        expect(network.node(1).logged.join('\n')).toContain('node 00000003 leaves with hints for others');
      }
    }
  });

  it('replaces a dead node, and refuses to replace one that is up', async () => {
    const network = await clusterOf(3);
    await expect(request(network, 1, { op: 'replace', node: 2, member: memberOf(9) })).rejects.toThrow(
      'node 00000002 is up',
    );
    network.crash(2);
    network.add(memberOf(9), SEEDS, 2);
    expect(
      await network.run(120_000, () => settled(network, 3) && topologyOf(network, 9).standing === 'member'),
    ).toBe(true);
    expect(numbersOf(topologyOf(network, 1).ring)).toEqual([1, 3, 9]);
    network.restart(2);
    expect(await network.run(60_000, () => topologyOf(network, 2).standing === 'removed')).toBe(true);
    expect(network.violations).toEqual([]);
  });

  it('weighs a member anew, moves its rack, and drains it', async () => {
    const network = await clusterOf(4);
    await request(network, 2, { op: 'reweigh', member: memberOf(4, { weight: 2, rack: 'other' }) });
    expect(await network.run(60_000, () => settled(network, 4))).toBe(true);
    expect(topologyOf(network, 1).ring?.members.find(({ number }) => number === 4)).toMatchObject({
      weight: 2,
      rack: 'other',
    });
    expect(await request(network, 4, { op: 'drain', node: 1 })).toEqual([]);
    expect(await network.run(60_000, () => settled(network, 4))).toBe(true);
    const ring = topologyOf(network, 1).ring;
    expect(ring?.members[ring.members.findIndex(({ number }) => number === 1)]?.weight).toBe(0);
    expect(network.violations).toEqual([]);
  });

  it('undoes a change while it is copying, though the node that was to come is dead', async () => {
    const network = await clusterOf(3);
    network.faults.pullFailure = 1;
    network.add(memberOf(8), SEEDS);
    expect(await network.run(60_000, () => topologyOf(network, 1).ring?.change != null)).toBe(true);
    await network.run(3000);
    network.crash(8);
    await request(network, 2, { op: 'undo' });
    expect(await network.run(30_000, () => settled(network, 3))).toBe(true);
    network.restart(8);
    network.faults.pullFailure = 0;
    await network.run(60_000);
    expect(topologyOf(network, 8).standing).toBe('waiting');
    expect(numbersOf(topologyOf(network, 1).ring)).toEqual([1, 2, 3]);
    expect(network.violations).toEqual([]);
  });

  it('refuses what makes no sense, and says why', async () => {
    const network = await clusterOf(3);
    const refused = async (operation: TopologyOperation, reason: string): Promise<void> =>
      expect(request(network, 1, operation)).rejects.toThrow(reason);
    await refused({ op: 'leave', node: 77 }, 'node 0000004d is no member of ring');
    await refused({ op: 'drain', node: 77 }, 'node 0000004d is no member of ring');
    await refused({ op: 'join', member: memberOf(2) }, 'is a member of ring 7 already');
    const twin = { ...memberOf(2), nodeId: memberOf(2).nodeId.replace(/a$/, 'b') };
    await refused({ op: 'join', member: twin }, 'another id');
    await refused(
      { op: 'join', member: memberOf(9, { address: memberOf(3).address }) },
      'is that of node 00000003',
    );
    await refused({ op: 'join', member: memberOf(9, { weight: 1000 }) }, 'weight in thousandths');
    await refused({ op: 'reweigh', member: memberOf(2) }, 'has this weight, rack and zone already');
    await refused({ op: 'undo' }, 'has no change in progress');
    expect(await request(network, 1, { op: 'leave', node: 3 })).toEqual([
      '2 of 3 replicas: the cluster will have too few members with a weight',
    ]);
    await refused({ op: 'leave', node: 2 }, 'a change is in progress: leave of node 00000003');
    expect(await network.run(60_000, () => settled(network, 2))).toBe(true);
    await request(network, 1, { op: 'leave', node: 2 });
    expect(await network.run(60_000, () => settled(network, 1))).toBe(true);
    await refused({ op: 'leave', node: 1 }, 'is the last member');
    await refused({ op: 'drain', node: 1 }, 'is the last with vnodes');
  });

  it('goes on without the node that would propose next', async () => {
    const network = await clusterOf(5);
    // Node 1 has what it gains and would propose; node 4, which gains as well, has nothing yet.
    await request(network, 3, { op: 'leave', node: 5 });
    network.cut.add(4);
    const hasPulled = (): boolean =>
      [1, 2, 3].every((at) => {
        const { change } = topologyOf(network, at).status();
        return change?.gainers.every(({ node, finished }) => node !== 1 || finished) ?? false;
      });
    expect(await network.run(60_000, hasPulled)).toBe(true);
    expect(
      topologyOf(network, 1)
        .status()
        .change?.gainers.some(({ node }) => node === 4),
    ).toBe(true);
    network.cut.add(1);
    network.cut.delete(4);
    const others = (): boolean =>
      [2, 3, 4].every((number) => numbersOf(topologyOf(network, number).ring).length === 4);
    expect(await network.run(120_000, others)).toBe(true);
    network.cut.delete(1);
    expect(await network.run(60_000, () => settled(network, 4))).toBe(true);
    expect(network.violations).toEqual([]);
  });

  it('takes no step that a quorum of some vnode could have missed', async () => {
    const network = await clusterOf(7, 32);
    const ring = topologyOf(network, 1).ring as RingMap;
    const vnode = Array.from({ length: 32 }, (_, i) => i).find(
      (i) => !replicasOf(ring, i).slice(0, 2).includes(1),
    );
    const behind = replicasOf(ring, vnode as number).slice(0, 2);
    const leaving = [2, 3, 4, 5, 6, 7].find(
      (node) => !replicasOf(ring, vnode as number).includes(node),
    ) as number;
    await request(network, 1, { op: 'leave', node: leaving });
    const copying = ring.number + 1;
    const isPulled = (): boolean =>
      topologyOf(network, 1)
        .status()
        .change?.gainers.every(({ finished }) => finished) === true;
    expect(await network.run(60_000, isPulled)).toBe(true);
    expect(topologyOf(network, 1).ring?.number).toBe(copying);
    for (const node of behind) network.cut.add(node);
    // Five of seven members agree on `switching`, but two replicas of that vnode do not hold it.
    expect(await network.run(120_000, () => topologyOf(network, 1).ring?.number === copying + 1)).toBe(true);
    await network.run(120_000);
    expect(topologyOf(network, 1).ring).toMatchObject({
      number: copying + 1,
      change: { phase: 'switching' },
    });
    expect(topologyOf(network, 1).status().change?.confirmed).toBe(false);
    network.cut.clear();
    expect(await network.run(60_000, () => settled(network, 6))).toBe(true);
    expect(network.violations).toEqual([]);
  });

  it('begins no change while a quorum of some vnode may not hold the ring', async () => {
    const network = await clusterOf(7, 32);
    const ring = topologyOf(network, 1).ring as RingMap;
    const vnode = Array.from({ length: 32 }, (_, i) => i).find(
      (i) => !replicasOf(ring, i).slice(0, 2).includes(1),
    );
    // They restart: that they are there is known, but not yet what ring they hold.
    for (const node of replicasOf(ring, vnode as number).slice(0, 2)) {
      network.mute.add(node);
      network.node(1).seen.set(node, { generation: 0, version: 0, values: new Map() });
    }
    await expect(request(network, 1, { op: 'drain', node: 1 })).rejects.toThrow('the next one must wait');
    network.mute.clear();
    expect(await request(network, 1, { op: 'drain', node: 1 })).toEqual([]);
  });

  it('begins no change that would wait for a node that is down, and says which', async () => {
    const network = await clusterOf(4, 32);
    network.cut.add(3);
    network.node(1).seen.delete(3);
    await expect(request(network, 1, { op: 'leave', node: 2 })).rejects.toThrow(
      'node 00000003 would gain vnodes and is down: the change would wait for it; start it or replace it first',
    );
    expect(topologyOf(network, 1).ring?.change).toBeNull();
  });

  it('says at once that votes are missing, where one of two members is down, and goes on when it is back', async () => {
    const network = await clusterOf(2);
    // Until gossip has told who holds the last ring.
    await network.run(10_000);
    network.crash(2);
    const joiner = network.add(memberOf(9), SEEDS);
    for (const operation of [
      { op: 'leave', node: 2 },
      { op: 'replace', node: 2, member: memberOf(8) },
      { op: 'drain', node: 2 },
    ] as const)
      await expect(request(network, 1, operation)).rejects.toThrow(
        'a change of the ring needs the votes of 2 of its 2 members, and 1 are up',
      );
    expect(await network.run(60_000, () => joiner.topology?.status().refusal !== '')).toBe(true);
    expect(joiner.topology?.status().refusal).toContain('needs the votes of 2 of its 2 members');
    network.restart(2);
    expect(await network.run(120_000, () => settled(network, 3))).toBe(true);
    expect(network.violations).toEqual([]);
  });

  it('replaces a lost node though each key has but two replicas', async () => {
    const network = new RingNetwork(7, shapeOf(16, 2));
    network.add(memberOf(1));
    for (let number = 2; number <= 4; number++) network.add(memberOf(number), SEEDS);
    expect(await network.run(120_000, () => settled(network, 4))).toBe(true);
    await network.run(10_000);
    network.crash(3);
    // Whatever else would wait for it.
    await expect(request(network, 1, { op: 'leave', node: 2 })).rejects.toThrow(/is down|are up/);
    network.add(memberOf(8), SEEDS, 3);
    const isReplaced = (): boolean =>
      [1, 2, 4, 8].every((number) => {
        const ring = network.node(number).topology?.ring;
        return ring?.change === null && numbersOf(ring).join() === '1,2,4,8';
      });
    expect(await network.run(120_000, isReplaced)).toBe(true);
    expect(network.violations).toEqual([]);
  });

  it('pulls only what is missing after a crash', async () => {
    const network = await clusterOf(3, 64);
    const before = network.pulls;
    const joiner = network.add(memberOf(8), SEEDS);
    const progress = () => joiner.topology?.status().change?.gainers.find(({ node }) => node === 8);
    expect(await network.run(60_000, () => (progress()?.done ?? 0) > 8)).toBe(true);
    expect(network.pulls - before).toBeGreaterThan(8);
    const gained = progress()?.gained ?? 0;
    network.crash(8);
    network.restart(8);
    expect(await network.run(120_000, () => settled(network, 4))).toBe(true);
    // What was being pulled, or noted, at the crash is pulled once more.
    expect(network.pulls - before).toBeLessThanOrEqual(gained + 2 * limits.pullsInFlightMax);
    expect(network.violations).toEqual([]);
  });

  it('shows the progress of a change to every member', async () => {
    const network = await clusterOf(3, 64);
    network.faults.pullFailure = 0.9;
    network.add(memberOf(8), SEEDS);
    const progress = () => topologyOf(network, 2).status().change;
    expect(
      await network.run(60_000, () => (progress()?.gainers.find(({ node }) => node === 8)?.done ?? 0) > 3),
    ).toBe(true);
    const status = progress();
    expect(status).toMatchObject({
      kind: 'join',
      node: 8,
      by: 0,
      phase: 'copying',
      ownerMoves: 16,
      confirmed: true,
    });
    const gainer = status?.gainers.find(({ node }) => node === 8);
    expect(gainer?.finished).toBe(false);
    expect(gainer?.bytes).toBeGreaterThan(3000);
    expect(gainer?.gained).toBeGreaterThan(16);
  });

  it('refuses the ring of another cluster', async () => {
    const network = await clusterOf(1);
    const other = new RingNetwork(3, { ...shapeOf(16), clusterId: 'f'.repeat(32) });
    other.add(memberOf(2));
    await other.run(1000);
    const bytes = other.rings.get(1) as Uint8Array;
    expect(() => topologyOf(network, 1).learn(bytes)).toThrow(
      'ring of cluster test (ffffffffffffffffffffffffffffffff)',
    );
  });
  it('refuses a ring with another number of vnodes than its own files, and asks for no place in it', async () => {
    for (const [own, others] of [
      [16, 32],
      [32, 16],
    ] as const) {
      const network = new RingNetwork(3, shapeOf(own));
      network.add(memberOf(2), SEEDS);
      const other = new RingNetwork(3, shapeOf(others));
      other.add(memberOf(1));
      await other.run(1000);
      const bytes = other.rings.get(1) as Uint8Array;
      const topology = topologyOf(network, 2);
      const says = `the cluster has ${others} vnodes, and this data directory was made for ${own}`;
      expect(() => topology.learn(bytes)).toThrow(says);
      expect(() => topology.onMessage(1, { kind: 'ring-decided', ring: bytes })).toThrow(says);
      await network.run(1000);
      expect([topology.ring, topology.standing]).toEqual([null, 'waiting']);
      expect(network.node(2).disk.load('ring')).toBeNull();
    }
  });
});
