// A shard's engine without a disk, for measuring and testing what lies above it: real memtables in shared memory, a
// commit that ends in the next turn of the event loop. Of the memtables the oldest is dropped for a new one.
import { recordBytes } from '../dist/src/base/record.js';
import { SharedMemtableWriter } from '../dist/src/ipc/memtable-writer.js';

export class MemoryEngine {
  versionMax = 0;
  durableSeq = 0;
  commits = 0;
  found = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)), offset: 0, seq: 0 };
  #listener;
  #writer;
  #base = 0;
  #seq = 0;
  #due = false;
  #onSynced = () => {
    this.#due = false;
    const slot = this.#writer.active;
    this.#writer.setDurable(slot, this.#writer.lastSeq(slot));
    this.durableSeq = this.#seq;
    this.#listener.onDurable(this.#seq);
  };

  constructor(listener, memory) {
    this.#listener = listener;
    this.#writer = new SharedMemtableWriter(memory);
    this.#writer.activate(0);
  }
  append(record, also) {
    const size = recordBytes(record.key.length, record.value.length);
    const extra = also === null ? 0 : recordBytes(also.key.length, also.value.length);
    if (!this.#writer.fits(size, extra)) this.#rotate();
    this.#writer.append(record);
    if (also !== null) this.#writer.append(also);
    this.#seq = this.#base + this.#writer.lastSeq(this.#writer.active);
    return this.#seq;
  }
  #rotate() {
    const slot = this.#writer.active;
    this.#writer.setDurable(slot, this.#writer.lastSeq(slot));
    this.#base = this.#seq;
    this.#writer.freeze();
    if (!this.#writer.activate(0)) {
      this.#writer.release(this.#writer.frozen().at(-1));
      this.#writer.activate(0);
    }
  }
  commit() {
    this.commits++;
    if (this.#due) return;
    this.#due = true;
    setImmediate(this.#onSynced);
  }
  lookup(keyspace, hi, lo, key, latest) {
    if (!this.#writer.find(keyspace, hi, lo, key, latest)) return 0;
    const { slot, offset, seq } = this.#writer.found;
    const durable = seq <= this.#writer.durableSeq(slot);
    this.found.bytes = this.#writer.arenaBytes(slot);
    this.found.view = this.#writer.arenaView(slot);
    this.found.offset = offset;
    this.found.seq = durable ? 0 : this.#base + seq;
    return 1;
  }
  stats() {
    return { writesRefused: '' };
  }
  close() {
    if (this.#due) this.#onSynced();
    return Promise.resolve();
  }
}
