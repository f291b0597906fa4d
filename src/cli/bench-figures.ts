/**
 * What `ringkv bench` measured, as it stands in the file that `ringkv plan` reads: JSON, version 1. Bytes, milliseconds and
 * microseconds, each in the name. A figure that this machine cannot give is null.
 */
import { z } from 'zod';

export const FIGURES_VERSION = 1;
export const FIGURES_FILE = './ringkv-bench.json';

const count = z.int().min(0);
const positive = z.number().positive();
const amount = z.number().min(0);

const load = z.strictObject({
  calls: count,
  /** Calls that were refused for overload and made again. */
  refused: count,
  seconds: positive,
  perSecond: amount,
  /** Of a call, over all threads of the process, the load's own included. */
  cpuUs: amount,
  p50Ms: amount,
  p99Ms: amount,
  p999Ms: amount,
  maxMs: amount,
});
export type LoadFigures = z.infer<typeof load>;

const machine = z.strictObject({
  platform: z.string(),
  node: z.string(),
  processor: z.string(),
  cores: z.int().min(1),
  memoryBytes: positive,
});
export type MachineFigures = z.infer<typeof machine>;

const settings = z.strictObject({
  valueBytes: count,
  keyBytes: count,
  /** Share of each value that a compressor can take away. */
  compressible: z.number().min(0).max(1),
  inFlight: z.int().min(1),
  seconds: positive,
  shards: z.int().min(1),
  durability: z.string(),
  memtableBytes: positive,
  blockCacheBytes: amount,
  blockBytes: positive,
  compression: z.string(),
  compactionDial: z.int(),
});
export type BenchSettings = z.infer<typeof settings>;

const disk = z.strictObject({
  /** Writes of so many bytes, each followed by fdatasync, one after another. */
  syncWriteBytes: positive,
  syncs: count,
  syncP50Ms: amount,
  syncP99Ms: amount,
  syncMaxMs: amount,
  /** Writes of 1 MiB, each followed by fdatasync, one after another. */
  bytesPerSecond: positive,
});
export type DiskFigures = z.infer<typeof disk>;

const put = load.extend({
  /** Processor time of a put with the flushes and compactions that it led to. */
  cpuUsSettled: amount,
  /** Whether flushes and compactions had come to an end when that and the bytes below were read. */
  isSettled: z.boolean(),
  /** Bytes that the process gave to write calls for each byte of key and value put; null where the system does not tell. */
  writtenPerByte: amount.nullable(),
});
export type PutFigures = z.infer<typeof put>;

const space = z.strictObject({
  objects: z.int().min(1),
  /** Of tables, before and after everything was merged. */
  tableBytesBefore: amount,
  tableBytes: positive,
  bytesPerObject: positive,
  /** Bytes of tables for each byte of the keys and values that live. */
  amplification: positive,
  /** Processor time of that merging for each MiB that it wrote; null where too little was left to merge. */
  compactionCpuUsPerMiB: amount.nullable(),
});
export type SpaceFigures = z.infer<typeof space>;

const memory = z.strictObject({
  /** Resident before the first operation, and at most. */
  openBytes: positive,
  peakBytes: positive,
  /** Memtables with their index, block cache and rings, when all are full. */
  budgetBytes: positive,
  /** What was taken beside the budgets: before the first operation, or at the peak where that is more. */
  besideBytes: amount,
});
export type MemoryFigures = z.infer<typeof memory>;

export const figuresSchema = z.strictObject({
  format: z.literal(FIGURES_VERSION),
  ringkv: z.string(),
  measuredAt: z.iso.datetime(),
  machine,
  settings,
  disk,
  put,
  getMemory: load,
  /** Nothing in the block cache: a filter page, an index page and a block are read, checked and decoded for each. */
  getTables: load,
  space,
  memory,
});
export type BenchFigures = z.infer<typeof figuresSchema>;
