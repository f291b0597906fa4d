import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AssertionError } from '../../src/base/assert.ts';
import { writeChecksum } from '../../src/base/checksum.ts';
import {
  CorruptionError,
  DiskFullError,
  FormatVersionError,
  IoError,
  OverloadedError,
} from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import type { TableMeta } from '../../src/engine/contract.ts';
import { Manifest } from '../../src/engine/manifest.ts';
import { listOrphans, manifestPath, readManifest } from '../../src/engine/manifest-reader.ts';
import { type ManifestState, newestFirst, type VersionEdit } from '../../src/engine/manifest-state.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { Crash } from '../../src/vfs/simulated-faults.ts';
import { testSeed } from '../seed.ts';
import { newDisk } from './disk.ts';

const DIRECTORY = '/shard';

function table(number: number, versionMax = number * 10): TableMeta {
  return {
    number,
    bytes: 2 ** 40 + number,
    records: 1000,
    tombstones: 3,
    expiring: 4,
    range: { firstHi: 1, firstLo: 2, lastHi: 0xffff_ffff, lastLo: 0xffff_fffe },
    versionMin: 5,
    versionMax,
    expiresMsMin: 1_700_000_000_000,
    expiresMsMax: 1_800_000_000_000,
    tombstoneVersionMin: 7,
  };
}
const empty: ManifestState = {
  ownership: { vnodes: 1024, shards: 2, shard: 1 },
  nextNumber: 1,
  tables: new Map(),
  oldestLiveSegment: 1,
  versionMax: 0,
};

async function append(
  disk: SimulatedFileSystem,
  manifest: Manifest,
  edit: VersionEdit,
): Promise<Error | null> {
  let outcome: Error | null | undefined;
  manifest.append(edit, (error) => {
    outcome = error;
  });
  await disk.settle();
  if (outcome === undefined) throw new Error('the edit did not come back');
  return outcome;
}
const flush = (number: number): VersionEdit => ({
  addTables: [table(number)],
  nextNumber: number + 1,
  oldestLiveSegment: number,
});
const bytesOf = (disk: SimulatedFileSystem, number = 1): Uint8Array =>
  disk.bytesOf(manifestPath(DIRECTORY, number));
function diskWith(bytes: Uint8Array): SimulatedFileSystem {
  const disk = newDisk();
  disk.place(manifestPath(DIRECTORY, 1), bytes);
  return disk;
}

describe('a manifest', () => {
  it('says after a restart what was appended', async () => {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    expect(await append(disk, manifest, flush(1))).toBeNull();
    expect(await append(disk, manifest, flush(2))).toBeNull();
    expect(
      await append(disk, manifest, { removeTables: [1, 2], addTables: [table(3)], nextNumber: 9 }),
    ).toBeNull();
    const ownership = { vnodes: 1024, shards: 4, shard: 3 };
    expect(await append(disk, manifest, { ownership, versionMax: 2 ** 52 })).toBeNull();
    const expected: ManifestState = {
      ownership,
      nextNumber: 9,
      tables: new Map([[3, table(3)]]),
      oldestLiveSegment: 2,
      versionMax: 2 ** 52,
    };
    expect(manifest.state).toEqual(expected);
    manifest.close();
    const again = Manifest.open(disk, DIRECTORY);
    expect(again.state).toEqual(expected);
    expect(await append(disk, again, flush(9))).toBeNull();
    again.close();
    expect([...Manifest.open(disk, DIRECTORY).state.tables.keys()]).toEqual([3, 9]);
  });

  it('reports an edit only when it and its confirmation are synced', async () => {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    const mark = disk.log.length;
    let done = false;
    manifest.append(flush(1), () => {
      done = true;
    });
    for (let call = 0; call < 4; call++) {
      expect(done).toBe(false);
      expect(manifest.state.tables.size).toBe(0);
      disk.step();
    }
    expect(done).toBe(true);
    expect(manifest.state.tables.size).toBe(1);
    expect(disk.log.slice(mark).map((entry) => entry.split(' ')[0])).toEqual([
      'write',
      'sync',
      'write',
      'sync',
    ]);
  });

  it('takes edits in order from a bounded queue', async () => {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    const outcomes: (Error | null)[] = [];
    for (let number = 1; number <= limits.manifestQueueMax + 1; number++)
      manifest.append(flush(number), (error) => outcomes.push(error));
    await disk.settle();
    expect(outcomes.filter((error) => error === null)).toHaveLength(limits.manifestQueueMax);
    expect(outcomes.filter((error) => error instanceof OverloadedError)).toHaveLength(1);
    expect(manifest.state.tables.size).toBe(limits.manifestQueueMax);
  });

  it('refuses edits that do not fit the state', () => {
    const wrong: VersionEdit[] = [
      { removeTables: [5] },
      { addTables: [table(1)], nextNumber: 1 },
      { addTables: [table(1), table(1)], nextNumber: 2 },
      { nextNumber: 0 },
      { oldestLiveSegment: 0 },
    ];
    for (const edit of wrong) {
      const manifest = Manifest.create(newDisk(), DIRECTORY, empty);
      expect(() => manifest.append(edit, () => undefined)).toThrow(AssertionError);
    }
  });

  it('is not started anew where log segments show that one is lost', () => {
    const disk = newDisk();
    disk.place('/shard/wal-0000000001.log', new Uint8Array(0));
    expect(() => Manifest.create(disk, DIRECTORY, empty)).toThrow(CorruptionError);
  });

  it('takes no more edits after a failed sync', async () => {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    const syncs = disk.inject({ operation: 'sync', times: 1, errno: 'EIO' });
    const error = await append(disk, manifest, flush(1));
    expect(error).toBeInstanceOf(IoError);
    expect(await append(disk, manifest, flush(1))).toBe(error);
    expect(manifest.state).toEqual(empty);
    expect(syncs.matches).toBe(1);
  });

  it('stays as it was on a full disk and takes the edit when there is room', async () => {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    for (const spare of [0, 1, 47, 48, 183, 184, 230]) {
      disk.capacityBytes = disk.usedBytes + spare;
      expect(await append(disk, manifest, flush(1))).toBeInstanceOf(DiskFullError);
      expect(manifest.state).toEqual(empty);
      expect(readManifest(disk, DIRECTORY).state).toEqual(empty);
    }
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    expect(await append(disk, manifest, flush(1))).toBeNull();
    expect(readManifest(disk, DIRECTORY).state).toEqual(manifest.state);
  });

  it('is rewritten when it is long, and stays bounded', async () => {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    const many = Array.from({ length: 2000 }, (_, index) => table(index + 1));
    expect(await append(disk, manifest, { addTables: many, nextNumber: 2001 })).toBeNull();
    for (let round = 0; round < 12; round++) {
      const removeTables = [...manifest.state.tables.keys()];
      const first = manifest.state.nextNumber;
      const addTables = removeTables.map((_, index) => table(first + index));
      expect(await append(disk, manifest, { addTables, removeTables, nextNumber: first + 2000 })).toBeNull();
      expect(disk.readdir(DIRECTORY)).toHaveLength(1);
      expect(bytesOf(disk, manifest.number).length).toBeLessThan(2 * limits.manifestRewriteBytes);
    }
    expect(manifest.number).toBeGreaterThan(1);
    expect(readManifest(disk, DIRECTORY).state).toEqual(manifest.state);
  });

  it('has tables newest first by version, not by number', () => {
    const tables = [table(1, 50), table(2, 90), table(3, 70), table(4, 90)];
    expect(newestFirst(tables).map((one) => one.number)).toEqual([4, 2, 3, 1]);
  });

  it('knows which files are orphans and leaves those of others alone', async () => {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    await append(disk, manifest, { ...flush(4), oldestLiveSegment: 3 });
    const none = new Uint8Array(0);
    const kept = [
      'MANIFEST-0000000001',
      'table-4',
      'wal-0000000003.log',
      'wal-spare-0000000001.log',
      'notes.txt',
    ];
    const orphans = ['MANIFEST-0000000000', 'MANIFEST.tmp', 'table-3', 'table-5', 'wal-0000000002.log'];
    for (const name of [...kept, ...orphans])
      if (!disk.exists(`/shard/${name}`)) disk.place(`/shard/${name}`, none);
    const tableOfName = (name: string): number => Number(/^table-(\d+)$/.exec(name)?.[1] ?? -1);
    expect(listOrphans(disk, DIRECTORY, manifest, tableOfName)).toEqual(orphans);
  });
});

describe('a damaged manifest', () => {
  async function sample(): Promise<{ bytes: Uint8Array; states: ManifestState[]; ends: number[] }> {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    const states = [manifest.state];
    const ends = [bytesOf(disk).length];
    for (const edit of [flush(1), flush(2), { removeTables: [1] }]) {
      await append(disk, manifest, edit);
      states.push(manifest.state);
      ends.push(bytesOf(disk).length);
    }
    return { bytes: bytesOf(disk), states, ends };
  }

  it('is found out at every single byte that was acted upon', async () => {
    const { bytes, states } = await sample();
    const lastConfirmation = bytes.length - 48;
    for (let at = 0; at < bytes.length; at++)
      for (const flip of [1, 0x80, 0xff]) {
        const mutated = bytes.slice();
        mutated[at] = (mutated[at] ?? 0) ^ flip;
        const read = (): unknown => readManifest(diskWith(mutated), DIRECTORY).state;
        if (at >= lastConfirmation) expect(read()).toEqual(states.at(-1));
        else expect(read, `byte ${at}`).toThrow(CorruptionError);
      }
  });

  it('that was cut short gives the last whole state, or says that it is damaged', async () => {
    const { bytes, states, ends } = await sample();
    for (let length = 0; length < bytes.length; length++) {
      const disk = diskWith(bytes.slice(0, length));
      if (length < (ends[0] ?? 0)) {
        expect(() => Manifest.open(disk, DIRECTORY), `length ${length}`).toThrow(CorruptionError);
        continue;
      }
      const whole = ends.findLastIndex((end) => end - 48 <= length || end === length);
      const opened = Manifest.open(disk, DIRECTORY);
      const expected = Math.max(0, length === ends[0] ? 0 : whole);
      expect(opened.state, `length ${length}`).toEqual(states[expected]);
      // Nothing of the tail is left, and what the engine acts upon now is beyond doubt.
      const read = readManifest(disk, DIRECTORY);
      expect([read.end, read.confirmed], `length ${length}`).toEqual([bytesOf(disk).length, true]);
      expect(await append(disk, opened, { nextNumber: 100 })).toBeNull();
      expect(readManifest(disk, DIRECTORY).state).toEqual(opened.state);
    }
  });

  it('of random bytes never hangs and never passes', async () => {
    const seed = testSeed();
    const random = new Random(seed);
    const { bytes, states } = await sample();
    for (let round = 0; round < 2000; round++) {
      const mutated = bytes.slice();
      for (let changes = random.between(1, 8); changes > 0; changes--)
        mutated.set(random.bytes(random.between(1, 32)).subarray(0, 32), random.below(bytes.length - 32));
      let state: ManifestState;
      try {
        state = readManifest(diskWith(mutated), DIRECTORY).state;
      } catch (error) {
        expect(error, `seed ${seed}`).toBeInstanceOf(CorruptionError);
        continue;
      }
      expect(states, `seed ${seed}`).toContainEqual(state);
    }
  });
});

describe('the golden manifest', () => {
  const path = join(import.meta.dirname, '../golden/manifest-v1');
  async function written(): Promise<{ bytes: Uint8Array; state: ManifestState }> {
    const disk = newDisk();
    const manifest = Manifest.create(disk, DIRECTORY, empty);
    for (const edit of [flush(1), flush(2), { removeTables: [1], versionMax: 2 ** 51 + 1 }])
      expect(await append(disk, manifest, edit)).toBeNull();
    return { bytes: bytesOf(disk), state: manifest.state };
  }

  it('is what this version writes, byte for byte', async () => {
    expect(Buffer.compare(readFileSync(path), (await written()).bytes)).toBe(0);
  });
  it('reads back', async () => {
    const disk = diskWith(new Uint8Array(readFileSync(path)));
    expect(readManifest(disk, DIRECTORY).state).toEqual((await written()).state);
  });
  it('is refused, not called damaged, when its version is newer', () => {
    const bytes = new Uint8Array(readFileSync(path));
    bytes[4] = 2;
    writeChecksum(bytes, 0, 40, bytes, 40, 1);
    expect(() => readManifest(diskWith(bytes), DIRECTORY)).toThrow(FormatVersionError);
  });
});

describe('a crash at any call of a manifest', () => {
  // The edits make the file long enough to be rewritten; each is known by its oldest live segment.
  const many = Array.from({ length: 5600 }, (_, index) => table(index + 1));
  const numbers = many.map((one) => one.number);
  const edits: VersionEdit[] = [
    flush(1),
    { addTables: many.slice(1), nextNumber: 6000, oldestLiveSegment: 2 },
    { removeTables: numbers.slice(9), oldestLiveSegment: 3 },
    { addTables: many.slice(9, 5000), oldestLiveSegment: 4 },
    { removeTables: numbers.slice(2, 5000), oldestLiveSegment: 5 },
    { removeTables: [1], oldestLiveSegment: 6 },
  ].map((edit, index) => ({ ...edit, oldestLiveSegment: index + 2 }));
  const sizes = [0, 1, 5600, 9, 5000, 2, 1];

  /** Edits that were reported, -1 where not even the creation was. */
  async function run(disk: SimulatedFileSystem): Promise<number> {
    let reported = -1;
    try {
      const manifest = Manifest.create(disk, DIRECTORY, empty);
      reported = 0;
      for (const edit of edits) {
        manifest.append(edit, (error) => {
          reported += error === null ? 1 : 0;
        });
        await disk.settle();
        if (disk.crashed) break;
      }
      if (!disk.crashed) expect(manifest.number).toBeGreaterThan(1);
    } catch (error) {
      expect(error).toBeInstanceOf(Crash);
    }
    return reported;
  }

  it('leaves the state before an edit or after it, and never less than was reported', async () => {
    const seed = testSeed();
    const random = new Random(seed);
    const whole = newDisk();
    expect(await run(whole)).toBe(edits.length);
    const calls = whole.changes;
    expect(calls).toBeGreaterThan(30);
    for (let crashAt = 0; crashAt < calls; crashAt++) {
      const disk = newDisk();
      disk.crashAtChange(crashAt);
      const reported = await run(disk);
      expect(disk.crashed).toBe(true);
      for (let cut = 0; cut < 8; cut++) {
        const label = `seed ${seed}, crash at ${crashAt}, cut ${cut}`;
        const after = disk.powerCut(random);
        if (reported < 0 && !Manifest.exists(after, DIRECTORY)) continue;
        const opened = Manifest.open(after, DIRECTORY);
        const step = opened.state.oldestLiveSegment - 1;
        expect([Math.max(0, reported), reported + 1], label).toContain(step);
        expect(opened.state.tables.size, label).toBe(sizes[step]);
        expect(await append(after, opened, { versionMax: 2 ** 50 }), label).toBeNull();
        expect(readManifest(after, DIRECTORY).state.versionMax, label).toBe(2 ** 50);
      }
    }
  });
});
