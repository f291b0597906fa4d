/**
 * The block cache of one shard, owned by its thread and shared by all its tables: decoded payloads by
 * (table, offset). The policy is S3-FIFO (Yang et al., FIFO Queues are All You Need for Cache Eviction,
 * SOSP 2023): a small queue takes what is new, a tenth of the room, and only what is asked for again there, or
 * soon after it fell out (ghosts), comes to the main queue; so a scan never displaces what is in use.
 *
 * Both queues are rings in one preallocated arena. A payload is copied when it moves on; nothing is allocated
 * or freed, so memory neither fragments nor grows. An entry is 8 bytes (node, bytes in all) and the payload, at
 * a multiple of 8. Invariants:
 *
 * 1. Arena and bookkeeping together take at most the bytes given, beside the scratch buffer and `buffers`.
 * 2. Between `tail` and `lapEnd` of a ring entries of the last lap stand without gaps, between its start and
 *    `head` those of this lap; [head, tail) is free.
 * 3. A pinned entry is neither moved nor overwritten: the ring goes around it.
 * 4. A slot that is not pinned is good until the next `insert`.
 */
import { assert } from '../base/assert.ts';
import { limits } from '../base/limits.ts';
import { TableBuffers } from './table-buffers.ts';

const ENTRY_HEADER_BYTES = 8;
const USES_MAX = 3;
const PINS_MAX = 0xffff;
/** Bookkeeping is made for payloads of this size on average. */
const PAYLOAD_BYTES_EXPECTED = 2048;
const NODE_BYTES = 36;
const GHOST_BYTES = 4;
/** Below this a cache holds nothing. */
const CACHE_BYTES_MIN = 16 * 1024;
/** Laps that one insertion may take through a ring that is full of pins. */
const LAPS_MAX = 2;
/** Entries in use that one insertion copies; then it takes away what is next, so that its time is bounded. */
const MOVES_MAX = 32;

interface Ring {
  readonly start: number;
  readonly limit: number;
  readonly main: boolean;
  head: number;
  tail: number;
  lapEnd: number;
}
const ringOver = (start: number, limit: number, main: boolean): Ring => ({
  start,
  limit,
  main,
  head: start,
  tail: start,
  lapEnd: start,
});

export class BlockCache {
  /** The arena: payloads are read in place. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #words: Uint32Array;
  readonly #small: Ring;
  readonly #main: Ring;
  readonly #tables: Uint32Array;
  readonly #positions: Float64Array;
  readonly #places: Uint32Array;
  readonly #lengths: Uint32Array;
  readonly #uses: Uint8Array;
  readonly #pins: Uint16Array;
  readonly #next: Uint32Array;
  readonly #buckets: Uint32Array;
  readonly #ghosts: Uint32Array;
  /** Where frames are read into before they are decoded: for all tables, one at a time. */
  readonly scratch: Uint8Array = new Uint8Array(limits.tableReadAheadBytesMin);
  readonly scratchView: DataView = new DataView(this.scratch.buffer);
  /** The same for reads that go on while others begin: cursors, and reads through the thread pool. */
  readonly buffers = new TableBuffers();
  #free = 0;
  #moves = 0;
  #tablesOpened = 0;
  readonly #open = new Set<number>();
  /** Payload bytes held. */
  usedBytes = 0;
  /** Bytes of arena and bookkeeping. */
  readonly memoryBytes: number;
  hits = 0;
  misses = 0;
  /** Bytes as stored of frames that were read from files because they were not held. */
  readBytes = 0;

  /** At most limits.blockCacheShardBytesMax are used: what one ArrayBuffer holds. */
  constructor(bytesWanted: number) {
    const bytes = Math.min(bytesWanted, limits.blockCacheShardBytesMax);
    const nodes = bytes < CACHE_BYTES_MIN ? 0 : Math.floor(bytes / (PAYLOAD_BYTES_EXPECTED + NODE_BYTES));
    // Rounded down, so that two words a node suffice.
    const buckets = nodes === 0 ? 1 : 2 ** Math.floor(Math.log2(nodes));
    const overhead = nodes * NODE_BYTES + buckets * GHOST_BYTES;
    const arena = nodes === 0 ? 0 : Math.floor((bytes - overhead) / 8) * 8;
    this.memoryBytes = arena + overhead;
    this.bytes = new Uint8Array(arena);
    this.view = new DataView(this.bytes.buffer);
    this.#words = new Uint32Array(this.bytes.buffer);
    const small = Math.floor(arena / 80) * 8;
    this.#small = ringOver(0, small, false);
    this.#main = ringOver(small, arena, true);
    this.#tables = new Uint32Array(nodes + 1);
    this.#positions = new Float64Array(nodes + 1);
    this.#places = new Uint32Array(nodes + 1);
    this.#lengths = new Uint32Array(nodes + 1);
    this.#uses = new Uint8Array(nodes + 1);
    this.#pins = new Uint16Array(nodes + 1);
    this.#next = new Uint32Array(nodes + 1);
    this.#buckets = new Uint32Array(buckets);
    this.#ghosts = new Uint32Array(buckets);
    for (let node = nodes; node >= 1; node--) this.#release(node);
  }

  /** A number for a table that was opened: no other opening ever has it. */
  openTable(): number {
    assert(this.#tablesOpened < 0xffff_ffff, 'block cache: more than 2^32 tables opened');
    this.#open.add(++this.#tablesOpened);
    return this.#tablesOpened;
  }
  /** What is cached of the table goes when the rings come to it. */
  closeTable(table: number): void {
    this.#open.delete(table);
  }

  /** Slot of the payload of the frame at `position`, 0 where it is not held. */
  find(table: number, position: number): number {
    let node = this.#buckets[this.#bucketOf(this.#hash(table, position))] as number;
    while (node !== 0) {
      if (this.#positions[node] === position && this.#tables[node] === table) {
        const uses = this.#uses[node] as number;
        if (uses < USES_MAX) this.#uses[node] = uses + 1;
        this.hits++;
        return node;
      }
      node = this.#next[node] as number;
    }
    this.misses++;
    return 0;
  }
  /** Where the payload starts in `bytes`; a multiple of 8. */
  startOf(slot: number): number {
    return (this.#places[slot] as number) * 8 + ENTRY_HEADER_BYTES;
  }
  endOf(slot: number): number {
    return this.startOf(slot) + (this.#lengths[slot] as number);
  }
  pin(slot: number): void {
    const pins = this.#pins[slot] as number;
    assert(pins < PINS_MAX, 'block cache: too many pins');
    this.#pins[slot] = pins + 1;
  }
  unpin(slot: number): void {
    const pins = this.#pins[slot] as number;
    assert(pins > 0, 'block cache: a pin released twice');
    this.#pins[slot] = pins - 1;
  }

  /**
   * Room for `length` bytes, to be filled by the caller at once; 0 where there is none: the payload is larger
   * than a queue, or pins are in the way. The frame must not be held already.
   */
  insert(table: number, position: number, length: number): number {
    const size = Math.ceil(length / 8) * 8 + ENTRY_HEADER_BYTES;
    const hash = this.#hash(table, position);
    const ghost = this.#bucketOf(hash);
    const remembered = this.#ghosts[ghost] === hash;
    const ring = remembered || size > this.#small.limit - this.#small.start ? this.#main : this.#small;
    const capacity = ring.limit - ring.start;
    // A quarter at most: one payload must not empty the queue.
    if (size > capacity / (ring.main ? 4 : 1)) return 0;
    this.#moves = 0;
    const node = this.#takeNode();
    if (node === 0) return 0;
    const at = this.#reserve(ring, size);
    if (at < 0) {
      this.#release(node);
      return 0;
    }
    if (remembered) this.#ghosts[ghost] = 0;
    this.#tables[node] = table;
    this.#positions[node] = position;
    this.#lengths[node] = length;
    this.#uses[node] = 0;
    this.#place(node, at, size);
    const bucket = this.#bucketOf(hash);
    this.#next[node] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = node;
    this.usedBytes += length;
    return node;
  }

  /** Forgets a slot that is not pinned, such as one whose payload turned out to be bad. */
  drop(slot: number): void {
    this.#words[(this.#places[slot] as number) * 2] = 0;
    this.#forget(slot);
  }

  #place(node: number, at: number, size: number): void {
    this.#places[node] = at / 8;
    this.#words[at / 4] = node;
    this.#words[at / 4 + 1] = size;
  }

  /** Address of `size` free bytes, which now belong to the caller, or -1. */
  #reserve(ring: Ring, size: number): number {
    let laps = 0;
    while (ring.tail - ring.head < size) {
      if (ring.tail < ring.lapEnd) this.#sweep(ring);
      else if (ring.limit - ring.head >= size) {
        ring.tail = ring.limit;
        ring.lapEnd = ring.limit;
      } else {
        if (++laps > LAPS_MAX) return -1;
        this.#lap(ring);
      }
    }
    const at = ring.head;
    ring.head += size;
    return at;
  }
  #lap(ring: Ring): void {
    ring.lapEnd = ring.head;
    ring.head = ring.start;
    ring.tail = ring.start;
  }

  /** Takes away, moves or goes around the entry at the tail. */
  #sweep(ring: Ring): void {
    const at = ring.tail;
    const node = this.#words[at / 4] as number;
    const size = this.#words[at / 4 + 1] as number;
    assert(size > 0, 'block cache: an entry of no size');
    if (node !== 0 && (this.#pins[node] as number) > 0) {
      this.#fillGap(ring);
      ring.head = at + size;
      ring.tail = ring.head;
      return;
    }
    ring.tail = at + size;
    if (node === 0) return;
    const uses = this.#open.has(this.#tables[node] as number) ? (this.#uses[node] as number) : 0;
    if (uses === 0 || ++this.#moves > MOVES_MAX) {
      if (!ring.main) {
        const hash = this.#hash(this.#tables[node] as number, this.#positions[node] as number);
        this.#ghosts[this.#bucketOf(hash)] = hash;
      }
      this.#forget(node);
    } else if (ring.main) {
      this.#uses[node] = uses - 1;
      this.bytes.copyWithin(ring.head, at, at + size);
      this.#place(node, ring.head, size);
      ring.head += size;
    } else this.#promote(node, at, size);
  }
  #promote(node: number, at: number, size: number): void {
    const to = this.#reserve(this.#main, size);
    if (to < 0) {
      this.#forget(node);
      return;
    }
    this.bytes.copyWithin(to, at, at + size);
    this.#uses[node] = 0;
    this.#place(node, to, size);
  }
  /** Makes what is free before the tail an entry of nobody, so that the next lap steps over it. */
  #fillGap(ring: Ring): void {
    if (ring.tail === ring.head) return;
    this.#words[ring.head / 4] = 0;
    this.#words[ring.head / 4 + 1] = ring.tail - ring.head;
  }

  /** A free node, made free where there is none; 0 where all are pinned. */
  #takeNode(): number {
    for (let laps = 0; this.#free === 0 && laps <= 2 * LAPS_MAX; ) {
      const ring = laps % 2 === 0 ? this.#small : this.#main;
      if (ring.tail < ring.lapEnd) this.#sweep(ring);
      else {
        laps++;
        this.#fillGap(ring);
        ring.head = ring.tail;
        this.#lap(ring);
      }
    }
    const node = this.#free;
    if (node !== 0) this.#free = this.#next[node] as number;
    return node;
  }
  #release(node: number): void {
    this.#next[node] = this.#free;
    this.#free = node;
  }
  #forget(node: number): void {
    const bucket = this.#bucketOf(this.#hash(this.#tables[node] as number, this.#positions[node] as number));
    let before = 0;
    let at = this.#buckets[bucket] as number;
    while (at !== node) {
      assert(at !== 0, 'block cache: an entry that is in no bucket');
      before = at;
      at = this.#next[at] as number;
    }
    const next = this.#next[node] as number;
    if (before === 0) this.#buckets[bucket] = next;
    else this.#next[before] = next;
    this.usedBytes -= this.#lengths[node] as number;
    this.#release(node);
  }

  /** Buckets and ghosts are equally many, a power of two; bit 0 of a hash is always set. */
  #bucketOf(hash: number): number {
    return (hash >>> 1) & (this.#buckets.length - 1);
  }
  /** Never 0, which marks an empty ghost. */
  #hash(table: number, position: number): number {
    let x = Math.imul(table, 0x9e3779b1) ^ Math.imul(Math.floor(position / 8), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 15), 0xc2b2ae35);
    x = Math.imul(x ^ (x >>> 13) ^ Math.floor(position / 0x8_0000_0000), 0x27d4eb2f);
    return ((x ^ (x >>> 16)) | 1) >>> 0;
  }
}
