import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { LocalHealth } from '../../src/cluster/membership-health.ts';
import { Probes } from '../../src/cluster/membership-probes.ts';
import { ManualTimers } from './manual-timers.ts';

describe('a probe', () => {
  let timers = new ManualTimers();
  let calls: string[] = [];
  let health = new LocalHealth();
  let probes: Probes;
  let targets = [2, 3, 4, 5];
  const lastSeq = (): number => Number(calls.at(-1)?.split(' ').at(-1));

  const advance = (ms: number): void => timers.advance(ms);

  beforeEach(() => {
    timers = new ManualTimers();
    calls = [];
    targets = [2, 3, 4, 5];
    health = new LocalHealth();
    const world = { clock: timers.clock, random: new Random(1), timers };
    probes = new Probes(world, health, {
      ping: (to, seq) => void calls.push(`ping ${to} ${seq}`),
      askToProbe: (helper, seq, target) => void calls.push(`ask ${helper} for ${target} ${seq}`),
      ack: (to, seq) => void calls.push(`ack ${to} ${seq}`),
      nack: (to, seq) => void calls.push(`nack ${to} ${seq}`),
      accuse: (target) => void calls.push(`accuse ${target}`),
      stalled: () => void calls.push('stalled'),
      targets: () => targets,
      helpers: (count, except) => [2, 3, 4, 5].filter((node) => node !== except).slice(0, count),
    });
  });

  const names = (): string[] => calls.map((call) => call.replace(/ \d+$/, ''));

  it('goes directly, then through helpers, then accuses', () => {
    probes.probe(2);
    advance(limits.probeTimeoutMs - 1);
    expect(names()).toEqual(['ping 2']);
    advance(1);
    expect(names().slice(1)).toEqual(['ask 3 for', 'ask 4 for', 'ask 5 for'].map((name) => `${name} 2`));
    advance(limits.gossipIntervalMs);
    expect(calls.at(-1)).toBe('accuse 2');
  });

  it('is answered by an answer through a helper', () => {
    probes.probe(2);
    advance(limits.probeTimeoutMs);
    probes.onAck(lastSeq());
    advance(10_000);
    expect(calls.filter((call) => call.startsWith('accuse'))).toEqual([]);
  });

  it('is answered by anything that comes from its target, and by nothing from others', () => {
    probes.probe(2);
    probes.onLife(3);
    probes.probe(4);
    probes.onLife(4);
    advance(10_000);
    expect(calls.filter((call) => call.startsWith('accuse'))).toEqual(['accuse 2']);
  });

  it('accuses nobody when this process stood still meanwhile', () => {
    probes.probe(2);
    advance(limits.probeTimeoutMs);
    timers.standStill(30_000);
    expect(calls.at(-1)).toBe('stalled');
    expect(calls.filter((call) => call.startsWith('accuse'))).toEqual([]);
  });

  it('that fails without a word from its helpers speaks against this node, and with their word does not', () => {
    probes.probe(2);
    advance(limits.probeTimeoutMs);
    const seq = lastSeq();
    for (let i = 0; i < limits.probeHelpersMax; i++) probes.onNack(seq);
    advance(limits.gossipIntervalMs);
    expect([calls.at(-1), health.multiplier]).toEqual(['accuse 2', 1]);
    probes.probe(2);
    advance(limits.gossipIntervalMs);
    expect(health.multiplier).toBeGreaterThan(1);
  });

  it('takes longer the less this node trusts itself', () => {
    health.worst();
    probes.probe(2);
    advance(limits.gossipIntervalMs * (limits.healthMultiplierMax - 1));
    expect(calls.filter((call) => call.startsWith('accuse'))).toEqual([]);
    advance(limits.gossipIntervalMs);
    expect(calls.at(-1)).toBe('accuse 2');
  });

  it('for another node is told to it either way', () => {
    probes.relay(9, 77, 2);
    probes.onLife(2);
    expect(calls.at(-1)).toBe('ack 9 77');
    probes.relay(9, 78, 3);
    advance(limits.probeTimeoutMs);
    expect(calls.at(-1)).toBe('nack 9 78');
  });

  it('comes to a new member at some place of the pass that is under way, once', () => {
    const places = new Set<number>();
    const pass = (count: number): string[] => {
      calls = [];
      for (let i = 0; i < count; i++) {
        probes.probeNext();
        probes.onAck(lastSeq());
      }
      return names();
    };
    for (let round = 0; round < 200; round++) {
      targets = [2, 3, 4, 5];
      pass(1);
      targets.push(6);
      probes.welcome(6);
      probes.welcome(6);
      const rest = pass(4);
      expect(new Set(rest).size).toBe(4);
      places.add(rest.indexOf('ping 6'));
    }
    // One place missed in 200 draws of four has a chance of 1 in 10^24.
    expect([...places].sort()).toEqual([0, 1, 2, 3]);
  });

  it('is one of a bounded number', () => {
    for (let node = 10; node < 10 + 2 * limits.probesInFlightMax; node++) probes.probe(node);
    expect(calls.length).toBe(limits.probesInFlightMax);
    for (let i = 0; i < 2 * limits.probesInFlightMax; i++) probes.relay(9, i, 2);
    expect(calls.length).toBe(2 * limits.probesInFlightMax);
  });
});
