import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { SeedWatch } from '../../src/node/seed-watch.ts';
import { ManualTimers } from '../cluster/manual-timers.ts';

describe('the watch over seeds', () => {
  let timers = new ManualTimers();
  let reasons: string[] = [];
  let lines: string[] = [];
  let standings = new Map<string, string>();
  const newWatch = (...seeds: string[]): SeedWatch =>
    new SeedWatch({
      timers,
      seeds,
      standings: () => standings,
      onNotReady: (reason) => void reasons.push(reason),
      log: (_, line) => void lines.push(line),
    });

  beforeEach(() => {
    timers = new ManualTimers();
    reasons = [];
    lines = [];
    standings = new Map();
  });

  it('tells at once, and then each change, which seeds do not answer and why', () => {
    newWatch('a:1', 'b:2').start();
    expect(reasons).toEqual([
      'this node has not found its cluster yet; seeds: a:1 (no answer yet), b:2 (no answer yet)',
    ]);
    standings.set('b:2', 'connect ECONNREFUSED');
    timers.advance(3 * limits.seedWatchMs);
    expect(reasons.slice(1)).toEqual([
      'this node has not found its cluster yet; seeds: a:1 (no answer yet), b:2 (connect ECONNREFUSED)',
    ]);
  });

  it('writes to the log once it has waited, when something changes, and now and then', () => {
    newWatch('a:1').start();
    timers.advance(limits.seedSaidMs - 1);
    expect(lines).toEqual([]);
    timers.advance(1);
    expect(lines).toEqual([expect.stringContaining('a:1 (no answer yet)')]);
    timers.advance(limits.seedSaidAgainMs - 1);
    expect(lines.length).toBe(1);
    timers.advance(1);
    expect(lines.length).toBe(2);
    standings.set('a:1', 'connect ETIMEDOUT');
    timers.advance(limits.seedWatchMs);
    expect(lines.slice(2)).toEqual([expect.stringContaining('connect ETIMEDOUT')]);
  });

  it('names no seeds where there are none, and says nothing more after its end', () => {
    const watch = newWatch();
    watch.start();
    watch.stop();
    standings.set('a:1', 'connect ETIMEDOUT');
    timers.advance(10 * limits.seedSaidAgainMs);
    expect([reasons, lines]).toEqual([['this node has not found its cluster yet'], []]);
  });

  it('says nothing more of a seed that fails after the cluster was found', () => {
    const watch = newWatch('a:1');
    watch.start();
    timers.advance(limits.seedSaidMs);
    watch.stop();
    const said = [reasons.length, lines.length];
    standings.set('a:1', 'connect ETIMEDOUT');
    timers.advance(10 * limits.seedSaidAgainMs);
    expect([reasons.length, lines.length]).toEqual(said);
  });
});
