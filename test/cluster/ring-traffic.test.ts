/**
 * How often whole rings pass between nodes: docs/scale.md has the figures. `RING_TRAFFIC_NODES=150 npx vitest run --project fast
 * test/cluster/ring-traffic` prints those of other clusters.
 */
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { encodeRingAgreement } from '../../src/cluster/messages.ts';
import { memberOf, shapeOf } from './ring-fixtures.ts';
import { RingNetwork } from './ring-network.ts';

const NODES = Number(process.env.RING_TRAFFIC_NODES ?? 12);
const VNODES = 1024;
const SEEDS = [memberOf(1).address];

interface Traffic {
  messages: number;
  bytes: number;
  rings: number;
  ringBytes: number;
}
/** Messages about the ring, and those of them that carry one whole. */
function counted(network: RingNetwork): Traffic {
  const traffic = { messages: 0, bytes: 0, rings: 0, ringBytes: 0 };
  network.onSend = (_, __, message) => {
    const { length } = encodeRingAgreement(message);
    traffic.messages++;
    traffic.bytes += length;
    if ('ring' in message && message.ring !== null) {
      traffic.rings++;
      traffic.ringBytes += length;
    }
    return 0;
  };
  return traffic;
}
const isSettled = (network: RingNetwork, count: number): boolean =>
  [...network.nodes.values()].every(
    ({ topology }) => topology?.ring?.change === null && topology.ring.members.length === count,
  );

async function grown(count: number): Promise<RingNetwork> {
  const network = new RingNetwork(5, shapeOf(VNODES));
  network.add(memberOf(1));
  for (let number = 2; number <= count; number++) {
    network.add(memberOf(number), SEEDS);
    expect(await network.run(120_000, () => isSettled(network, number))).toBe(true);
  }
  return network;
}

describe(`whole rings between ${NODES} nodes`, () => {
  it('are sent to each of them twice in each of the three steps of a change, and never while nothing changes', async () => {
    const network = await grown(NODES - 1);
    const quiet = counted(network);
    const quietMs = 60_000;
    await network.run(quietMs);
    expect(quiet.rings).toBe(0);
    const join = counted(network);
    network.add(memberOf(NODES), SEEDS);
    expect(await network.run(120_000, () => isSettled(network, NODES))).toBe(true);
    const least = 3 * 2 * (NODES - 2);
    expect(join.rings).toBeGreaterThanOrEqual(least);
    // And to the one that joins; some that hear of a step by gossip first ask for it.
    expect(join.rings).toBeLessThanOrEqual(least + 2 * NODES + 10);
    if (process.env.RING_TRAFFIC_NODES !== undefined)
      process.stderr.write(
        `${NODES} nodes: a join ${JSON.stringify(join)}; quiet ${JSON.stringify(quiet)} in ${quietMs} ms\n`,
      );
  });

  it('are asked for once where a step is heard of by gossip before it arrives, not of everyone who has it', async () => {
    const network = await grown(NODES);
    const { topology } = network.node(2);
    // What the proposer sends takes its time on a link that it fills with rings.
    const slow = NODES;
    let asked = 0;
    network.onSend = (from, to, message) => {
      if (from === slow && message.kind === 'ring-fetch') asked++;
      return to === slow && message.kind !== 'topology-answer' && message.kind !== 'ring-fetch' ? 3000 : 0;
    };
    void topology?.request({ op: 'reweigh', member: memberOf(1, { weight: 2 }) });
    expect(
      await network.run(
        120_000,
        () => network.node(slow).topology?.ring?.members.some(({ weight }) => weight === 2) === true,
      ),
    ).toBe(true);
    // Three steps, each of which takes 3 s to arrive, asked for once a second at most, twice with what is asked at random.
    expect(asked).toBeLessThanOrEqual(3 * 2 * Math.ceil(3000 / limits.ringFetchAgainMs));
  });

  it('are asked of one that is there, where one that is gone has told of them as well', async () => {
    const network = await grown(5);
    const late = 5;
    // It hears of the ring by gossip alone, while node 1 is dying.
    network.onSend = (_, to, message) => (to === late && 'ring' in message ? 600_000 : 0);
    const numberAt = (node: number): number => network.node(node).topology?.ring?.number ?? 0;
    const before = numberAt(late);
    void network.node(2).topology?.request({ op: 'reweigh', member: memberOf(3, { weight: 2 }) });
    expect(await network.run(120_000, () => [1, 2, 3, 4].every((node) => numberAt(node) > before))).toBe(
      true,
    );
    await network.run(5000);
    network.crash(1);
    for (const node of [2, 3, 4]) network.mute.add(node);
    network.onSend = () => 0;
    expect(numberAt(late)).toBe(before);
    expect(await network.run(30_000, () => numberAt(late) > before)).toBe(true);
  });
});

describe('a node with seeds', () => {
  it('takes in a node as soon as it has found the ring, however long it has looked for it', async () => {
    const network = new RingNetwork(12, shapeOf(16));
    network.add(memberOf(1));
    network.add(memberOf(2), SEEDS);
    expect(await network.run(60_000, () => isSettled(network, 2))).toBe(true);
    network.cut.add(3);
    network.add(memberOf(3), SEEDS);
    await network.run(60_000);
    network.cut.delete(3);
    expect(
      await network.run(limits.joinRetryMsMax, () => (network.node(3).topology?.ring ?? null) !== null),
    ).toBe(true);
    const foundMs = network.nowMs;
    expect(await network.run(60_000, () => network.node(1).topology?.ring?.change != null)).toBe(true);
    // The least pause between two of its requests is half of this.
    expect(network.nowMs - foundMs).toBeLessThan(limits.joinRetryMsMin / 2);
  });
});
