import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { testSeed } from '../seed.ts';
import { Hints, newDisk, TARGET } from './hint-harness.ts';

const seed = testSeed();

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

  it('expire with their age', async () => {
    const hints = new Hints(newDisk());
    const { clock } = hints;
    hints.add('old');
    await hints.settle();
    expect(hints.log.expire(clock.nowMs())).toEqual([]);
    clock.advanceMs(limits.hintAgeMsMax + 1);
    expect(hints.log.expire(clock.nowMs())).toMatchObject([{ target: TARGET, hints: 1 }]);
    expect(await hints.drain()).toEqual([]);
  });
});
