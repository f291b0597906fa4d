import { describe, expect, it } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { limits } from '../../src/base/limits.ts';
import { RepairBacklog } from '../../src/cluster/repair-backlog.ts';
import { MemoryDocuments } from './gossip-network.ts';

const VNODE = 5;

/** A vnode whose repairs have failed often, and whether it is due. */
function backlogAfter(failures: number) {
  const clock = new ManualClock(0);
  const backlog = new RepairBacklog({ clock, documents: new MemoryDocuments(), log: () => undefined }, 16);
  const isDue = (): boolean => backlog.next(() => false) === VNODE;
  const fail = (isMarkedMeanwhile: boolean): void => {
    backlog.begin(VNODE);
    if (isMarkedMeanwhile) backlog.add(VNODE);
    backlog.failed(VNODE, true);
  };
  backlog.add(VNODE);
  for (let i = 0; i < failures; i++) fail(false);
  return { clock, backlog, isDue, fail };
}

describe('vnodes that wait for repair', () => {
  it('wait no longer than after a first failure where they are marked while their repair fails', () => {
    const { clock, isDue, fail } = backlogAfter(10);
    clock.advanceMs(limits.repairRetryIntervalMs / 2);
    expect(isDue()).toBe(false);
    fail(true);
    // Not at once: a mark with every write would keep the repair going without a pause.
    expect(isDue()).toBe(false);
    clock.advanceMs(2 * limits.repairTickMs);
    expect(isDue()).toBe(true);
  });

  it('wait longer with each failure where nothing was missed meanwhile', () => {
    const { clock, isDue, fail } = backlogAfter(0);
    for (let failures = 1; failures < 6; failures++) {
      fail(false);
      clock.advanceMs(2 ** failures * limits.repairTickMs - 1);
      expect(isDue()).toBe(false);
      clock.advanceMs(1);
      expect(isDue()).toBe(true);
    }
  });
});

describe('what waits for repair', () => {
  /** A backlog whose documents are on their way until told, in a world that calls `save` no more. */
  function unsaved() {
    const saves: { readonly bytes: Uint8Array; readonly done: (error: Error | null) => void }[] = [];
    const documents = {
      load: () => saves.at(-1)?.bytes ?? null,
      save: (_: string, bytes: Uint8Array, done: (error: Error | null) => void) =>
        void saves.push({ bytes, done }),
    };
    const world = { clock: new ManualClock(0), documents, log: () => undefined };
    let kept = 0;
    const backlog = new RepairBacklog(world, 16);
    const keep = (): void => backlog.keep(() => kept++);
    const reread = (): number[] => [...new RepairBacklog(world, 16).vnodes()];
    return { backlog, saves, keep, kept: () => kept, reread };
  }
  it('is kept at once where a node that ends asks for that, and not again', () => {
    const { backlog, saves, keep, kept, reread } = unsaved();
    keep();
    expect([kept(), saves.length]).toEqual([1, 0]);
    backlog.add(VNODE);
    keep();
    expect([kept(), saves.length, reread()]).toEqual([1, 1, [VNODE]]);
    saves[0]?.done(null);
    keep();
    expect([kept(), saves.length]).toEqual([3, 1]);
  });
  it('is kept also where an older list was on its way', () => {
    const { backlog, saves, keep, kept, reread } = unsaved();
    backlog.add(1);
    backlog.save();
    keep();
    expect(kept()).toBe(0);
    backlog.add(VNODE);
    saves[0]?.done(null);
    expect([kept(), saves.length, reread()]).toEqual([0, 2, [1, VNODE]]);
    saves[1]?.done(null);
    expect(kept()).toBe(1);
  });
});
