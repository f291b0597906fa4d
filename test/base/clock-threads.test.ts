import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  deadlineIn,
  hasPassed,
  ManualClock,
  MONOTONIC_ZERO,
  msLeft,
  systemClock,
} from '../../src/base/clock.ts';

/** Answers each message with what the clock of its thread says then. */
const READER = `
  const { parentPort } = require('node:worker_threads');
  const monotonicMs = ${systemClock.monotonicMs.toString()};
  parentPort.on('message', () => parentPort.postMessage(monotonicMs()));
  parentPort.postMessage(-1);
`;
const messageOf = (worker: Worker): Promise<number> =>
  new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });

describe('the monotonic clock', () => {
  it('is one for all threads: what one thread reads between two readings of another lies between them', async () => {
    for (let thread = 0; thread < 3; thread++) {
      const worker = new Worker(READER, { eval: true });
      try {
        await messageOf(worker);
        for (let round = 0; round < 50; round++) {
          const beforeMs = systemClock.monotonicMs();
          worker.postMessage('');
          const theirsMs = await messageOf(worker);
          const afterMs = systemClock.monotonicMs();
          expect([beforeMs, theirsMs, afterMs]).toEqual([beforeMs, theirsMs, afterMs].sort((a, b) => a - b));
        }
      } finally {
        await worker.terminate();
      }
    }
  });

  it('of a test stands still while the wall clock is set, and both go on together', () => {
    const clock = new ManualClock(1_700_000_000_000);
    const beginMs = clock.monotonicMs();
    clock.jumpMs(-600_000);
    expect([clock.nowMs(), clock.nowUs()]).toEqual([1_699_999_400_000, 1_699_999_400_000_000]);
    expect(clock.monotonicMs()).toBe(beginMs);
    clock.advanceMs(7);
    expect([clock.nowMs(), clock.monotonicMs() - beginMs]).toEqual([1_699_999_400_007, 7]);
  });

  it('gives deadlines that have passed when their time has come, and not before; one that was never set has passed', () => {
    const clock = new ManualClock(1_700_000_000_000);
    const deadlineMs = deadlineIn(clock, 10);
    clock.advanceMs(9.999);
    expect(hasPassed(deadlineMs, clock.monotonicMs())).toBe(false);
    expect(msLeft(deadlineMs, clock.monotonicMs())).toBeCloseTo(0.001);
    clock.advanceMs(0.001);
    expect(hasPassed(deadlineMs, clock.monotonicMs())).toBe(true);
    expect(hasPassed(MONOTONIC_ZERO, systemClock.monotonicMs())).toBe(true);
  });
});
