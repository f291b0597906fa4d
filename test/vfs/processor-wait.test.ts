import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { processorWaitUs } from '../../src/vfs/processor-wait.ts';

const TELLS = existsSync('/proc/thread-self/schedstat');
/** Turns of the processor until threads that share it have waited for each other: a bound, not a time. */
const SPINS_MAX = 5000;

describe('the wait for a processor', () => {
  it(`never goes back${TELLS ? '' : ', and is 0 where the system does not tell'}`, () => {
    let before = processorWaitUs();
    for (let i = 0; i < 100; i++) {
      const now = processorWaitUs();
      expect(now).toBeGreaterThanOrEqual(before);
      if (!TELLS) expect(now).toBe(0);
      before = now;
    }
  });

  it.runIf(TELLS)('grows while more threads run than there are processors', async () => {
    const threads = Array.from(
      { length: 2 * availableParallelism() },
      () => new Worker('for (;;);', { eval: true }),
    );
    try {
      await Promise.all(threads.map((thread) => new Promise((resolve) => thread.once('online', resolve))));
      const before = processorWaitUs();
      let spins = 0;
      for (; spins < SPINS_MAX && processorWaitUs() - before < 1000; spins++)
        for (let i = 0; i < 1e5; i++) Math.sqrt(i);
      expect(processorWaitUs() - before).toBeGreaterThanOrEqual(1000);
    } finally {
      await Promise.all(threads.map((thread) => thread.terminate()));
    }
  });
});
