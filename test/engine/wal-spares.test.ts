import { describe, expect, it } from 'vitest';
import { DiskFullError } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { segmentName } from '../../src/engine/wal-format.ts';
import { segmentPath } from '../../src/engine/wal-recovery.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { newDisk } from './disk.ts';
import { LogHarness, SEGMENT_BYTES } from './wal-harness.ts';

const SEGMENT_1 = segmentName(1);
const afterOf = (disk: SimulatedFileSystem, mark: number): string[] => disk.log.slice(mark);

describe('spare segments', () => {
  it('are written in bounded pieces, synced, and renamed to the next segment', async () => {
    const disk = newDisk();
    const segmentBytes = limits.walPrepareChunkBytes * 2 + 4096;
    const harness = new LogHarness(disk, 'always', { segmentBytes });
    let prepared: Error | null | undefined;
    harness.log.prepareSpare((error) => {
      prepared = error;
    });
    await disk.settle();
    expect(prepared).toBeNull();
    expect(disk.log.map((entry) => entry.split(' ')[0])).toEqual([
      'create',
      ...['write', 'sync', 'write', 'sync', 'write', 'sync'],
    ]);
    const mark = disk.log.length;
    harness.open(1);
    expect(afterOf(disk, mark)).toEqual([`rename ${SEGMENT_1}`, 'sync-directory shard']);
    expect(disk.bytesOf(segmentPath('/shard', 1)).length).toBe(segmentBytes);
  });

  it('are kept from retired segments up to the limit, and taken over at the next start', async () => {
    const disk = newDisk();
    const harness = new LogHarness(disk);
    const last = limits.walSpareSegmentsMax + 2;
    for (let segment = 1; segment <= last; segment++) {
      harness.log.prepareSpare();
      await disk.settle();
      harness.open(segment);
      harness.append('a', '1');
      await harness.commit();
      await harness.closeSegment();
    }
    for (let segment = 1; segment < last; segment++) harness.log.retire(segment);
    expect(disk.readdir('/shard').filter((name) => name.includes('spare'))).toHaveLength(
      limits.walSpareSegmentsMax,
    );
    expect(disk.readdir('/shard')).toContain(segmentName(last));
    const next = new LogHarness(disk);
    expect(next.log.spares).toBe(limits.walSpareSegmentsMax);
    next.open(last + 1);
    expect(disk.log.at(-2)).toBe(`rename ${segmentName(last + 1)}`);
  });

  it('leave no file where the disk is full, and the log goes on without', async () => {
    const disk = newDisk();
    disk.capacityBytes = 1000;
    const harness = new LogHarness(disk);
    let outcome: Error | null | undefined;
    harness.log.prepareSpare((error) => {
      outcome = error;
    });
    await disk.settle();
    expect(outcome).toBeInstanceOf(DiskFullError);
    expect(disk.readdir('/shard')).toEqual([]);
    harness.open(1);
    harness.append('a', '1');
    expect(await harness.commit()).toBeNull();
  });

  it('take no room that the segment in use needs', async () => {
    const segmentBytes = 8 * limits.walPrepareChunkBytes;
    for (const [segments, isMade] of [
      [1.9, false],
      [2, true],
    ] as const) {
      const disk = newDisk();
      const harness = new LogHarness(disk, 'always', { segmentBytes });
      disk.capacityBytes = disk.usedBytes + segments * segmentBytes;
      harness.log.prepareSpare();
      await disk.settle();
      expect(harness.log.spares, `room for ${segments} segments`).toBe(isMade ? 1 : 0);
      expect(disk.readdir('/shard')).toHaveLength(isMade ? 1 : 0);
    }
  });

  it('leave no file where the disk runs full while they are made', async () => {
    const disk = newDisk();
    const harness = new LogHarness(disk, 'always', { segmentBytes: 8 * limits.walPrepareChunkBytes });
    let outcome: Error | null | undefined;
    harness.log.prepareSpare((error) => {
      outcome = error;
    });
    disk.step();
    disk.capacityBytes = disk.usedBytes;
    await disk.settle();
    expect(outcome).toBeInstanceOf(DiskFullError);
    expect(disk.readdir('/shard')).toEqual([]);
  });

  it('in the making are given up by close', async () => {
    const disk = newDisk();
    const harness = new LogHarness(disk, 'always', { segmentBytes: limits.walPrepareChunkBytes * 8 });
    harness.log.prepareSpare();
    disk.step();
    let closed = false;
    harness.log.close(() => {
      closed = true;
    });
    expect(closed).toBe(false);
    await disk.settle();
    expect(closed).toBe(true);
    expect(disk.readdir('/shard')).toEqual([]);
  });

  it('of another size are not used', async () => {
    const disk = newDisk();
    const large = new LogHarness(disk, 'always', { segmentBytes: 2 * SEGMENT_BYTES });
    large.log.prepareSpare();
    await disk.settle();
    const small = new LogHarness(disk);
    expect(small.log.spares).toBe(0);
    expect(disk.readdir('/shard')).toEqual([]);
  });
});
