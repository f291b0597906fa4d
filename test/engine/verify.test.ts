import { describe, expect, it } from 'vitest';
import { ClosedError, CorruptionError, IoError } from '../../src/base/errors.ts';
import type { TableMeta } from '../../src/engine/contract.ts';
import { Manifest } from '../../src/engine/manifest.ts';
import { manifestPath } from '../../src/engine/manifest-reader.ts';
import { runJob } from '../../src/engine/run-job.ts';
import { DAMAGE_MAX } from '../../src/engine/verify-job.ts';
import { type ShardVerification, verifyShard } from '../../src/engine/verify-shard.ts';
import { WAL_GROUP_HEADER_BYTES } from '../../src/engine/wal-format.ts';
import { segmentPath } from '../../src/engine/wal-recovery.ts';
import { StopFlag } from '../../src/ipc/stop-flag.ts';
import { DIRECTORY, type JobHarness, newHarness } from './job-harness.ts';
import { LogHarness, recoverOne } from './wal-harness.ts';

interface Shard {
  readonly harness: JobHarness;
  readonly tables: readonly TableMeta[];
}
/** Two tables of two records, segment 1 in tables and gone, segments 2 and 3 in the log with two groups each. */
async function shard(): Promise<Shard> {
  const harness = newHarness();
  const { disk } = harness;
  const tables = [
    harness.tableOf({ key: 'a', value: 'v', version: 1 }, { key: 'b', value: 'v', version: 2 }),
    harness.tableOf({ key: 'c', value: 'v', version: 3 }, { key: 'd', value: 'v', version: 4 }),
  ];
  const manifest = Manifest.create(disk, DIRECTORY, {
    ownership: { vnodes: 16, shards: 1, shard: 0 },
    nextNumber: 10,
    tables: new Map(tables.map((meta) => [meta.number, meta])),
    oldestLiveSegment: 2,
    versionMax: 4,
  });
  const log = new LogHarness(disk);
  for (const number of [2, 3]) {
    log.open(number);
    for (const key of ['x', 'y']) {
      log.append(key, `${number}`);
      expect(await log.commit()).toBeNull();
    }
    if (number === 2) await log.closeSegment();
  }
  await log.mark();
  manifest.close();
  return { harness, tables };
}
function verify(harness: JobHarness): ShardVerification {
  return verifyShard(harness.disk, DIRECTORY, harness.tables, () => undefined);
}

describe('the check of a shard', () => {
  it('finds nothing in a sound one, counts it, and changes nothing', async () => {
    const { harness } = await shard();
    harness.disk.resetCounts();
    const progress: [number, number][] = [];
    const found = verifyShard(harness.disk, DIRECTORY, harness.tables, (...at) => progress.push(at));
    expect(found).toMatchObject({ tables: 2, segments: 2, records: 8, damage: [], orphans: [], foreign: [] });
    expect(harness.disk.changes).toBe(0);
    expect(harness.disk.openPaths.filter((path) => path.endsWith('.plain'))).toEqual([]);
    expect(progress.at(-1)).toEqual([found.bytes, found.bytes]);
    expect(progress).toHaveLength(5);
  });

  it('names file and offset of damage in a table, and goes on', async () => {
    const { harness, tables } = await shard();
    const path = harness.pathOf(tables[0]?.number ?? 0);
    harness.disk.flipBit(path, 6, 7);
    const { damage, records } = verify(harness);
    expect(damage[0]).toEqual({ file: path, offset: 0, what: 'unknown flags 128' });
    expect(records).toBe(6);
  });

  it('names a table that the manifest has and the disk has not', async () => {
    const { harness, tables } = await shard();
    const path = harness.pathOf(tables[1]?.number ?? 0);
    harness.disk.unlink(path);
    const { damage, tables: count } = verify(harness);
    expect(count).toBe(2);
    expect(damage).toEqual([{ file: path, offset: 0, what: expect.stringContaining('ENOENT') }]);
  });

  it('compares a table with what the manifest says of it', async () => {
    const { harness, tables } = await shard();
    const [first, second] = tables as [TableMeta, TableMeta];
    const path = harness.pathOf(second.number);
    harness.disk.place(path, harness.disk.bytesOf(harness.pathOf(first.number)).slice(0, 48));
    expect(verify(harness).damage).toEqual([{ file: path, offset: 0, what: '1 records, not 2' }]);
  });

  it('names damage in the log: within a segment, at the end of a closed one, and a missing one', async () => {
    for (const [number, byte] of [
      [3, WAL_GROUP_HEADER_BYTES + 20],
      [2, WAL_GROUP_HEADER_BYTES + 20],
    ] as const) {
      const { harness } = await shard();
      const file = segmentPath(DIRECTORY, number);
      harness.disk.flipBit(file, byte);
      expect(verify(harness).damage).toEqual([
        { file, offset: 0, what: expect.stringContaining('group payload fails its checksum') },
      ]);
    }
    const cut = await shard();
    const closing = recoverOne(cut.harness.disk, 2, false, []).end - WAL_GROUP_HEADER_BYTES;
    cut.harness.disk.flipBit(segmentPath(DIRECTORY, 2), closing + 8);
    expect(verify(cut.harness).damage).toEqual([
      {
        file: segmentPath(DIRECTORY, 2),
        offset: closing,
        what: expect.stringContaining('was closed before'),
      },
    ]);
    const { harness } = await shard();
    harness.disk.unlink(segmentPath(DIRECTORY, 2));
    expect(verify(harness).damage).toEqual([
      { file: segmentPath(DIRECTORY, 2), offset: 0, what: 'the segment is missing, and segment 3 is there' },
    ]);
  });

  it('takes the torn tail of the newest segment for what it is', async () => {
    const { harness } = await shard();
    const { disk } = harness;
    const file = disk.open(segmentPath(DIRECTORY, 3), 'write');
    file.writeSync(new Uint8Array(40).fill(0xab), 0, 40, file.size());
    file.close();
    expect(verify(harness).damage).toEqual([]);
  });

  it('without a sound manifest checks every table and segment by itself', async () => {
    const { harness, tables } = await shard();
    const manifest = manifestPath(DIRECTORY, 1);
    harness.disk.flipBit(manifest, 60);
    const path = harness.pathOf(tables[0]?.number ?? 0);
    harness.disk.flipBit(path, 6, 7);
    const found = verify(harness);
    expect(found.damage.map(({ file }) => file)).toEqual([manifest, path]);
    expect(found).toMatchObject({ tables: 2, segments: 2 });
  });

  it('tells files that are in use no more from files that are nobody’s', async () => {
    const { harness } = await shard();
    for (const name of [
      '77.plain',
      'wal-0000000001.log',
      'MANIFEST.tmp',
      'wal-spare-0000000001.log',
      'notes.txt',
    ])
      harness.disk.place(`${DIRECTORY}/${name}`, new Uint8Array(8));
    const found = verify(harness);
    expect(found.damage).toEqual([]);
    expect(found.orphans).toEqual(['77.plain', 'MANIFEST.tmp', 'wal-0000000001.log']);
    expect(found.foreign).toEqual(['notes.txt']);
  });

  it('reports a file that cannot be read as damage, and goes on', async () => {
    const { harness, tables } = await shard();
    const path = harness.pathOf(tables[0]?.number ?? 0);
    harness.disk.inject({ operation: 'read', path: path.slice(DIRECTORY.length + 1), errno: 'EIO' });
    const { damage, records } = verify(harness);
    expect(damage).toEqual([{ file: path, offset: 0, what: expect.stringContaining('EIO') }]);
    expect(records).toBe(6);
  });

  it('of a directory that is not there is an error, not damage', () => {
    const harness = newHarness();
    expect(() => verifyShard(harness.disk, '/nowhere', harness.tables, () => undefined)).toThrow(IoError);
  });
});

describe('the verify job', () => {
  const jobOf = (harness: JobHarness, tables: readonly TableMeta[]) => {
    const { fileSystem, directory, table, ownership, stop } = harness.job([]);
    return { kind: 'verify' as const, fileSystem, directory, table, ownership, stop, tables };
  };

  it('checks all tables and returns what is damaged', async () => {
    const { harness, tables } = await shard();
    const path = harness.pathOf(tables[0]?.number ?? 0);
    harness.disk.flipBit(path, 6, 7);
    const result = await runJob(jobOf(harness, tables), harness.disk, harness.tools);
    expect(result.damage[0]).toEqual({ file: path, offset: 0, what: 'unknown flags 128' });
    expect(result).toMatchObject({ tables: [], recordsRead: 2, bytesWritten: 0 });
    expect(result.bytesRead).toBe(tables.reduce((sum, { bytes }) => sum + bytes, 0));
    expect(harness.pauses).toHaveLength(2);
  });

  it('keeps a bounded number of findings', async () => {
    const { harness, tables } = await shard();
    const one = { file: 'f', offset: 0, what: 'w' };
    const many = Array.from({ length: DAMAGE_MAX }, () => one);
    harness.tables.verify = () => ({ bytes: 1, records: 0, damage: many });
    const { damage } = await runJob(jobOf(harness, tables), harness.disk, harness.tools);
    expect(damage).toHaveLength(DAMAGE_MAX);
  });

  it('stops within a table, at the next bytes that are read', async () => {
    const { harness, tables } = await shard();
    let reads = 0;
    harness.tables.verify = (_fs, path, _meta, onBytes) => {
      for (; reads < 100; reads++) {
        if (reads === 3) new StopFlag(harness.stop).raise();
        onBytes(1);
      }
      throw new CorruptionError(path, 0, 'read to the end');
    };
    const stopped = runJob(jobOf(harness, tables), harness.disk, harness.tools);
    await expect(stopped).rejects.toThrow(ClosedError);
    expect(reads).toBe(3);
  });
});
