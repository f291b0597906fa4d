import { describe, expect, it } from 'vitest';
import { Random } from '../../src/base/random.ts';
import type { Durability } from '../../src/engine/contract.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { testSeed } from '../seed.ts';
import { newDisk } from './disk.ts';
import { type Entry, isPrefix, LogHarness, recoverAll } from './wal-harness.ts';

describe('a crash at any call of the commit log', () => {
  it.each(['always', 'interval', 'os'] as const)(
    'in mode %s loses nothing that the mode promised, and nothing out of the middle',
    async (durability) => {
      const seed = testSeed();
      const random = new Random(seed);
      const whole = await run(newDisk(), durability);
      expect(whole.crashed).toBe(false);
      for (let crashAt = 0; crashAt < whole.calls; crashAt++) {
        const disk = newDisk();
        disk.crashAtChange(crashAt);
        const { written, promised, oldestLive, crashed } = await run(disk, durability);
        expect(crashed).toBe(true);
        for (let cut = 0; cut < 6; cut++) {
          const after = disk.powerCut(random);
          const label = `seed ${seed}, crash at ${crashAt}, cut ${cut}`;
          const recovery = recoverAll(after, oldestLive);
          const damage = recovery.segments.find((one) => one.damage !== null)?.damage ?? null;
          expect(damage, label).toBeNull();
          const live = written.filter((entry) => entry.segment >= oldestLive).map((entry) => entry.entry);
          expect(isPrefix(recovery.entries, live), label).toBe(true);
          const owed = promised - (written.length - live.length);
          expect(recovery.entries.length, label).toBeGreaterThanOrEqual(owed);
          // The next life goes on from there, and a second start sees both.
          const harness = new LogHarness(after);
          harness.open(oldestLive + recovery.segments.length);
          const more = harness.append('more', 'm');
          expect(await harness.commit(), label).toBeNull();
          expect(recoverAll(after.powerCut(random), oldestLive).entries, label).toEqual([
            ...recovery.entries,
            more,
          ]);
        }
      }
    },
  );

  interface Outcome {
    readonly written: { entry: Entry; segment: number }[];
    /** Records that must survive a power cut. */
    promised: number;
    oldestLive: number;
    readonly calls: number;
    readonly crashed: boolean;
  }
  /** Three segments with a preallocated, a recycled and a new file; retiring as the engine does. */
  async function run(disk: SimulatedFileSystem, durability: Durability): Promise<Outcome> {
    const written: { entry: Entry; segment: number }[] = [];
    let promised = 0;
    let oldestLive = 1;
    try {
      const harness = new LogHarness(disk, durability);
      harness.log.prepareSpare();
      await disk.settle();
      for (let segment = 1; segment <= 4 && !disk.crashed; segment++) {
        harness.open(segment);
        for (let group = 0; group < 3 && !disk.crashed; group++) {
          for (let i = 0; i <= group; i++)
            written.push({ entry: harness.append(`${segment}-${group}-${i}`, 'v'.repeat(300)), segment });
          harness.write((error) => {
            if (error === null && durability === 'always') promised = written.length;
          });
          await disk.settle();
          if (group === 1) harness.timers.shift()?.();
          await disk.settle();
          if (harness.log.durableEnd === harness.log.end && !disk.crashed) promised = written.length;
        }
        if (disk.crashed) break;
        if (segment === 4) break;
        const closed = await harness.closeSegment().catch(() => 'crashed');
        if (closed === null) promised = written.length;
        else break;
        if (segment === 2) {
          oldestLive = 2;
          harness.log.retire(1);
        }
      }
    } catch (error) {
      if (!disk.crashed) throw error;
    }
    return { written, promised, oldestLive, calls: disk.changes, crashed: disk.crashed };
  }
});

describe('calls that end in any order', () => {
  it.each(['always', 'interval', 'os'] as const)(
    'in mode %s never make the log call durable what a power cut can take',
    async (durability) => {
      const seed = testSeed();
      const random = new Random(seed);
      let cuts = 0;
      for (let round = 0; round < 60; round++) {
        const disk = newDisk();
        const harness = new LogHarness(disk, durability, { random: new Random(round) });
        if (random.chance(0.5)) harness.log.prepareSpare();
        harness.open(1);
        const written: Entry[] = [];
        const ends: number[] = [];
        let acknowledged = 0;
        while (harness.room > 400) {
          if (!harness.log.busy) {
            for (let i = random.between(1, 3); i > 0; i--) {
              written.push(harness.append(`key-${written.length}`, 'v'.repeat(random.below(60))));
              ends.push(harness.head);
            }
            const records = written.length;
            harness.write((error) => {
              expect(error).toBeNull();
              acknowledged = records;
            });
          }
          if (random.chance(0.3)) harness.timers.shift()?.();
          if (random.chance(0.2)) harness.clock.advanceMs(60);
          if (random.chance(0.8)) disk.step(random.below(Math.max(1, disk.waiting)));
          if (!random.chance(0.2)) continue;
          const label = `seed ${seed}, round ${round}`;
          const durable = ends.filter((end) => end <= harness.log.durableEnd).length;
          if (durability === 'always') expect(durable, label).toBeGreaterThanOrEqual(acknowledged);
          const recovery = recoverAll(disk.powerCut(random));
          expect(
            recovery.segments.filter((one) => one.damage !== null),
            label,
          ).toEqual([]);
          expect(isPrefix(recovery.entries, written), label).toBe(true);
          expect(recovery.entries.length, label).toBeGreaterThanOrEqual(durable);
          cuts++;
        }
      }
      expect(cuts).toBeGreaterThan(100);
    },
  );
});
