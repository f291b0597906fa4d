import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Suspicions } from '../../src/cluster/membership-suspicions.ts';
import { ManualTimers } from './manual-timers.ts';

describe('a suspicion', () => {
  let timers = new ManualTimers();
  let expired: number[] = [];
  let stalls = 0;
  let suspicions: Suspicions;
  beforeEach(() => {
    timers = new ManualTimers();
    expired = [];
    stalls = 0;
    suspicions = new Suspicions(
      { clock: timers.clock, timers },
      (suspect) => expired.push(suspect),
      () => {
        stalls++;
        suspicions.restart();
      },
    );
  });

  it('lasts longest while nobody confirms it', () => {
    suspicions.update(7, 0, 10);
    timers.advance(limits.suspicionMsMax - 1);
    expect(expired).toEqual([]);
    timers.advance(1);
    expect(expired).toEqual([7]);
  });

  it('is shortened by who confirms it, counted from its start', () => {
    suspicions.update(7, 0, 10);
    timers.advance(1000);
    suspicions.update(7, 1, 10);
    timers.advance(1000);
    suspicions.update(7, limits.accusersMax - 1, 10);
    timers.advance(limits.suspicionMsMin - 2001);
    expect(expired).toEqual([]);
    timers.advance(1);
    expect(expired).toEqual([7]);
  });

  it('lasts shortest where nobody else could confirm it', () => {
    suspicions.update(7, 0, 0);
    timers.advance(limits.suspicionMsMin);
    expect(expired).toEqual([7]);
  });

  it('ends without a word when it is refuted', () => {
    suspicions.update(7, 0, 10);
    suspicions.end(7);
    timers.advance(limits.suspicionMsMax);
    expect(expired).toEqual([]);
  });

  it('begins anew when this process stood still over its end', () => {
    suspicions.update(7, 2, 10);
    timers.standStill(30_000);
    expect([stalls, expired]).toEqual([1, []]);
    timers.advance(limits.suspicionMsMax - 1);
    expect(expired).toEqual([]);
    timers.advance(1);
    expect(expired).toEqual([7]);
  });
});
