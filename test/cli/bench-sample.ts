/** Figures as `ringkv bench` writes them, for tests of what reads them. */
import type { BenchFigures, LoadFigures } from '../../src/cli/bench-figures.ts';

const load = (perSecond: number, cpuUs: number): LoadFigures => ({
  ...{ calls: perSecond * 10, refused: 0, seconds: 10, perSecond, cpuUs },
  ...{ p50Ms: 1, p99Ms: 5, p999Ms: 8, maxMs: 20 },
});

export interface SampleChanges {
  readonly bytesPerObject?: number;
  readonly isSettled?: boolean;
  readonly writtenPerByte?: number | null;
}

export function sampleFigures(changes: SampleChanges = {}): BenchFigures {
  const { bytesPerObject = 1120, isSettled = true, writtenPerByte = 2.25 } = changes;
  return {
    format: 1,
    ringkv: '0.1.0',
    measuredAt: '2026-11-30T04:00:00.000Z',
    machine: { platform: 'linux x64', node: 'v20.20.2', processor: 'one', cores: 4, memoryBytes: 32e9 },
    settings: {
      ...{ valueBytes: 2000, keyBytes: 16, compressible: 0.5, inFlight: 256, seconds: 10, shards: 4 },
      ...{ durability: 'always', memtableBytes: 64 * 2 ** 20, blockCacheBytes: 256 * 2 ** 20 },
      ...{ blockBytes: 16_384, compression: 'snappy', compactionDial: 2 },
    },
    disk: {
      ...{ syncWriteBytes: 65_536, syncs: 5000, syncP50Ms: 0.2, syncP99Ms: 1, syncMaxMs: 5 },
      bytesPerSecond: 500e6,
    },
    put: { ...load(100_000, 12), cpuUsSettled: 20, isSettled, writtenPerByte },
    getMemory: load(400_000, 2),
    getTables: load(40_000, 40),
    space: {
      ...{ objects: 1_000_000, tableBytesBefore: 1.3e9, tableBytes: 1.12e9, bytesPerObject },
      ...{ amplification: bytesPerObject / 2016, compactionCpuUsPerMiB: 8000 },
    },
    memory: { openBytes: 140e6, peakBytes: 600e6, budgetBytes: 700e6, besideBytes: 140e6 },
  };
}
