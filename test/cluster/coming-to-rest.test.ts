import { describe, expect, it } from 'vitest';
import { limits } from '../../src/base/limits.ts';
import { BehindAnswers } from '../../src/cluster/behind-answers.ts';
import { comeToRest, drainParts, type RestingParts } from '../../src/cluster/coming-to-rest.ts';
import type { HintsLeft } from '../../src/cluster/hint-replay.ts';
import { ManualTimers } from './manual-timers.ts';

const STEP_MS = limits.stopStepMsMax;
const WORK = { vnode: 3 };

/** A node's parts, and what is done to them when, in milliseconds from the start. */
function resting() {
  const timers = new ManualTimers();
  const startMs = timers.clock.monotonicMs();
  const seen: string[] = [];
  const note = (what: string): void => void seen.push(`${timers.clock.monotonicMs() - startMs} ${what}`);
  const behind = new BehindAnswers(timers, () => 0);
  const keeps: (() => void)[] = [];
  const parts: RestingParts = {
    world: { clock: timers.clock, timers, log: (_, message) => note(message) },
    behind,
    marks: {
      mark: (vnode) => note(`mark ${vnode}`),
      keepMarks: (done) => {
        note('keep');
        keeps.push(done);
      },
    },
  };
  const calls = { endWrites: () => note('end writes'), close: () => note('close') };
  /** Promises have their turns between timers. */
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; ; passed++) {
      for (let turn = 0; turn < 8; turn++) {
        timers.advance(0);
        await Promise.resolve();
      }
      if (passed === ms) return;
      timers.advance(1);
    }
  };
  return { parts, behind, seen, note, calls, keeps, pass };
}

describe('a node that ends in an orderly way', () => {
  it('ends at once where nothing is left, once its marks are kept', async () => {
    const { parts, seen, note, calls, keeps, pass } = resting();
    void comeToRest(parts, calls).then(() => note('rests'));
    await pass(100);
    expect(seen.map((line) => line.slice(line.indexOf(' ') + 1))).toEqual(['end writes', 'close', 'keep']);
    for (const done of keeps) done();
    await pass(0);
    expect(seen.at(-1)).toMatch(/ rests$/);
  });

  it('gives calls their time, then ends writes for the sake of hints, then all calls, and marks what is left', async () => {
    const { parts, behind, seen, note, calls, keeps, pass } = resting();
    behind.begin(WORK);
    behind.begin({ vnode: 5 });
    void comeToRest(parts, calls).then(() => note('rests'));
    await pass(3 * STEP_MS + 1000);
    for (const done of keeps) done();
    await pass(0);
    expect(seen.map((line) => line.replace(/ 2 writes.*/, ' warned'))).toEqual([
      `${STEP_MS} end writes`,
      `${2 * STEP_MS} close`,
      `${3 * STEP_MS} warned`,
      `${3 * STEP_MS} mark 3`,
      `${3 * STEP_MS} mark 5`,
      `${3 * STEP_MS} keep`,
      `${3 * STEP_MS + 1000} rests`,
    ]);
  });

  it('does not wait on where hints are kept once the writes have ended', async () => {
    const { parts, behind, seen, note, keeps, pass } = resting();
    behind.begin(WORK);
    const calls = {
      endWrites: () => {
        note('end writes');
        behind.end(WORK);
      },
      close: () => note('close'),
    };
    void comeToRest(parts, calls).then(() => note('rests'));
    await pass(STEP_MS);
    for (const done of keeps) done();
    await pass(0);
    expect(seen.map((line) => Number.parseInt(line, 10)).every((ms) => ms === STEP_MS)).toBe(true);
    expect(seen.at(-1)).toMatch(/ rests$/);
  });

  it('ends though its marks are not kept', async () => {
    const { parts, seen, note, pass } = resting();
    void comeToRest(parts, null).then(() => note('rests'));
    await pass(STEP_MS - 1);
    expect(seen).toHaveLength(1);
    await pass(1);
    expect(seen.at(-1)).toBe(`${STEP_MS} rests`);
  });
});

describe('a drain', () => {
  const HINTS: readonly HintsLeft[] = [{ target: 7, bytes: 9, isDeliverable: false }];
  it('looks at hints only when nothing is left behind answers, and tells when its marks are kept', async () => {
    const { parts, behind, seen, note, keeps, pass } = resting();
    behind.begin(WORK);
    const waits: number[] = [];
    const replay = {
      whenHandedOut: (ms: number, done: (left: readonly HintsLeft[]) => void) => {
        waits.push(ms);
        done(HINTS);
      },
    };
    void drainParts(parts, replay, 5000).then(({ hints, unsettled }) =>
      note(`drained ${hints.length} ${unsettled}`),
    );
    await pass(1000);
    expect([waits, seen]).toEqual([[], []]);
    behind.end(WORK);
    await pass(200);
    expect(waits).toEqual([4000]);
    expect(seen.map((line) => line.replace(/^[0-9]+ /, ''))).toEqual(['keep']);
    for (const done of keeps) done();
    await pass(0);
    expect(seen.at(-1)).toMatch(/ drained 1 0$/);
  });
  it('tells in time how many writes are left', async () => {
    const { parts, behind, seen, note, pass } = resting();
    behind.begin(WORK);
    const replay = {
      whenHandedOut: (_: number, done: (left: readonly HintsLeft[]) => void) => done([]),
    };
    void drainParts(parts, replay, 5000).then(({ unsettled }) => note(`drained ${unsettled}`));
    await pass(5000);
    expect(seen.at(-1)).toBe('5000 drained 1');
  });
});
