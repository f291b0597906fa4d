import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random, systemSeed } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { Crash } from '../../src/vfs/simulated-faults.ts';
import { Hints, newDisk, TARGET } from './hint-harness.ts';

const seed = systemSeed();

describe(`hints on disk (seed ${seed})`, () => {
  it('come back oldest first, for each target its own, also after a restart, until they are discarded', async () => {
    const disk = newDisk();
    const first = new Hints(disk);
    for (const name of ['a', 'b', 'c']) first.add(name);
    first.add('other', 0xcd);
    await first.settle();
    expect([...first.answers.values()]).toEqual([Status.OK, Status.OK, Status.OK, Status.OK]);
    first.log.close();
    const again = new Hints(disk);
    again.add('d');
    await again.settle();
    expect([...again.log.targets().keys()].sort()).toEqual([TARGET, 0xcd]);
    expect(await again.drain()).toEqual(['a', 'b', 'c', 'd']);
    expect(await again.drain()).toEqual([]);
    expect(await again.drain(0xcd)).toEqual(['other']);
    expect(again.log.targets().size).toBe(0);
  });

  it('are all there after a power cut at any change, once they were acknowledged', async () => {
    const random = new Random(seed);
    const run = async (disk: SimulatedFileSystem): Promise<Map<string, number>> => {
      let answers = new Map<string, number>();
      try {
        const hints = new Hints(disk);
        answers = hints.answers;
        for (let i = 0; i < 12; i++) {
          hints.add(`hint ${i}`);
          if (i % 3 === 2) await hints.settle();
        }
        await hints.settle();
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
      }
      return answers;
    };
    const whole = newDisk();
    await run(whole);
    expect(whole.changes).toBeGreaterThan(8);
    for (let crashAt = 0; crashAt < whole.changes; crashAt++)
      for (let cut = 0; cut < 6; cut++) {
        const disk = newDisk(random.uint32());
        disk.crashAtChange(crashAt);
        const answers = await run(disk);
        const acknowledged = [...answers].filter(([, status]) => status === Status.OK).map(([name]) => name);
        const after = new Hints(disk.powerCut(random));
        const found = await after.drain();
        expect(
          acknowledged.filter((name) => !found.includes(name)),
          `crash at ${crashAt}`,
        ).toEqual([]);
        expect(found.every((name) => /^hint \d+$/.test(name))).toBe(true);
      }
  });

  it('never serve a flipped bit', async () => {
    const random = new Random(seed);
    for (let round = 0; round < 200; round++) {
      const hints = new Hints(newDisk());
      await hints.addAll('one', 'two', 'three');
      hints.log.close();
      hints.disk.flipBit(hints.filesOf()[0] ?? '', undefined, random.below(8));
      const restarted = new Hints(hints.disk);
      restarted.log.expire(restarted.clock.nowMs());
      const found = await restarted.drain();
      expect(found, `round ${round}`).toHaveLength(2);
      expect(['one', 'two', 'three'], `round ${round}`).toEqual(expect.arrayContaining(found));
    }
  });

  it('expire with their age, and go with a node that is removed', async () => {
    const hints = new Hints(newDisk());
    const { clock } = hints;
    hints.add('old');
    hints.add('removed', 0xcd);
    await hints.settle();
    expect(hints.log.expire(clock.nowMs())).toEqual([]);
    clock.advanceMs(limits.hintAgeMsMax + 1);
    hints.log.drop(0xcd);
    expect(hints.log.expire(clock.nowMs())).toMatchObject([{ target: TARGET, hints: 1 }]);
    expect(await hints.drain()).toEqual([]);
    expect(await hints.drain(0xcd)).toEqual([]);
  });
});
