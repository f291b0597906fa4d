import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { encodeGossip } from '../../src/cluster/membership-messages.ts';
import { testSeed } from '../seed.ts';
import { GossipNetwork, type GossipNode, MemoryDocuments, type NetworkOptions } from './gossip-network.ts';

const seed = testSeed();
const addressOf = (number: number): string => `10.0.0.${number}:9080`;
const SEEDS = [addressOf(1), addressOf(2)];

async function newCluster(
  count: number,
  options: Partial<NetworkOptions> = {},
): Promise<{ network: GossipNetwork; nodes: GossipNode[] }> {
  const network = new GossipNetwork({ seed, lossChance: 0.01, ...options });
  const nodes = Array.from({ length: count }, (_, i) =>
    network.start({ number: i + 1, address: addressOf(i + 1), seeds: SEEDS }),
  );
  expect(await network.until(() => network.isWhole, 20_000)).toBeGreaterThanOrEqual(0);
  return { network, nodes };
}
const at = (nodes: readonly GossipNode[], i: number): GossipNode => nodes[i] as GossipNode;

describe(`membership, seed ${seed},`, () => {
  it('learns of a death within 10 s, everywhere, and of nothing else', async () => {
    const { network, nodes } = await newCluster(30);
    const before = network.events.length;
    network.kill(at(nodes, 7));
    const ms = await network.until(() => network.allSee(8, 'down'), 10_000);
    expect(ms).toBeGreaterThan(0);
    const downs = network.events.slice(before).filter(({ liveness }) => liveness === 'down');
    expect(new Set(downs.map(({ node }) => node))).toEqual(new Set([8]));
  });

  it('learns soon of the death of a member that has just come, too', async () => {
    // A pass of probes takes 30 s, and all nodes are at its start. Chance makes it 10 s once in 20,000 times, 20 s never.
    const { network } = await newCluster(60);
    const late = network.start({ number: 99, address: addressOf(99), seeds: SEEDS });
    expect(await network.until(() => network.allSee(99, 'up'), 5000)).toBeGreaterThan(0);
    network.kill(late);
    expect(await network.until(() => network.allSee(99, 'down'), 20_000)).toBeGreaterThan(0);
  });

  it('learns of a join within 5 s, with its facts', async () => {
    const { network } = await newCluster(30);
    const facts = new Map<string, string | number>([
      ['url', 'http://10.0.0.99:8080'],
      ['ring', 3],
    ]);
    network.start({ number: 99, address: addressOf(99), seeds: SEEDS, facts });
    expect(await network.until(() => network.allSee(99, 'up'), 5000)).toBeGreaterThan(0);
    for (const { number, membership } of network.nodes.values())
      if (number !== 99) expect(membership.member(99)?.facts).toEqual(facts);
  });

  it('tells nearly all of a changed fact within a second', async () => {
    const { network, nodes } = await newCluster(60);
    at(nodes, 0).membership.setFact('progress', 1);
    await network.advance(1000);
    const told = nodes.filter(({ membership }) => membership.member(1)?.facts.get('progress') === 1);
    expect(told.length).toBeGreaterThanOrEqual(54);
  });

  it('tells changed facts to all within seconds, the newest last', async () => {
    const { network, nodes } = await newCluster(20);
    for (let i = 1; i <= 5; i++) {
      at(nodes, 0).membership.setFact('progress', i);
      await network.advance(30);
    }
    const areTold = (): boolean =>
      [...network.nodes.values()].every(
        ({ membership }) => membership.member(1)?.facts.get('progress') === 5,
      );
    expect(await network.until(areTold, 5000)).toBeGreaterThanOrEqual(0);
  });

  it('calls nobody down within 5 minutes at 1% loss', async () => {
    const { network } = await newCluster(20);
    const before = network.events.length;
    await network.advance(300_000);
    const wrong = network.events.slice(before).filter(({ liveness }) => liveness === 'down');
    expect(wrong).toEqual([]);
    expect(network.isWhole).toBe(true);
  });

  it('suspects some and calls nobody down within 5 minutes at 10% loss', async () => {
    const { network } = await newCluster(20, { lossChance: 0.1 });
    const before = network.events.length;
    await network.advance(300_000);
    const after = network.events.slice(before);
    expect(after.filter(({ liveness }) => liveness === 'down')).toEqual([]);
    expect(after.some(({ liveness }) => liveness === 'suspect')).toBe(true);
  });

  it('does not call a suspected node down that refuted while this one stood still', async () => {
    const { network, nodes } = await newCluster(3, { lossChance: 0 });
    const [first, second] = [at(nodes, 0), at(nodes, 1)];
    // Node 3 seems dead for just so long that node 1 suspects it.
    network.passes = (from, to) => from !== 3 && to !== 3;
    const isSuspected = (): boolean => first.membership.member(3)?.liveness === 'suspect';
    expect(await network.until(isSuspected, 10_000, 10)).toBeGreaterThan(0);
    network.pause(first);
    network.passes = () => true;
    const before = network.events.length;
    await network.advance(15_000);
    expect(second.membership.member(3)?.liveness).toBe('up');
    network.resume(first);
    await network.advance(10_000);
    const wrong = network.events
      .slice(before)
      .filter(({ node, liveness }) => node !== 1 && liveness === 'down');
    expect(wrong).toEqual([]);
    expect(network.isWhole).toBe(true);
  });

  it('lets a node that stood still for 30 s come back without accusing anybody', async () => {
    const { network, nodes } = await newCluster(10);
    const stopped = at(nodes, 3);
    network.pause(stopped);
    await network.advance(30_000);
    const others = nodes.filter((node) => node !== stopped);
    expect(others.every(({ membership }) => membership.member(4)?.liveness === 'down')).toBe(true);
    const before = network.events.length;
    network.resume(stopped);
    expect(await network.until(() => network.isWhole, 10_000)).toBeGreaterThanOrEqual(0);
    await network.advance(20_000);
    const accused = network.events
      .slice(before)
      .filter(({ node, liveness }) => node !== 4 && (liveness === 'suspect' || liveness === 'down'));
    expect(accused).toEqual([]);
    expect(stopped.membership.statistics.stalls).toBeGreaterThan(0);
  });

  it('keeps a node up that one other cannot reach', async () => {
    const { network, nodes } = await newCluster(6);
    network.passes = (from, to) => !(from === 1 && to === 2);
    const before = network.events.length;
    await network.advance(60_000);
    expect(network.events.slice(before).filter(({ liveness }) => liveness === 'down')).toEqual([]);
    expect(at(nodes, 0).membership.isUp(2)).toBe(true);
  });

  it('calls a node down that hears all and is heard by none, and takes it back', async () => {
    const { network, nodes } = await newCluster(6);
    network.passes = (from) => from !== 3;
    const isDown = (): boolean =>
      nodes.every(({ number, membership }) => number === 3 || !membership.isUp(3));
    expect(await network.until(isDown, 15_000)).toBeGreaterThan(0);
    network.passes = () => true;
    expect(await network.until(() => network.isWhole, 30_000)).toBeGreaterThan(0);
  });

  it('sees both sides of a partition as down, and becomes whole when it heals', async () => {
    const { network, nodes } = await newCluster(9);
    const sideOf = (number: number): boolean => number <= 3;
    network.passes = (from, to) => sideOf(from) === sideOf(to);
    const isSplit = (): boolean =>
      nodes.every(({ number, membership }) =>
        nodes.every((other) => membership.isUp(other.number) === (sideOf(number) === sideOf(other.number))),
      );
    expect(await network.until(isSplit, 60_000)).toBeGreaterThan(0);
    // Both seeds die: the sides must find each other by what they remember.
    network.kill(at(nodes, 0));
    network.kill(at(nodes, 1));
    await network.advance(120_000);
    network.passes = () => true;
    expect(await network.until(() => network.isWhole, 30_000)).toBeGreaterThan(0);
  });

  it('takes nobody for down that it hears itself, whatever a node says that was cut off', async () => {
    const { network, nodes } = await newCluster(3, { lossChance: 0 });
    const [lost, second, third] = [at(nodes, 0), at(nodes, 1), at(nodes, 2)];
    network.passes = (from, to) => from !== lost.number && to !== lost.number;
    const callsAllDown = (): boolean =>
      [second, third].every(({ number }) => !lost.membership.isUp(number)) &&
      [second, third].every(({ membership }) => !membership.isUp(lost.number));
    expect(await network.until(callsAllDown, 60_000)).toBeGreaterThan(0);
    network.passes = () => true;
    const before = network.events.length;
    let wrong = 0;
    const isWhole = (): boolean => {
      if (!second.membership.isUp(third.number) || !third.membership.isUp(second.number)) wrong++;
      return network.isWhole;
    };
    expect(await network.until(isWhole, 30_000, 5)).toBeGreaterThan(0);
    expect(wrong).toBe(0);
    // The test would show nothing if what it said had not come.
    const spread = network.events.slice(before);
    expect(spread.some(({ node, liveness }) => node !== lost.number && liveness === 'down')).toBe(true);
  });

  it('takes the last generation of a node that restarts, its clock an hour back', async () => {
    const { network, nodes } = await newCluster(5);
    const documents = new MemoryDocuments();
    const start = { number: 9, address: addressOf(9), seeds: SEEDS, documents };
    const first = network.start(start);
    expect(await network.until(() => network.isWhole, 10_000)).toBeGreaterThan(0);
    const { generation } = first.membership;
    network.kill(first);
    const again = network.start({ ...start, skewMs: -3_600_000, facts: new Map([['life', 2]]) });
    await network.advance(0);
    expect(again.membership.generation).toBe(generation + 1);
    const areTold = (): boolean =>
      nodes.every(({ membership }) => membership.member(9)?.facts.get('life') === 2);
    expect(await network.until(areTold, 10_000)).toBeGreaterThan(0);
    expect(again.membership.generation).toBe(generation + 1);
  });

  it('passes its own past where its disk is new and its clock went back', async () => {
    const { network, nodes } = await newCluster(5);
    const start = { number: 9, address: addressOf(9), seeds: SEEDS };
    const first = network.start({ ...start, facts: new Map([['life', 1]]) });
    expect(await network.until(() => network.isWhole, 10_000)).toBeGreaterThan(0);
    const { generation } = first.membership;
    network.kill(first);
    const again = network.start({ ...start, skewMs: -3_600_000, facts: new Map([['life', 2]]) });
    const areTold = (): boolean =>
      nodes.every(({ membership }) => membership.member(9)?.facts.get('life') === 2);
    expect(await network.until(areTold, 20_000)).toBeGreaterThan(0);
    expect(again.membership.generation).toBe(generation + 1);
  });

  it('tells what was set while its past could not be passed, for its disk failed', async () => {
    const { network, nodes } = await newCluster(5);
    const start = { number: 9, address: addressOf(9), seeds: SEEDS };
    const first = network.start(start);
    expect(await network.until(() => network.isWhole, 10_000)).toBeGreaterThan(0);
    network.kill(first);
    const documents = new MemoryDocuments();
    const again = network.start({ ...start, documents, skewMs: -3_600_000 });
    await network.advance(0);
    const { membership } = again;
    let saves = 0;
    documents.save = (_, __, done) => {
      saves++;
      membership.setFact('set meanwhile', saves);
      membership.setFact('once', 1);
      queueMicrotask(() => done(new Error('the disk fails')));
    };
    expect(await network.until(() => saves > 0, 20_000)).toBeGreaterThan(0);
    await network.advance(0);
    expect(membership.member(9)?.facts.get('set meanwhile')).toBe(saves);
    expect(membership.member(9)?.facts.get('once')).toBe(1);
    expect(nodes.length).toBe(5);
  });

  it('tells a node apart from the dead one whose address it took over', async () => {
    const { network, nodes } = await newCluster(5);
    network.kill(at(nodes, 4));
    const heir = network.start({ number: 77, address: addressOf(5), seeds: SEEDS });
    const rest = nodes.slice(0, 4);
    const isTold = (): boolean =>
      rest.every(({ membership }) => membership.isUp(77) && membership.member(5)?.liveness === 'down');
    expect(await network.until(isTold, 15_000)).toBeGreaterThan(0);
    await network.advance(60_000);
    expect(isTold()).toBe(true);
    expect(heir.membership.isUp(1)).toBe(true);
  });

  it('remembers a removed node against old gossip, and takes its next life', async () => {
    const { network, nodes } = await newCluster(6);
    const removed = at(nodes, 5);
    // It sleeps through its removal, and wakes with all its old knowledge.
    network.pause(removed);
    await network.advance(15_000);
    expect(at(nodes, 0).membership.remove(6)).toBe(true);
    const rest = nodes.slice(0, 5);
    const areTold = (): boolean => rest.every(({ membership }) => membership.member(6)?.liveness === 'left');
    expect(await network.until(areTold, 5000)).toBeGreaterThan(0);
    network.resume(removed);
    await network.advance(30_000);
    expect(areTold()).toBe(true);
    expect(removed.membership.member(6)?.liveness).toBe('left');
    network.kill(removed);
    network.start({ number: 6, address: addressOf(6), seeds: SEEDS });
    const isBack = (): boolean => rest.every(({ membership }) => membership.isUp(6));
    expect(await network.until(isBack, 10_000)).toBeGreaterThan(0);
  });

  it('says good-bye when it leaves', async () => {
    const { network, nodes } = await newCluster(6, { lossChance: 0 });
    const leaver = at(nodes, 2);
    leaver.membership.leave();
    network.kill(leaver);
    expect(await network.until(() => network.allSee(3, 'left'), 3000)).toBeGreaterThan(0);
  });

  it('finds the others through a seed that starts later', async () => {
    const network = new GossipNetwork({ seed });
    const early = network.start({ number: 2, address: addressOf(3), seeds: SEEDS });
    await network.advance(10_000);
    expect([...early.membership.members()].length).toBe(1);
    network.start({ number: 1, address: addressOf(1), seeds: SEEDS });
    // It asks each second, and 1% of the messages are lost: 3 s would not do once in some 10,000 times.
    expect(await network.until(() => network.isWhole, 10_000)).toBeGreaterThan(0);
  });

  it('drops and counts what is malformed, whole or cut anywhere', async () => {
    const { network, nodes } = await newCluster(2, { lossChance: 0 });
    const { membership } = at(nodes, 0);
    const facts = [['url', { version: 1, value: 'http://x' }]] as const;
    const news = {
      number: 5,
      generation: 1,
      incarnation: 0,
      claim: 0,
      accuser: 0,
      address: 'x:1',
      version: 1,
      base: 0,
      facts,
    } as const;
    const whole = encodeGossip({ kind: 'news', news: [news] });
    let expected = membership.statistics.malformed;
    for (let end = 0; end < whole.length; end++) {
      membership.receive(2, whole.slice(0, end));
      expected++;
    }
    membership.receive(2, new Uint8Array(limits.gossipMessageBytesMax + 1));
    membership.receive(2, new Uint8Array([99, 1, 2, 3]));
    expect(membership.statistics.malformed).toBe(expected + 2);
    expect(membership.member(5)).toBe(undefined);
    for (let i = 0; i < 2000; i++) membership.receive(2, network.random.bytes(network.random.below(80)));
    expect(await network.until(() => network.isWhole, 10_000)).toBeGreaterThanOrEqual(0);
  });
});
