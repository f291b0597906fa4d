/**
 * Brings one shard of the layout in force into tables that hold its own vnodes only, so that a layout with
 * another number of shards can link them (reshard.ts). On the main thread, before shards run: it opens the
 * shard's engine, flushes and closes it, with the jobs in place.
 *
 * Tables that the shard inherited are rewritten one at a time, with every tombstone kept: what is outside the
 * job is not looked at, so nothing may be dropped but records of vnodes that are not the shard's.
 */
import type { Clock } from '../base/clock.ts';
import { CorruptionError, UnavailableError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { CompactJob, EngineOptions, JobRunner, Ownership, TableMeta } from '../engine/contract.ts';
import { type EngineParts, openEngine } from '../engine/engine.ts';
import { Manifest } from '../engine/manifest.ts';
import { readManifest } from '../engine/manifest-reader.ts';
import type { ManifestState, VersionEdit } from '../engine/manifest-state.ts';
import { liveSegments, recoverSegment, segmentFileBytes, segmentPath } from '../engine/wal-recovery.ts';
import { createMemtableSet } from '../ipc/memtable-layout.ts';
import { createStopFlag } from '../ipc/stop-flag.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { type Layout, shardDirectory } from './layout.ts';
import type { ShardSettler } from './reshard.ts';
import type { OldShard } from './reshard-plan.ts';

export interface SettlerOptions {
  readonly fs: FileSystem;
  /** In place, on this thread. */
  readonly jobs: JobRunner;
  readonly clock: Clock;
  readonly engine: Omit<EngineOptions, 'directory' | 'ownership' | 'memory' | 'stop'>;
  readonly memtableBytes: number;
  /** For tests. */
  readonly parts?: Partial<EngineParts>;
}

/** Memtables of a shard that takes no writes: for what the log holds, and one that is free. */
const SLOTS = 2;
/** Outputs of a rewritten table beyond what its bytes ask for. */
const OUTPUTS_MIN = 16;

export class EngineSettler implements ShardSettler {
  readonly #options: SettlerOptions;
  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  check(layout: Layout, shard: number): void {
    this.#recordsInLog(layout, shard);
  }

  async settle(layout: Layout, shard: number): Promise<OldShard> {
    const { fs } = this.#options;
    const home = shardDirectory(layout, shard);
    if (this.#recordsInLog(layout, shard) > 0) await this.#flush(home, ownershipOf(layout, shard));
    const left = this.#recordsInLog(layout, shard);
    if (left > 0) throw new UnavailableError(`${home}: ${left} records are in no table after a flush`);
    await this.#rewriteInherited(layout, shard);
    const { tables, versionMax } = readManifest(fs, home).state;
    return { shard, tables: [...tables.values()], versionMax };
  }

  /** Records in the live segments of the log. Throws CorruptionError where the log or the manifest is damaged. */
  #recordsInLog(layout: Layout, shard: number): number {
    const { fs } = this.#options;
    const home = shardDirectory(layout, shard);
    const { state } = readManifest(fs, home);
    const { ownership } = state;
    if (ownership.shards !== layout.shards || ownership.shard !== shard || ownership.vnodes !== layout.vnodes)
      throw new CorruptionError(
        home,
        0,
        `the manifest is of shard ${ownership.shard} of ${ownership.shards} over ${ownership.vnodes} vnodes`,
      );
    const segments = liveSegments(fs, home, state.oldestLiveSegment);
    let records = 0;
    for (const number of segments) {
      const path = segmentPath(home, number);
      const bytes = new Uint8Array(Math.min(limits.memtableBytesMax, segmentFileBytes(fs, path)));
      const newest = number === segments.at(-1);
      const options = { number, newest, bytes, view: new DataView(bytes.buffer) };
      const recovered = recoverSegment(fs, path, options, () => undefined);
      if (recovered.damage !== null) throw recovered.damage;
      records += recovered.records;
    }
    return records;
  }

  async #flush(home: string, ownership: Ownership): Promise<void> {
    const { fs, jobs, clock, memtableBytes } = this.#options;
    const memory = createMemtableSet({ ...ownership, slots: SLOTS, arenaBytes: memtableBytes });
    const options = { ...this.#options.engine, directory: home, ownership, memory, stop: createStopFlag() };
    const failures: Error[] = [];
    const engine = await openEngine(
      options,
      fs,
      jobs,
      clock,
      {
        onDurable: () => undefined,
        onLookup: () => undefined,
        onEvent: () => undefined,
        onWriteFailure: (_status, error) => failures.push(error),
      },
      this.#options.parts,
    );
    try {
      await engine.flush();
    } finally {
      await engine.close();
    }
    const [failure] = failures;
    if (failure !== undefined) throw failure;
  }

  async #rewriteInherited(layout: Layout, shard: number): Promise<void> {
    const { fs } = this.#options;
    const home = shardDirectory(layout, shard);
    const highest = layout.inherited[shard] ?? 0;
    const inherited = [...readManifest(fs, home).state.tables.values()].filter(
      ({ number }) => number <= highest,
    );
    if (inherited.length === 0) return;
    const manifest = Manifest.open(fs, home);
    try {
      for (const table of inherited) await this.#rewrite(manifest, home, ownershipOf(layout, shard), table);
    } finally {
      manifest.close();
    }
  }

  async #rewrite(manifest: Manifest, home: string, ownership: Ownership, table: TableMeta): Promise<void> {
    const { engine, jobs, clock } = this.#options;
    const outputsMax = OUTPUTS_MIN + Math.ceil((2 * table.bytes) / engine.tableTargetBytes);
    const firstNumber = manifest.state.nextNumber;
    // Given out durably first: what a crash leaves of the outputs is in nobody's way.
    await appended(manifest, { nextNumber: firstNumber + outputsMax });
    const job: CompactJob = {
      kind: 'compact',
      fileSystem: engine.fileSystem,
      directory: home,
      table: engine.table,
      ownership,
      stop: createStopFlag(),
      inputs: [table],
      firstNumber,
      outputsMax,
      outputBytesMax: engine.tableTargetBytes,
      nowMs: clock.nowMs(),
      // Longer than any tombstone is old.
      gcGraceMs: Number.MAX_SAFE_INTEGER,
      outside: [],
      rateBytesPerSecond: 0,
    };
    const { tables } = await jobs.run(job);
    await appended(manifest, { addTables: tables, removeTables: [table.number] });
  }
}

const ownershipOf = (layout: Layout, shard: number): Ownership => ({
  vnodes: layout.vnodes,
  shards: layout.shards,
  shard,
});

function appended(manifest: Manifest, edit: VersionEdit): Promise<ManifestState> {
  return new Promise((resolve, reject) =>
    manifest.append(edit, (error) => (error === null ? resolve(manifest.state) : reject(error))),
  );
}
