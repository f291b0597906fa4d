import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { CorruptionError, FormatVersionError, IoError } from '../../src/base/errors.ts';
import { KiB } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { type RecordFields, recordBytesAt } from '../../src/base/record.ts';
import { BlockCache } from '../../src/engine/block-cache.ts';
import {
  type EngineLookup,
  LOOKUP_FOUND,
  type TableMeta,
  type TableOptions,
  type TableReader,
} from '../../src/engine/contract.ts';
import { ReadPolicy } from '../../src/engine/read-policy.ts';
import { newFields, readTableMeta } from '../../src/engine/table-file.ts';
import {
  decodeFooter,
  encodeFooter,
  FOOTER_BYTES,
  FRAME_FILTER,
  FRAME_FILTER_ROOT,
  FRAME_HEADER_BYTES,
  FRAME_INDEX,
  FRAME_INDEX_ROOT,
  frameBytes,
  frameHeaderFault,
  sealFrame,
  tablePath,
} from '../../src/engine/table-format.ts';
import { openTable } from '../../src/engine/table-reader.ts';
import { type Damage, verifyTable } from '../../src/engine/table-verify.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';
import { testSeed } from '../seed.ts';
import { newDisk } from './disk.ts';
import {
  build,
  DIRECTORY,
  drain,
  encode,
  foundBytes,
  Listener,
  lookup,
  randomRecords,
} from './table-harness.ts';

const path = tablePath(DIRECTORY, 1);
const CACHE_BYTES = 64 * KiB;

interface Subject {
  readonly records: readonly RecordFields[];
  readonly images: readonly Uint8Array[];
  readonly meta: TableMeta;
  readonly bytes: Uint8Array;
}
function subject(seed: number, count: number, options: TableOptions): Subject {
  const disk = newDisk();
  const records = randomRecords(new Random(seed), count, 120);
  const meta = build(disk, 1, records, options, seed);
  return { records, images: records.map(encode), meta, bytes: disk.bytesOf(path).slice() };
}

/** Only these may come out of damage. */
function expectAllowed(error: unknown): void {
  if (error instanceof CorruptionError) expect(error.file).toBe(path);
  else if (!(error instanceof IoError || error instanceof FormatVersionError)) throw error;
}
function attempt<T>(call: () => T): T | null {
  try {
    return call();
  } catch (error) {
    expectAllowed(error);
    return null;
  }
}
function verify(disk: SimulatedFileSystem, meta: TableMeta | null): Damage[] | null {
  return attempt(() => verifyTable(disk, path, meta, () => undefined));
}

/** Everything that a table can be asked gives what was written, or an error. Whether anything gave an error. */
function ask({ records, images, meta }: Subject, bytes: Uint8Array): boolean {
  const disk = newDisk();
  disk.place(path, bytes);
  const read = attempt(() => readTableMeta(disk, path, 1));
  if (read !== null) expect(read).toEqual(meta);
  const reader = attempt(() =>
    openTable(disk, DIRECTORY, meta, new BlockCache(CACHE_BYTES), new ReadPolicy(systemClock, 'sync')),
  );
  if (reader === null) return true;
  let failed = false;
  const listener = new Listener(reader);
  for (const [i, record] of records.entries()) {
    const outcome = attempt((): EngineLookup => lookup(reader, record, i, listener));
    if (outcome === null) failed = true;
    else if (outcome !== LOOKUP_FOUND || Buffer.compare(foundBytes(reader), images[i] as Uint8Array) !== 0)
      expect.fail(`record ${i} came back wrong (${outcome})`);
  }
  if (!walk(reader, images)) failed = true;
  reader.close();
  expect(disk.openPaths).toEqual([]);
  return failed;
}
/** Whether a cursor came to the end; what it gave until then is a prefix without holes. */
function walk(reader: TableReader, images: readonly Uint8Array[]): boolean {
  let count = 0;
  const whole = attempt(() => {
    for (const cursor = reader.cursor(null); cursor.valid; cursor.next()) {
      const { bytes, view, offset } = cursor;
      const record = bytes.subarray(offset, offset + recordBytesAt(view, offset));
      if (Buffer.compare(record, images[count++] as Uint8Array) !== 0)
        expect.fail(`record ${count} of a cursor is wrong`);
    }
    return true;
  });
  if (whole === true) expect(count).toBe(images.length);
  return whole === true;
}

const small = subject(21, 24, { blockBytes: 400, compression: 'snappy', bloomBitsPerKey: 10 });
const large = subject(22, 900, { blockBytes: 1, compression: 'none', bloomBitsPerKey: 64 });

describe('damage to a table', () => {
  const bitSeed = testSeed();
  it(`of one bit, at any byte, is found by verification and never changes an answer (seed ${bitSeed})`, () => {
    const random = new Random(bitSeed);
    for (let at = 0; at < small.bytes.length; at++) {
      const bytes = small.bytes.slice();
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
      const disk = newDisk();
      disk.place(path, bytes);
      const damage = verify(disk, random.chance(0.5) ? small.meta : null);
      if (damage?.length === 0) expect.fail(`byte ${at} passes verification`);
      for (const { file, offset } of damage ?? [])
        if (file !== path || offset > at) expect.fail(`byte ${at} is reported as ${file}, ${offset}`);
      ask(small, bytes);
    }
  });

  const seed = testSeed();
  it(`of any kind never gives a wrong record and is found by verification (seed ${seed})`, () => {
    const random = new Random(seed);
    const other = subject(21, 24, { blockBytes: 400, compression: 'snappy', bloomBitsPerKey: 10 });
    for (let round = 0; round < 500; round++) {
      const one = random.chance(0.9) ? small : large;
      const bytes = mutated(random, one.bytes);
      if (Buffer.compare(bytes, one.bytes) === 0) continue;
      const disk = newDisk();
      disk.place(path, bytes);
      const damage = verify(disk, one.meta);
      if (damage !== null && damage.length === 0) expect.fail(`round ${round} passes verification`);
      ask(one, bytes);
    }
    expect(Buffer.compare(other.bytes, small.bytes)).toBe(0);
  });

  it('by a frame of another table of the same records, or from elsewhere in the file, is found', () => {
    const options: TableOptions = { blockBytes: 1, compression: 'none', bloomBitsPerKey: 10 };
    const records = small.records.map((one) => ({
      ...one,
      key: Buffer.from('equal'),
      value: new Uint8Array(8),
    }));
    const tables = [1, 2].map((salt) => {
      const disk = newDisk();
      const meta = build(
        disk,
        1,
        records.filter((one, i) => records.findIndex((two) => two.tokenHi === one.tokenHi) === i),
        options,
        salt,
      );
      return { meta, bytes: disk.bytesOf(path).slice() };
    }) as [{ meta: TableMeta; bytes: Uint8Array }, { meta: TableMeta; bytes: Uint8Array }];
    const [mine, foreign] = tables;
    // Every data frame is as long as the next: 56 bytes of header, one record of 56, its offset and the count.
    const frame = 56 + 56 + 8;
    const stale = mine.bytes.slice();
    stale.set(foreign.bytes.subarray(frame, 2 * frame), frame);
    const moved = mine.bytes.slice();
    moved.set(mine.bytes.subarray(2 * frame, 3 * frame), frame);
    for (const bytes of [stale, moved]) {
      const disk = newDisk();
      disk.place(path, bytes);
      expect(verify(disk, mine.meta)).toMatchObject([{ file: path, offset: frame }]);
    }
  });

  it('in several places is listed place by place, and the frames between are read', () => {
    const disk = newDisk();
    const bytes = large.bytes.slice();
    const places = [5000, 20_000, 60_000];
    for (const at of places) bytes[at] = (bytes[at] as number) ^ 1;
    disk.place(path, bytes);
    let read = 0;
    const damage = verifyTable(disk, path, large.meta, (count) => {
      read += count;
    });
    expect(damage).toHaveLength(3);
    for (const [i, { offset }] of damage.entries()) {
      expect(offset).toBeLessThanOrEqual(places[i] as number);
      expect(offset).toBeGreaterThan((places[i] as number) - 6000);
    }
    expect(read).toBeGreaterThanOrEqual(bytes.length);
  });

  it('stops a verification only where its caller wants it to', () => {
    const disk = newDisk();
    disk.place(path, large.bytes);
    const stop = (): never => {
      throw new Error('enough');
    };
    expect(() => verifyTable(disk, path, large.meta, stop)).toThrow('enough');
    disk.inject({ operation: 'read', errno: 'EIO', after: 1 });
    expect(() => verifyTable(disk, path, large.meta, () => undefined)).toThrow(IoError);
    expect(disk.openPaths).toEqual([]);
  });
});

describe('a sound file with wrong contents', () => {
  const { meta, bytes } = small;
  const size = bytes.length;
  const footer = decodeFooter(bytes, path, size, 1);
  function verified(changed: Uint8Array): Damage[] {
    const disk = newDisk();
    disk.place(path, changed);
    return verifyTable(disk, path, null, () => undefined);
  }
  /** The frame of this kind, the first of them, with its payload changed and its checksum right. */
  function resealed(
    kind: number,
    change: (payload: Uint8Array) => void,
  ): { at: number; changed: Uint8Array } {
    const changed = bytes.slice();
    const view = new DataView(changed.buffer);
    const fields = newFields();
    let at = 0;
    while (frameHeaderFault(view, at, fields) === '' && fields.kind !== kind)
      at += frameBytes(fields.storedBytes);
    const start = at + FRAME_HEADER_BYTES;
    change(changed.subarray(start, start + fields.storedBytes));
    sealFrame(changed, view, at, fields, footer.shape.salt, at);
    return { at, changed };
  }

  it('has a footer that counts records differently: cursor and verification say so', () => {
    const other = { ...meta, records: meta.records + 1 };
    const changed = bytes.slice();
    changed.set(encodeFooter({ meta: other, shape: footer.shape }), size - FOOTER_BYTES);
    const disk = newDisk();
    disk.place(path, changed);
    const reader = openTable(disk, DIRECTORY, other, new BlockCache(0), new ReadPolicy(systemClock, 'sync'));
    expect(() => drain(reader.cursor(null))).toThrow(CorruptionError);
    reader.close();
    expect(verified(changed)).toMatchObject([{ file: path, offset: size - FOOTER_BYTES }]);
  });
  it('lacks a token in a filter', () => {
    const { at, changed } = resealed(FRAME_FILTER, (payload) => payload.fill(0, 0, payload.length - 8));
    expect(verified(changed)).toContainEqual(expect.objectContaining({ offset: at }));
  });
  it('has an index page or a root that names another frame', () => {
    for (const kind of [FRAME_INDEX, FRAME_FILTER_ROOT, FRAME_INDEX_ROOT]) {
      const { at, changed } = resealed(kind, (payload) => {
        payload[8] = (payload[8] as number) ^ 8;
      });
      expect(verified(changed)).toContainEqual(expect.objectContaining({ offset: at }));
    }
  });
  it('has two records in the wrong order, or one of which the header is bad', () => {
    const plain = subject(21, 24, { blockBytes: 2000, compression: 'none', bloomBitsPerKey: 0 });
    for (const [byte, what] of [
      [11, 'does not come after'],
      [6, 'flags'],
    ] as const) {
      const changed = plain.bytes.slice();
      const view = new DataView(changed.buffer);
      const fields = newFields();
      frameHeaderFault(view, 0, fields);
      changed[FRAME_HEADER_BYTES + byte] = 0xff;
      sealFrame(changed, view, 0, fields, decodeFooter(changed, path, changed.length, 1).shape.salt, 0);
      const damage = verified(changed);
      expect(damage[0]).toMatchObject({ offset: 0, what: expect.stringContaining(what) });
    }
  });
});

/** A copy with one of the accidents that files have. */
function mutated(random: Random, original: Uint8Array): Uint8Array {
  const size = original.length;
  const from = random.below(size);
  const length = random.pick([1, 8, 56, 512, random.below(size)]);
  const part = original.subarray(from, Math.min(size, from + length));
  const bytes = original.slice();
  switch (random.below(8)) {
    case 0:
      return original.slice(0, from);
    case 1:
      return Buffer.concat([original, random.bytes(length)]);
    case 2:
      return Buffer.concat([original, part]);
    case 3:
      return Buffer.concat([original.subarray(0, from), part, original.subarray(from)]);
    case 4:
      return Buffer.concat([original.subarray(0, from), original.subarray(from + length)]);
    case 5:
      bytes.fill(0, from, from + length);
      return bytes;
    case 6:
      bytes.set(part, random.below(size - part.length + 1));
      return bytes;
    default:
      bytes.set(random.bytes(part.length), from);
      return bytes;
  }
}
