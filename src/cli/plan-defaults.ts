/**
 * What `ringkv plan` takes where nobody says and nothing was measured, each with where it stands. Figures of a machine are those of
 * `ringkv bench` on the machine of docs/performance.md.
 */
import { parseAmountBytes } from '../base/units.ts';

export const documented = {
  replicas: 3,
  readShare: 0.5,
  keyBytes: 16,
  /** The premise of docs/scale.md. */
  diskBytes: parseAmountBytes('2TB'),
  /** Versions that were overwritten stay until they meet in a compaction, and a disk that is full serves badly. */
  diskFill: 0.7,
  /** For peaks above the mean, and for what else a server does. */
  headroom: 0.4,
  spareServers: 1,
  growth: 0,
  years: 5,
  networkBitsPerSecond: 1_000_000_000,
  httpHeadBytes: 300,
  compactionDial: 2,
  /** docs/data-directory.md: a node takes up to so much beside its budgets, and a test holds it to that. */
  besideBytesMax: parseAmountBytes('200MB'),
  /** docs/performance.md, three nodes beside etcd: half GET half PUT of 2 KB at QUORUM, all nodes together, and an embedded put. */
  clusterCpuUs: 268,
  clusterPutCpuUs: 14.5,
  /** docs/scale.md: at least so many for each node that a ring may ever have. */
  vnodesPerServer: 64,
  /** docs/performance.md. */
  machine: { cores: 2, memoryBytes: parseAmountBytes('24GiB') },
  /** docs/performance.md, ringkv bench. */
  figures: {
    /** As where nothing can be compressed: frames, offsets, index and filters on top of the records. */
    storedPerByte: 1.02,
    writtenPerByte: 2.5,
    putCpuUs: 20,
    getTablesCpuUs: 70,
    getMemoryCpuUs: 4,
    compactionCpuUsPerMiB: 5000,
    diskBytesPerSecond: parseAmountBytes('500MB'),
  },
} as const;
