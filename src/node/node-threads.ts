/**
 * The shards of a node and what they stand on: the data directory, the threads for shards and for background work, and
 * the supervision of both. Owned by the main thread; a server (node.ts) and an embedded store (open-store.ts) differ only
 * in their clients.
 *
 * Order of the end: clients, shards (each ends its jobs), background threads, the lock of the data directory.
 */
import { join, resolve } from 'node:path';
import { assert } from '../base/assert.ts';
import { systemClock } from '../base/clock.ts';
import { limits } from '../base/limits.ts';
import { systemSeed } from '../base/random.ts';
import { realFileSystem } from '../vfs/real.ts';
import { BackgroundPool } from './background-pool.ts';
import type { ClientPeer } from './client-peer.ts';
import type { Log, NodeConfig } from './contract.ts';
import { DataDirectory } from './data-directory.ts';
import { shardDirectory } from './layout.ts';
import { arenaBytesOf, backgroundThreads, recordCacheBytesOf, shardSettings } from './shard-options.ts';
import { ShardThread } from './shard-run.ts';
import { ShardSupervisor } from './shard-supervisor.ts';
import { ThreadPool, workerUrl } from './thread-pool.ts';

/** Of a store that exists: whether it keeps what it has, where the configuration says something else. */
export interface Keep {
  readonly shards: boolean;
  readonly vnodes: boolean;
}

export class NodeThreads {
  /** As given, but with the numbers that the store has. */
  readonly config: NodeConfig;
  readonly nodeId: string;
  readonly failed: Promise<Error>;
  /** Called whenever `notReady` has changed. */
  onNotReady: (reason: string) => void = () => undefined;
  readonly #log: Log;
  readonly #data: DataDirectory | null;
  readonly #writesRefused: string[];
  #supervisors: readonly ShardSupervisor[] = [];
  #pool: ThreadPool | null = null;
  #background: BackgroundPool | null = null;
  #peers: readonly ClientPeer[] = [];
  #fail: (error: Error) => void = () => undefined;
  #lastReason = '';
  /** Of the shards whenever they start. */
  #purgeBefore = 0;
  #closing: Promise<void> | null = null;

  /** Opens and locks the data directory. Throws as DataDirectory.open does. */
  constructor(config: NodeConfig, keep: Keep, log: Log) {
    this.#log = log;
    this.failed = new Promise((fail) => {
      this.#fail = fail;
    });
    this.#data = config.inMemory ? null : openData(config, keep);
    const vnodes = this.#data?.vnodes ?? config.vnodes;
    const shards = keep.shards && this.#data !== null ? this.#data.layout.shards : config.shards;
    this.config = { ...config, data: this.#data?.path ?? config.data, vnodes, shards };
    this.nodeId = this.#data?.nodeId ?? nodeIdOf(config);
    this.#writesRefused = new Array<string>(shards).fill('');
  }

  /** The data directory; null for a node in memory. */
  get directory(): string | null {
    return this.#data?.path ?? null;
  }

  /** '' while every shard serves and takes writes; otherwise what is wrong, for /readyz. */
  get notReady(): string {
    const reasons = this.#supervisors.map(({ reason }, shard) => {
      const refused = this.#writesRefused[shard];
      return reason !== '' || !refused ? reason : `shard ${shard} takes no writes: ${refused}`;
    });
    return reasons.filter((reason) => reason !== '').join('; ');
  }

  /**
   * Reshards where the number of shards has changed, and starts all shards. Rejects where one cannot be opened. With
   * `tellsHorizons` one of the clients tells each shard, whenever it starts, what it may purge: nothing goes before.
   */
  async start(peers: readonly ClientPeer[], tellsHorizons: boolean): Promise<void> {
    const { config } = this;
    this.#peers = peers;
    this.#purgeBefore = tellsHorizons || (await this.#wasInCluster()) ? 0 : Number.POSITIVE_INFINITY;
    if (this.#data !== null && this.#data.layout.shards !== config.shards) await this.#reshard(this.#data);
    this.#pool = new ThreadPool({
      module: workerUrl('shard'),
      name: 'runShard',
      threads: config.shards,
      heapBytesMax: limits.threadHeapBytesMax,
      onError: (error) => this.#log('error', `an idle shard thread ended: ${error.message}`),
    });
    if (!config.inMemory) this.#background = new BackgroundPool(backgroundThreads(), this.#log);
    this.#supervisors = Array.from({ length: config.shards }, (_, shard) => this.#supervisor(shard));
    const outcomes = await Promise.allSettled(this.#supervisors.map((supervisor) => supervisor.start()));
    const refused = outcomes.find((outcome) => outcome.status === 'rejected');
    if (refused !== undefined) throw refused.reason;
  }

  /** Clients are closed already. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = Promise.all(this.#supervisors.map((supervisor) => supervisor.close()));
    // A shard that hangs is ended the hard way: what it acknowledged is in its log.
    const timer = setTimeout(() => {
      this.#log('error', `shards did not close within ${limits.shardCloseMsMax} ms: their threads are ended`);
      void this.#pool?.close();
    }, limits.shardCloseMsMax);
    await closed;
    clearTimeout(timer);
    await this.#pool?.close();
    await this.#background?.close();
    this.#data?.close();
  }

  async #wasInCluster(): Promise<boolean> {
    const directory = this.#data?.path ?? null;
    if (directory === null || !realFileSystem.exists(join(directory, 'cluster'))) return false;
    // Loaded when it is needed: only directories of servers have documents of a cluster.
    const { wasInCluster } = await import('./cluster-past.ts');
    return wasInCluster(realFileSystem, directory, this.#log);
  }

  async #reshard(data: DataDirectory): Promise<void> {
    // Loaded when it is needed: the main thread has no other use for an engine.
    const { reshardNode } = await import('./reshard-node.ts');
    await reshardNode(this.config, data, this.#log);
  }

  #supervisor(shard: number): ShardSupervisor {
    const log = this.#log;
    return new ShardSupervisor({
      shard,
      clock: systemClock,
      log,
      start: (isRestart) => this.#startShard(shard, isRestart),
      onDown: () => {
        for (const peer of this.#peers) peer.detach(shard);
      },
      onFailed: (error) => this.#fail(error),
      onReason: () => this.#readinessChanged(),
    });
  }

  #startShard(shard: number, isRestart: boolean): ShardThread {
    const { config, nodeId } = this;
    const { shards, vnodes } = config;
    const pool = this.#pool;
    assert(pool !== null, 'node: a shard before its threads');
    this.#writesRefused[shard] = '';
    return new ShardThread({
      isRestart,
      directory: this.#data === null ? MEMORY_DIRECTORY : shardDirectory(this.#data.layout, shard),
      ownership: { vnodes, shards, shard },
      settings: shardSettings(config, shards, nodeId, this.#purgeBefore),
      arenaBytes: arenaBytesOf(config),
      recordCacheBytes: recordCacheBytesOf(config),
      pool,
      jobs: this.#background,
      peers: this.#peers,
      log: this.#log,
      onWritesRefused: (reason) => {
        this.#writesRefused[shard] = reason;
        this.#readinessChanged();
      },
    });
  }

  #readinessChanged(): void {
    const reason = this.notReady;
    if (reason === this.#lastReason) return;
    this.#lastReason = reason;
    this.onNotReady(reason);
  }
}

function openData(config: NodeConfig, keep: Keep): DataDirectory {
  const { data, nodeId, vnodes, shards } = config;
  return DataDirectory.open(realFileSystem, {
    path: resolve(data),
    vnodes,
    keepVnodes: keep.vnodes,
    shards,
    nodeId,
    newNodeId: () => nodeIdOf(config),
  });
}

/** Of a shard in its own file system in memory. */
const MEMORY_DIRECTORY = '/';

/** The id that the configuration gives, or 128 bits of the system's randomness. The first 32 are never 0: nobody's number. */
function nodeIdOf({ nodeId }: NodeConfig): string {
  if (nodeId !== '') return nodeId;
  const words = Array.from({ length: 4 }, () => systemSeed());
  words[0] = Math.max(1, words[0] as number);
  return words.map((word) => word.toString(16).padStart(8, '0')).join('');
}
