import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

// `fast` runs in `npm run check`: no processes, no long loops. `slow` starts worker threads, servers and whole processes from the
// build in dist/. Both are `npm test`. `long` takes the processor for half a minute a file: model tests, hunts for planted
// defects, imports and joins that are killed over and over, a million records: `npm run test:long`.
// Time limits only end what hangs: machines of CI are busy.
const shared = {
  pool: 'forks' as const,
  environment: 'node' as const,
  // Where a condition is waited for. The default of a second is not enough of a busy machine.
  expect: { poll: { timeout: 60_000, interval: 20 } },
  // By default one core is left for the main process, which has little to do: of two cores one would idle. One file more than
  // there are cores runs at a time: slow files wait for processes and clocks, and fast ones have use for the time.
  maxWorkers: availableParallelism() + 1,
};

/** Take a quarter of a minute and more. */
const LONGEST = [
  'slow/cluster.test.ts',
  'slow/load.test.ts',
  'slow/cluster-tls.test.ts',
  'slow/disk-full.test.ts',
  'slow/cli-serve.test.ts',
  'slow/peer-transport.test.ts',
  'slow/client-ws.test.ts',
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
          exclude: ['test/slow/**', 'test/long/**'],
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'slow',
          include: ['test/slow/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          ...shared,
          name: 'long',
          include: ['test/long/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
