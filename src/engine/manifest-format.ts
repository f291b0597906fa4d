/**
 * The format of manifest files, shared by reader and writer (manifest.ts). Pure functions over bytes.
 *
 * A manifest is a log of frames from offset 0 on. The first is a snapshot: an edit that starts from
 * nothing. A new file is written beside the old one, synced and renamed, so its snapshot is never torn.
 *
 *   offset size field of the frame header, little-endian
 *        0    4 magic "RKMF"
 *        4    2 format version, 1
 *        6    2 kind: 1 snapshot, 2 edit, 3 confirmation (no payload)
 *        8    4 frame number within the file, from 1
 *       12    4 offset of this header in the file
 *       16    4 payload bytes after the header, a multiple of 8
 *       20    4 durable watermark: the file was durable up to here when this frame was sealed
 *       24    8 reserved, 0
 *       32    8 XXH3-64 of the payload, seeded (src/base/checksum.ts) with the manifest's number
 *       40    8 XXH3-64 of bytes 0 to 39, seeded with the same
 *
 *   offset size field of the payload
 *        0    8 next file number: tables below it may exist
 *        8    8 versionMax: highest version in tables
 *       16    4 oldest live segment of the commit log
 *       20    4 vnodes of the ownership
 *       24    4 shards
 *       28    4 shard
 *       32    4 a, tables added
 *       36    4 r, tables removed
 *       40      a rows of 96 bytes, then r numbers of 8 bytes
 *
 *   offset size field of a table's row; numbers of 8 bytes are integers below 2^53
 *        0    8 number      8 8 bytes      16 8 records      24 8 tombstones      32 8 expiring
 *       40   16 range: firstHi, firstLo, lastHi, lastLo, 4 bytes each
 *       56    8 versionMin  64 8 versionMax  72 8 expiresMsMin  80 8 expiresMsMax
 *       88    8 tombstoneVersionMin
 *
 * The scalars are absolute: every edit states them all. A removal comes before the additions of its edit.
 *
 * A torn tail is told from damage as in the commit log (wal-format.ts): a later frame whose watermark lies
 * above a bad frame shows that it was durable. Here a last frame must not stay open to doubt, because the
 * engine deletes segments on the strength of it: each edit is followed by a confirmation, and is reported
 * as done only when both are durable. So nothing that was acted upon can pass for torn.
 */
import { checksumMatches, writeChecksum } from '../base/checksum.ts';
import { FormatVersionError } from '../base/errors.ts';
import { readInteger, writeInteger } from '../base/integers.ts';
import type { Ownership, TableMeta } from './contract.ts';

export const FRAME_HEADER_BYTES = 48;
export const MANIFEST_FORMAT_VERSION = 1;
export const FRAME_SNAPSHOT = 1;
export const FRAME_EDIT = 2;
export const FRAME_CONFIRMATION = 3;
const MAGIC = 0x46_4d_4b_52;
const PAYLOAD_CHECKSUM_AT = 32;
const HEADER_CHECKSUM_AT = 40;
const PAYLOAD_FIXED_BYTES = 40;
const ROW_BYTES = 96;
const REMOVED_BYTES = 8;

export interface FrameFields {
  kind: number;
  frame: number;
  watermark: number;
}
export interface FrameHeader extends FrameFields {
  payloadBytes: number;
}

/** What a frame says: the scalars as they are after it, and the change of the tables. */
export interface FramePayload {
  readonly nextNumber: number;
  readonly versionMax: number;
  readonly oldestLiveSegment: number;
  readonly ownership: Ownership;
  readonly addTables: readonly TableMeta[];
  readonly removeTables: readonly number[];
}

/** The whole frame for `payload` (null: none), to stand at `offset` of manifest `number`. */
export function encodeFrame(
  number: number,
  offset: number,
  fields: Readonly<FrameFields>,
  payload: FramePayload | null,
): Uint8Array {
  const payloadBytes =
    payload === null
      ? 0
      : PAYLOAD_FIXED_BYTES +
        payload.addTables.length * ROW_BYTES +
        payload.removeTables.length * REMOVED_BYTES;
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payloadBytes);
  const view = new DataView(bytes.buffer);
  if (payload !== null) writePayload(view, FRAME_HEADER_BYTES, payload);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, MANIFEST_FORMAT_VERSION, true);
  view.setUint16(6, fields.kind, true);
  view.setUint32(8, fields.frame, true);
  view.setUint32(12, offset, true);
  view.setUint32(16, payloadBytes, true);
  view.setUint32(20, fields.watermark, true);
  writeChecksum(bytes, FRAME_HEADER_BYTES, bytes.length, bytes, PAYLOAD_CHECKSUM_AT, number);
  writeChecksum(bytes, 0, HEADER_CHECKSUM_AT, bytes, HEADER_CHECKSUM_AT, number);
  return bytes;
}

/**
 * Reads the header at `at` of manifest `number` into `header`; what is wrong with it, '' where nothing is.
 * Throws FormatVersionError for a sound header of a newer version: bytes 0 to 5 and the header
 * checksum keep their places in all versions.
 */
export function frameFault(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  number: number,
  header: FrameHeader,
): string {
  if (bytes.length - at < FRAME_HEADER_BYTES)
    return `${bytes.length - at} bytes left, a frame header takes ${FRAME_HEADER_BYTES}`;
  if (view.getUint32(at, true) !== MAGIC) return 'no frame header';
  if (!checksumMatches(bytes, at, at + HEADER_CHECKSUM_AT, bytes, at + HEADER_CHECKSUM_AT, number))
    return 'frame header fails its checksum';
  const version = view.getUint16(at + 4, true);
  if (version !== MANIFEST_FORMAT_VERSION)
    throw new FormatVersionError(
      `manifest ${number} has format version ${version}; this RingKV reads version ${MANIFEST_FORMAT_VERSION}`,
    );
  header.kind = view.getUint16(at + 6, true);
  header.frame = view.getUint32(at + 8, true);
  header.payloadBytes = view.getUint32(at + 16, true);
  header.watermark = view.getUint32(at + 20, true);
  const offset = view.getUint32(at + 12, true);
  if (offset !== at) return `frame header that belongs to offset ${offset}`;
  if (header.kind < FRAME_SNAPSHOT || header.kind > FRAME_CONFIRMATION) return `frame kind ${header.kind}`;
  return '';
}

/** What is wrong with the payload of the sound header at `at`: '' where nothing is. */
export function payloadFault(
  bytes: Uint8Array,
  at: number,
  number: number,
  header: Readonly<FrameHeader>,
): string {
  const start = at + FRAME_HEADER_BYTES;
  const end = start + header.payloadBytes;
  if (end > bytes.length) return `frame to byte ${end} in a file of ${bytes.length}`;
  return checksumMatches(bytes, start, end, bytes, at + PAYLOAD_CHECKSUM_AT, number)
    ? ''
    : 'frame payload fails its checksum';
}

/** The payload in [start, start + length), or what is wrong with it. */
export function decodePayload(view: DataView, start: number, length: number): FramePayload | string {
  if (length < PAYLOAD_FIXED_BYTES) return `a payload of ${length} bytes`;
  const added = view.getUint32(start + 32, true);
  const removed = view.getUint32(start + 36, true);
  const expected = PAYLOAD_FIXED_BYTES + added * ROW_BYTES + removed * REMOVED_BYTES;
  if (length !== expected) return `a payload of ${length} bytes for ${added} tables more and ${removed} less`;
  const addTables: TableMeta[] = [];
  let at = start + PAYLOAD_FIXED_BYTES;
  for (let i = 0; i < added; i++, at += ROW_BYTES) addTables.push(readRow(view, at));
  const removeTables: number[] = [];
  for (let i = 0; i < removed; i++, at += REMOVED_BYTES) removeTables.push(readInteger(view, at));
  return {
    nextNumber: readInteger(view, start),
    versionMax: readInteger(view, start + 8),
    oldestLiveSegment: view.getUint32(start + 16, true),
    ownership: {
      vnodes: view.getUint32(start + 20, true),
      shards: view.getUint32(start + 24, true),
      shard: view.getUint32(start + 28, true),
    },
    addTables,
    removeTables,
  };
}

function writePayload(view: DataView, start: number, payload: FramePayload): void {
  writeInteger(view, start, payload.nextNumber);
  writeInteger(view, start + 8, payload.versionMax);
  view.setUint32(start + 16, payload.oldestLiveSegment, true);
  view.setUint32(start + 20, payload.ownership.vnodes, true);
  view.setUint32(start + 24, payload.ownership.shards, true);
  view.setUint32(start + 28, payload.ownership.shard, true);
  view.setUint32(start + 32, payload.addTables.length, true);
  view.setUint32(start + 36, payload.removeTables.length, true);
  let at = start + PAYLOAD_FIXED_BYTES;
  for (const table of payload.addTables) {
    writeRow(view, at, table);
    at += ROW_BYTES;
  }
  for (const number of payload.removeTables) {
    writeInteger(view, at, number);
    at += REMOVED_BYTES;
  }
}

function writeRow(view: DataView, at: number, table: TableMeta): void {
  writeInteger(view, at, table.number);
  writeInteger(view, at + 8, table.bytes);
  writeInteger(view, at + 16, table.records);
  writeInteger(view, at + 24, table.tombstones);
  writeInteger(view, at + 32, table.expiring);
  view.setUint32(at + 40, table.range.firstHi, true);
  view.setUint32(at + 44, table.range.firstLo, true);
  view.setUint32(at + 48, table.range.lastHi, true);
  view.setUint32(at + 52, table.range.lastLo, true);
  writeInteger(view, at + 56, table.versionMin);
  writeInteger(view, at + 64, table.versionMax);
  writeInteger(view, at + 72, table.expiresMsMin);
  writeInteger(view, at + 80, table.expiresMsMax);
  writeInteger(view, at + 88, table.tombstoneVersionMin);
}

function readRow(view: DataView, at: number): TableMeta {
  return {
    number: readInteger(view, at),
    bytes: readInteger(view, at + 8),
    records: readInteger(view, at + 16),
    tombstones: readInteger(view, at + 24),
    expiring: readInteger(view, at + 32),
    range: {
      firstHi: view.getUint32(at + 40, true),
      firstLo: view.getUint32(at + 44, true),
      lastHi: view.getUint32(at + 48, true),
      lastLo: view.getUint32(at + 52, true),
    },
    versionMin: readInteger(view, at + 56),
    versionMax: readInteger(view, at + 64),
    expiresMsMin: readInteger(view, at + 72),
    expiresMsMax: readInteger(view, at + 80),
    tombstoneVersionMin: readInteger(view, at + 88),
  };
}

const MANIFEST_NAME = /^MANIFEST-([0-9]{10})$/;
export const MANIFEST_TEMPORARY = 'MANIFEST.tmp';
export const manifestName = (number: number): string => `MANIFEST-${String(number).padStart(10, '0')}`;
/** The number in a manifest's file name, -1 where the name is none. */
export const manifestOfName = (name: string): number => Number(MANIFEST_NAME.exec(name)?.[1] ?? -1);
