/**
 * Frames of one table by way of the block cache, on the shard's thread. `load` gives a payload at once where
 * it is cached or may be read synchronously (read-policy.ts); otherwise the caller waits. Invariants:
 *
 * 1. Every frame passes its checksum before it is decoded, and its structure is checked before it is searched.
 * 2. There is one read in flight at most per frame: whoever wants it meanwhile waits for the same.
 * 3. Everyone who waits is told once, in order, in a later turn. While they are told the payload stays in place.
 */
import { assert } from '../base/assert.ts';
import { ClosedError, CorruptionError } from '../base/errors.ts';
import type { File } from '../vfs/file-system.ts';
import type { BlockCache } from './block-cache.ts';
import { decodePayload } from './block-codec.ts';
import type { ReadPolicy } from './read-policy.ts';
import type { TableBuffer } from './table-buffers.ts';
import { checkFrame, newFields, payloadFault } from './table-file.ts';

export interface BlockWaiter {
  /** `load` of the same frame gives it at once now, unless there is an error. */
  onBlock(error: Error | null): void;
}

/** A read in flight. */
interface BlockRead {
  readonly kind: number;
  readonly position: number;
  readonly length: number;
  readonly waiters: BlockWaiter[];
}

export class BlockSource {
  /** After `load` gave true: the payload is [start, end) of `bytes`, until the next `load` unless pinned. */
  bytes: Uint8Array;
  view: DataView;
  start = 0;
  end = 0;
  /** Its slot in the cache, 0 where it has memory of its own. */
  slot = 0;
  readonly #file: File;
  readonly #salt: number;
  readonly #cache: BlockCache;
  readonly #policy: ReadPolicy;
  readonly #table: number;
  readonly #fields = newFields();
  readonly #reads = new Map<number, BlockRead>();
  /** While those who wait are told: where what they wait for is, in this object's fields or in the cache. */
  #deliveredAt = -1;
  #deliveredSlot = 0;
  #deliveredBytes: Uint8Array | null = null;
  #deliveredView: DataView | null = null;
  #closed = false;

  constructor(file: File, salt: number, cache: BlockCache, policy: ReadPolicy) {
    this.#file = file;
    this.#salt = salt;
    this.#cache = cache;
    this.#policy = policy;
    this.#table = cache.openTable();
    this.bytes = cache.bytes;
    this.view = cache.view;
  }

  /** True where the payload is there; false where `wait` must follow. Throws CorruptionError and IoError. */
  load(kind: number, position: number, length: number): boolean {
    if (this.#closed) throw new ClosedError(`${this.#file.path} is closed`);
    if (position === this.#deliveredAt) {
      this.#show(this.#deliveredSlot, this.#deliveredBytes, this.#deliveredView);
      return true;
    }
    const slot = this.#cache.find(this.#table, position);
    if (slot !== 0) {
      this.#show(slot, null, null);
      return true;
    }
    if (this.#reads.has(position) || !this.#policy.synchronous()) return false;
    const scratch = this.#cache.scratch;
    const fits = length <= scratch.length;
    const stored = fits ? scratch : new Uint8Array(length);
    const startMs = this.#policy.clock.monotonicMs();
    const read = this.#file.readSync(stored, 0, length, position);
    this.#policy.observe(startMs);
    this.#take(kind, position, length, stored, fits ? this.#cache.scratchView : viewOf(stored), read);
    return true;
  }

  /** After `load` gave false: the waiter hears in a later turn. */
  wait(kind: number, position: number, length: number, waiter: BlockWaiter): void {
    const known = this.#reads.get(position);
    if (known !== undefined) {
      known.waiters.push(waiter);
      return;
    }
    const read: BlockRead = { kind, position, length, waiters: [waiter] };
    this.#reads.set(position, read);
    const stored = this.#cache.buffers.take(length);
    this.#file.read(stored.bytes, 0, length, position, (error, bytes) =>
      this.#arrived(read, stored, error, bytes),
    );
  }

  /** Nobody waits. Idempotent. */
  close(): void {
    if (this.#closed) return;
    assert(this.#reads.size === 0, 'table: closed with reads in flight');
    this.#closed = true;
    this.#cache.closeTable(this.#table);
    this.#file.close();
  }

  #arrived(read: BlockRead, stored: TableBuffer, error: Error | null, bytes: number): void {
    this.#reads.delete(read.position);
    let failure = error;
    if (failure === null)
      try {
        this.#take(read.kind, read.position, read.length, stored.bytes, stored.view, bytes);
      } catch (thrown) {
        failure = thrown as Error;
      }
    this.#cache.buffers.give(stored);
    if (failure !== null) {
      for (const waiter of read.waiters) waiter.onBlock(failure);
      return;
    }
    const slot = this.slot;
    if (slot !== 0) this.#cache.pin(slot);
    const ownBytes = slot === 0 ? this.bytes : null;
    const ownView = slot === 0 ? this.view : null;
    for (const waiter of read.waiters) {
      this.#deliveredAt = read.position;
      this.#deliveredSlot = slot;
      this.#deliveredBytes = ownBytes;
      this.#deliveredView = ownView;
      waiter.onBlock(null);
    }
    this.#deliveredAt = -1;
    this.#deliveredBytes = null;
    this.#deliveredView = null;
    if (slot !== 0) this.#cache.unpin(slot);
  }

  /** Checks the frame, puts its payload into the cache, or into memory of its own, and shows it. */
  #take(
    kind: number,
    position: number,
    length: number,
    stored: Uint8Array,
    view: DataView,
    read: number,
  ): void {
    const fields = this.#fields;
    this.#cache.readBytes += length;
    checkFrame(this.#file.path, stored, view, 0, read, length, kind, this.#salt, position, fields);
    const slot = this.#cache.insert(this.#table, position, fields.rawBytes);
    const own = slot === 0 ? new Uint8Array(fields.rawBytes) : null;
    this.#show(slot, own, own === null ? null : viewOf(own));
    const fault =
      decodePayload(stored, 0, fields, this.bytes, this.start) ||
      payloadFault(this.view, this.start, this.end, kind, fields.entries);
    if (fault === '') return;
    if (slot !== 0) this.#cache.drop(slot);
    throw new CorruptionError(this.#file.path, position, fault);
  }

  #show(slot: number, own: Uint8Array | null, ownView: DataView | null): void {
    this.slot = slot;
    this.bytes = own ?? this.#cache.bytes;
    this.view = ownView ?? this.#cache.view;
    this.start = own === null ? this.#cache.startOf(slot) : 0;
    this.end = own === null ? this.#cache.endOf(slot) : own.length;
  }
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
