/**
 * The scenarios: YCSB's core workloads by their published definitions (Cooper et al., SoCC 2010; the files workloads/workloada
 * to f of the project: 1,000 bytes a record, zipfian with theta 0.99), and what a node and a cluster must stand beside.
 */

import type { KeyChoice } from './keys/choosers.ts';
import type { OperationName } from './workload.ts';

export type Rate =
  /** Requests a second. */
  | { readonly perSecond: number }
  /** Share of what a closed loop reaches just before. */
  | { readonly share: number };

export interface Slo {
  readonly p99Ms: number;
  /** Answered well, of what was due. */
  readonly answeredShareMin: number;
  /** Failed, of what was due: 0 but where nodes die. */
  readonly failedShareMax: number;
  /** Must have happened while it counted: otherwise the run shows nothing. */
  readonly needsCompaction: boolean;
  /** A node that was killed: until the others answer as before. */
  readonly recoverySecondsMax: number | null;
  /** Resident memory may grow by so much in the second half. */
  readonly memoryGrowthShareMax: number | null;
}

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly mix: Readonly<Partial<Record<OperationName, number>>>;
  readonly keys: KeyChoice;
  readonly records: number;
  readonly valueBytes: { readonly min: number; readonly max: number };
  readonly ttlSeconds: { readonly min: number; readonly max: number };
  readonly scanLengthMax: number;
  readonly nodes: number;
  /** Connections that are held beside those of the load. */
  readonly idle: number;
  /** Requests on their way at a time; null: the transport's default. */
  readonly inFlight: number | null;
  /** Each of them has a connection of its own over WebSocket too, as always over HTTP. */
  readonly apart: boolean;
  /** Of the nodes that are started, by name. */
  readonly settings: Readonly<Record<string, string>>;
  readonly query: string;
  readonly rate: Rate;
  readonly warmUpSeconds: number;
  readonly seconds: number;
  /** kill -9 of a node at the first share of the time, start it again at the second. */
  readonly killAt: { readonly kill: number; readonly start: number } | null;
  readonly slo: Slo;
}

const SLO: Slo = {
  p99Ms: 10,
  answeredShareMin: 0.98,
  failedShareMax: 0,
  needsCompaction: false,
  recoverySecondsMax: null,
  memoryGrowthShareMax: null,
};
const KIB = 1024;
const same = (bytes: number): { min: number; max: number } => ({ min: bytes, max: bytes });
const NEVER = { min: 0, max: 0 };
const ZIPFIAN: KeyChoice = { distribution: 'zipfian' };
const UNIFORM: KeyChoice = { distribution: 'uniform' };
/** Small ones are full within seconds. */
const SMALL_MEMTABLES = { 'memtable-bytes': '8MiB' };
/** As a paced service would run: with room for bursts and for background work. */
const PACED: Rate = { share: 0.7 };

const base: Omit<Scenario, 'name' | 'title' | 'mix'> = {
  keys: ZIPFIAN,
  records: 100_000,
  valueBytes: same(2 * KIB),
  ttlSeconds: NEVER,
  scanLengthMax: 100,
  nodes: 1,
  idle: 0,
  inFlight: null,
  apart: false,
  settings: {},
  query: '',
  rate: PACED,
  warmUpSeconds: 5,
  seconds: 30,
  killAt: null,
  slo: SLO,
};

const YCSB_RECORD_BYTES = 1000;
const ycsb = (
  letter: string,
  title: string,
  mix: Scenario['mix'],
  more: Partial<Scenario> = {},
): Scenario => ({
  ...base,
  name: `ycsb-${letter}`,
  title: `YCSB ${letter.toUpperCase()}: ${title}`,
  mix,
  valueBytes: same(YCSB_RECORD_BYTES),
  ...more,
});

export const scenarios: readonly Scenario[] = [
  {
    ...base,
    name: 'slo',
    title: '50% reads, 50% updates of 2 KB, one million keys, zipfian, 100,000 requests a second',
    mix: { read: 0.5, update: 0.5 },
    records: 1_000_000,
    rate: { perSecond: 100_000 },
    warmUpSeconds: 15,
    seconds: 300,
  },
  ycsb('a', 'update heavy, 50% reads, 50% updates', { read: 0.5, update: 0.5 }),
  ycsb('b', 'read mostly, 95% reads, 5% updates', { read: 0.95, update: 0.05 }),
  ycsb('c', 'reads only', { read: 1 }),
  ycsb(
    'd',
    'read latest, 95% reads, 5% inserts',
    { read: 0.95, insert: 0.05 },
    { keys: { distribution: 'latest' } },
  ),
  ycsb(
    'e',
    'short ranges, 95% scans of 1 to 100 records in order of tokens, 5% inserts',
    { scan: 0.95, insert: 0.05 },
    { slo: { ...SLO, p99Ms: 50 } },
  ),
  ycsb('f', '50% reads, 50% read-modify-writes', { read: 0.5, readModifyWrite: 0.5 }),
  {
    ...base,
    name: 'ttl-churn',
    title: 'every value expires after 1 to 10 seconds',
    mix: { read: 0.5, update: 0.5 },
    ttlSeconds: { min: 1, max: 10 },
    settings: SMALL_MEMTABLES,
  },
  {
    ...base,
    name: 'hot-key',
    title: 'half of all requests for one key',
    mix: { read: 0.9, update: 0.1 },
    keys: { distribution: 'hotspot', hotKeys: 1, hotShare: 0.5 },
  },
  {
    ...base,
    name: 'large-values',
    title: 'values of 16 KiB to 1 MiB',
    mix: { read: 0.7, update: 0.3 },
    keys: UNIFORM,
    records: 2000,
    valueBytes: { min: 16 * KIB, max: KIB * KIB },
    slo: { ...SLO, p99Ms: 100 },
  },
  {
    ...base,
    name: 'connections',
    title: 'idle connections (10,000) are held beside busy ones (1,000)',
    mix: { read: 0.5, update: 0.5 },
    idle: 10_000,
    inFlight: 1000,
    apart: true,
    // Longer than the node's own ends of idle connections: 8 to 12 s over HTTP, 32 s and 60 s over WebSocket.
    seconds: 90,
    rate: { share: 0.5 },
    slo: { ...SLO, p99Ms: 100 },
  },
  {
    ...base,
    name: 'delete-heavy',
    title: '35% deletes, 35% updates, 30% reads',
    mix: { read: 0.3, update: 0.35, delete: 0.35 },
    keys: UNIFORM,
    settings: SMALL_MEMTABLES,
  },
  {
    ...base,
    name: 'more-than-memory',
    title: '2 GB of data beside 48 MiB of memtables and block cache',
    mix: { read: 0.8, update: 0.2 },
    keys: UNIFORM,
    records: 1_000_000,
    settings: { 'memtable-bytes': '8MiB', 'block-cache-bytes': '32MiB' },
    slo: { ...SLO, p99Ms: 25 },
  },
  {
    ...base,
    name: 'compaction',
    title: 'memtables of 8 MiB: flushes and compactions all the time',
    mix: { read: 0.5, update: 0.5 },
    settings: SMALL_MEMTABLES,
    slo: { ...SLO, needsCompaction: true },
  },
  {
    ...base,
    name: 'node-failure',
    title: 'three nodes; one is killed with SIGKILL and started again',
    mix: { read: 0.5, update: 0.5 },
    records: 20_000,
    nodes: 3,
    // Without stand-ins what is acknowledged is never missed, so that each answer can be checked.
    query: 'consistency=QUORUM&sloppy=false',
    rate: { share: 0.5 },
    seconds: 60,
    killAt: { kill: 0.3, start: 0.6 },
    slo: { ...SLO, p99Ms: 1000, failedShareMax: 0.01, answeredShareMin: 0.97, recoverySecondsMax: 10 },
  },
  {
    ...base,
    name: 'soak',
    title: 'one hour: reads, updates, deletes and read-modify-writes',
    mix: { read: 0.6, update: 0.25, delete: 0.05, readModifyWrite: 0.1 },
    settings: SMALL_MEMTABLES,
    rate: { share: 0.5 },
    seconds: 3600,
    warmUpSeconds: 60,
    slo: { ...SLO, needsCompaction: true, memoryGrowthShareMax: 0.1 },
  },
];
