/**
 * How the memtables of one shard lie in shared memory. Owner and only writer: the shard thread
 * (memtable-writer.ts). Readers: any thread (memtable-reader.ts for points, memtable-cursor.ts in order).
 *
 * Control block, 32-bit words:
 *
 *   word       holds                                          written by
 *   0          generation: odd while the order changes        shard thread
 *   1          count of slots in the order                    shard thread
 *   2 .. 15    order: slots that hold records, newest first   shard thread
 *   16 ..      durableSeq of each slot (its own cache line)   shard thread
 *
 * Slot, one SharedArrayBuffer each:
 *
 *   part     bytes                   holds
 *   buckets  4 * buckets             node at the root of the bucket's tree, 0 is nil
 *   nodes    24 * (nodesMax + 1)     node 0 is nil; node s is the record with seq s
 *   arena    arenaBytes              from a multiple of 64: the image of a commit-log segment
 *
 * Node, words: 0 left, 1 right, 2 older (previous version of the same key), 3 offset of the record in the
 * arena, 4 tokenHi, 5 tokenLo.
 *
 * The buckets cut the tokens of the shard's vnodes into equal parts and keep their order: vnode v belongs to
 * shard v mod S and is its (v div S)-th; the token's bits below the vnode choose one of 2^k buckets. XXH64
 * spreads keys evenly, so a bucket holds a few nodes at most, in a binary search tree that no rotation ever
 * touches: an insertion is one store.
 *
 * Invariants:
 * 1. A node and its record are complete before the store that makes them reachable, and never change while
 *    the slot is in the order, except that `left` and `right` go from 0 to a node or from a node to a newer
 *    version of the same key. A rollback undoes that for records that were never durable, newest first.
 * 2. In order, the nodes reachable from bucket 0, 1, ... have rising (token, keyspace, key), one per key.
 *    Older versions hang off `older`, with falling seq.
 * 3. All nodes with seq <= durableSeq were published before durableSeq was stored.
 * 4. Slots in the order hold newer records of a key before older ones: frozen slots leave oldest first.
 * 5. Memory of a slot is reused only after it left the order, that of records taken back only after the
 *    rollback, and after the generation rose by 2. Whoever reads
 *    a generation twice with the same even value saw no recycled byte in between.
 */
import { assert } from '../base/assert.ts';
import { comparePlace, keyLengthAt, keyspaceAt, RECORD_HEADER_BYTES, recordBytes } from '../base/record.ts';
import { vnodeOf } from '../base/token.ts';
import type { MemtableSetMemory, MemtableSetOptions } from './contract.ts';

export const CONTROL_GENERATION = 0;
export const CONTROL_COUNT = 1;
export const CONTROL_ORDER = 2;
export const CONTROL_DURABLE = 16;
const SLOTS_MAX = CONTROL_DURABLE - CONTROL_ORDER;

export const NODE_WORDS = 6;
export const NODE_LEFT = 0;
export const NODE_RIGHT = 1;
export const NODE_OLDER = 2;
export const NODE_OFFSET = 3;
export const NODE_TOKEN_HI = 4;
export const NODE_TOKEN_LO = 5;

/**
 * Arena bytes per bucket. Measured over a full 64 MiB arena, keys in random order: with 2 KB records 64 to 4096
 * give the same; with 100 B records a lookup takes 1.0 us at 128 and 256, 1.2 us at 512 and 1.5 us at 4096.
 */
const ARENA_BYTES_PER_BUCKET = 256;
const RECORD_BYTES_MIN = recordBytes(1, 0);
/**
 * Nodes passed on one way down a tree. Even tokens give depths below 40; only many keys under one token
 * (idempotency keys of one hot key, in rising order) come near. The writer closes the memtable at half of it.
 */
export const TREE_DEPTH_MAX = 4096;
/** A walk that passed nodes beyond every bound, or read words that no writer wrote: the memory was recycled. */
export const NODE_LOST = -1;
/** As a cursor's bound: every record of the slot, for slots that take no more. */
export const SEQ_ALL = 0x7fff_ffff;

/** Where things lie in a slot, from the options alone: every thread computes the same. */
export interface SlotShape {
  readonly buckets: number;
  readonly fractionBits: number;
  readonly vnodeBits: number;
  readonly nodesMax: number;
  readonly nodesWord: number;
  readonly arenaAt: number;
  readonly bytes: number;
}

export function slotShape(options: MemtableSetOptions): SlotShape {
  const { arenaBytes, vnodes, shard, shards } = options;
  assert(arenaBytes > 0 && arenaBytes % 64 === 0, 'memtable: arenaBytes must be a multiple of 64');
  assert(Number.isInteger(Math.log2(vnodes)), 'memtable: vnodes must be a power of two');
  assert(shard < shards && shard < vnodes, 'memtable: a shard without vnodes');
  const ranks = Math.ceil((vnodes - shard) / shards);
  const perRank = arenaBytes / ARENA_BYTES_PER_BUCKET / ranks;
  const fractionBits = Math.max(0, Math.round(Math.log2(perRank)));
  const vnodeBits = Math.log2(vnodes);
  assert(fractionBits + vnodeBits <= 32, 'memtable: buckets finer than the upper half of the token');
  const buckets = ranks * 2 ** fractionBits;
  const nodesMax = Math.floor(arenaBytes / RECORD_BYTES_MIN);
  const arenaAt = Math.ceil((4 * (buckets + (nodesMax + 1) * NODE_WORDS)) / 64) * 64;
  return {
    buckets,
    fractionBits,
    vnodeBits,
    nodesMax,
    nodesWord: buckets,
    arenaAt,
    bytes: arenaAt + arenaBytes,
  };
}

/** Memory for the memtables of one shard. Pages cost memory only once written. */
export function createMemtableSet(options: MemtableSetOptions): MemtableSetMemory {
  assert(options.slots >= 2 && options.slots <= SLOTS_MAX, 'memtable: slots outside 2 to 14');
  const shape = slotShape(options);
  return {
    options,
    control: new SharedArrayBuffer(4 * (CONTROL_DURABLE + options.slots)),
    slots: Array.from({ length: options.slots }, () => new SharedArrayBuffer(shape.bytes)),
  };
}

/** One thread's sight of one slot. Reads only; the writer stores through `words` and `bytes`. */
export class MemtableSlot {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly shape: SlotShape;
  /** After `descend`: the word that holds the node found, or that must hold it. */
  link = 0;
  /** After `descend`: nodes passed. */
  depth = 0;
  readonly #arenaBytes: number;
  readonly #nodesWord: number;
  readonly #nodesMax: number;
  readonly #shard: number;
  readonly #shards: number;
  readonly #vnodes: number;
  readonly #bucketShift: number;
  readonly #fractionMask: number;

  constructor(memory: MemtableSetMemory, slot: number) {
    const { options } = memory;
    const buffer = memory.slots[slot];
    assert(buffer !== undefined, 'memtable: no such slot');
    const shape = slotShape(options);
    assert(buffer.byteLength === shape.bytes, 'memtable: memory of another shape');
    this.shape = shape;
    this.words = new Int32Array(buffer, 0, shape.arenaAt / 4);
    this.bytes = new Uint8Array(buffer, shape.arenaAt, options.arenaBytes);
    this.view = new DataView(buffer, shape.arenaAt, options.arenaBytes);
    this.#arenaBytes = options.arenaBytes;
    this.#nodesWord = shape.nodesWord;
    this.#nodesMax = shape.nodesMax;
    this.#shard = options.shard;
    this.#shards = options.shards;
    this.#vnodes = options.vnodes;
    this.#bucketShift = 32 - shape.vnodeBits - shape.fractionBits;
    this.#fractionMask = 2 ** shape.fractionBits - 1;
  }

  nodeWord(node: number): number {
    return this.#nodesWord + node * NODE_WORDS;
  }
  offsetOf(node: number): number {
    return this.words[this.nodeWord(node) + NODE_OFFSET] as number;
  }

  /** The bucket of a token that belongs to this shard. */
  bucketOf(tokenHi: number): number {
    const vnode = vnodeOf(tokenHi, this.#vnodes);
    assert(vnode % this.#shards === this.#shard, 'memtable: a token of another shard');
    return this.#firstBucketOf(vnode) + this.#fractionOf(tokenHi);
  }
  /** The first bucket whose tokens lie at or after any token; `shape.buckets` where there is none. */
  bucketFrom(tokenHi: number): number {
    const vnode = vnodeOf(tokenHi, this.#vnodes);
    const first = this.#firstBucketOf(vnode);
    return vnode % this.#shards === this.#shard ? first + this.#fractionOf(tokenHi) : first;
  }
  /** First bucket of this shard's first vnode at or after `vnode`. */
  #firstBucketOf(vnode: number): number {
    const rank = Math.max(0, Math.ceil((vnode - this.#shard) / this.#shards));
    return rank * (this.#fractionMask + 1);
  }
  #fractionOf(tokenHi: number): number {
    // A shift by 32 is one by 0; the mask is 0 then.
    return (tokenHi >>> this.#bucketShift) & this.#fractionMask;
  }

  /**
   * The newest node of a key, 0 where there is none, NODE_LOST where the memory makes no sense (recycled
   * under a reader). Sets `link` and `depth`.
   */
  descend(tokenHi: number, tokenLo: number, keyspace: number, key: Uint8Array, depthMax: number): number {
    const words = this.words;
    let link = this.bucketOf(tokenHi);
    for (let depth = 0; depth <= depthMax; depth++) {
      const node = Atomics.load(words, link);
      if (node === 0 || node < 0 || node > this.#nodesMax) {
        this.link = link;
        this.depth = depth;
        return node === 0 ? 0 : NODE_LOST;
      }
      const at = this.#nodesWord + node * NODE_WORDS;
      const hi = (words[at + NODE_TOKEN_HI] as number) >>> 0;
      const lo = (words[at + NODE_TOKEN_LO] as number) >>> 0;
      let order = hi - tokenHi;
      if (order === 0) order = lo - tokenLo;
      if (order === 0) {
        if (!this.#holdsKey(words[at + NODE_OFFSET] as number)) return NODE_LOST;
        order = this.#compareKey(words[at + NODE_OFFSET] as number, keyspace, key);
        if (order === 0) {
          this.link = link;
          this.depth = depth;
          return node;
        }
      }
      link = at + (order > 0 ? NODE_LEFT : NODE_RIGHT);
    }
    return NODE_LOST;
  }

  /** The newest version at or below `seqMax`, from `node` on along `older`; 0 where none, NODE_LOST past `stepsMax`. */
  visible(node: number, seqMax: number, stepsMax: number): number {
    let at = node;
    for (let step = 0; step <= stepsMax; step++) {
      if (at <= seqMax) return at;
      const older = this.words[this.nodeWord(at) + NODE_OLDER] as number;
      if (older < 0 || older >= at) return NODE_LOST;
      at = older;
    }
    return NODE_LOST;
  }

  /** Compares a node's place with a target: negative, 0 or positive. */
  comparePlace(node: number, tokenHi: number, tokenLo: number, keyspace: number, key: Uint8Array): number {
    return comparePlace(this.view, this.bytes, this.offsetOf(node), tokenHi, tokenLo, keyspace, key);
  }

  /** Whether header and key at `offset` lie inside the arena: not so only in recycled memory. */
  #holdsKey(offset: number): boolean {
    return (
      this.holdsHeader(offset) &&
      offset + RECORD_HEADER_BYTES + keyLengthAt(this.view, offset) <= this.#arenaBytes
    );
  }
  holdsHeader(offset: number): boolean {
    return offset >= 0 && offset <= this.#arenaBytes - RECORD_HEADER_BYTES;
  }

  #compareKey(offset: number, keyspace: number, key: Uint8Array): number {
    const space = keyspaceAt(this.view, offset) - keyspace;
    if (space !== 0) return space;
    const bytes = this.bytes;
    const length = keyLengthAt(this.view, offset);
    const start = offset + RECORD_HEADER_BYTES;
    const shorter = Math.min(length, key.length);
    for (let i = 0; i < shorter; i++) {
      const delta = (bytes[start + i] as number) - (key[i] as number);
      if (delta !== 0) return delta;
    }
    return length - key.length;
  }
}
