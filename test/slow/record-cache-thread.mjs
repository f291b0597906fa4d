/**
 * One thread of test/slow/record-cache-threads.test.ts: the writer, or a reader, of one record cache. A value says in every 4 bytes
 * which key and version it is. The writer does what a shard does: it takes a record out before the next version of its key
 * counts as written, and puts the newest one in later.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from '../../dist/src/base/random.js';
import { keyAt, recordBytes, valueAt, versionAt, writeRecord } from '../../dist/src/base/record.js';
import { RecordCacheReader } from '../../dist/src/ipc/record-cache-reader.js';
import { RecordCacheWriter } from '../../dist/src/ipc/record-cache-writer.js';

const { role, seed, memory, keysMax, valueWordsMax, putsMin, checkedMin, readers } = workerData;
/** Per key: the version that was acknowledged last. */
const acknowledged = new Int32Array(workerData.acknowledged);
/** Word 0: the writer is done. Word 1 + r: lookups of reader r that gave a record. */
const progress = new Int32Array(workerData.progress);
const random = new Random(seed);

const keys = Array.from({ length: keysMax }, (_, i) => Buffer.from(`key ${i} ${'x'.repeat(i % 7)}`));
// Many keys in few buckets.
const tokenLo = (i) => Math.imul(i % 5, 0x9e37_79b1) >>> 0;
const wordOf = (key, version) => Math.imul(key + 1, 0x9e37_79b1) ^ version;

function write() {
  const writer = new RecordCacheWriter(memory);
  const bytes = new Uint8Array(recordBytes(64, 4 * valueWordsMax));
  const view = new DataView(bytes.buffer);
  const enough = () => {
    for (let reader = 0; reader < readers; reader++)
      if (Atomics.load(progress, 1 + reader) < checkedMin) return false;
    return writer.fills >= putsMin;
  };
  const versions = new Int32Array(keysMax);
  while (!enough()) {
    const key = random.below(keysMax);
    if (random.chance(0.5)) {
      writer.remove(key, tokenLo(key));
      versions[key]++;
      Atomics.store(acknowledged, key, versions[key]);
      continue;
    }
    const words = random.between(1, valueWordsMax);
    const value = new Uint8Array(new Int32Array(words).fill(wordOf(key, versions[key])).buffer);
    const record = { tokenHi: key, tokenLo: tokenLo(key), keyspace: 0, key: keys[key], value };
    writeRecord(bytes, 0, { ...record, version: versions[key], origin: 1, flags: 0, expiresMs: 0 });
    writer.put(view, bytes, 0);
  }
  Atomics.store(progress, 0, 1);
  return { role, fills: writer.fills, evictions: writer.evictions };
}

/** What is wrong with a found record, '' where nothing is. */
function faultOf({ bytes, view }, key, least) {
  const version = versionAt(view, 0);
  if (!keys[key].equals(keyAt(view, bytes, 0))) return `key ${key} gave another key's record`;
  if (version < least) return `stale: version ${version} of key ${key} after ${least} was acknowledged`;
  const value = valueAt(view, bytes, 0);
  const words = new Int32Array(value.slice().buffer);
  if (words.length === 0 || words.some((word) => word !== wordOf(key, version)))
    return `torn: key ${key} version ${version}, ${value.length} bytes`;
  return '';
}

function read() {
  const reader = new RecordCacheReader(memory);
  const faults = [];
  let hit = 0;
  let miss = 0;
  while (Atomics.load(progress, 0) === 0 && faults.length < 5) {
    const key = random.below(keysMax);
    const least = Atomics.load(acknowledged, key);
    if (reader.lookup(key, tokenLo(key), keys[key], 0) === 0) {
      miss++;
      continue;
    }
    hit++;
    Atomics.add(progress, 1 + workerData.index, 1);
    const fault = faultOf(reader, key, least);
    if (fault !== '') faults.push(fault);
  }
  // The writer waits for every reader: one that has seen enough faults lets it end.
  Atomics.store(progress, 1 + workerData.index, 0x7fff_ffff);
  return { role, faults, hit, miss };
}

parentPort.postMessage(role === 'writer' ? write() : read());
