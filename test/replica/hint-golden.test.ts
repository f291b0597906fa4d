import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checksumMatches, writeChecksum } from '../../src/base/checksum.ts';
import { FormatVersionError } from '../../src/base/errors.ts';
import { KEYSPACE_OUTCOMES } from '../../src/base/record.ts';
import { encodeHint, type Hint, scanHints } from '../../src/replica/hint-format.ts';
import { recordOf } from '../cluster/records.ts';
import { Hints, newDisk, TARGET_DIRECTORY } from './hint-harness.ts';

/** It has more than 32 bits: the checksum takes the lower ones. */
const FILE = 2 ** 32 + 7;
const golden: readonly Hint[] = [
  {
    record: recordOf({ key: 'user:1', version: 1_700_000_000_000_001, origin: 0xab, value: 'one' }),
    also: null,
    addedMs: 1_700_000_000_000,
  },
  {
    record: recordOf({ key: 'user:2', version: 1_700_000_000_000_002, origin: 0xcd, tombstone: true }),
    also: recordOf({
      key: 'user:2',
      version: 1_700_000_000_000_002,
      origin: 0xcd,
      value: 'outcomes',
      keyspace: KEYSPACE_OUTCOMES,
    }),
    addedMs: 1_700_000_000_250,
  },
];
const stored = new Uint8Array(readFileSync(join(import.meta.dirname, '../golden/hints-v1.hints')));
const written = (): Buffer => Buffer.concat(golden.map((hint) => encodeHint(hint, FILE)));

describe('the golden file of hints', () => {
  it('is what this version writes, byte for byte', () => {
    expect(Buffer.compare(stored, written())).toBe(0);
  });

  it('reads back, also as a file of a node', async () => {
    expect(scanHints(stored, FILE)).toEqual({ hints: golden, bytesDamaged: 0, damagedAt: -1 });
    const disk = newDisk();
    disk.place(`${TARGET_DIRECTORY}/${FILE}.hints`, stored);
    expect(await new Hints(disk).drain()).toEqual(['user:1', 'user:2']);
  });

  it('has the bytes that docs/data-directory.md says', () => {
    const view = new DataView(stored.buffer, stored.byteOffset, stored.length);
    let at = 0;
    for (const { record, also, addedMs } of golden) {
      const length = 32 + record.length + (also?.length ?? 0);
      expect(Buffer.from(stored.subarray(at, at + 4)).toString('latin1')).toBe('RKVH');
      expect(view.getUint32(at + 4, true)).toBe(record.length);
      expect(view.getUint32(at + 8, true)).toBe(also?.length ?? 0);
      expect(view.getUint32(at + 12, true)).toBe(1);
      expect(view.getFloat64(at + 16, true)).toBe(addedMs);
      const checked = stored.slice(at + 4, at + length);
      checked.fill(0, 20, 28);
      expect(checksumMatches(checked, 0, checked.length, stored, at + 24, 7)).toBe(true);
      expect(stored.subarray(at + 32, at + 32 + record.length)).toEqual(record);
      at += length;
    }
    expect(at).toBe(stored.length);
  });

  it('is refused, not called damaged, when its version is newer', () => {
    const bytes = stored.slice();
    const end = 32 + (golden[0] as Hint).record.length;
    bytes[12] = 2;
    bytes.fill(0, 24, 32);
    writeChecksum(bytes, 4, end, bytes, 24, FILE);
    expect(() => scanHints(bytes, FILE)).toThrow(FormatVersionError);
  });

  it('of another number is not taken for this one', () => {
    expect(scanHints(stored, FILE + 1)).toEqual({ hints: [], bytesDamaged: stored.length, damagedAt: 0 });
  });
});
