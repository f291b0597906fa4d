import { describe, expect, it } from 'vitest';
import { ClosedError, DiskFullError, IoError } from '../../src/base/errors.ts';
import { segmentName } from '../../src/engine/wal-format.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { newDisk } from './disk.ts';
import { type Entry, LogHarness, recoverAll, SEGMENT_BYTES } from './wal-harness.ts';

const SEGMENT_1 = segmentName(1);
const afterOf = (disk: SimulatedFileSystem, mark: number): string[] => disk.log.slice(mark);
const count = (disk: SimulatedFileSystem, entry: string): number =>
  disk.log.filter((one) => one === entry).length;

describe('the commit log', () => {
  it('gives back what was committed, in order, over several segments', async () => {
    const harness = new LogHarness(newDisk());
    const written: Entry[] = [];
    for (let segment = 1; segment <= 3; segment++) {
      harness.open(segment);
      for (let group = 0; group < 4; group++) {
        for (let i = 0; i <= group; i++)
          written.push(harness.append(`key-${segment}-${i}`, 'v'.repeat(group * 9)));
        expect(await harness.commit()).toBeNull();
      }
      written.push(harness.append('last', 'of its segment'));
      expect(await harness.closeSegment()).toBeNull();
    }
    const { entries, segments } = recoverAll(harness.disk);
    expect(entries).toEqual(written);
    expect(segments.map((one) => [one.closed, one.damage, one.groups, one.records])).toEqual(
      Array.from({ length: 3 }, () => [true, null, 5, 11]),
    );
  });

  it('makes the name of a segment durable before a group, and the group durable before it says so', async () => {
    const harness = new LogHarness(newDisk());
    harness.open(1);
    harness.append('a', '1');
    let done = false;
    harness.write(() => {
      done = true;
    });
    expect(harness.log.busy).toBe(true);
    harness.disk.step();
    expect(done).toBe(false);
    harness.disk.step();
    expect(done).toBe(true);
    expect(harness.log.busy).toBe(false);
    expect(harness.disk.log).toEqual([
      `create ${SEGMENT_1}`,
      'sync-directory shard',
      `write ${SEGMENT_1}`,
      `sync ${SEGMENT_1}`,
    ]);
  });

  it('has one group in flight and refuses a group that leaves a gap or no room to close', async () => {
    const harness = new LogHarness(newDisk());
    harness.open(1);
    harness.append('a', '1');
    harness.write(() => undefined);
    expect(() => harness.write(() => undefined)).toThrow('a group is in flight');
    await harness.disk.settle();
    const { log, bytes, view } = harness;
    expect(() => log.writeGroup(bytes, view, 0, 64, 0, () => undefined)).toThrow('the log ends at');
    const to = SEGMENT_BYTES - 56;
    expect(() => log.writeGroup(bytes, view, harness.from, to, 0, () => undefined)).toThrow(
      'no room to close',
    );
  });

  it('never writes after a failed sync, and says why', async () => {
    const harness = new LogHarness(newDisk());
    harness.open(1);
    harness.append('a', '1');
    const syncs = harness.disk.inject({ operation: 'sync', path: SEGMENT_1, times: 1, errno: 'EIO' });
    const error = await harness.commit();
    expect(error).toBeInstanceOf(IoError);
    expect(harness.log.failed).toBe(error);
    const mark = harness.disk.log.length;
    expect(await harness.commit()).toBe(error);
    expect(() => harness.log.openSegment(2)).toThrow(/^sync .*: EIO/);
    let closedWith: Error | null | undefined;
    harness.log.close((outcome) => {
      closedWith = outcome;
    });
    await harness.disk.settle();
    expect(closedWith).toBe(error);
    expect(afterOf(harness.disk, mark)).toEqual([]);
    expect(syncs.matches).toBe(1);
  });

  it('never writes after a write that failed for another reason than room', async () => {
    const harness = new LogHarness(newDisk());
    harness.open(1);
    harness.disk.inject({ operation: 'write', errno: 'EIO' });
    harness.append('a', '1');
    const error = await harness.commit();
    expect(error).toBe(harness.log.failed);
    const mark = harness.disk.log.length;
    expect(await harness.commit()).toBe(error);
    expect(afterOf(harness.disk, mark)).toEqual([]);
  });

  it('takes a full disk that shows at the sync for a failed sync', async () => {
    const harness = new LogHarness(newDisk());
    harness.open(1);
    harness.disk.inject({ operation: 'sync', path: SEGMENT_1, errno: 'ENOSPC' });
    harness.append('a', '1');
    const error = await harness.commit();
    expect(error).toBeInstanceOf(IoError);
    expect(error).not.toBeInstanceOf(DiskFullError);
    expect(harness.log.failed).toBe(error);
  });

  it('goes on at the same offset when a full disk has room again', async () => {
    const disk = newDisk();
    const harness = new LogHarness(disk);
    harness.open(1);
    const kept = harness.append('kept', 'x');
    expect(await harness.commit()).toBeNull();
    for (let spare = 0; spare < 300; spare += 24) {
      disk.capacityBytes = disk.usedBytes + spare;
      const { head, records, version } = harness;
      harness.append('refused', 'y'.repeat(220));
      const error = await harness.commit();
      expect(error).toBeInstanceOf(DiskFullError);
      expect(harness.log.failed).toBeNull();
      expect(recoverAll(copyOf(disk)).entries).toEqual([kept]);
      Object.assign(harness, { head, records, version });
    }
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    const second = harness.append('second', 'z');
    expect(await harness.commit()).toBeNull();
    expect(recoverAll(disk).entries).toEqual([kept, second]);
  });

  it('leaves no file behind when there is no room to open a segment', () => {
    for (const operation of ['create', 'sync-directory'] as const) {
      const disk = newDisk();
      const harness = new LogHarness(disk);
      const path = operation === 'create' ? SEGMENT_1 : 'shard';
      const full = disk.inject({ operation, path, errno: 'ENOSPC' });
      expect(() => harness.open(1)).toThrow(DiskFullError);
      expect(disk.readdir('/shard')).toEqual([]);
      expect(harness.log.failed).toBeNull();
      expect(full.hits).toBe(1);
      full.stop();
      harness.open(1);
      expect(harness.log.segment).toBe(1);
    }
  });

  it('is over when the name of a segment cannot be made durable', () => {
    const disk = newDisk();
    const harness = new LogHarness(disk);
    const broken = disk.inject({ operation: 'sync-directory', errno: 'EIO' });
    expect(() => harness.open(1)).toThrow(IoError);
    broken.stop();
    expect(() => harness.open(1)).toThrow(IoError);
    expect(harness.log.failed).toBeInstanceOf(IoError);
  });

  it('in mode interval acknowledges after the write and syncs when the interval has passed', async () => {
    const harness = new LogHarness(newDisk(), 'interval');
    harness.open(1);
    harness.append('a', '1');
    expect(await harness.commit()).toBeNull();
    harness.append('b', '2');
    expect(await harness.commit()).toBeNull();
    expect(count(harness.disk, `sync ${SEGMENT_1}`)).toBe(0);
    expect(harness.timers).toHaveLength(1);
    harness.timers.shift()?.();
    await harness.disk.settle();
    expect(count(harness.disk, `sync ${SEGMENT_1}`)).toBe(1);
    expect(harness.log.durableEnd).toBe(harness.log.end);
    expect(harness.timers).toHaveLength(0);
  });

  it('in mode interval syncs at the next write where the timer is late', async () => {
    const harness = new LogHarness(newDisk(), 'interval');
    harness.open(1);
    harness.append('a', '1');
    await harness.commit();
    harness.clock.advanceMs(100);
    harness.append('b', '2');
    await harness.commit();
    expect(count(harness.disk, `sync ${SEGMENT_1}`)).toBe(1);
  });

  it('in mode interval reports a background sync that failed, once, and refuses writes', async () => {
    const harness = new LogHarness(newDisk(), 'interval');
    harness.open(1);
    harness.append('a', '1');
    await harness.commit();
    harness.disk.inject({ operation: 'sync', path: SEGMENT_1, errno: 'EIO' });
    harness.timers.shift()?.();
    await harness.disk.settle();
    expect(harness.failures).toEqual([harness.log.failed]);
    harness.append('b', '2');
    expect(await harness.commit()).toBe(harness.log.failed);
    expect(harness.failures).toHaveLength(1);
  });

  it('in mode interval does not count a sync that began before a group for that group', async () => {
    const harness = new LogHarness(newDisk(), 'interval');
    harness.open(1);
    harness.append('a', '1');
    await harness.commit();
    const first = harness.log.end;
    harness.timers.shift()?.();
    harness.append('b', '2');
    harness.write(() => undefined);
    expect(harness.disk.waiting).toBe(2);
    harness.disk.step(1);
    expect(harness.log.end).toBeGreaterThan(first);
    harness.disk.step(0);
    expect(harness.log.durableEnd).toBe(first);
    harness.timers.shift()?.();
    await harness.disk.settle();
    expect(harness.log.durableEnd).toBe(harness.log.end);
  });

  it('in mode interval makes all durable before a closing group, whatever sync is in flight', async () => {
    const harness = new LogHarness(newDisk(), 'interval');
    harness.open(1);
    harness.append('a', '1');
    await harness.commit();
    harness.timers.shift()?.();
    // The background sync is first in the line, the closing group comes while it is in flight.
    const closing = harness.closeSegment();
    expect(await closing).toBeNull();
    expect(harness.disk.log.slice(-3)).toEqual([
      `sync ${SEGMENT_1}`,
      `write ${SEGMENT_1}`,
      `sync ${SEGMENT_1}`,
    ]);
    expect(recoverAll(harness.disk).segments[0]?.closed).toBe(true);
  });

  it('in mode os syncs only to close a segment and to close', async () => {
    const harness = new LogHarness(newDisk(), 'os');
    harness.open(1);
    harness.append('a', '1');
    await harness.commit();
    expect(harness.timers).toHaveLength(0);
    expect(count(harness.disk, `sync ${SEGMENT_1}`)).toBe(0);
    expect(await harness.closeSegment()).toBeNull();
    expect(count(harness.disk, `sync ${SEGMENT_1}`)).toBe(2);
    harness.open(2);
    harness.append('b', '2');
    await harness.commit();
    let closed = false;
    harness.log.close((error) => {
      closed = error === null;
    });
    await harness.disk.settle();
    expect(closed).toBe(true);
    expect(count(harness.disk, `sync ${segmentName(2)}`)).toBe(1);
  });

  it('waits for the group in flight when it is closed, and refuses later ones', async () => {
    const harness = new LogHarness(newDisk());
    harness.open(1);
    harness.append('a', '1');
    const order: string[] = [];
    harness.write(() => order.push('group'));
    harness.log.close(() => order.push('closed'));
    await harness.disk.settle();
    expect(order).toEqual(['group', 'closed']);
    harness.append('b', '2');
    expect(await harness.commit()).toBeInstanceOf(ClosedError);
  });

  it('asks for a marker once after each group that is durable', async () => {
    const harness = new LogHarness(newDisk(), 'interval');
    harness.open(1);
    expect(harness.log.markDue).toBe(false);
    harness.append('a', '1');
    await harness.commit();
    expect(harness.log.markDue).toBe(false);
    harness.timers.shift()?.();
    await harness.disk.settle();
    await harness.mark();
    expect(harness.log.markDue).toBe(false);
    const { segments } = recoverAll(harness.disk);
    expect(segments[0]).toMatchObject({ groups: 2, records: 1, damage: null });
  });
});

function copyOf(disk: SimulatedFileSystem): SimulatedFileSystem {
  const copy = newDisk();
  for (const name of disk.readdir('/shard')) copy.place(`/shard/${name}`, disk.bytesOf(`/shard/${name}`));
  return copy;
}
