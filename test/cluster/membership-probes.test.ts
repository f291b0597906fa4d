import { beforeEach, describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import type { ClusterWorld } from '../../src/cluster/contract.ts';
import { LocalHealth } from '../../src/cluster/membership-health.ts';
import { Probes } from '../../src/cluster/membership-probes.ts';

describe('a probe', () => {
  const clock = new ManualClock(0);
  let timers: { dueMs: number; run: () => void; isCancelled: boolean }[] = [];
  let calls: string[] = [];
  let health = new LocalHealth();
  let probes: Probes;
  const lastSeq = (): number => Number(calls.at(-1)?.split(' ').at(-1));

  /** Lets `ms` pass; timers that came due meanwhile run at its end, or each in its time. */
  function advance(ms: number, isAsleep: boolean): void {
    const endMs = clock.monotonicMs() + ms;
    if (isAsleep) clock.advanceMs(ms);
    for (;;) {
      const due = timers.filter(({ dueMs, isCancelled }) => !isCancelled && dueMs <= endMs);
      const [next] = due.sort((a, b) => a.dueMs - b.dueMs);
      if (next === undefined) break;
      timers = timers.filter((timer) => timer !== next);
      if (!isAsleep) clock.advanceMs(Math.max(0, next.dueMs - clock.monotonicMs()));
      next.run();
    }
    if (!isAsleep) clock.advanceMs(Math.max(0, endMs - clock.monotonicMs()));
  }

  beforeEach(() => {
    timers = [];
    calls = [];
    health = new LocalHealth();
    const world: Pick<ClusterWorld, 'clock' | 'random' | 'timers'> = {
      clock,
      random: new Random(1),
      timers: {
        after: (ms, run) => {
          const timer = { dueMs: clock.monotonicMs() + ms, run, isCancelled: false };
          timers.push(timer);
          return () => {
            timer.isCancelled = true;
          };
        },
      },
    };
    probes = new Probes(world, health, {
      ping: (to, seq) => void calls.push(`ping ${to} ${seq}`),
      askToProbe: (helper, seq, target) => void calls.push(`ask ${helper} for ${target} ${seq}`),
      ack: (to, seq) => void calls.push(`ack ${to} ${seq}`),
      nack: (to, seq) => void calls.push(`nack ${to} ${seq}`),
      accuse: (target) => void calls.push(`accuse ${target}`),
      stalled: () => void calls.push('stalled'),
      targets: () => [2, 3, 4, 5],
      helpers: (count, except) => [2, 3, 4, 5].filter((node) => node !== except).slice(0, count),
    });
  });

  const names = (): string[] => calls.map((call) => call.replace(/ \d+$/, ''));

  it('goes directly, then through helpers, then accuses', () => {
    probes.probe(2);
    advance(limits.probeTimeoutMs - 1, false);
    expect(names()).toEqual(['ping 2']);
    advance(1, false);
    expect(names().slice(1)).toEqual(['ask 3 for', 'ask 4 for', 'ask 5 for'].map((name) => `${name} 2`));
    advance(limits.gossipIntervalMs, false);
    expect(calls.at(-1)).toBe('accuse 2');
  });

  it('is answered by an answer through a helper', () => {
    probes.probe(2);
    advance(limits.probeTimeoutMs, false);
    probes.onAck(lastSeq());
    advance(10_000, false);
    expect(calls.filter((call) => call.startsWith('accuse'))).toEqual([]);
  });

  it('is answered by anything that comes from its target, and by nothing from others', () => {
    probes.probe(2);
    probes.onLife(3);
    probes.probe(4);
    probes.onLife(4);
    advance(10_000, false);
    expect(calls.filter((call) => call.startsWith('accuse'))).toEqual(['accuse 2']);
  });

  it('accuses nobody when this process stood still meanwhile', () => {
    probes.probe(2);
    advance(limits.probeTimeoutMs, false);
    advance(30_000, true);
    expect(calls.at(-1)).toBe('stalled');
    expect(calls.filter((call) => call.startsWith('accuse'))).toEqual([]);
  });

  it('that fails without a word from its helpers speaks against this node, and with their word does not', () => {
    probes.probe(2);
    advance(limits.probeTimeoutMs, false);
    const seq = lastSeq();
    for (let i = 0; i < limits.probeHelpersMax; i++) probes.onNack(seq);
    advance(limits.gossipIntervalMs, false);
    expect([calls.at(-1), health.multiplier]).toEqual(['accuse 2', 1]);
    probes.probe(2);
    advance(limits.gossipIntervalMs, false);
    expect(health.multiplier).toBeGreaterThan(1);
  });

  it('takes longer the less this node trusts itself', () => {
    health.worst();
    probes.probe(2);
    advance(limits.gossipIntervalMs * (limits.healthMultiplierMax - 1), false);
    expect(calls.filter((call) => call.startsWith('accuse'))).toEqual([]);
    advance(limits.gossipIntervalMs, false);
    expect(calls.at(-1)).toBe('accuse 2');
  });

  it('for another node is told to it either way', () => {
    probes.relay(9, 77, 2);
    probes.onLife(2);
    expect(calls.at(-1)).toBe('ack 9 77');
    probes.relay(9, 78, 3);
    advance(limits.probeTimeoutMs, false);
    expect(calls.at(-1)).toBe('nack 9 78');
  });

  it('is one of a bounded number', () => {
    for (let node = 10; node < 10 + 2 * limits.probesInFlightMax; node++) probes.probe(node);
    expect(calls.length).toBe(limits.probesInFlightMax);
    for (let i = 0; i < 2 * limits.probesInFlightMax; i++) probes.relay(9, i, 2);
    expect(calls.length).toBe(2 * limits.probesInFlightMax);
  });
});
