import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { Status } from '../../src/base/status.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { testSeed } from '../seed.ts';
import { Hints, namesOf, newDisk, TARGET } from './hint-harness.ts';

const seed = testSeed();
const OTHER = 0xcd;
const TARGETS = [TARGET, OTHER];
const CUTS = 5;

/** What must be there after a crash: acknowledged, and neither delivered nor told as lost. */
interface Outcome {
  readonly owed: Set<string>;
  readonly crashed: boolean;
}

/** Files that fill up, grow old, are handed out and expire, and a restart. */
async function live(disk: SimulatedFileSystem): Promise<Outcome> {
  const owed = new Set<string>();
  const added = new Map<string, Hints>();
  const note = (): void => {
    for (const [name, hints] of added)
      if (hints.answers.get(name) === Status.OK) {
        owed.add(name);
        added.delete(name);
      }
  };
  try {
    let hints = new Hints(disk);
    const add = async (names: readonly string[], target: number, bytes = 1): Promise<void> => {
      for (const name of names) {
        added.set(name, hints);
        hints.add(name, target, bytes);
      }
      await hints.settle();
      note();
    };
    const expire = (): void => {
      for (const loss of hints.log.expire(hints.clock.nowMs())) {
        expect(loss.isDamaged).toBe(false);
        // All of its age are told in one file here.
        for (const name of [...owed]) if (name.startsWith('old')) owed.delete(name);
        hints.log.discard(loss);
      }
    };
    await add(['old 1', 'old 2'], TARGET);
    await add(['old 3'], TARGET);
    hints.clock.advanceMs(limits.hintSegmentAgeMs + 1);
    await add(['a 1', 'a 2'], TARGET);
    await add(['long'], TARGET, limits.hintSegmentBytes);
    await add(['b 1'], TARGET);
    await add(['other 1', 'other 2'], OTHER);
    hints.clock.advanceMs(limits.hintAgeMsMax - limits.hintSegmentAgeMs);
    expire();
    const batch = await hints.next();
    await add(['b 2'], TARGET);
    if (batch !== null) {
      for (const name of namesOf(batch)) owed.delete(name);
      hints.log.discard(batch);
    }
    // A process that dies while the machine goes on.
    const { clock } = hints;
    hints = new Hints(disk, clock);
    await add(['c 1'], TARGET);
    await add(['c 2', 'c 3'], TARGET);
  } catch (error) {
    if (!disk.crashed) throw error;
  }
  note();
  return { owed, crashed: disk.crashed };
}

async function allOf(hints: Hints): Promise<string[]> {
  // The time in a torn header may be any: what has it is looked at before it is handed out.
  for (const loss of hints.expire()) expect(loss.hints).toBe(0);
  const found: string[] = [];
  for (const target of TARGETS) found.push(...(await hints.drain(target)));
  return found;
}

describe(`a crash at any call that changes the disk (seed ${seed})`, () => {
  it('loses no hint that was acknowledged, and the next life goes on', async () => {
    const random = new Random(seed);
    const whole = newDisk();
    const { owed: all, crashed } = await live(whole);
    expect(crashed).toBe(false);
    expect([...all]).toEqual(['b 1', 'other 1', 'other 2', 'b 2', 'c 1', 'c 2', 'c 3']);
    expect(whole.changes).toBeGreaterThan(40);
    for (let crashAt = 0; crashAt < whole.changes; crashAt++) {
      for (let cut = 0; cut < CUTS; cut++) {
        const disk = newDisk(random.uint32());
        disk.crashAtChange(crashAt);
        const { owed } = await live(disk);
        expect(disk.crashed).toBe(true);
        const label = `seed ${seed}, crash at ${crashAt} (${whole.log[crashAt]}), cut ${cut}`;
        const after = new Hints(disk.powerCut(random));
        await after.addAll('next life');
        expect(after.answers.get('next life'), label).toBe(Status.OK);
        const again = new Hints(after.disk.powerCut(random));
        const found = await allOf(again);
        expect(
          [...owed, 'next life'].filter((name) => !found.includes(name)),
          label,
        ).toEqual([]);
        expect(again.log.bytesHeld, label).toBe(0);
      }
    }
  });

  it('loses none either where the disk fails once at any of them, and the power goes at the end', async () => {
    const random = new Random(seed);
    const whole = newDisk();
    await live(whole);
    const kinds = ['mkdir', 'create', 'unlink', 'sync-directory', 'write', 'sync'] as const;
    let hits = 0;
    for (const operation of kinds)
      for (let after = 0; after < whole.callsOf(operation); after++)
        for (const errno of ['EIO', 'ENOSPC']) {
          const disk = newDisk(random.uint32());
          const fault = disk.inject({ operation, errno, after, times: 1, bytes: random.below(100) });
          const label = `seed ${seed}, ${errno} at ${operation} ${after}`;
          let outcome: Outcome;
          try {
            outcome = await live(disk);
          } catch (error) {
            // At the start: the node says so and does not start.
            expect((error as Error).message, label).toContain(errno);
            continue;
          }
          hits += fault.hits;
          const found = await allOf(new Hints(disk.powerCut(random)));
          expect(
            [...outcome.owed].filter((name) => !found.includes(name)),
            label,
          ).toEqual([]);
        }
    expect(hits).toBeGreaterThan(60);
  });
});
