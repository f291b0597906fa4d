import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeChecksum } from '../../src/base/checksum.ts';
import { CorruptionError, FormatVersionError, IoError } from '../../src/base/errors.ts';
import { Random } from '../../src/base/random.ts';
import type { Durability } from '../../src/engine/contract.ts';
import { GROUP_CLOSING, sealGroup } from '../../src/engine/wal-format.ts';
import { closeRecovered, liveSegments, recoverSegment, segmentPath } from '../../src/engine/wal-recovery.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { Crash } from '../../src/vfs/simulated-faults.ts';
import { testSeed } from '../seed.ts';
import { newDisk } from './disk.ts';
import {
  DIRECTORY,
  type Entry,
  isPrefix,
  LogHarness,
  type Recovery,
  recoverAll,
  recoverOne,
} from './wal-harness.ts';

const bytesOf = (disk: SimulatedFileSystem, number = 1): Uint8Array =>
  disk.bytesOf(segmentPath(DIRECTORY, number));
function diskWith(...segments: Uint8Array[]): SimulatedFileSystem {
  const disk = newDisk();
  segments.forEach((bytes, index) => {
    disk.place(segmentPath(DIRECTORY, index + 1), bytes);
  });
  return disk;
}
const damageOf = (recovery: Recovery): CorruptionError | null => recovery.segments.at(-1)?.damage ?? null;

interface Sample {
  readonly bytes: Uint8Array;
  readonly written: Entry[];
  /** Where each group starts, and its end at last. */
  readonly bounds: number[];
}
/** A segment of three groups: of one, two and three records. */
async function sample(end: 'open' | 'marked' | 'closed', durability: Durability = 'always'): Promise<Sample> {
  const disk = newDisk();
  const harness = new LogHarness(disk, durability);
  harness.log.prepareSpare();
  await disk.settle();
  harness.open(1);
  const written: Entry[] = [];
  const bounds = [0];
  for (let group = 1; group <= 3; group++) {
    for (let i = 0; i < group; i++) written.push(harness.append(`key-${group}-${i}`, 'x'.repeat(group * 5)));
    expect(await harness.commit()).toBeNull();
    bounds.push(harness.from);
  }
  if (end === 'marked') {
    await harness.mark();
    bounds.push(harness.from);
  }
  if (end === 'closed') {
    expect(await harness.closeSegment()).toBeNull();
    bounds.push(harness.from + 64);
  }
  return { bytes: bytesOf(disk).slice(), written, bounds };
}

describe('recovery of a segment', () => {
  it('ends at zeros, at the end of the file and at a closing group', async () => {
    for (const end of ['open', 'marked', 'closed'] as const) {
      const { bytes, written, bounds } = await sample(end);
      for (const file of [bytes, bytes.slice(0, bounds.at(-1))]) {
        const recovery = recoverAll(diskWith(file.slice()));
        expect(recovery.entries).toEqual(written);
        expect(recovery.segments[0]).toMatchObject({
          end: bounds.at(-1),
          closed: end === 'closed',
          records: 6,
          damage: null,
        });
      }
    }
  });

  it('reads into shared memory, at the same offsets', async () => {
    const { bytes, written } = await sample('closed');
    const disk = diskWith(bytes);
    const arena = new Uint8Array(new SharedArrayBuffer(bytes.length));
    const offsets: number[] = [];
    const view = new DataView(arena.buffer);
    const options = { number: 1, newest: true, bytes: arena, view };
    recoverSegment(disk, segmentPath(DIRECTORY, 1), options, (target, _view, offset) => {
      expect(target).toBe(arena);
      offsets.push(offset);
    });
    expect(offsets).toHaveLength(written.length);
    expect(Buffer.compare(arena, bytes)).toBe(0);
  });

  it.each(['open', 'marked', 'closed'] as const)(
    'finds out every single changed byte of a %s segment, or takes it for a torn tail as documented',
    async (end) => {
      const { bytes, written, bounds } = await sample(end);
      const used = bounds.at(-1) ?? 0;
      const last = bounds.at(-2) ?? 0;
      for (let at = 0; at < used; at++)
        for (const flip of [1, 0x80, 0xff]) {
          const mutated = bytes.slice();
          mutated[at] = (mutated[at] ?? 0) ^ flip;
          const recovery = recoverAll(diskWith(mutated));
          const group = bounds.findLastIndex((start) => start <= at);
          const label = `byte ${at}, flip ${flip}`;
          expect(isPrefix(recovery.entries, written), label).toBe(true);
          const segment = recovery.segments[0];
          expect(segment?.end, label).toBe(bounds[group]);
          if (at >= last) expect(segment?.damage, label).toBeNull();
          else {
            expect(segment?.damage, label).toBeInstanceOf(CorruptionError);
            expect(segment?.damage?.offset, label).toBe(bounds[group]);
          }
          // With a marker or a closing group, what is lost in silence is never a record.
          if (end !== 'open' && segment?.damage === null) expect(recovery.entries).toEqual(written);
        }
    },
  );

  it('finds out every single changed byte of a closed segment before the newest one', async () => {
    const { bytes, written, bounds } = await sample('closed');
    const used = bounds.at(-1) ?? 0;
    for (let at = 0; at < used; at++) {
      const mutated = bytes.slice();
      mutated[at] = (mutated[at] ?? 0) ^ 0x10;
      const entries: Entry[] = [];
      const segment = recoverOne(diskWith(mutated), 1, false, entries);
      expect(segment.damage, `byte ${at}`).toBeInstanceOf(CorruptionError);
      expect(segment.damage?.file).toBe(segmentPath(DIRECTORY, 1));
      expect(isPrefix(entries, written)).toBe(true);
    }
  });

  it('calls a segment before the newest one damaged where it is cut short', async () => {
    const { bytes, bounds } = await sample('closed');
    for (let length = 0; length < (bounds.at(-1) ?? 0); length += 8)
      expect(recoverOne(diskWith(bytes.slice(0, length)), 1, false, []).damage).toBeInstanceOf(
        CorruptionError,
      );
  });

  it('of random damage gives a prefix, and never hangs or throws', async () => {
    const seed = testSeed();
    const random = new Random(seed);
    const samples = [await sample('open'), await sample('marked'), await sample('closed')];
    for (let round = 0; round < 3000; round++) {
      const { bytes, written } = random.pick(samples);
      const mutated = bytes.slice(0, random.between(0, bytes.length));
      for (let changes = random.between(0, 6); changes > 0 && mutated.length > 32; changes--)
        mutated.set(random.bytes(random.between(1, 32)), random.below(mutated.length - 32));
      const { entries } = recoverAll(diskWith(mutated));
      expect(isPrefix(entries, written), `seed ${seed}, round ${round}`).toBe(true);
    }
  });

  it('refuses a segment of a newer format version and does not take it for damage', () => {
    const bytes = new Uint8Array(64);
    const fields = { segment: 1, group: 1, records: 0, watermark: 0, salt: 0, flags: 0 };
    sealGroup(bytes, new DataView(bytes.buffer), 0, 64, fields);
    resealAs(bytes, 2);
    expect(() => recoverAll(diskWith(bytes))).toThrow(FormatVersionError);
  });

  it('calls sound checksums over records that do not add up damage, even in the last group', async () => {
    const { bytes, bounds } = await sample('open');
    const view = new DataView(bytes.buffer);
    const from = bounds[2] ?? 0;
    const to = bounds[3] ?? 0;
    for (const spoil of [
      () => sealGroup(bytes, view, from, to, { ...fieldsOf(view, from), records: 2 }),
      () => {
        view.setUint8(from + 64 + 6, 0x40);
        sealGroup(bytes, view, from, to, fieldsOf(view, from));
      },
    ]) {
      spoil();
      expect(damageOf(recoverAll(diskWith(bytes.slice())))).toBeInstanceOf(CorruptionError);
    }
  });
});

describe('a torn tail', () => {
  it('in mode interval is cut at the first bad group though later ones are whole', async () => {
    const { bytes, written, bounds } = await sample('open', 'interval');
    bytes.fill(0, (bounds[1] ?? 0) + 70, (bounds[1] ?? 0) + 90);
    const recovery = recoverAll(diskWith(bytes));
    expect(recovery.entries).toEqual(written.slice(0, 1));
    expect(damageOf(recovery)).toBeNull();
  });

  it('is closed durably, so that the next start neither doubts it nor finds more behind it', async () => {
    const { bytes, written, bounds } = await sample('open', 'interval');
    bytes.fill(0, (bounds[1] ?? 0) + 70, (bounds[1] ?? 0) + 90);
    const disk = diskWith(bytes);
    recoverAll(disk);
    const harness = new LogHarness(disk);
    harness.open(2);
    const later = harness.append('later', 'y');
    expect(await harness.commit()).toBeNull();
    const recovery = recoverAll(disk.powerCut(new Random(1)));
    expect(recovery.entries).toEqual([...written.slice(0, 1), later]);
    expect(recovery.segments.map((one) => [one.closed, one.damage])).toEqual([
      [true, null],
      [false, null],
    ]);
  });

  it('is closed without vouching for records that only the page cache held', async () => {
    const seed = testSeed();
    const random = new Random(seed);
    for (let crashAt = 0; crashAt < 3; crashAt++)
      for (let cut = 0; cut < 20; cut++) {
        // The process dies, not the machine; the next one recovers, and the power goes while it does.
        const disk = newDisk();
        const harness = new LogHarness(disk, 'os');
        harness.open(1);
        const written: Entry[] = [];
        for (let group = 0; group < 3; group++) {
          written.push(harness.append(`key-${group}`, 'v'.repeat(900)));
          expect(await harness.commit()).toBeNull();
        }
        disk.crashAtChange(disk.changes + crashAt);
        expect(() => recoverAll(disk)).toThrow(Crash);
        const recovery = recoverAll(disk.powerCut(random));
        expect(damageOf(recovery), `seed ${seed}, crash at ${crashAt}`).toBeNull();
        expect(isPrefix(recovery.entries, written)).toBe(true);
      }
  });

  it('is left as it is where the segment is damaged', async () => {
    const { bytes } = await sample('closed');
    bytes[80] = (bytes[80] ?? 0) ^ 1;
    const disk = diskWith(bytes);
    const segment = recoverOne(disk, 1, true, []);
    expect(() => closeRecovered(disk, segmentPath(DIRECTORY, 1), segment)).toThrow('damaged');
  });

  it('is not mistaken for damage because a value holds the bytes of a group', async () => {
    const { bytes, bounds } = await sample('closed');
    const view = new DataView(bytes.buffer);
    // A forged header where a later one could stand, right in everything but the salt.
    const forged = (bounds[2] ?? 0) + 128;
    sealGroup(bytes, view, forged, forged + 64, {
      ...fieldsOf(view, 0),
      group: 9,
      watermark: forged,
      salt: 0xdead_beef,
    });
    bytes.fill(0, forged + 64);
    const recovery = recoverAll(diskWith(bytes));
    expect(damageOf(recovery)).toBeNull();
    expect(recovery.segments[0]?.end).toBe(bounds[2]);
  });
});

describe('live segments', () => {
  it('are those from the oldest that the manifest needs, without gaps', async () => {
    const { bytes } = await sample('closed');
    const disk = diskWith(bytes, bytes, bytes, bytes);
    expect(liveSegments(disk, DIRECTORY, 3)).toEqual([3, 4]);
    expect(liveSegments(disk, DIRECTORY, 5)).toEqual([]);
    disk.unlink(segmentPath(DIRECTORY, 3));
    expect(() => liveSegments(disk, DIRECTORY, 2)).toThrow('the segment is missing');
    expect(() => liveSegments(disk, DIRECTORY, 3)).toThrow(CorruptionError);
  });
});

describe('a recycled segment', () => {
  it('never gives back the groups of its former life, wherever the new ones end', async () => {
    const { bytes } = await sample('closed');
    for (let size = 0; size < 200; size += 8) {
      const disk = diskWith(bytes.slice());
      const harness = new LogHarness(disk);
      harness.log.retire(1);
      harness.open(2);
      const written = [harness.append('new', 'n'.repeat(size))];
      expect(await harness.commit()).toBeNull();
      const entries: Entry[] = [];
      const segment = recoverOne(disk, 2, true, entries);
      expect(entries).toEqual(written);
      expect(segment.damage).toBeNull();
      // Nor under the number of its former life's successor with every length of torn write.
      const torn = bytesOf(disk, 2);
      torn.set(bytes.subarray(64), 64);
      expect(recoverOne(disk, 2, true, []).records).toBe(0);
    }
  });
});

describe('a file that cannot be read', () => {
  it('is an I/O error, not damage and not a torn tail', async () => {
    const { bytes } = await sample('closed');
    const disk = diskWith(bytes);
    disk.inject({ operation: 'read', errno: 'EIO' });
    expect(() => recoverAll(disk)).toThrow(IoError);
  });
});

describe('the golden segment', () => {
  const path = join(import.meta.dirname, '../golden/wal-v1.log');

  it('is what this version writes, byte for byte', async () => {
    const { bytes, bounds } = await sample('closed');
    expect(Buffer.compare(readFileSync(path), bytes.subarray(0, bounds.at(-1)))).toBe(0);
  });
  it('reads back', async () => {
    const { written } = await sample('closed');
    const { entries, segments } = recoverAll(diskWith(new Uint8Array(readFileSync(path))));
    expect(entries).toEqual(written);
    expect(segments[0]).toMatchObject({ closed: true, groups: 4, records: 6, damage: null });
  });
});

function resealAs(bytes: Uint8Array, version: number): void {
  new DataView(bytes.buffer).setUint16(4, version, true);
  writeChecksum(bytes, 0, 56, bytes, 56, 1);
}

function fieldsOf(view: DataView, at: number) {
  return {
    segment: view.getUint32(at + 8, true),
    group: view.getUint32(at + 12, true),
    records: view.getUint32(at + 24, true),
    watermark: view.getUint32(at + 28, true),
    salt: view.getUint32(at + 32, true),
    flags: view.getUint16(at + 6, true) & GROUP_CLOSING,
  };
}
