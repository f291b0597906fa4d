// SSTables with and without compression: MB/s of builds (raw records, with the sync), their size, microseconds of
// point lookups from the page cache (every block read, checked and decoded) and from the block cache, and MB/s
// of a cursor. Needs `npm run build`.
//   node native-bench/block-decode.mjs [gzipped file of JSON lines to take as values too]
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import b from 'benny';
import { systemClock } from '../dist/src/base/clock.js';
import { KiB, MiB } from '../dist/src/base/limits.js';
import { Random } from '../dist/src/base/random.js';
import { BlockCache } from '../dist/src/engine/block-cache.js';
import { ReadPolicy } from '../dist/src/engine/read-policy.js';
import { createTable } from '../dist/src/engine/table-builder.js';
import { tablePath } from '../dist/src/engine/table-format.js';
import { openTable } from '../dist/src/engine/table-reader.js';
import { realFileSystem as fs } from '../dist/src/vfs/real.js';
import { incompressible, jsonRecords, linesOf } from './table-data.mjs';

const ROUNDS = 5;
const directory = mkdtempSync(join(tmpdir(), 'table-bench-'));
const sets = [
  ['2 KB random values', incompressible(20_000, 2048)],
  ['2 KB JSON values', jsonRecords(20_000, 2048)],
];
if (process.argv[2] !== undefined) sets.push([`lines of ${process.argv[2]}`, await linesOf(process.argv[2])]);

const median = (list) => list.sort((x, y) => x - y)[list.length >> 1];
let number = 0;

function build(records, compression) {
  const builder = createTable(fs, directory, ++number, {
    blockBytes: 16 * KiB,
    compression,
    bloomBitsPerKey: 10,
  });
  for (const { view, bytes } of records) builder.add(view, bytes, 0);
  return builder.finish();
}
function lookUp(reader, { keyspace, tokenHi, tokenLo, key }) {
  if (reader.lookup(keyspace, tokenHi, tokenLo, key, 1, null) !== 1) throw new Error('a record is missing');
  return reader.found.offset;
}

for (const [name, records] of sets) {
  const raw = records.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const seconds = { none: [], snappy: [] };
  const scans = { none: [], snappy: [] };
  const metas = {};
  const policy = new ReadPolicy(systemClock, 'sync');
  for (let round = 0; round < ROUNDS; round++)
    for (const compression of ['none', 'snappy']) {
      let start = systemClock.monotonicMs();
      metas[compression] = build(records, compression);
      seconds[compression].push((systemClock.monotonicMs() - start) / 1000);
      start = systemClock.monotonicMs();
      const reader = openTable(fs, directory, metas[compression], new BlockCache(0), policy);
      let count = 0;
      for (const cursor = reader.cursor(null); cursor.valid; cursor.next()) count++;
      if (count !== records.length) throw new Error('a record is missing');
      scans[compression].push((systemClock.monotonicMs() - start) / 1000);
      reader.close();
    }
  console.log(`\n${name}: ${records.length} records, ${(raw / MiB).toFixed(1)} MiB`);
  for (const compression of ['none', 'snappy']) {
    const size = statSync(tablePath(directory, metas[compression].number)).size;
    const rate = (list) => (raw / MiB / median(list)).toFixed(0);
    console.log(
      `${compression}: build ${rate(seconds[compression])} MiB/s, cursor ${rate(scans[compression])} MiB/s, ratio ${(raw / size).toFixed(2)}`,
    );
  }
  const random = new Random(7);
  const cases = [];
  for (const [what, bytes] of [
    // So small that index and filter stay and data blocks do not.
    ['page cache', 2 * MiB],
    ['block cache', 512 * MiB],
  ])
    for (const compression of ['none', 'snappy']) {
      const reader = openTable(fs, directory, metas[compression], new BlockCache(bytes), policy);
      for (const record of records) lookUp(reader, record);
      cases.push(b.add(`${what}, ${compression}`, () => lookUp(reader, random.pick(records))));
    }
  await b.suite(`lookups: ${name}`, ...cases, b.cycle(), b.complete());
}
rmSync(directory, { recursive: true });
