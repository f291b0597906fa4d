/**
 * What each shard gets of the node's budgets, and how many threads do background work.
 *
 * Resident memory of a process with S shards, F clients and B background threads, beside the filters and indexes
 * of its tables: S * memtableSlots * memtableBytes (memtables; pages count once written) + blockCacheBytes (all shards,
 * the record caches among it) + S * F * 2 * ringBytes + the heaps of S + F + B threads. A heap is bounded by limits.threadHeapBytesMax and
 * holds far less: values, blocks and tables' indexes are outside of it. A thread that passes the bound dies alone and is
 * restarted, instead of the process being killed for want of memory.
 */
import { availableParallelism } from 'node:os';
import { limits } from '../base/limits.ts';
import type { EngineOptions, TableOptions } from '../engine/contract.ts';
import { recordCacheBytes } from '../ipc/record-cache-layout.ts';
import type { BackgroundThreads } from './background-pool.ts';
import type { NodeConfig } from './contract.ts';

/** Arenas and segments are multiples of this: of a page, and so of what the commit log asks for. */
const ARENA_STEP_BYTES = 4096;

/** Options of an engine that are the same in all shards of a node. */
export type ShardSettings = Omit<
  EngineOptions,
  'directory' | 'ownership' | 'memory' | 'recordCache' | 'stop'
>;

export const arenaBytesOf = ({ memtableBytes }: NodeConfig): number =>
  memtableBytes - (memtableBytes % ARENA_STEP_BYTES);

/** Of one shard: its share of the node's block cache goes to records that other threads may read, unless that would be too small. */
export const recordCacheBytesOf = ({ blockCacheBytes, shards }: NodeConfig): number =>
  recordCacheBytes(Math.floor((blockCacheBytes / shards) * limits.recordCacheShare));

/** Threads for flushes, and for compactions and verifications: together half the cores, and at least one of each. One more builds hash trees. */
export function backgroundThreads(): BackgroundThreads {
  const threads = Math.min(limits.backgroundThreadsMax, Math.max(2, Math.ceil(availableParallelism() / 2)));
  const flushes = Math.floor(threads / 2);
  return { flushes, others: threads - flushes };
}

export const tableOptionsOf = ({ blockBytes, compression }: NodeConfig): TableOptions => ({
  blockBytes,
  compression,
  bloomBitsPerKey: limits.bloomBitsPerKey,
});

/** `origin`: the coordinator's number in versions, from the node's id. `purgeBefore`: as in EngineOptions. */
export function shardSettings(
  config: NodeConfig,
  shards: number,
  nodeId: string,
  purgeBefore: number,
): ShardSettings {
  const { compactionBytesPerSecond, durability, syncIntervalMs, compactionDial, gcGraceMs } = config;
  return {
    fileSystem: { kind: config.inMemory ? 'memory' : 'real' },
    durability,
    syncIntervalMs,
    table: tableOptionsOf(config),
    blockCacheBytes: Math.floor(config.blockCacheBytes / shards) - recordCacheBytesOf(config),
    keepsFlushed: true,
    compactionDial,
    // 0 is unlimited: a small budget must not become that.
    compactionBytesPerSecond: Math.ceil(compactionBytesPerSecond / shards),
    compactionsMax: Math.max(1, Math.ceil(backgroundThreads().others / shards)),
    tablesMax: limits.tablesOverlapMax,
    tableTargetBytes: limits.tableTargetMemtables * arenaBytesOf(config),
    gcGraceMs,
    purgeBefore,
    origin: Number.parseInt(nodeId.slice(0, 8), 16),
  };
}
