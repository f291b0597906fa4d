import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

// `fast` runs in `npm run check`: no processes, no long loops. `slow` starts worker threads, servers and
// whole processes from the build in dist/, and runs the long model and crash tests.
// Time limits only end what hangs: machines of CI are busy.
const shared = {
  pool: 'forks' as const,
  environment: 'node' as const,
  // Where a condition is waited for. The default of a second is not enough of a busy machine.
  expect: { poll: { timeout: 60_000, interval: 20 } },
  // By default one core is left for the main process, which has little to do: of two cores one would idle.
  maxWorkers: availableParallelism(),
};

/** Take half a minute and more on a quiet core. */
const LONGEST = [
  'slow/simulator-defects.test.ts',
  'slow/cluster-join.test.ts',
  'slow/disk-full.test.ts',
  'slow/load.test.ts',
  'slow/cluster.test.ts',
  'slow/membership-scale.test.ts',
  'slow/cli-import.test.ts',
  'slow/cli-serve.test.ts',
  'slow/peer-transport.test.ts',
  'slow/engine-model.test.ts',
  'sim/simulation.test.ts',
  'cluster/ring-balance.test.ts',
];

/** The longest files start first: last, they would run alone. Some are short to read, and size is what else orders files. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return found < 0 ? LONGEST.length : found;
    };
    const sorted = await super.sort(files);
    return sorted.sort((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...shared,
          name: 'fast',
          include: ['test/**/*.test.ts'],
          exclude: ['test/slow/**'],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...shared,
          name: 'slow',
          include: ['test/slow/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 60_000,
          // Its files wait for processes and clocks: two at a time leave a quarter of two cores idle.
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
