// Group commit of the commit log on the real disk: one write and one fdatasync for groups of 1, 16, 64 and
// 256 records of 2 KB, into preallocated (recycled) segments and into files that grow. Needs `npm run build`.
//   node native-bench/wal-batch.mjs [directory, default: a new one below the working directory]
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import b from 'benny';
import { systemClock } from '../dist/src/base/clock.js';
import { MiB } from '../dist/src/base/limits.js';
import { recordBytes, writeRecord } from '../dist/src/base/record.js';
import { CommitLog } from '../dist/src/engine/wal.js';
import { WAL_GROUP_HEADER_BYTES } from '../dist/src/engine/wal-format.js';
import { segmentPath } from '../dist/src/engine/wal-recovery.js';
import { realFileSystem as fs } from '../dist/src/vfs/real.js';

const SEGMENT_BYTES = 64 * MiB;
const VALUE_BYTES = 2048;
const parent = process.argv[2] ?? process.cwd();
const directory = mkdtempSync(join(parent, 'wal-bench-'));

/** A log that rotates as the engine does, over an arena filled with records once. */
class Driver {
  #preallocated;
  #directory;
  #log;
  #bytes = new Uint8Array(new SharedArrayBuffer(SEGMENT_BYTES));
  #view = new DataView(this.#bytes.buffer);
  #segment = 1;
  #last = Promise.resolve();
  #record = {
    tokenHi: 1,
    tokenLo: 2,
    keyspace: 0,
    key: Buffer.from('benchmark-key-16'),
    value: Buffer.alloc(VALUE_BYTES, 'v'),
    version: 1,
    origin: 1,
    flags: 0,
    expiresMs: 0,
  };
  #size = recordBytes(16, VALUE_BYTES);

  constructor(name, preallocated) {
    this.#preallocated = preallocated;
    this.#directory = join(directory, name);
    fs.mkdir(this.#directory);
    this.#log = new CommitLog({
      fs,
      directory: this.#directory,
      durability: 'always',
      syncIntervalMs: 0,
      segmentBytes: SEGMENT_BYTES,
      clock: systemClock,
    });
  }
  async open() {
    if (this.#preallocated) await this.#call((done) => this.#log.prepareSpare(done));
    this.#log.openSegment(this.#segment);
  }
  /** One at a time: benny calls a case without waiting for it to find out that it is asynchronous. */
  commit(records) {
    this.#last = this.#last.then(() => this.#commit(records));
    return this.#last;
  }
  async #commit(records) {
    const bytes = WAL_GROUP_HEADER_BYTES + records * this.#size;
    if (this.#log.end + bytes + WAL_GROUP_HEADER_BYTES > SEGMENT_BYTES) await this.#rotate();
    const from = this.#log.end;
    let at = from + WAL_GROUP_HEADER_BYTES;
    for (let i = 0; i < records; i++) at += writeRecord(this.#bytes, at, this.#record);
    await this.#call((done) => this.#log.writeGroup(this.#bytes, this.#view, from, at, records, done));
  }
  async #rotate() {
    const from = this.#log.end;
    const to = from + WAL_GROUP_HEADER_BYTES;
    await this.#call((done) => this.#log.closeSegment(this.#bytes, this.#view, from, to, 0, done));
    if (this.#preallocated) this.#log.retire(this.#segment);
    else fs.unlink(segmentPath(this.#directory, this.#segment));
    this.#segment++;
    this.#log.openSegment(this.#segment);
  }
  close() {
    return this.#call((done) => this.#log.close(done));
  }
  #call(start) {
    return new Promise((resolve, reject) => start((error) => (error === null ? resolve() : reject(error))));
  }
}

try {
  for (const records of [1, 16, 64, 256]) {
    const preallocated = new Driver(`preallocated-${records}`, true);
    const appending = new Driver(`appending-${records}`, false);
    await preallocated.open();
    await appending.open();
    await b.suite(
      `commit log: write and fdatasync of a group of ${records} records of ${VALUE_BYTES} bytes`,
      b.add('preallocated segment', () => preallocated.commit(records)),
      b.add('growing file', () => appending.commit(records)),
      b.cycle(
        (result) =>
          `${result.name}: ${(1e6 / result.ops).toFixed(0)} us a group, ${Math.round(result.ops * records)} records/s, +-${result.margin}%`,
      ),
      b.complete(),
    );
    await preallocated.close();
    await appending.close();
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
