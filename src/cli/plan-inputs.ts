/**
 * The inputs of `ringkv plan`, each with where it comes from: a flag, the figures of `ringkv bench`, a documented default, or the code
 * itself. Pure.
 */
import { limits } from '../base/limits.ts';
import { recordBytes } from '../base/record.ts';
import { INDEX_ENTRY_BYTES } from '../engine/block-search.ts';
import { scalingOf } from '../engine/compaction-levels.ts';
import { OVERLAP_MAX } from '../engine/compaction-strategy.ts';
import type { BenchFigures } from './bench-figures.ts';
import { MEMTABLE_INDEX_BYTES } from './bench-run.ts';
import { documented } from './plan-defaults.ts';
import type { Input, Inputs } from './plan-estimate.ts';
import type { Unit } from './plan-lines.ts';
import { wireBytesOf } from './plan-wire.ts';

/** As commander gives them; absent where nobody says. */
export interface PlanFlags {
  readonly data: number;
  readonly object: number;
  readonly qps: number;
  readonly replicas?: number;
  readonly readShare?: number;
  readonly consistency?: 'ONE' | 'QUORUM' | 'ALL';
  readonly key?: number;
  readonly disk?: number;
  readonly diskFill?: number;
  readonly diskReads?: number;
  readonly serverQps?: number;
  readonly cores?: number;
  readonly memory?: number;
  readonly network?: number;
  readonly shards?: number;
  readonly memtableBytes?: number;
  readonly blockCacheBytes?: number;
  readonly racks?: number;
  readonly spareServers?: number;
  readonly headroom?: number;
  readonly growth?: number;
}

/** Tables come out of a compaction at no less than this share of their target: compaction-strategy.ts. */
const TABLE_FILL_MIN = 0.4;
/** A page of the filter, one of the index, and the block. */
const READS_PER_GET_MAX = 3;

export function inputsOf(flags: PlanFlags, figures: BenchFigures | null): Inputs {
  const inputs: Record<string, Input> = {};
  const put = (name: string, unit: Unit, source: Input['source'], value: number, about: string): number => {
    inputs[name] = { value, unit, source, about };
    return value;
  };
  const flag = (name: string, unit: Unit, value: number, about: string): number =>
    put(name, unit, 'flag', value, about);
  const either = (
    name: string,
    unit: Unit,
    given: number | undefined,
    otherwise: number,
    about: string,
  ): number =>
    given === undefined ? put(name, unit, 'default', otherwise, about) : flag(name, unit, given, about);
  /** A flag, or what was measured, or what is documented. */
  const measured = (
    name: string,
    unit: Unit,
    given: number | undefined,
    of: (all: BenchFigures) => number | null,
    otherwise: number,
    about: string,
  ): number => {
    const found = figures === null ? null : of(figures);
    if (given !== undefined) return flag(name, unit, given, about);
    return found === null
      ? put(name, unit, 'default', otherwise, about)
      : put(name, unit, 'measured', found, about);
  };
  const code = (name: string, unit: Unit, value: number, about: string): number =>
    put(name, unit, 'code', value, about);

  const objectBytes = flag('objectBytes', 'bytes', flags.object, '--object: key and value');
  flag('dataBytes', 'bytes', flags.data, '--data: keys and values, once');
  flag('qps', '/s', flags.qps, '--qps: requests of clients');
  const replicas = either('replicas', 'count', flags.replicas, documented.replicas, '--replicas');
  either(
    'readShare',
    'share',
    flags.readShare,
    documented.readShare,
    '--read-share: GETs among the requests',
  );
  const consistency = flags.consistency ?? 'QUORUM';
  const readReplicas = { ONE: 1, QUORUM: Math.floor(replicas / 2) + 1, ALL: replicas }[consistency];
  either(
    'readReplicas',
    'count',
    flags.consistency === undefined ? undefined : readReplicas,
    readReplicas,
    `--consistency ${consistency}: replicas that a GET asks`,
  );
  either('diskBytes', 'bytes', flags.disk, documented.diskBytes, '--disk: of a server');
  either('diskFill', 'share', flags.diskFill, documented.diskFill, '--disk-fill: no fuller than this');
  if (flags.diskReads !== undefined)
    flag('diskReads', '/s', flags.diskReads, '--disk-reads: random reads of a disk');
  if (flags.serverQps !== undefined)
    flag(
      'serverQps',
      '/s',
      flags.serverQps,
      '--server-qps: reads and writes that a server does for its replicas',
    );
  either(
    'headroom',
    'share',
    flags.headroom,
    documented.headroom,
    '--headroom: kept free of processors, disk and link',
  );
  either('racks', 'count', flags.racks, replicas, '--racks: as many as replicas unless said otherwise');
  either(
    'spareServers',
    'count',
    flags.spareServers,
    documented.spareServers,
    '--spare-servers: lost for good, not replaced yet',
  );
  either('growth', 'share', flags.growth, documented.growth, '--growth: of data and requests, a year');
  either(
    'networkBitsPerSecond',
    'bits/s',
    flags.network,
    documented.networkBitsPerSecond,
    '--network: link of a server',
  );
  put(
    'httpHeadBytes',
    'bytes',
    'default',
    documented.httpHeadBytes,
    'heads of an HTTP request and its answer',
  );

  const { machine } = documented;
  const cores = measured(
    'cores',
    'count',
    flags.cores,
    (all) => all.machine.cores,
    machine.cores,
    '--cores: of a server',
  );
  measured(
    'memoryBytes',
    'bytes',
    flags.memory,
    (all) => all.machine.memoryBytes,
    machine.memoryBytes,
    '--memory: of a server',
  );
  if (flags.shards === undefined && flags.cores !== undefined)
    put('shards', 'count', 'default', Math.min(cores, limits.shardsMax), '--shards: as many as cores');
  else measured('shards', 'count', flags.shards, (all) => all.settings.shards, cores, '--shards: of a node');
  const { blockCacheBytesDefault, memtableBytesDefault } = limits;
  const memtableBytes = measured(
    'memtableBytes',
    'bytes',
    flags.memtableBytes,
    (all) => all.settings.memtableBytes,
    memtableBytesDefault,
    '--memtable-bytes',
  );
  measured(
    'blockCacheBytes',
    'bytes',
    flags.blockCacheBytes,
    (all) => all.settings.blockCacheBytes,
    blockCacheBytesDefault,
    '--block-cache-bytes',
  );
  measured(
    'blockBytes',
    'bytes',
    undefined,
    (all) => all.settings.blockBytes,
    limits.blockBytesDefault,
    'block of a table',
  );
  const dial = figures?.settings.compactionDial ?? documented.compactionDial;

  const there = documented.figures;
  const benchRecordBytes = (all: BenchFigures): number =>
    recordBytes(all.settings.keyBytes, all.settings.valueBytes);
  const stored = measured(
    'storedPerByte',
    'times',
    undefined,
    (all) => all.space.bytesPerObject / benchRecordBytes(all),
    there.storedPerByte,
    'bytes of tables for each byte of a record, after compression',
  );
  measured(
    'writtenPerByte',
    'times',
    undefined,
    (all) => all.put.writtenPerByte,
    there.writtenPerByte,
    'bytes given to files for each byte put',
  );
  measured(
    'figuresShardBytes',
    'bytes',
    undefined,
    (all) => all.space.tableBytes / all.settings.shards,
    stored * memtableBytes,
    'tables of a shard at which that was so',
  );
  measured(
    'putCpuUs',
    'us',
    undefined,
    (all) => all.put.cpuUsSettled,
    there.putCpuUs,
    'processor time of a put, flush and compaction included',
  );
  measured(
    'getTablesCpuUs',
    'us',
    undefined,
    (all) => all.getTables.cpuUs,
    there.getTablesCpuUs,
    'of a get from tables, nothing in the block cache',
  );
  measured(
    'getMemoryCpuUs',
    'us',
    undefined,
    (all) => all.getMemory.cpuUs,
    there.getMemoryCpuUs,
    'of a get from memory',
  );
  measured(
    'compactionCpuUsPerMiB',
    'us',
    undefined,
    (all) => all.space.compactionCpuUsPerMiB,
    there.compactionCpuUsPerMiB,
    'of compaction, for each MiB that it writes',
  );
  measured(
    'diskBytesPerSecond',
    'bytes/s',
    undefined,
    (all) => all.disk.bytesPerSecond,
    there.diskBytesPerSecond,
    'what the disk writes and syncs',
  );
  measured(
    'besideBytes',
    'bytes',
    undefined,
    (all) => all.memory.besideBytes,
    documented.besideBytesMax,
    'memory beside the budgets',
  );
  put(
    'besideBytesMax',
    'bytes',
    'default',
    documented.besideBytesMax,
    'what a node may take of it: docs/data-directory.md',
  );
  put(
    'clusterCpuUs',
    'us',
    'default',
    documented.clusterCpuUs,
    'processor time of a request on all nodes: docs/performance.md, half GET, QUORUM',
  );
  put('clusterPutCpuUs', 'us', 'default', documented.clusterPutCpuUs, 'of an embedded put on that machine');

  const keyBytes = either('keyBytes', 'bytes', flags.key, documented.keyBytes, '--key: of an object');
  const valueBytes = Math.max(0, objectBytes - keyBytes);
  code('recordBytes', 'bytes', recordBytes(keyBytes, valueBytes), 'encoded record: src/base/record.ts');
  const wire = wireBytesOf({ keyBytes, valueBytes, replicas, readReplicas, isReplica: false });
  code('getWireBytes', 'bytes', wire.get, 'between nodes for a GET, the coordinator being no replica');
  code('putWireBytes', 'bytes', wire.put, 'the same for a PUT');
  const { fanout, threshold } = scalingOf(dial);
  code('compactionFanout', 'times', fanout, `density of one level to that before, at the dial ${dial}`);
  // Tiered: a level is written once. Levelled: each byte of it again whenever a part of the level before comes in.
  code('levelRewrites', 'times', dial < 0 ? fanout / threshold : 1, 'how often a level writes each byte');
  code('compactionTables', 'count', OVERLAP_MAX, 'overlapping tables merged at a time');
  code(
    'tableTargetMemtables',
    'count',
    limits.tableTargetMemtables,
    'size at which tables are cut, in memtables',
  );
  code('tableFillMin', 'share', TABLE_FILL_MIN, 'of that size at least');
  code('backgroundThreadsMax', 'count', limits.backgroundThreadsMax, 'threads for flushes and compactions');
  code('memtableSlots', 'count', limits.memtableSlots, 'memtables, and log segments, of a shard');
  code(
    'recordCacheShare',
    'share',
    limits.recordCacheShare,
    'of the block cache, for records instead of pages',
  );
  code('memtableIndexBytes', 'bytes', MEMTABLE_INDEX_BYTES, 'index of a record in a memtable');
  code('hintBytes', 'bytes', limits.hintBytesTotalMax, 'hints for other nodes at most');
  code('ringBytes', 'bytes', limits.ringBytes, 'a queue between two threads');
  code('indexEntryBytes', 'bytes', INDEX_ENTRY_BYTES, 'of a block in the index, of a page in a root');
  code('indexPageBytes', 'bytes', limits.tableIndexPageBytes, 'a page of the index');
  code('filterPageBytes', 'bytes', limits.tableFilterPageBytes, 'a page of filters');
  code('bloomBits', 'count', limits.bloomBitsPerKey, 'bits of filter a key');
  code('readsPerGetMax', 'count', READS_PER_GET_MAX, 'a page of the filter, one of the index, and a block');
  code(
    'repairBytesPerSecond',
    'bytes/s',
    limits.repairBytesPerSecondDefault,
    'rate limit of repairs and streams',
  );
  code('vnodesDefault', 'count', limits.vnodesDefault, 'vnodes where nobody says');
  code(
    'vnodesPerServer',
    'count',
    documented.vnodesPerServer,
    'at least, for load within 4% of the mean: docs/scale.md',
  );
  return inputs;
}

/** How far the objects of a plan may be from those measured, in times, before the plan says so. */
const OBJECT_FACTOR_MAX = 1.5;

export function figureWarnings(flags: PlanFlags, figures: BenchFigures, version: string): string[] {
  const { put, settings, ringkv } = figures;
  const measuredBytes = settings.keyBytes + settings.valueBytes;
  const factor = Math.max(flags.object / measuredBytes, measuredBytes / flags.object);
  const warnings: string[] = [];
  if (factor > OBJECT_FACTOR_MAX)
    warnings.push(
      `the figures are for objects of ${measuredBytes} bytes, not ${flags.object}: run ringkv bench --value ${Math.max(1, flags.object - settings.keyBytes)}`,
    );
  if (!put.isSettled)
    warnings.push('the figures were taken before compactions had come to an end: bytes written are too few');
  if (put.writtenPerByte === null)
    warnings.push('the figures have no bytes written: this system does not count them');
  if (ringkv !== version) warnings.push(`the figures are of RingKV ${ringkv}; this is ${version}`);
  if (settings.durability !== 'always')
    warnings.push(
      `the figures are for durability ${settings.durability}, where acknowledged writes may be lost`,
    );
  return warnings;
}
