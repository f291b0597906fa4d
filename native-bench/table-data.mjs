// Records for the benchmarks of tables: encoded, in order, one a key.
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { Random } from '../dist/src/base/random.js';
import { recordBytes, writeRecord } from '../dist/src/base/record.js';
import { hashToken, token } from '../dist/src/base/token.js';

const WORDS = 'library development files shared package architecture depends section priority version'.split(
  ' ',
);

function recordOf(key, value) {
  const keyBytes = Buffer.from(key);
  hashToken(keyBytes);
  const fields = {
    tokenHi: token.hi,
    tokenLo: token.lo,
    keyspace: 0,
    key: keyBytes,
    value,
    version: 1_700_000_000_000_000,
    origin: 1,
    flags: 0,
    expiresMs: 0,
  };
  const bytes = new Uint8Array(recordBytes(keyBytes.length, value.length));
  writeRecord(bytes, 0, fields);
  return { ...fields, bytes, view: new DataView(bytes.buffer) };
}

function inOrder(records) {
  const sorted = records.sort(
    (a, b) => a.tokenHi - b.tokenHi || a.tokenLo - b.tokenLo || Buffer.compare(a.key, b.key),
  );
  return sorted.filter((one, i) => i === 0 || Buffer.compare(one.key, sorted[i - 1].key) !== 0);
}

/** Values of `valueBytes` random bytes. */
export function incompressible(count, valueBytes) {
  const random = new Random(1);
  return inOrder(Array.from({ length: count }, (_, i) => recordOf(`user:${i}`, random.bytes(valueBytes))));
}

/** JSON objects of about `valueBytes` bytes, as descriptions of packages are. */
export function jsonRecords(count, valueBytes) {
  const random = new Random(2);
  const object = (i) => {
    let text = '';
    while (text.length < valueBytes - 100)
      text += `${random.pick(WORDS)}${random.chance(0.2) ? random.below(1e6) : ''} `;
    return JSON.stringify({ id: i, name: `package-${i}`, size: random.below(1e7), description: text });
  };
  return inOrder(Array.from({ length: count }, (_, i) => recordOf(`package:${i}`, Buffer.from(object(i)))));
}

/** The lines of a gzipped file of JSON lines, each a value. */
export async function linesOf(path) {
  const records = [];
  const lines = createInterface({ input: createReadStream(path).pipe(createGunzip()) });
  for await (const line of lines) records.push(recordOf(`line:${records.length}`, Buffer.from(line)));
  return inOrder(records);
}
