import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { Random, systemSeed } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import { type HintBatch, WriteMode } from '../../src/cluster/contract.ts';
import { HintLog } from '../../src/replica/hint-log.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { Crash } from '../../src/vfs/simulated-faults.ts';

const DIRECTORY = '/data';
const TARGET = 0xab;
const seed = systemSeed();
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (record: Uint8Array): string => new TextDecoder().decode(record);

function newDisk(diskSeed = 1): SimulatedFileSystem {
  const disk = new SimulatedFileSystem({ seed: diskSeed });
  disk.mkdir(DIRECTORY);
  disk.syncDirectory('/');
  disk.resetCounts();
  return disk;
}

class Hints {
  readonly log: HintLog;
  readonly reports: string[] = [];
  readonly answers = new Map<string, number>();
  readonly disk: SimulatedFileSystem;
  constructor(disk: SimulatedFileSystem, clock = new ManualClock(1_700_000_000_000)) {
    this.disk = disk;
    this.log = new HintLog(disk, DIRECTORY, clock, (_, message) => this.reports.push(message));
  }
  add(name: string, target = TARGET): void {
    const write = { record: bytes(name), also: null, mode: WriteMode.FRESH, deadlineMs: 0 };
    this.log.add(target, write, ({ status }) => this.answers.set(name, status));
  }
  /** Runs what is asynchronous until nothing is left. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) {
      await Promise.resolve();
      await this.disk.settle();
    }
  }
  async next(target = TARGET): Promise<HintBatch | null> {
    return await new Promise((resolve, reject) => {
      this.log.next(target, limits.hintReplayBatchBytes, (batch, error) =>
        error === null ? resolve(batch) : reject(error),
      );
    });
  }
  /** All hints of a target, oldest first, discarding them on the way. */
  async drain(target = TARGET): Promise<string[]> {
    const names: string[] = [];
    for (let batch = await this.next(target); batch !== null; batch = await this.next(target)) {
      names.push(...batch.writes.map(({ record }) => textOf(record)));
      const taken = batch;
      await new Promise<void>((resolve) => this.log.discard(taken, () => resolve()));
    }
    return names;
  }
}

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
        expect(after.reports, `crash at ${crashAt}`).toEqual([]);
        expect(
          acknowledged.filter((name) => !found.includes(name)),
          `crash at ${crashAt}`,
        ).toEqual([]);
        expect(found.every((name) => /^hint \d+$/.test(name))).toBe(true);
      }
  });

  it('are refused where a sync fails, and go on in a new file', async () => {
    const disk = newDisk();
    const hints = new Hints(disk);
    hints.add('before');
    await hints.settle();
    disk.inject({ operation: 'sync', errno: 'EIO' });
    hints.add('lost');
    await hints.settle();
    expect(hints.answers.get('lost')).toBe(Status.UNAVAILABLE);
    disk.clearFaults();
    hints.add('after');
    await hints.settle();
    expect(hints.answers.get('after')).toBe(Status.OK);
    expect(await hints.drain()).toEqual(['before', 'after']);
  });

  it('never serve a flipped bit', async () => {
    const random = new Random(seed);
    for (let round = 0; round < 200; round++) {
      const disk = newDisk();
      const hints = new Hints(disk);
      for (const name of ['one', 'two', 'three']) {
        hints.add(name);
        await hints.settle();
      }
      hints.log.close();
      const directory = `${DIRECTORY}/hints/000000ab`;
      const [file = ''] = disk.readdir(directory);
      disk.flipBit(
        `${directory}/${file}`,
        random.below(disk.bytesOf(`${directory}/${file}`).length),
        random.below(8),
      );
      const found = await new Hints(disk).drain();
      expect(['one', 'two', 'three'].slice(0, found.length), `round ${round}`).toEqual(found);
      expect(found.length).toBeLessThan(3);
    }
  });

  it('expire with their age, and go with a node that is removed', async () => {
    const clock = new ManualClock(1_700_000_000_000);
    const hints = new Hints(newDisk(), clock);
    hints.add('old');
    hints.add('removed', 0xcd);
    await hints.settle();
    expect(hints.log.expire(clock.nowMs())).toEqual([]);
    clock.advanceMs(limits.hintAgeMsMax + 1);
    hints.log.drop(0xcd);
    expect(hints.log.expire(clock.nowMs())).toEqual([{ target: TARGET, hints: 1 }]);
    expect(await hints.drain()).toEqual([]);
    expect(await hints.drain(0xcd)).toEqual([]);
  });
});
