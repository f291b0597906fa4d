/**
 * The measurements of `ringkv bench`, one after another: the disk's syncs; durable puts, with the flushes and compactions that they
 * lead to; what the objects take on disk once everything is merged; gets from tables with nothing in the block cache; gets from
 * memtables. Each on the embedded store, with the threads and settings of a node. Owned by the command's thread.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CorruptionError } from '../base/errors.ts';
import { KiB, limits, MiB } from '../base/limits.ts';
import { recordBytes } from '../base/record.ts';
import type { EngineStats } from '../engine/contract.ts';
import type { NodeConfig } from '../node/contract.ts';
import type { Store } from '../node/store.ts';
import type { BenchFigures, DiskFigures, LoadFigures, PutFigures, SpaceFigures } from './bench-figures.ts';
import { driveLoad } from './bench-load.ts';
import { processorUs, residentBytes, writtenBytes } from './bench-machine.ts';
import type { Context } from './context.ts';
import { InterruptedError } from './failure.ts';

export interface BenchPlan {
  readonly directory: string;
  readonly config: NodeConfig;
  readonly valueBytes: number;
  readonly compressible: number;
  readonly inFlight: number;
  readonly seconds: number;
  /** Objects at most: what is put after them overwrites the first. */
  readonly objectsMax: number;
}
export type Measured = Pick<
  BenchFigures,
  'disk' | 'put' | 'space' | 'getTables' | 'getMemory' | 'memory' | 'settings'
>;

export const PHASES = 6;
const KEY_DIGITS = 12;
const keyOf = (index: number): string => `key:${String(index).padStart(KEY_DIGITS, '0')}`;
export const KEY_BYTES = keyOf(0).length;
/** An index entry of a memtable: docs/data-directory.md. */
export const MEMTABLE_INDEX_BYTES = 40;

const SYNC_WRITE_BYTES = 64 * KiB;
const SYNC_FILE_BYTES = 64 * MiB;
const SYNCS_MIN = 20;
/** Of the time for one measurement, for each of the two of the disk. */
const DISK_SHARE = 0.25;
const VALUES_BYTES = 16 * MiB;
const VALUES_MIN = 4;
const VALUES_MAX = 512;
/** Of all memtables together: keys are not spread over the shards quite evenly. */
const WARM_UP_FACTOR = 1.1;
/** What takes longer is no disk for this. */
const FILL_SECONDS_MAX = 3600;
/** Where less was merged, its processor time says nothing. */
const MERGED_MIB_MIN = 16;
const MEMORY_OBJECTS_MAX = 10_000;
const SETTLE_POLL_MS = 50;
/** Looks one after another at which nothing was flushed or compacted, nor due. */
const SETTLED_POLLS = 4;
const SETTLE_MS_MAX = 300_000;
const MEMORY_POLL_MS = 100;
const [HALF, P99] = [0.5, 0.99];
const SECOND_MS = 1000;

export class BenchRun {
  readonly #context: Context;
  readonly #plan: BenchPlan;
  readonly #values: readonly Buffer[];
  readonly #onPhase: (phases: number) => void;
  #peakBytes = 0;

  constructor(plan: BenchPlan, context: Context, onPhase: (phases: number) => void) {
    this.#context = context;
    this.#plan = plan;
    this.#onPhase = onPhase;
    this.#values = valuesOf(plan, context);
  }

  async run(): Promise<Measured> {
    const { config, compressible, inFlight, seconds, valueBytes } = this.#plan;
    const disk = await this.#disk();
    this.#onPhase(1);
    const watch = setInterval(() => this.#lookAtMemory(), MEMORY_POLL_MS);
    try {
      const { openBytes, put, space } = await this.#using(config, async (store) => {
        const resident = residentBytes();
        const warmUp = this.#warmUpObjects();
        const written = await this.#puts(store, warmUp);
        this.#onPhase(2);
        const merged = await this.#space(store, warmUp + written.calls);
        return { openBytes: resident, put: written, space: merged };
      });
      this.#onPhase(3);
      const uncached = { ...config, blockCacheBytes: 0 };
      const getTables = await this.#using(uncached, (store) => this.#getTables(store, space.objects));
      this.#onPhase(4);
      const getMemory = await this.#using(config, (store) => this.#getMemory(store));
      this.#onPhase(5);
      const { blockBytes, blockCacheBytes, compactionDial, compression } = config;
      const { durability, memtableBytes, shards } = config;
      const budgetBytes = budgetOf(config, recordBytes(KEY_BYTES, valueBytes));
      const besideBytes = Math.max(openBytes, this.#peakBytes - budgetBytes);
      return {
        settings: {
          ...{ valueBytes, keyBytes: KEY_BYTES, compressible, inFlight, seconds, shards, durability },
          ...{ memtableBytes, blockCacheBytes, blockBytes, compression, compactionDial },
        },
        ...{ disk, put, getMemory, getTables, space },
        memory: { openBytes, peakBytes: this.#peakBytes, budgetBytes, besideBytes },
      };
    } finally {
      clearInterval(watch);
    }
  }

  async #using<T>(config: NodeConfig, use: (store: Store) => Promise<T>): Promise<T> {
    const store = await this.#context.openStore(config);
    try {
      return await use(store);
    } finally {
      await store.close();
    }
  }
  #lookAtMemory(): void {
    this.#peakBytes = Math.max(this.#peakBytes, residentBytes());
  }
  #checkInterrupted(): void {
    if (this.#context.interrupted.aborted) throw new InterruptedError();
  }
  #drive(
    call: (index: number) => Promise<unknown>,
    first = 0,
    inFlight = this.#plan.inFlight,
  ): Promise<LoadFigures> {
    const { seconds } = this.#plan;
    const { clock, interrupted: signal } = this.#context;
    return driveLoad(call, first, { inFlight, seconds, clock, signal, cpuUs: processorUs });
  }
  #put(store: Store, index: number): Promise<unknown> {
    const { objectsMax } = this.#plan;
    return store.put(keyOf(index % objectsMax), this.#valueOf(index % objectsMax));
  }
  /** Puts objects 0 to `objects` - 1. */
  async #fill(store: Store, objects: number): Promise<void> {
    const { inFlight } = this.#plan;
    const { clock, interrupted: signal } = this.#context;
    const seconds = FILL_SECONDS_MAX;
    await driveLoad((index) => this.#put(store, index), 0, {
      inFlight,
      seconds,
      calls: objects,
      clock,
      signal,
      cpuUs: processorUs,
    });
  }
  #valueOf(index: number): Buffer {
    return this.#values[index % this.#values.length] as Buffer;
  }

  /** Writes with a sync each, of a file that goes round within SYNC_FILE_BYTES: first small ones, then large ones. */
  async #disk(): Promise<DiskFigures> {
    const latencies = (await this.#syncs('sync-small', SYNC_WRITE_BYTES)).sort((a, b) => a - b);
    const at = (share: number): number =>
      latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
    const large = await this.#syncs('sync-large', MiB);
    const largeMs = large.reduce((sum, ms) => sum + ms, 0);
    return {
      syncWriteBytes: SYNC_WRITE_BYTES,
      syncs: latencies.length,
      ...{ syncP50Ms: at(HALF), syncP99Ms: at(P99), syncMaxMs: at(1) },
      bytesPerSecond: (large.length * MiB * SECOND_MS) / largeMs,
    };
  }
  async #syncs(name: string, bytes: number): Promise<number[]> {
    const { clock, fileSystem, random } = this.#context;
    const path = join(this.#plan.directory, name);
    const file = fileSystem.open(path, 'create');
    try {
      const block = random.bytes(bytes);
      // The file has its size before the first sync counts, as a segment of the log has.
      for (let position = 0; position < SYNC_FILE_BYTES; position += bytes)
        file.writeSync(block, 0, bytes, position);
      file.syncSync();
      const latencies: number[] = [];
      const endMs = clock.monotonicMs() + this.#plan.seconds * SECOND_MS * DISK_SHARE;
      for (let position = 0; latencies.length < SYNCS_MIN || clock.monotonicMs() < endMs; ) {
        this.#checkInterrupted();
        const startMs = clock.monotonicMs();
        await new Promise<void>((resolve, reject) => {
          const settle = (error: Error | null, then: () => void): void => {
            if (error === null) then();
            else reject(error);
          };
          file.write(block, 0, bytes, position, (error) =>
            settle(error, () => file.sync((failure) => settle(failure, resolve))),
          );
        });
        latencies.push(clock.monotonicMs() - startMs);
        position = (position + bytes) % SYNC_FILE_BYTES;
      }
      return latencies;
    } finally {
      file.close();
      fileSystem.unlink(path);
    }
  }

  /**
   * `warmUp` objects come first: until every shard has made its memtables and the segments of its log, which go round from
   * then on.
   */
  async #puts(store: Store, warmUp: number): Promise<PutFigures> {
    const { valueBytes } = this.#plan;
    await this.#fill(store, warmUp);
    await store.flush();
    await this.#settle(store);
    const cpuStart = processorUs();
    const writtenStart = writtenBytes();
    const load = await this.#drive((index) => this.#put(store, index), warmUp);
    await store.flush();
    const isSettled = await this.#settle(store);
    const written = writtenBytes();
    const putBytes = load.calls * (KEY_BYTES + valueBytes);
    return {
      ...load,
      cpuUsSettled: (processorUs() - cpuStart) / Math.max(1, load.calls),
      isSettled,
      writtenPerByte:
        writtenStart === null || written === null || load.calls === 0
          ? null
          : (written - writtenStart) / putBytes,
    };
  }

  /** Waits until no shard flushes or compacts, nor has to. False where that takes longer than SETTLE_MS_MAX. */
  async #settle(store: Store): Promise<boolean> {
    const { clock } = this.#context;
    const endMs = clock.monotonicMs() + SETTLE_MS_MAX;
    for (let quiet = 0; quiet < SETTLED_POLLS; ) {
      this.#checkInterrupted();
      if (clock.monotonicMs() > endMs) return false;
      await sleep(SETTLE_POLL_MS);
      const shards = await statsOf(store);
      const isQuiet = shards.every(
        ({ frozenMemtables, compactionsPending, compactionsRunning }) =>
          frozenMemtables + compactionsPending + compactionsRunning === 0,
      );
      quiet = isQuiet ? quiet + 1 : 0;
    }
    return true;
  }

  async #space(store: Store, puts: number): Promise<SpaceFigures> {
    const { objectsMax, valueBytes } = this.#plan;
    const objects = Math.max(1, Math.min(puts, objectsMax));
    const before = await statsOf(store);
    const cpuStart = processorUs();
    await store.compact();
    const cpuUs = processorUs() - cpuStart;
    const after = await statsOf(store);
    const tableBytes = sum(after, (shard) => shard.tableBytes);
    const merged = (shards: readonly EngineStats[]): number =>
      sum(shards, ({ compactionBytesWritten }) => compactionBytesWritten);
    const mergedMiB = (merged(after) - merged(before)) / MiB;
    return {
      objects,
      tableBytesBefore: sum(before, (shard) => shard.tableBytes),
      tableBytes,
      bytesPerObject: tableBytes / objects,
      amplification: tableBytes / (objects * (KEY_BYTES + valueBytes)),
      compactionCpuUsPerMiB: mergedMiB < MERGED_MIB_MIN ? null : cpuUs / mergedMiB,
    };
  }

  #getTables(store: Store, objects: number): Promise<LoadFigures> {
    const { random } = this.#context;
    return this.#drive(async () => {
      const index = random.below(objects);
      this.#check(index, await store.get(keyOf(index)));
    });
  }

  async #getMemory(store: Store): Promise<LoadFigures> {
    const { config, objectsMax, valueBytes } = this.#plan;
    const { random } = this.#context;
    const fits = Math.floor((config.memtableBytes * HALF) / recordBytes(KEY_BYTES, valueBytes));
    const objects = Math.max(1, Math.min(MEMORY_OBJECTS_MAX, objectsMax, fits));
    await this.#fill(store, objects);
    // One after another: the calling thread answers by itself, and nothing can be gained by more.
    return await this.#drive(
      async () => {
        const index = random.below(objects);
        this.#check(index, await store.get(keyOf(index)));
      },
      0,
      1,
    );
  }

  #warmUpObjects(): number {
    const { config, valueBytes } = this.#plan;
    const bytes = config.shards * limits.memtableSlots * config.memtableBytes;
    return Math.ceil((bytes * WARM_UP_FACTOR) / recordBytes(KEY_BYTES, valueBytes));
  }

  /** A figure of wrong answers would be none. */
  #check(index: number, value: Uint8Array | null): void {
    if (value !== null && this.#valueOf(index).equals(value)) return;
    const what = value === null ? 'no value' : `another value, of ${value.length} bytes,`;
    throw new CorruptionError(this.#plan.directory, 0, `${what} came back for ${keyOf(index)}`);
  }
}

/** Memory that a store with these settings may take by its settings: docs/data-directory.md, one client. */
export function budgetOf(config: NodeConfig, bytesOfRecord: number): number {
  const { blockCacheBytes, memtableBytes, shards } = config;
  const memtables =
    shards * limits.memtableSlots * memtableBytes * (1 + MEMTABLE_INDEX_BYTES / bytesOfRecord);
  return memtables + blockCacheBytes + shards * 2 * limits.ringBytes;
}

const statsOf = async (store: Store): Promise<readonly EngineStats[]> =>
  (await store.stats()) as readonly EngineStats[];
const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);

/** Values that differ in their first bytes: `compressible` of each is one letter, the rest noise. */
function valuesOf({ compressible, valueBytes }: BenchPlan, { random }: Context): Buffer[] {
  const values = Math.max(VALUES_MIN, Math.min(VALUES_MAX, Math.floor(VALUES_BYTES / valueBytes)));
  const noiseBytes = Math.round(valueBytes * (1 - compressible));
  return Array.from({ length: values }, () => {
    const value = Buffer.alloc(valueBytes, 'a');
    value.set(random.bytes(noiseBytes));
    return value;
  });
}
