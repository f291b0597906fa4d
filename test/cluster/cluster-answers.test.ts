import { describe, expect, it } from 'vitest';
import { deadlineIn, ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { ClusterAnswers } from '../../src/cluster/cluster-answers.ts';
import type { ClusterNode } from '../../src/cluster/cluster-node.ts';
import type { HintsLeft } from '../../src/cluster/hint-replay.ts';
import { testMember, testRing } from './coordinator-world.ts';

const clock = new ManualClock(1_700_000_000_000);

/** Answers of node 1 of 3, of which a drain ends with these hints left; and how long it was to wait. */
function answersOf(hints: readonly HintsLeft[], unsettled = 0): { answers: ClusterAnswers; waits: number[] } {
  const waits: number[] = [];
  const node = {
    ring: testRing([1, 2, 3]),
    membership: { member: () => undefined },
    drain: (waitMs: number) => {
      waits.push(waitMs);
      return Promise.resolve({ hints, unsettled });
    },
  };
  const answers = new ClusterAnswers(node as unknown as ClusterNode, testMember(1), clock, () =>
    Promise.reject(new Error('nobody joins')),
  );
  return { answers, waits };
}

describe('the counters of a node', () => {
  it('are told also while it knows no ring', async () => {
    const metrics = { hints: { hintsReplayed: 7 } };
    const node = { ring: null, metrics } as unknown as ClusterNode;
    const nobody = (): Promise<void> => Promise.reject(new Error('nobody joins'));
    const answers = new ClusterAnswers(node, testMember(1), clock, nobody);
    expect(await answers.answer({ ask: 'metrics' }, deadlineIn(clock, 5000))).toEqual(metrics);
  });
});

describe('a drain', () => {
  it('answers with the hints that are left: those on their way are counted, those of nodes that are away are named', async () => {
    const { answers, waits } = answersOf([
      { target: 2, bytes: 7, isDeliverable: true },
      { target: 3, bytes: 11, isDeliverable: false },
    ]);
    const answer = (await answers.answer({ do: 'drain' }, deadlineIn(clock, 5000))) as {
      warnings: string[];
      hintBytes: number;
    };
    expect(answer.hintBytes).toBe(7);
    expect(answer.warnings).toHaveLength(2);
    expect(answer.warnings[0]).toBe(
      `7 bytes of hints for node ${testMember(2).nodeId} are not handed out yet`,
    );
    expect(answer.warnings[1]).toContain(`11 bytes of hints for node ${testMember(3).nodeId} stay here`);
    expect(waits).toEqual([5000 - limits.drainAnswerMs]);
  });

  it('says how many acknowledged writes a replica lacks without a hint, also where there are no hints', async () => {
    const answer = await answersOf([], 3).answers.answer({ do: 'drain' }, deadlineIn(clock, 5000));
    expect(answer).toEqual({
      warnings: ['3 acknowledged writes wait for a replica that is slow, or for their hints'],
      hintBytes: 0,
      unsettled: 3,
    });
  });

  it('waits for nothing where the request ends at once', async () => {
    const { answers, waits } = answersOf([]);
    expect(await answers.answer({ do: 'drain' }, deadlineIn(clock, limits.drainAnswerMs - 1))).toEqual({
      warnings: [],
      hintBytes: 0,
      unsettled: 0,
    });
    expect(waits).toEqual([0]);
  });
});
