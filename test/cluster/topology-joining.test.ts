import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { TopologyJoining } from '../../src/cluster/topology-joining.ts';
import { testSeed } from '../seed.ts';
import { testMember, testRing } from './coordinator-world.ts';
import { ManualTimers } from './manual-timers.ts';

const seed = testSeed();
const SEEDS = ['n1:1', 'n2:1'];

/** A node that is no member, and what it asks. */
function joining() {
  const timers = new ManualTimers();
  const asked: { readonly address: string; readonly anew: boolean; readonly atMs: number }[] = [];
  const sent: string[] = [];
  const { clock } = timers;
  const world = { clock, timers, random: new Random(seed), log: () => undefined };
  const ports = {
    send: (to: number, { kind }: { readonly kind: string }) => void sent.push(`${to} ${kind}`),
    sendTo: (address: string, _: unknown, anew: boolean) =>
      void asked.push({ address, anew, atMs: clock.monotonicMs() }),
    isUp: () => true,
  };
  return { joining: new TopologyJoining(world, ports, testMember(7), SEEDS, 0), timers, asked, sent };
}

describe(`a node that looks for its cluster, seed ${seed},`, () => {
  it('asks each seed again and again, and from time to time over a new connection', () => {
    const node = joining();
    // However long it runs already.
    node.timers.advance(2 * limits.seedIntervalMs);
    node.joining.start(null);
    expect(node.asked.map(({ anew }) => anew)).toEqual([false, false]);
    node.timers.advance(10 * limits.seedIntervalMs);
    for (const address of SEEDS) {
      const asked = node.asked.filter((one) => one.address === address);
      const anew = asked.filter((one) => one.anew).map(({ atMs }) => atMs);
      // Each ask is late by the pause between two.
      expect(anew.length).toBeGreaterThanOrEqual(7);
      expect(asked.length).toBeGreaterThan(2 * anew.length);
      const begunMs = asked[0]?.atMs ?? Number.NaN;
      const gaps = anew.map((atMs, i) => atMs - (anew[i - 1] ?? begunMs));
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(limits.seedIntervalMs);
      expect(Math.max(...gaps)).toBeLessThanOrEqual(limits.seedIntervalMs + limits.joinRetryMsMax);
    }
  });

  it('begins with another seed each time: where there is no room for all, dead ones keep out those behind them', () => {
    const node = joining();
    node.joining.start(null);
    node.timers.advance(2 * limits.joinRetryMsMax);
    const firsts = node.asked.filter((_, i) => i % SEEDS.length === 0).map(({ address }) => address);
    expect(firsts.length).toBeGreaterThan(2);
    for (const [i, address] of firsts.entries()) expect(address).not.toBe(firsts[i + 1]);
  });

  it('asks no seed any more once it has the ring, but a member', () => {
    const node = joining();
    node.joining.start(null);
    const { length } = node.asked;
    node.joining.onRing(testRing([1, 2, 3]));
    node.timers.advance(2 * limits.seedIntervalMs);
    expect(node.asked).toHaveLength(length);
    expect(node.sent.join()).toContain('topology-request');
  });
});
