/**
 * A node that leaves is stopped for good at the moment at which the others say that it has left. What was acknowledged with a hint on it
 * still comes to whom it was for, by another's hint or, where it was too old for that, by a repair that it asked for in time.
 */
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { firstSeed, forEachSeed, hintsOf, type Parting, Scenario, SECOND_US } from './leave-scenario.ts';
import type { Machine } from './machine.ts';

const MINUTE_MS = 60_000;
/** What is written is made to look so much older than its hint: two clocks may be off by ten minutes. */
const BEHIND_MS = 10 * MINUTE_MS;
/** A node that does not answer is called down within so long. */
const CALLED_DOWN_US = 20 * SECOND_US;

/** When the node that hints are for is away again, or cannot be reached by the one that leaves. */
type Trouble = 'unreachable' | 'dies when all has been copied' | 'none';
const TROUBLES: readonly Trouble[] = ['unreachable', 'dies when all has been copied', 'none'];

/** All clocks go on by so much. */
function pass(scenario: Scenario, ms: number): void {
  for (const { clock } of scenario.cluster.machines) clock.jump(ms);
}
async function leaves(scenario: Scenario, { left }: Parting): Promise<Machine> {
  const stays = scenario.cluster.machines[0] as Machine;
  await scenario.begun({ op: 'leave', node: left.number }, stays);
  return stays;
}

describe(`a node that leaves and is stopped at once (seeds from ${firstSeed})`, () => {
  for (const trouble of TROUBLES)
    it(`leaves no hint undelivered; trouble of its target: ${trouble}`, () =>
      forEachSeed(async (scenario) => {
        const parting = await scenario.hinted();
        const { left, target } = parting;
        const stays = await leaves(scenario, parting);
        if (trouble === 'none') scenario.setReach(left, target, true);
        if (trouble === 'dies when all has been copied') {
          await scenario.until('all is copied', () => stays.program?.ring?.change?.phase === 'switching');
          target.crash();
        }
        await scenario.parted(parting);
        expect(scenario.missingAt(target)).toEqual([]);
      }));

  it('is waited for while it is called down for a moment', () =>
    forEachSeed(async (scenario) => {
      const parting = await scenario.hinted();
      const { left, target } = parting;
      const hintBytes = hintsOf(left.program);
      left.pause();
      const stays = await leaves(scenario, parting);
      await scenario.pass(CALLED_DOWN_US);
      expect(scenario.history.lines().join('\n')).toContain(`node ${nameOf(left)} is down`);
      // It has had no time to hand on anything.
      expect([stays.program?.ring?.change?.phase, hintsOf(left.program)]).toEqual(['switching', hintBytes]);
      left.resume();
      await scenario.parted(parting);
      expect(scenario.missingAt(target)).toEqual([]);
    }));

  it('has those repaired by the others whose hints have expired with it', () =>
    forEachSeed(async (scenario) => {
      const parting = await scenario.hinted();
      const { left, target } = parting;
      await scenario.until('only its own hints are left', () =>
        scenario.cluster.machines.every(({ program }) => program === left.program || hintsOf(program) === 0),
      );
      const lost = scenario.missingAt(target);
      expect(lost.length).toBeGreaterThan(0);
      pass(scenario, limits.hintAgeMsMax + limits.hintSegmentAgeMs + MINUTE_MS);
      await leaves(scenario, parting);
      await scenario.parted(parting);
      expect(scenario.history.lines().join('\n')).toContain('expired; their vnodes are marked for repair');
      expect(scenario.missingAt(target)).toEqual([]);
    }));

  it('gives hints that are too old for another keeper to the replicas, and does not hold up the change', () =>
    forEachSeed(async (scenario) => {
      const parting = await scenario.hinted(BEHIND_MS);
      const { left, target } = parting;
      pass(scenario, limits.hintAgeMsMax - BEHIND_MS / 2);
      await scenario.pass(3 * SECOND_US);
      expect(hintsOf(left.program)).toBeGreaterThan(0);
      expect(scenario.missingAt(target).length).toBeGreaterThan(0);
      await leaves(scenario, parting);
      await scenario.parted(parting);
      expect(scenario.missingAt(target)).toEqual([]);
    }));
});

const nameOf = ({ number }: Machine): string => number.toString(16).padStart(8, '0');

describe('a node that is not ready', () => {
  it('stays so when the ring changes: one that is drained, and one that has left', async () => {
    const scenario = new Scenario(firstSeed);
    const [drained, left] = await scenario.drainBeforeLeave();
    expect(drained.program?.notReady).toBe('this node is drained and takes no requests of clients');
    expect(left.program?.notReady).toBe('this node was removed from the cluster');
  });
});
