/**
 * The bytes of one file on the simulated disk: what the process sees, and what a power cut may leave of it.
 * Kept by sectors of 512 bytes, the unit that a disk writes. Invariants:
 *
 * 1. A sector without a saved copy that starts below `#durableSize` is on the disk as the process sees it.
 * 2. `#dirty` holds, for sectors written since the last sync, what the disk has of them; `#lost` the same
 *    for sectors whose sync failed: the system takes them for clean, so that a later sync, though it
 *    succeeds, does not write them. No sector is in both.
 * 3. Sectors from `#durableSize` on without a copy are unsynced growth: the disk has nothing of them.
 * 4. Bytes of the buffer beyond `size` are zeros.
 */
import type { Random } from '../base/random.ts';

export const SECTOR_BYTES = 512;
/** How often a write is preceded by the system writing back earlier ones on its own. */
const WRITE_BACK_CHANCE = 1 / 8;
/** Sectors that are looked at in one such write-back. */
const WRITE_BACK_SECTORS_MAX = 64;
const TORN_CHANCE = 1 / 8;
const CAPACITY_BYTES_MIN = 4096;

const sectorOf = (position: number): number => Math.floor(position / SECTOR_BYTES);
const sectorsOf = (bytes: number): number => Math.ceil(bytes / SECTOR_BYTES);

export class FileNode {
  size = 0;
  /** Names that lead here, and open files: the bytes are free again when both are 0. */
  links = 0;
  handles = 0;
  #buffer = new Uint8Array(0);
  #durableSize = 0;
  /** The smallest size since the last sync. */
  #sizeMin = 0;
  readonly #dirty = new Map<number, Uint8Array>();
  readonly #lost = new Map<number, Uint8Array>();
  /** Null where nobody will ever cut the power: then nothing is saved. */
  readonly #random: Random | null;

  constructor(random: Random | null) {
    this.#random = random;
  }

  /** A file whose bytes are all synced. */
  static durable(bytes: Uint8Array<ArrayBuffer>, random: Random | null): FileNode {
    const node = new FileNode(random);
    node.#buffer = bytes;
    node.size = bytes.length;
    node.sync();
    return node;
  }

  /** A view of what the process sees, valid until the next write. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.size);
  }

  read(target: Uint8Array, start: number, length: number, position: number): number {
    const bytes = Math.max(0, Math.min(length, this.size - position));
    if (bytes > 0) target.set(this.#buffer.subarray(position, position + bytes), start);
    return bytes;
  }

  write(source: Uint8Array, start: number, length: number, position: number): void {
    if (length === 0) return;
    if (this.#random?.chance(WRITE_BACK_CHANCE) === true) this.#writeBack(this.#random);
    const end = position + length;
    this.#save(sectorOf(position), sectorsOf(end));
    this.#reserve(end);
    this.#buffer.set(source.subarray(start, start + length), position);
    this.size = Math.max(this.size, end);
  }

  truncate(length: number): void {
    if (length < this.size) {
      this.#save(sectorOf(length), sectorsOf(this.size));
      this.#buffer.fill(0, length, this.size);
      this.#sizeMin = Math.min(this.#sizeMin, length);
    }
    this.#reserve(length);
    this.size = length;
  }

  /** Everything written is on the disk, but for what an earlier sync has lost. */
  sync(): void {
    this.#dirty.clear();
    const sectors = sectorsOf(this.size);
    for (const sector of this.#lost.keys()) if (sector >= sectors) this.#lost.delete(sector);
    this.#durableSize = this.size;
    this.#sizeMin = this.size;
  }

  /** As Linux does: the pages that could not be written are called clean, and are never written again. */
  failSync(): void {
    if (this.#random === null) return;
    for (const [sector, saved] of this.#dirty) this.#lost.set(sector, saved);
    this.#dirty.clear();
    for (let sector = sectorsOf(this.#durableSize); sector < sectorsOf(this.size); sector++)
      if (!this.#lost.has(sector)) this.#lost.set(sector, new Uint8Array(SECTOR_BYTES));
  }

  /** Changes a stored bit, for the process and on the disk. */
  flip(byte: number, bit: number): void {
    const mask = 1 << bit;
    this.#buffer[byte] = (this.#buffer[byte] ?? 0) ^ mask;
    for (const copies of [this.#dirty, this.#lost]) {
      const saved = copies.get(sectorOf(byte));
      if (saved !== undefined) saved[byte % SECTOR_BYTES] = (saved[byte % SECTOR_BYTES] ?? 0) ^ mask;
    }
  }

  /**
   * What a power cut leaves. Synced bytes stay; each other sector is as written, as the disk had it, or torn;
   * the size is the old one, the new one, or between. A truncation happened as a whole or not at all.
   */
  afterPowerCut(random: Random): Uint8Array<ArrayBuffer> {
    const shrunk = this.#sizeMin < this.#durableSize;
    if (shrunk && random.chance(0.5)) {
      const out = new Uint8Array(this.#durableSize);
      this.#mix(out, Math.min(this.#sizeMin, this.size), this.#durableSize, random);
      return out;
    }
    const low = Math.min(this.#durableSize, this.#sizeMin);
    const out = new Uint8Array(sizeBetween(low, this.size, random));
    this.#mix(out, out.length, low, random);
    return out;
  }

  /** Fills `out`: sectors below `mixEnd` by chance, those above as on the disk, of which bytes below `durableEnd` count. */
  #mix(out: Uint8Array, mixEnd: number, durableEnd: number, random: Random): void {
    const old = new Uint8Array(SECTOR_BYTES);
    for (let sector = 0; sector < sectorsOf(out.length); sector++) {
      const from = sector * SECTOR_BYTES;
      const to = Math.min(from + SECTOR_BYTES, out.length);
      const saved = this.#dirty.get(sector) ?? this.#lost.get(sector);
      if (saved === undefined && from < this.#durableSize) {
        out.set(this.bytes.subarray(from, to), from);
        continue;
      }
      old.fill(0);
      if (saved !== undefined)
        old.set(saved.subarray(0, Math.max(0, Math.min(SECTOR_BYTES, durableEnd - from))));
      out.set(old.subarray(0, to - from), from);
      // A sector that a truncation cuts belongs to it.
      const isMixed = to <= mixEnd;
      if (!isMixed || random.chance((1 - TORN_CHANCE) / 2)) continue;
      const torn = random.chance(TORN_CHANCE * 2) ? random.below(to - from) : to - from;
      out.set(this.bytes.subarray(from, Math.min(from + torn, to)), from);
    }
  }

  /** Keeps what the disk has of sectors that are about to change. */
  #save(first: number, end: number): void {
    if (this.#random === null) return;
    for (let sector = first; sector < end; sector++) {
      if (this.#dirty.has(sector)) continue;
      const lost = this.#lost.get(sector);
      const from = sector * SECTOR_BYTES;
      if (lost !== undefined) {
        this.#lost.delete(sector);
        this.#dirty.set(sector, lost);
      } else if (from < this.#durableSize) {
        const saved = new Uint8Array(SECTOR_BYTES);
        saved.set(this.bytes.subarray(from, Math.min(from + SECTOR_BYTES, this.size)));
        this.#dirty.set(sector, saved);
      }
    }
  }

  /** The system writes some of what is dirty: later the disk may have an earlier write than the last. */
  #writeBack(random: Random): void {
    // A truncation is one step of the journal; what comes after it waits for that.
    if (this.#sizeMin < this.#durableSize) return;
    let looked = 0;
    for (const sector of this.#dirty.keys()) {
      if (++looked > WRITE_BACK_SECTORS_MAX) break;
      if (random.chance(0.5)) this.#dirty.delete(sector);
    }
    if (this.#lost.size > 0) return;
    this.#durableSize = sizeBetween(this.#durableSize, this.size, random);
    this.#sizeMin = Math.max(this.#sizeMin, this.#durableSize);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#buffer.length) return;
    const buffer = new Uint8Array(Math.max(bytes, 2 * this.#buffer.length, CAPACITY_BYTES_MIN));
    buffer.set(this.bytes);
    this.#buffer = buffer;
  }
}

/** A size that a file may have while it grows: either end, or whole sectors between. */
function sizeBetween(low: number, high: number, random: Random): number {
  const way = random.below(3);
  if (way === 0 || low >= high) return high;
  return way === 1 ? low : Math.max(low, sectorOf(random.between(low, high)) * SECTOR_BYTES);
}
