/**
 * Steps through the records of a table in order: for scans on the shard's thread and merges on a background
 * thread. Reads synchronously and ahead, in chunks that grow, around the block cache, into buffers of the thread, which
 * it gives back with the last record or at its release. Every frame that it
 * passes is checked, index and filter pages too, and a cursor that went from the first record to the last has
 * counted them: it throws a CorruptionError rather than leave any out.
 */
import { ClosedError, CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { recordFault } from '../base/record.ts';
import type { SeekTarget } from '../ipc/contract.ts';
import type { File } from '../vfs/file-system.ts';
import { decodePayload } from './block-codec.ts';
import { entryBytes, entryPosition, findEntry, findRecord, recordOffsetAt } from './block-search.ts';
import type { TableMeta, TableRecordCursor } from './contract.ts';
import { NO_BUFFER, type TableBuffer, type TableBuffers } from './table-buffers.ts';
import { checkFrame, newFields, type Payload, payloadFault } from './table-file.ts';
import {
  FRAME_DATA,
  FRAME_FILTER,
  FRAME_HEADER_BYTES,
  FRAME_INDEX,
  frameBytes,
  frameHeaderFault,
  STORED_RAW,
  type TableShape,
} from './table-format.ts';

export class TableCursor implements TableRecordCursor {
  bytes: Uint8Array = NO_BUFFER.bytes;
  view: DataView = NO_BUFFER.view;
  offset = 0;
  valid = false;
  readonly #file: File;
  readonly #meta: TableMeta;
  readonly #shape: TableShape;
  readonly #buffers: TableBuffers;
  readonly #isClosed: () => boolean;
  readonly #fields = newFields();
  /** What was read ahead: [0, #chunkEnd) of the file from #chunkAt on, a multiple of 8. */
  #chunk: TableBuffer = NO_BUFFER;
  #chunkAt = 0;
  #chunkEnd = 0;
  #readAhead: number = limits.tableReadAheadBytesMin;
  /** Where decompressed payloads go. */
  #raw: TableBuffer = NO_BUFFER;
  /** The next frame in the file, and the current payload: [#start, #end) of `bytes`. */
  #position = 0;
  #framePosition = 0;
  #start = 0;
  #end = 0;
  #count = 0;
  #index = 0;
  #records = 0;
  readonly #whole: boolean;

  constructor(
    file: File,
    meta: TableMeta,
    shape: TableShape,
    root: Payload,
    buffers: TableBuffers,
    from: SeekTarget | null,
    isClosed: () => boolean,
  ) {
    this.#file = file;
    this.#meta = meta;
    this.#shape = shape;
    this.#buffers = buffers;
    this.#isClosed = isClosed;
    const block = from === null ? -1 : this.#seek(root, from);
    this.#whole = block < 0;
    this.#position = this.#whole ? 0 : block;
    this.#chunkAt = this.#position;
    if (!this.#nextBlock()) return;
    if (from !== null)
      this.#index = findRecord(
        this.view,
        this.bytes,
        this.#start,
        this.#end,
        from.tokenHi,
        from.tokenLo,
        from.keyspace,
        from.key,
      );
    this.#settle();
  }

  next(): void {
    this.#index++;
    this.#settle();
  }

  release(): void {
    this.valid = false;
    this.#buffers.give(this.#chunk);
    this.#buffers.give(this.#raw);
    this.#chunk = NO_BUFFER;
    this.#raw = NO_BUFFER;
  }

  /** Position of the one data frame in which the target lies or would lie, -1 where that is before the first. */
  #seek(root: Payload, from: SeekTarget): number {
    const { tokenHi, tokenLo, keyspace, key } = from;
    const page = findEntry(root.view, root.bytes, root.start, root.end, tokenHi, tokenLo, keyspace, key);
    if (page < 0) return -1;
    const position = entryPosition(root.view, root.start, page);
    const length = entryBytes(root.view, root.start, page);
    this.#chunk = this.#buffers.take(length);
    const read = this.#file.readSync(this.#chunk.bytes, 0, length, position);
    this.#check(0, read, length, FRAME_INDEX, position);
    this.#decode(0, position);
    const entry = findEntry(this.view, this.bytes, this.#start, this.#end, tokenHi, tokenLo, keyspace, key);
    return entry < 0 ? -1 : entryPosition(this.view, this.#start, entry);
  }

  /** Shows the record at the index, of the next block where this one has ended. */
  #settle(): void {
    if (this.#index >= this.#count && !this.#nextBlock()) {
      this.release();
      return;
    }
    const offset = recordOffsetAt(this.view, this.#start, this.#end, this.#count, this.#index);
    const fault = recordFault(this.bytes, offset, this.#end);
    if (fault !== '') throw new CorruptionError(this.#file.path, this.#framePosition, fault);
    this.offset = offset;
    this.valid = true;
  }

  /** Goes to the first record of the next data frame; false behind the last. */
  #nextBlock(): boolean {
    while (this.#position < this.#shape.filterRootAt) {
      const length = this.#ensureFrame();
      const start = this.#position - this.#chunkAt;
      const fields = this.#fields;
      const at = this.#position;
      this.#check(start, this.#chunkEnd - start, length, 0, at);
      this.#framePosition = at;
      this.#position = at + length;
      if (fields.kind === FRAME_DATA) {
        this.#decode(start, at);
        this.#count = fields.entries;
        this.#index = 0;
        this.#records += fields.entries;
        return true;
      }
      if (fields.kind !== FRAME_INDEX && fields.kind !== FRAME_FILTER)
        throw new CorruptionError(this.#file.path, at, `a frame of kind ${fields.kind} between data`);
    }
    if (this.#whole && this.#records !== this.#meta.records)
      throw new CorruptionError(
        this.#file.path,
        this.#position,
        `${this.#records} records, the footer says ${this.#meta.records}`,
      );
    return false;
  }

  /** Throws where the chunk has no such frame from `start` on. */
  #check(start: number, read: number, length: number, kind: number, position: number): void {
    const { bytes, view } = this.#chunk;
    const { salt } = this.#shape;
    checkFrame(this.#file.path, bytes, view, start, read, length, kind, salt, position, this.#fields);
  }

  /** Shows the payload of the frame at `start` in the chunk, of `position` in the file. */
  #decode(start: number, position: number): void {
    const { compression, entries, kind, rawBytes } = this.#fields;
    const stored = compression === STORED_RAW;
    if (!stored && this.#raw.bytes.length < rawBytes) {
      this.#buffers.give(this.#raw);
      this.#raw = this.#buffers.take(rawBytes);
    }
    const { bytes, view } = stored ? this.#chunk : this.#raw;
    this.bytes = bytes;
    this.view = view;
    this.#start = stored ? start + FRAME_HEADER_BYTES : 0;
    this.#end = this.#start + rawBytes;
    const fault =
      (stored ? '' : decodePayload(this.#chunk.bytes, start, this.#fields, bytes, 0)) ||
      payloadFault(view, this.#start, this.#end, kind, entries);
    if (fault !== '') throw new CorruptionError(this.#file.path, position, fault);
  }

  /** Has the whole frame at the position in the chunk; its length. */
  #ensureFrame(): number {
    const room = this.#shape.filterRootAt - this.#position;
    if (room < FRAME_HEADER_BYTES)
      throw new CorruptionError(this.#file.path, this.#position, `a frame in ${room} bytes`);
    this.#ensure(FRAME_HEADER_BYTES);
    const start = this.#position - this.#chunkAt;
    const fault = frameHeaderFault(this.#chunk.view, start, this.#fields);
    if (fault !== '') throw new CorruptionError(this.#file.path, this.#position, fault);
    const length = frameBytes(this.#fields.storedBytes);
    if (length > room)
      throw new CorruptionError(this.#file.path, this.#position, `a frame of ${length} bytes in ${room}`);
    this.#ensure(length);
    return length;
  }

  /** Has [position, position + length) in the chunk, reading ahead where it must read. */
  #ensure(length: number): void {
    if (this.#position + length <= this.#chunkAt + this.#chunkEnd) return;
    if (this.#isClosed()) throw new ClosedError(`${this.#file.path} is closed`);
    const wanted = Math.min(Math.max(length, this.#readAhead), this.#shape.filterRootAt - this.#position);
    const kept = this.#chunkAt + this.#chunkEnd - this.#position;
    const from = this.#position - this.#chunkAt;
    if (wanted > this.#chunk.bytes.length) {
      const wider = this.#buffers.take(wanted);
      wider.bytes.set(this.#chunk.bytes.subarray(from, from + kept));
      this.#buffers.give(this.#chunk);
      this.#chunk = wider;
    } else this.#chunk.bytes.copyWithin(0, from, from + kept);
    this.#chunkAt = this.#position;
    const read = this.#file.readSync(this.#chunk.bytes, kept, wanted - kept, this.#position + kept);
    this.#chunkEnd = kept + read;
    this.#readAhead = Math.min(2 * this.#readAhead, limits.tableReadAheadBytesMax);
    if (this.#chunkEnd < length)
      throw new CorruptionError(
        this.#file.path,
        this.#position,
        `a frame of ${length} bytes, the file has ${this.#chunkEnd} of them`,
      );
  }
}
