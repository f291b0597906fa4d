/**
 * One thread of test/slow/memtable-threads.test.ts: the writer, or a reader, of one memtable set. A value says
 * in every 4 bytes which key and version it is; a version that is a multiple of 10 is a tombstone.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from '../../dist/src/base/random.js';
import { keyAt, recordBytes, valueAt, versionAt } from '../../dist/src/base/record.js';
import { SharedMemtableReader } from '../../dist/src/ipc/memtable-reader.js';
import { SharedMemtableWriter } from '../../dist/src/ipc/memtable-writer.js';

const { role, seed, memory, keysMax, groupMax, valueWordsMax, rotationsMin, checkedMin, readers } =
  workerData;
/** Per key: the version that is surely durable, and the one that may be. */
const published = new Int32Array(workerData.published);
const announced = new Int32Array(workerData.announced);
/** Word 0: the writer is done. Word 1 + r: lookups of reader r that gave a record or a tombstone. */
const progress = new Int32Array(workerData.progress);
const random = new Random(seed);

const keys = Array.from({ length: keysMax }, (_, i) => Buffer.from(`key ${i} ${'x'.repeat(i % 7)}`));
// Many keys in few buckets: neighbours are replaced while a reader passes them.
const tokenHi = (i) => (i % 16) * 0x1000_0000 + (i >> 6);
const wordOf = (key, version) => Math.imul(key + 1, 0x9e37_79b1) ^ version;

function write() {
  const writer = new SharedMemtableWriter(memory);
  const record = {
    tokenHi: 0,
    tokenLo: 0,
    keyspace: 0,
    key: keys[0],
    value: null,
    version: 0,
    origin: 1,
    flags: 0,
    expiresMs: 0,
  };
  const versions = new Int32Array(keysMax);
  let rotations = 0;
  let pending = [];
  const settle = (slot) => {
    for (const [key, version] of pending) Atomics.store(announced, key, version);
    writer.setDurable(slot, writer.lastSeq(slot));
    for (const [key, version] of pending) Atomics.store(published, key, version);
    pending = [];
  };
  const rotate = () => {
    const slot = writer.active;
    writer.freeze();
    if (writer.frozen().length === memory.options.slots) writer.release(writer.frozen().at(-1));
    if (!writer.activate(64)) throw new Error('no free slot');
    // A group that ended in the memtable before: durable when the next one already takes records.
    settle(slot);
    rotations++;
  };
  const enough = () => {
    for (let reader = 0; reader < readers; reader++)
      if (Atomics.load(progress, 1 + reader) < checkedMin) return false;
    return rotations >= rotationsMin;
  };
  writer.activate(64);
  while (!enough()) {
    for (let left = random.between(1, groupMax); left > 0; left--) {
      const key = random.below(keysMax);
      const version = ++versions[key];
      const words = version % 10 === 0 ? 0 : random.between(1, valueWordsMax);
      record.value = new Uint8Array(new Int32Array(words).fill(wordOf(key, version)).buffer);
      record.flags = version % 10 === 0 ? 1 : 0;
      record.key = keys[key];
      record.tokenHi = tokenHi(key);
      record.tokenLo = key;
      record.version = version;
      if (!writer.fits(recordBytes(record.key.length, record.value.length), 0)) rotate();
      writer.append(record);
      pending.push([key, version]);
    }
    settle(writer.active);
  }
  Atomics.store(progress, 0, 1);
  return { role, rotations };
}

/** What is wrong with a found record, '' where nothing is. */
function faultOf(reader, key, least) {
  const { bytes, view } = reader;
  const version = versionAt(view, 0);
  const most = Atomics.load(announced, key);
  if (!keys[key].equals(keyAt(view, bytes, 0))) return `key ${key} gave another key's record`;
  if (version < least) return `stale: version ${version} after ${least} was durable`;
  if (version > most) return `version ${version} before it was durable; ${most} was`;
  const value = valueAt(view, bytes, 0);
  const words = new Int32Array(value.slice().buffer);
  if (words.length === 0 || words.some((word) => word !== wordOf(key, version)))
    return `torn: key ${key} version ${version}, ${value.length} bytes`;
  return '';
}

function read() {
  const reader = new SharedMemtableReader(memory);
  const outcomes = [0, 0, 0];
  const faults = [];
  while (Atomics.load(progress, 0) === 0 && faults.length < 5) {
    const key = random.below(keysMax);
    const least = Atomics.load(published, key);
    const outcome = reader.lookup(0, tokenHi(key), key, keys[key], 0);
    outcomes[outcome]++;
    if (outcome === 0) continue;
    Atomics.add(progress, 1 + workerData.index, 1);
    if (outcome === 1) {
      const fault = faultOf(reader, key, least);
      if (fault !== '') faults.push(fault);
    } else {
      const most = Atomics.load(announced, key);
      if (Math.floor(most / 10) * 10 < Math.max(least, 1))
        faults.push(`key ${key} read as deleted between versions ${least} and ${most}`);
    }
  }
  // The writer waits for every reader: one that has seen enough faults lets it end.
  Atomics.store(progress, 1 + workerData.index, 0x7fff_ffff);
  return { role, faults, miss: outcomes[0], hit: outcomes[1], dead: outcomes[2] };
}

parentPort.postMessage(role === 'writer' ? write() : read());
