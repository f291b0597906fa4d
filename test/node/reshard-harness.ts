/** A node's shards on a simulated disk, on one thread: written to, closed or cut off, and resharded. */
import { ManualClock } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import { keyAt, valueAt } from '../../src/base/record.ts';
import { hashToken, shardOf, token } from '../../src/base/token.ts';
import type { Ownership, ShardEngine } from '../../src/engine/contract.ts';
import { type EngineParts, openEngine } from '../../src/engine/engine.ts';
import { LocalJobRunner } from '../../src/engine/run-job.ts';
import { Sstables } from '../../src/engine/sstables.ts';
import { createMemtableSet } from '../../src/ipc/memtable-layout.ts';
import { createStopFlag } from '../../src/ipc/stop-flag.ts';
import { DataDirectory } from '../../src/node/data-directory.ts';
import { shardDirectory } from '../../src/node/layout.ts';
import { reshard } from '../../src/node/reshard.ts';
import { EngineSettler } from '../../src/node/settle-shard.ts';
import type { ShardSettings } from '../../src/node/shard-options.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';

export const VNODES = 16;
const PATH = '/data';
const ARENA_BYTES = 64 * 1024;
const TURNS_MAX = 200_000;
const CUTS_MAX = 10_000;
const EMPTY = new Uint8Array(0);

const settings: ShardSettings = {
  fileSystem: { kind: 'memory' },
  durability: 'always',
  syncIntervalMs: 100,
  table: { blockBytes: 512, compression: 'none', bloomBitsPerKey: 10 },
  blockCacheBytes: 64 * 1024,
  // Tables stay apart for long.
  compactionDial: 10,
  compactionBytesPerSecond: 0,
  compactionsMax: 1,
  tablesMax: 64,
  tableTargetBytes: 16 * 1024,
  // Tombstones go as soon as nothing older can be there: what must not come back has nothing left against it.
  gcGraceMs: 0,
  purgeBefore: Number.POSITIVE_INFINITY,
  origin: 1,
};

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

export class DiskCrashed extends Error {}

export class ShardedDisk {
  readonly disk: SimulatedFileSystem;
  readonly clock: ManualClock;
  readonly data: DataDirectory;
  readonly log: string[] = [];
  #version: number;

  constructor(disk: SimulatedFileSystem, shards: number, startMs = 1_700_000_000_000) {
    this.disk = disk;
    this.clock = new ManualClock(startMs);
    this.#version = startMs * 1000;
    this.data = DataDirectory.open(disk, {
      path: PATH,
      vnodes: VNODES,
      shards,
      newNodeId: () => 'a'.repeat(32),
    });
  }

  /** Runs the disk until `promise` has settled. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const end = (): void => {
      settled = true;
    };
    promise.then(end, end);
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      await turn();
      if (settled) return await promise;
      if (this.disk.crashed) throw new DiskCrashed();
      this.disk.step();
    }
    throw new Error(`nothing after ${TURNS_MAX} turns`);
  }

  /** Runs `use` on the open engine of a shard, which is closed afterwards. */
  async with<T>(shard: number, use: (engine: ShardEngine) => Promise<T>): Promise<T> {
    const { shards } = this.data.layout;
    const directory = shardDirectory(this.data.layout, shard);
    const ownership: Ownership = { vnodes: VNODES, shards, shard };
    const memory = createMemtableSet({ ...ownership, slots: 3, arenaBytes: ARENA_BYTES });
    const options = { ...settings, directory, ownership, memory, stop: createStopFlag() };
    const engine = await this.wait(openEngine(options, this.disk, this.#jobs(), this.clock, silent, parts));
    try {
      return await use(engine);
    } finally {
      if (!this.disk.crashed) await this.wait(engine.close());
    }
  }

  /** Writes, or deletes where the value is null; all is durable on return. */
  async write(
    shard: number,
    writes: ReadonlyMap<string, string | null>,
    end: (engine: ShardEngine) => Promise<void>,
  ): Promise<void> {
    await this.with(shard, async (engine) => {
      let seq = 0;
      this.#version = Math.max(this.#version, engine.versionMax);
      for (const [text, value] of writes) {
        const key = Buffer.from(text);
        hashToken(key);
        this.clock.advanceMs(1);
        this.#version += 1000;
        const record = { keyspace: 0, key, version: this.#version, origin: 1, expiresMs: 0 };
        const place = { tokenHi: token.hi, tokenLo: token.lo, flags: value === null ? 1 : 0 };
        const appended = engine.append(
          { ...record, ...place, value: value === null ? EMPTY : Buffer.from(value) },
          null,
        );
        if (appended < 0) throw new Error(`append gave ${appended}`);
        seq = appended;
      }
      engine.commit();
      await this.wait(until(() => engine.durableSeq >= seq));
      await this.wait(end(engine));
    });
  }

  async reshard(shards: number): Promise<void> {
    const jobs = this.#jobs();
    const settler = new EngineSettler({
      fs: this.disk,
      jobs,
      clock: this.clock,
      engine: settings,
      memtableBytes: ARENA_BYTES,
      parts,
    });
    await this.wait(
      reshard(this.disk, this.data, shards, settler, (_level, message) => this.log.push(message)),
    );
  }

  /** All live records, and checks that each stands in its shard. */
  async contents(): Promise<Map<string, string>> {
    const all = new Map<string, string>();
    for (let shard = 0; shard < this.data.layout.shards; shard++)
      await this.with(shard, (engine) => {
        const from = { tokenHi: 0, tokenLo: 0, keyspace: 0, key: EMPTY };
        const bounds = { limit: 100_000, bytesMax: 1 << 30, examinedMax: 1 << 30, keyspace: 0 };
        engine.scan({ from, exclusive: false, prefix: EMPTY, ...bounds }, 0, (view, bytes, offset) => {
          const key = Buffer.from(keyAt(view, bytes, offset)).toString();
          if (all.has(key)) throw new Error(`${key} stands in two shards`);
          all.set(key, Buffer.from(valueAt(view, bytes, offset)).toString());
        });
        return Promise.resolve();
      });
    return all;
  }

  /** Records in the tables of all shards, after a full compaction. */
  async recordsAfterCompaction(): Promise<number> {
    let records = 0;
    for (let shard = 0; shard < this.data.layout.shards; shard++)
      await this.with(shard, async (engine) => {
        await this.wait(engine.compactAll());
        records += engine.stats().tableRecords;
      });
    return records;
  }

  shardOf(text: string): number {
    hashToken(Buffer.from(text));
    return shardOf(token.hi, VNODES, this.data.layout.shards);
  }

  #jobs(): LocalJobRunner {
    const tools = { tables: new Sstables(this.clock), clock: this.clock, pause: turn };
    return new LocalJobRunner(this.disk, tools);
  }
}

/** No timer fires: nothing here waits for time to pass. */
const parts: Partial<EngineParts> = { setTimer: () => undefined };
const silent = {
  onDurable: () => undefined,
  onWriteFailure: (_status: number, error: Error) => {
    throw error;
  },
  onLookup: () => undefined,
  onEvent: () => undefined,
};

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn();
}

/** Random writes and deletions over `keys` keys, applied to `model`, by shard of `sharded`. */
export function drawWrites(
  sharded: ShardedDisk,
  random: Random,
  count: number,
  keys: number,
  model: Map<string, string>,
): Map<string, string | null>[] {
  const writes = Array.from({ length: sharded.data.layout.shards }, () => new Map<string, string | null>());
  for (let i = 0; i < count; i++) {
    const key = `key-${random.below(keys)}`;
    const value = random.chance(0.3) ? null : `${random.uint32()}-${'x'.repeat(random.below(200))}`;
    if (value === null) model.delete(key);
    else model.set(key, value);
    writes[sharded.shardOf(key)]?.set(key, value);
  }
  return writes;
}

export const sorted = (map: ReadonlyMap<string, string>): [string, string][] => [...map].sort();

export async function writeAll(
  sharded: ShardedDisk,
  random: Random,
  count: number,
  model: Map<string, string>,
): Promise<void> {
  const writes = drawWrites(sharded, random, count, 150, model);
  for (const [shard, own] of writes.entries()) {
    const end = random.below(3);
    await sharded.write(shard, own, (engine) =>
      end === 0 ? engine.compactAll() : end === 1 ? engine.flush() : Promise.resolve(),
    );
  }
}

/**
 * Changes 3 shards, with tables that they inherited, into 2, with a power cut at calls first, first + step, ... of the
 * change, until it gets through. Throws where any of them loses something. Gives the cuts, and the numbers of shards that
 * the starts after them found.
 */
export async function cutEveryReshardCall(
  random: Random,
  first: number,
  step: number,
): Promise<{ cuts: number; layouts: number[] }> {
  const model = new Map<string, string>();
  const before = new ShardedDisk(new SimulatedFileSystem({ seed: random.uint32() }), 2);
  await writeAll(before, random, 60, model);
  await before.reshard(3);
  await writeAll(before, random, 60, model);
  before.data.close();
  const expected = JSON.stringify(sorted(model));
  const layouts = new Set<number>();
  for (let cuts = 0; cuts < CUTS_MAX; cuts++) {
    const sharded = new ShardedDisk(before.disk.powerCut(random), 1, before.clock.nowMs());
    sharded.disk.resetCounts();
    sharded.disk.crashAtCall(first + cuts * step);
    let whole = false;
    try {
      await sharded.reshard(2);
      whole = !sharded.disk.crashed;
    } catch (error) {
      if (!sharded.disk.crashed) throw error;
    }
    const after = new ShardedDisk(sharded.disk.powerCut(random), 1, before.clock.nowMs());
    const { shards } = after.data.layout;
    layouts.add(shards);
    const found = JSON.stringify(sorted(await after.contents()));
    if (found !== expected)
      throw new Error(`after call ${first + cuts * step}: ${found} in the place of ${expected}`);
    if (!whole) continue;
    if (shards !== 2) throw new Error(`the change is done, and there are ${shards} shards`);
    return { cuts, layouts: [...layouts].sort() };
  }
  throw new Error(`not through after ${CUTS_MAX} cuts`);
}
