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
  /** docs/performance.md: three nodes beside etcd, half GET half PUT of 2 KB at QUORUM, all nodes together; and a put by ringkv bench. */
  clusterCpuUs: 268,
  clusterPutCpuUs: 17.4,
  /** docs/scale.md: at least so many for each node that a ring may ever have. */
  vnodesPerServer: 64,
  /** docs/performance.md. */
  machine: { cores: 2, memoryBytes: parseAmountBytes('24GiB') },
  /** docs/performance.md, ringkv bench. */
  figures: {
    /** As where nothing can be compressed: frames, offsets, index and filters on top of the records. */
    storedPerByte: 1.02,
    /** 2.59 were measured with values of which half could be compressed, 1 of it the log: as where nothing can be. */
    writtenPerByte: 4,
    putCpuUs: 17.4,
    getTablesCpuUs: 75.8,
    getMemoryCpuUs: 4.1,
    compactionCpuUsPerMiB: 3000,
    diskBytesPerSecond: parseAmountBytes('195MB'),
  },
} as const;
