import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeChecksum } from '../../src/base/checksum.ts';
import { systemClock } from '../../src/base/clock.ts';
import { FormatVersionError } from '../../src/base/errors.ts';
import { MiB } from '../../src/base/limits.ts';
import { Random } from '../../src/base/random.ts';
import { BlockCache } from '../../src/engine/block-cache.ts';
import { LOOKUP_FOUND, type TableMeta } from '../../src/engine/contract.ts';
import { ReadPolicy } from '../../src/engine/read-policy.ts';
import { readTableMeta } from '../../src/engine/table-file.ts';
import { tablePath } from '../../src/engine/table-format.ts';
import { openTable } from '../../src/engine/table-reader.ts';
import { verifyTable } from '../../src/engine/table-verify.ts';
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

const path = tablePath(DIRECTORY, 5);
const records = randomRecords(new Random(2024), 80, 150);
const golden = [
  { name: 'table-v1-snappy.sst', options: { blockBytes: 600, compression: 'snappy', bloomBitsPerKey: 10 } },
  { name: 'table-v1-none.sst', options: { blockBytes: 2000, compression: 'none', bloomBitsPerKey: 0 } },
] as const;

for (const { name, options } of golden)
  describe(`the golden table ${name}`, () => {
    const stored = new Uint8Array(readFileSync(join(import.meta.dirname, '../golden', name)));
    function written(): { meta: TableMeta; bytes: Uint8Array } {
      const disk = newDisk();
      const meta = build(disk, 5, records, options, 0xcafe_f00d);
      return { meta, bytes: disk.bytesOf(path).slice() };
    }

    it('is what this version writes, byte for byte', () => {
      expect(Buffer.compare(stored, written().bytes)).toBe(0);
    });

    it('reads back', () => {
      const disk = newDisk();
      disk.place(path, stored);
      const meta = readTableMeta(disk, path, 5);
      expect(meta).toEqual(written().meta);
      expect(verifyTable(disk, path, meta, () => undefined)).toEqual([]);
      const reader = openTable(
        disk,
        DIRECTORY,
        meta,
        new BlockCache(MiB),
        new ReadPolicy(systemClock, 'sync'),
      );
      expect(drain(reader.cursor(null))).toEqual(records.map(encode));
      const listener = new Listener(reader);
      for (const record of records) {
        expect(lookup(reader, record, 1, listener)).toBe(LOOKUP_FOUND);
        expect(foundBytes(reader)).toEqual(encode(record));
      }
      reader.close();
    });

    it('is refused, not called damaged, when its version is newer', () => {
      const disk = newDisk();
      const bytes = stored.slice();
      bytes[bytes.length - 12] = 2;
      writeChecksum(bytes, bytes.length - 192, bytes.length - 8, bytes, bytes.length - 8);
      disk.place(path, bytes);
      expect(() => readTableMeta(disk, path, 5)).toThrow(FormatVersionError);
      expect(() => verifyTable(disk, path, null, () => undefined)).toThrow(FormatVersionError);
      const { meta } = written();
      const open = (): unknown =>
        openTable(disk, DIRECTORY, meta, new BlockCache(0), new ReadPolicy(systemClock, 'sync'));
      expect(open).toThrow(FormatVersionError);
      expect(disk.openPaths).toEqual([]);
    });
  });
