/** Collects the entries of one index payload (table-format.ts) at a time, for a page or a root. */
import { writeInteger } from '../base/integers.ts';
import { INDEX_ENTRY_BYTES, INDEX_KEY_HEADER_BYTES } from './block-search.ts';

const BYTES_START = 4096;

function grown(bytes: Uint8Array<ArrayBuffer>, used: number, more: number): Uint8Array<ArrayBuffer> {
  if (used + more <= bytes.length) return bytes;
  const wider = new Uint8Array(Math.max(2 * bytes.length, used + more));
  wider.set(bytes.subarray(0, used));
  return wider;
}

export class IndexBuilder {
  #entries = new Uint8Array(BYTES_START);
  #view = new DataView(this.#entries.buffer);
  #keys = new Uint8Array(BYTES_START);
  #keyBytes = 0;
  count = 0;
  /** Of the first entry: what a root says about the page. */
  firstHi = 0;
  firstLo = 0;
  /** The first entry's place, null where its token alone tells it apart. */
  firstKeyspace = 0;
  firstKey: Uint8Array | null = null;

  /** Bytes of the payload as it stands. */
  get bytes(): number {
    return this.count * INDEX_ENTRY_BYTES + Math.ceil(this.#keyBytes / 4) * 4 + 4;
  }

  /** `key` null: the record before has another token. */
  add(
    tokenHi: number,
    tokenLo: number,
    position: number,
    length: number,
    keyspace: number,
    key: Uint8Array | null,
  ): void {
    const at = this.count * INDEX_ENTRY_BYTES;
    const entries = grown(this.#entries, at, INDEX_ENTRY_BYTES);
    if (entries !== this.#entries) {
      this.#entries = entries;
      this.#view = new DataView(entries.buffer);
    }
    if (this.count === 0) {
      this.firstHi = tokenHi;
      this.firstLo = tokenLo;
      this.firstKeyspace = keyspace;
      this.firstKey = key === null ? null : new Uint8Array(key);
    }
    this.#view.setUint32(at, tokenHi, true);
    this.#view.setUint32(at + 4, tokenLo, true);
    writeInteger(this.#view, at + 8, position);
    this.#view.setUint32(at + 16, length, true);
    // Where the keys start is known when the payload is written: 1 + the place among the keys until then.
    this.#view.setUint32(at + 20, key === null ? 0 : this.#keyBytes + 1, true);
    if (key !== null) this.#addKey(keyspace, key);
    this.count++;
  }

  #addKey(keyspace: number, key: Uint8Array): void {
    this.#keys = grown(this.#keys, this.#keyBytes, INDEX_KEY_HEADER_BYTES + key.length);
    this.#keys[this.#keyBytes] = keyspace;
    this.#keys[this.#keyBytes + 1] = key.length & 0xff;
    this.#keys[this.#keyBytes + 2] = key.length >>> 8;
    this.#keys.set(key, this.#keyBytes + INDEX_KEY_HEADER_BYTES);
    this.#keyBytes += INDEX_KEY_HEADER_BYTES + key.length;
  }

  /** Writes the payload of `this.bytes` bytes to `target` at `at` and starts anew. */
  take(target: Uint8Array, view: DataView, at: number): void {
    const keysAt = this.count * INDEX_ENTRY_BYTES;
    const end = at + this.bytes;
    target.set(this.#entries.subarray(0, keysAt), at);
    for (let i = 0; i < this.count; i++) {
      const word = at + i * INDEX_ENTRY_BYTES + 20;
      const key = view.getUint32(word, true);
      if (key !== 0) view.setUint32(word, keysAt + key - 1, true);
    }
    target.fill(0, at + keysAt, end - 4);
    target.set(this.#keys.subarray(0, this.#keyBytes), at + keysAt);
    view.setUint32(end - 4, this.count, true);
    this.count = 0;
    this.#keyBytes = 0;
  }
}
