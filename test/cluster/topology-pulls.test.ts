import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { beginJoin, undone } from '../../src/cluster/ring-change.ts';
import { type PullResult, TopologyPulls } from '../../src/cluster/topology-pulls.ts';
import { MemoryDocuments } from './gossip-network.ts';
import { ManualTimers } from './manual-timers.ts';
import { memberOf, ringOf } from './ring-fixtures.ts';

const VNODES = 16;
const COMPLETE: PullResult = { complete: true, records: 0, bytes: 0 };

describe('pulls of a node that joins', () => {
  it('are not held up by those of an earlier try, which never end', async () => {
    const { clock } = new ManualTimers();
    const finished: number[] = [];
    const ends: ((result: PullResult) => void)[] = [];
    let hangs = true;
    let running = 0;
    let most = 0;
    const pulls = new TopologyPulls(
      { self: 4, clock, random: new Random(1), documents: new MemoryDocuments(), log: () => undefined },
      async () => {
        if (hangs) return new Promise<PullResult>((resolve) => ends.push(resolve));
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
        return COMPLETE;
      },
      () => true,
      (ring) => finished.push(ring),
    );
    const first = beginJoin(ringOf(3, VNODES), memberOf(4));
    pulls.onRing(first);
    expect(ends).toHaveLength(limits.pullsInFlightMax);
    const given = undone(first);
    pulls.onRing(given);
    hangs = false;
    const second = beginJoin({ ...given, change: null }, memberOf(4));
    pulls.onRing(second);
    // Some of the earlier ones end meanwhile: nothing of theirs counts.
    ends[0]?.(COMPLETE);
    for (let turn = 0; turn < 1000 && finished.length === 0; turn++)
      await new Promise((resolve) => setImmediate(resolve));
    expect(finished).toEqual([second.number]);
    expect(most).toBe(limits.pullsInFlightMax);
    expect(pulls.progress.done).toBe(pulls.progress.gained);
  });
});
