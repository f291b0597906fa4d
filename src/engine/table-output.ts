/**
 * The growing file of a table: frames are put together in one buffer, sealed for their place in the file and
 * written in chunks. Owned by the thread of the builder. What was appended is in the file after `flush`.
 */

import { limits } from '../base/limits.ts';
import type { File } from '../vfs/file-system.ts';
import { compressed } from './block-codec.ts';
import { NO_BUFFER, type TableBuffer, type TableBuffers } from './table-buffers.ts';
import {
  FRAME_HEADER_BYTES,
  type FrameFields,
  frameBytes,
  STORED_RAW,
  STORED_SNAPPY,
  sealFrame,
} from './table-format.ts';

export class TableOutput {
  readonly #file: File;
  readonly #salt: number;
  readonly #buffers: TableBuffers;
  #buffer: TableBuffer;
  #used = 0;
  #written = 0;
  #synced = 0;
  readonly #fields: FrameFields = { kind: 0, compression: 0, storedBytes: 0, rawBytes: 0, entries: 0 };

  constructor(file: File, salt: number, buffers: TableBuffers) {
    this.#file = file;
    this.#salt = salt;
    this.#buffers = buffers;
    this.#buffer = buffers.take(limits.tableWriteChunkBytes);
  }

  /** Where the next frame goes: the bytes appended so far. */
  get position(): number {
    return this.#written + this.#used;
  }

  /** Appends [start, start + length) as a frame; its bytes in the file. */
  frame(
    kind: number,
    entries: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    compress: boolean,
  ): number {
    const smaller = compress ? compressed(bytes, start, length) : null;
    const stored = smaller === null ? length : smaller.length;
    this.#room(frameBytes(stored));
    const payloadAt = this.#used + FRAME_HEADER_BYTES;
    this.#buffer.bytes.set(smaller ?? bytes.subarray(start, start + length), payloadAt);
    const fields = this.#fields;
    fields.kind = kind;
    fields.compression = smaller === null ? STORED_RAW : STORED_SNAPPY;
    fields.storedBytes = stored;
    fields.rawBytes = length;
    fields.entries = entries;
    const size = sealFrame(
      this.#buffer.bytes,
      this.#buffer.view,
      this.#used,
      fields,
      this.#salt,
      this.position,
    );
    this.#used += size;
    return size;
  }

  /** Appends bytes as they are. */
  append(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#buffer.bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  flush(): void {
    if (this.#used > 0) this.#file.writeSync(this.#buffer.bytes, 0, this.#used, this.#written);
    this.#written += this.#used;
    this.#used = 0;
    if (this.#written - this.#synced < limits.tableSyncBytes) return;
    this.#file.syncSync();
    this.#synced = this.#written;
  }

  /** Nothing more comes: gives the buffer back. */
  release(): void {
    this.#buffers.give(this.#buffer);
    this.#buffer = NO_BUFFER;
  }

  #room(bytes: number): void {
    if (this.#used + bytes > this.#buffer.bytes.length) this.flush();
    if (bytes <= this.#buffer.bytes.length) return;
    this.#buffers.give(this.#buffer);
    this.#buffer = this.#buffers.take(bytes);
  }
}
