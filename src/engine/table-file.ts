/**
 * Opening table files: the footer, and frames read one by one, synchronously and around the block cache.
 * Everything that is returned has passed its checksum.
 */
import { CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { File, FileSystem } from '../vfs/file-system.ts';
import { decodePayload } from './block-codec.ts';
import { dataFault, indexFault } from './block-search.ts';
import type { TableMeta } from './contract.ts';
import { FILTER_TRAILER_BYTES } from './table-filter-builder.ts';
import {
  decodeFooter,
  type Footer,
  FRAME_DATA,
  FRAME_FILTER,
  FRAME_HEADER_BYTES,
  type FrameFields,
  frameFault,
} from './table-format.ts';

/** A decoded payload: [start, end) of `bytes`. */
export interface Payload {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly start: number;
  readonly end: number;
}

export const newFields = (): FrameFields => ({
  kind: 0,
  compression: 0,
  storedBytes: 0,
  rawBytes: 0,
  entries: 0,
});

/** The footer of the open table. Throws CorruptionError, FormatVersionError, IoError. */
export function readFooter(file: File, number: number): Footer {
  const size = file.size();
  const length = Math.min(size, limits.tableFooterBytesMax);
  const tail = new Uint8Array(length);
  const read = file.readSync(tail, 0, length, size - length);
  if (read !== length)
    throw new CorruptionError(file.path, size - length + read, `the file ends within ${size} bytes`);
  return decodeFooter(tail, file.path, size, number);
}

/** What the footer says about the table at `path`. `number` is the caller's. */
export function readTableMeta(fs: FileSystem, path: string, number: number): TableMeta {
  const file = fs.open(path, 'read');
  try {
    return readFooter(file, number).meta;
  } finally {
    file.close();
  }
}

/** What is wrong with the structure of a decoded payload: '' where searches in it stay inside. */
export function payloadFault(
  view: DataView,
  start: number,
  end: number,
  kind: number,
  entries: number,
): string {
  if (kind === FRAME_DATA) return dataFault(view, start, end, entries);
  if (kind !== FRAME_FILTER) return indexFault(view, start, end, entries);
  const bits = (end - start - FILTER_TRAILER_BYTES) * 8;
  if (bits <= 0 || view.getUint32(end - 4, true) !== bits) return `a filter payload of ${end - start} bytes`;
  return '';
}

/** Reads one frame. Throws CorruptionError and IoError. */
export function readFrame(
  file: File,
  kind: number,
  position: number,
  length: number,
  salt: number,
  fields: FrameFields,
): Payload {
  const stored = new Uint8Array(length);
  const read = file.readSync(stored, 0, length, position);
  const storedView = new DataView(stored.buffer);
  checkFrame(file.path, stored, storedView, 0, read, length, kind, salt, position, fields);
  const bytes = new Uint8Array(fields.rawBytes);
  const view = new DataView(bytes.buffer);
  const fault =
    decodePayload(stored, 0, fields, bytes, 0) || payloadFault(view, 0, bytes.length, kind, fields.entries);
  if (fault !== '') throw new CorruptionError(file.path, position, fault);
  return { bytes, view, start: 0, end: bytes.length };
}

/** Throws a CorruptionError where [start, start + length), of which `read` bytes were read, is no such frame. */
export function checkFrame(
  path: string,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  read: number,
  length: number,
  kind: number,
  salt: number,
  position: number,
  fields: FrameFields,
): void {
  if (read < length || length < FRAME_HEADER_BYTES)
    throw new CorruptionError(path, position, `a frame of ${length} bytes, the file has ${read} of them`);
  const fault = frameFault(bytes, view, start, length, kind, salt, position, fields);
  if (fault !== '') throw new CorruptionError(path, position, fault);
}
