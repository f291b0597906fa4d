import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import type { TopologyOperation } from '../../src/cluster/ring-messages.ts';
import { testSeed } from '../seed.ts';
import { memberOf, shapeOf } from './ring-fixtures.ts';
import { CALM, type Defects, RingNetwork, ROUGH } from './ring-network.ts';

const SEEDS = [memberOf(1).address, memberOf(2).address, memberOf(3).address];

interface Outcome {
  readonly violations: readonly string[];
  readonly settled: boolean;
  readonly rings: number;
  readonly crashes: number;
}

/** A cluster under faults, crashes and random operations from several nodes at once; then quiet, until it settles. */
async function hunt(seed: number, defects: Defects = {}): Promise<Outcome> {
  const network = new RingNetwork(seed, shapeOf(16), defects);
  const random = new Random(seed ^ 0x5eed);
  network.add(memberOf(1));
  for (const number of [2, 3, 4]) network.add(memberOf(number), [memberOf(1).address]);
  await network.run(60_000, () =>
    [...network.nodes.values()].every(({ topology }) => topology?.standing === 'member'),
  );
  network.faults = { ...ROUGH };
  let crashes = 0;
  let fresh = 10;
  for (let round = 0; round < 30; round++) {
    await network.run(random.between(50, 3000));
    const all = [...network.nodes.values()];
    const one = random.pick(all);
    const other = random.pick(all);
    if (random.chance(0.5)) {
      if (one.topology !== null) {
        network.crash(one.member.number);
        crashes++;
      } else network.restart(one.member.number);
    }
    if (random.chance(0.2)) network.cut.add(other.member.number);
    if (random.chance(0.4)) network.cut.clear();
    if (random.chance(0.15) && fresh < 14) network.add(memberOf(fresh++), SEEDS);
    for (let i = random.below(3); i > 0; i--) {
      const operation = random.pick<TopologyOperation>([
        { op: 'leave', node: other.member.number },
        { op: 'drain', node: other.member.number },
        { op: 'reweigh', member: { ...other.member, weight: random.pick([1, 2, 0.5]) } },
        { op: 'undo' },
      ]);
      const members = network.nodes.get(1)?.topology?.ring?.members.length ?? 0;
      if (operation.op !== 'leave' || members > 3)
        random
          .pick(all)
          .topology?.request(operation)
          .catch(() => undefined);
    }
  }
  network.faults = { ...CALM };
  network.cut.clear();
  for (const node of network.nodes.values()) if (node.topology === null) network.start(node);
  const settled = await network.run(300_000, () => {
    const rings = [...network.nodes.values()].map(({ topology }) => topology?.ring ?? null);
    return rings.every((ring) => ring !== null && ring.change === null && ring.number === rings[0]?.number);
  });
  return { violations: network.violations, settled, rings: network.rings.size, crashes };
}

async function hunts(count: number, defects: Defects = {}): Promise<{ seed: number; outcome: Outcome }[]> {
  const first = testSeed();
  console.log(`ring hunts: seeds ${first} to ${first + count - 1}, defects ${JSON.stringify(defects)}`);
  const found: { seed: number; outcome: Outcome }[] = [];
  for (let i = 0; i < count; i++) {
    const seed = (first + i) >>> 0;
    const outcome = await hunt(seed, defects);
    found.push({ seed, outcome });
    if (outcome.violations.length > 0 && Object.keys(defects).length > 0) break;
  }
  return found;
}

describe('rings under loss, doubled messages, cuts, failing disks and crashes', () => {
  it('never differ under one number, never step too early, and changes end', async () => {
    const found = await hunts(40);
    expect(found.filter(({ outcome }) => outcome.violations.length > 0)).toEqual([]);
    expect(found.filter(({ outcome }) => !outcome.settled).map(({ seed }) => seed)).toEqual([]);
    expect(found.reduce((sum, { outcome }) => sum + outcome.rings, 0)).toBeGreaterThan(found.length * 10);
    expect(found.reduce((sum, { outcome }) => sum + outcome.crashes, 0)).toBeGreaterThan(found.length * 3);
  });

  it('a change resumes, whichever node crashes at whatever moment of it', async () => {
    const seed = testSeed();
    console.log(`a crash at every moment: seed ${seed}`);
    let changesCrashed = 0;
    for (const victim of [1, 2, 3, 9])
      for (let moment = 0; moment < 420; moment += 7) {
        const network = new RingNetwork(seed, shapeOf(8));
        network.add(memberOf(1));
        for (const number of [2, 3]) network.add(memberOf(number), SEEDS);
        await network.run(60_000, () =>
          [...network.nodes.values()].every(({ topology }) => topology?.ring?.number === 7),
        );
        network.add(memberOf(9), SEEDS);
        let events = 0;
        await network.run(60_000, () => events++ === moment + (seed % 7));
        const changing = network.nodes.get(2)?.topology?.ring?.change ?? null;
        network.crash(victim);
        await network.run(3000);
        network.restart(victim);
        const isOver = (): boolean =>
          [...network.nodes.values()].every(({ topology }) => {
            const ring = topology?.ring ?? null;
            return ring !== null && ring.change === null && ring.members.length === 4;
          });
        const ended = await network.run(300_000, isOver);
        expect({ victim, moment, ended, violations: network.violations }).toEqual({
          victim,
          moment,
          ended: true,
          violations: [],
        });
        if (changing !== null) changesCrashed++;
      }
    expect(changesCrashed).toBeGreaterThan(20);
  });

  it.each<[Defects, RegExp]>([
    [{ liesAboutRings: true }, /before ring \d+ was confirmed|which lacks ring/],
    [{ liesAboutPulls: true }, /which lacks it/],
  ])('a hunt notices the defect %o', async (defects, violation) => {
    const found = await hunts(400, defects);
    const violations = found.flatMap(({ outcome }) => outcome.violations);
    expect(violations.some((one) => violation.test(one))).toBe(true);
  });
});
