/**
 * A node that is killed as soon as it says that it is drained, or that ends in an orderly way, while replicas have not taken what it
 * acknowledged: nothing of that hangs on its memory, so they get it by hints. Nothing is repaired on a schedule here, but for the last test.
 */
import { describe, expect, it } from 'vitest';
import { deadlineIn } from '../../src/base/clock.ts';
import { firstSeed, forEachSeed, hintsOf, Scenario, SECOND_US } from './leave-scenario.ts';
import type { Machine } from './machine.ts';
import { plainPut } from './plain-put.ts';

const KEYS = 200;
/** A call of the disk takes some 100 ms. */
const SLOW = 1200;
/** Longer than an orderly end waits for calls. */
const DEADLINE_MS = 8000;
const REPAIR_MS = 60_000;

/** Of a cluster of three: the one that ends, and the one that lacks what it acknowledged. */
async function three(scenario: Scenario): Promise<readonly [ends: Machine, lacks: Machine]> {
  await scenario.founded();
  await scenario.pass(10 * SECOND_US);
  const [, ends, lacks] = scenario.cluster.machines as [Machine, Machine, Machine];
  return [ends, lacks];
}
/** All writes through one machine are answered, most of them with success. */
async function written(scenario: Scenario, at: Machine): Promise<void> {
  for (let i = 0; i < KEYS; i++) scenario.write(at, `key-${i}`, DEADLINE_MS);
  await scenario.until('all writes are answered', () => scenario.answered === KEYS);
  expect(scenario.acknowledged.length).toBeGreaterThan(KEYS / 2);
}
async function drained(scenario: Scenario, machine: Machine): Promise<void> {
  let left = -1;
  const asked = async (): Promise<void> => {
    left = (await machine.program?.drain(30_000))?.unsettled ?? -1;
    // No later than the answer.
    machine.kill();
  };
  const answered = asked();
  await scenario.until('it is drained', () => left >= 0);
  await answered;
  expect(left).toBe(0);
}
async function ended(scenario: Scenario, machine: Machine): Promise<void> {
  let isDown = false;
  machine.shutDown(() => {
    isDown = true;
  });
  const late: string[] = [];
  const deadlineMs = deadlineIn(machine.processClock, DEADLINE_MS);
  machine.program?.write(plainPut('late', true, deadlineMs), ({ message }) => late.push(message));
  expect(late).toEqual(['this node is stopping; nothing was written']);
  await scenario.until('it has ended', () => isDown);
}
/** Everybody is back, and all hints are handed out. */
async function healed(scenario: Scenario): Promise<void> {
  const { cluster } = scenario;
  cluster.heal();
  await scenario.until('all are back', () => cluster.machines.every(({ isServing }) => isServing));
  await scenario.until('no hint is left, and nothing to be repaired', () =>
    cluster.machines.every(({ program }) => hintsOf(program) === 0 && program?.repairsWaiting === 0),
  );
}

const newScenario = (seed: number): Scenario => new Scenario(seed, 3);
const ENDS = [
  ['is killed once it is drained', drained],
  ['ends in an orderly way', ended],
] as const;

describe(`a node that ${ENDS.map(([what]) => what).join(', or ')} (seeds from ${firstSeed})`, () => {
  for (const [what, end] of ENDS) {
    it(`${what}: has hints on its slow disk for a node that is down`, () =>
      forEachSeed(async (scenario) => {
        const [ends, lacks] = await three(scenario);
        lacks.crash();
        await scenario.until('it is called down', () => ends.program?.reaches(lacks.number) === false);
        await scenario.pass(20 * SECOND_US);
        ends.disk.slowness = SLOW;
        await written(scenario, ends);
        await end(scenario, ends);
        await healed(scenario);
        expect(scenario.missingAt(lacks)).toEqual([]);
      }, newScenario));

    it(`${what}: waits for a replica that does not answer, and that it takes for up`, () =>
      forEachSeed(async (scenario) => {
        const [ends, lacks] = await three(scenario);
        lacks.pause();
        await written(scenario, ends);
        expect([ends.program?.reaches(lacks.number), hintsOf(ends.program)]).toEqual([true, 0]);
        ends.disk.slowness = SLOW;
        await end(scenario, ends);
        // What came to it meanwhile never happens.
        lacks.crash();
        await healed(scenario);
        expect(scenario.missingAt(lacks)).toEqual([]);
      }, newScenario));
  }

  it('leaves what a replica lacks to repairs where it is killed before', () =>
    forEachSeed(
      async (scenario) => {
        const [ends, lacks] = await three(scenario);
        lacks.pause();
        await written(scenario, ends);
        ends.kill();
        lacks.crash();
        await healed(scenario);
        const { machines } = scenario.cluster;
        expect(machines.map(({ program }) => hintsOf(program))).toEqual([0, 0, 0]);
        await scenario.until('the schedule has repaired it', () => scenario.missingAt(lacks).length === 0);
      },
      (seed) => new Scenario(seed, 3, REPAIR_MS),
    ));
});
