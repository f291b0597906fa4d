/**
 * The format of SSTables, shared by builder, reader, cursor and verification. Pure functions over bytes.
 *
 * A table is a run of frames from offset 0 on, without gaps, and a footer at its end. A frame is a header
 * and a payload, filled up with zeros to a multiple of 8. Data frames stand in order of their records; an
 * index or filter page stands where it became full, behind what it describes; the two roots come last, the
 * filter's first. Order everywhere is (token, keyspace, key), one record a key.
 *
 *   offset size field of the frame header, little-endian
 *        0    8 XXH3-64 of bytes 8 to the frame's end, seeded with (salt + offset in the file / 8) modulo 2^32,
 *               so a frame is sound only at its place in its file
 *        8    1 kind: 1 data, 2 index page, 3 filter page, 4 filter root, 5 index root
 *        9    1 compression of the payload: 0 none, 1 snappy (raw format); data frames only
 *       10    2 reserved, 0
 *       12    4 stored bytes of the payload, without the zeros after it
 *       16    4 raw bytes of the payload, before compression
 *       20    4 entries: records, blocks, pages, or tokens of a filter page
 *       24    4 key id of the encryption; 0: not encrypted. Version 1 knows no other
 *       28   12 AES-256-GCM nonce, 0 where not encrypted
 *       40   16 AES-256-GCM tag, 0 where not encrypted. The payload will be encrypted after compression,
 *               with bytes 8 to 27, the salt and the offset as additional data; the checksum covers what is stored
 *       56      payload
 *
 *   data payload, raw: the records as in src/base/record.ts, from 0 on without gaps; then n numbers of
 *   4 bytes, where each record starts; then n, 4 bytes. A record that is longer than a block stands alone.
 *
 *   index payload (pages: one entry a data frame; roots: one entry a page): n entries of 24 bytes, then
 *   keys, then zeros up to a multiple of 4, then n, 4 bytes.
 *   offset size field of an entry
 *        0    8 first token: hi, lo          8    8 offset of the frame in the file: lo, hi
 *       16    4 bytes of the frame, header and zeros included
 *       20    4 where in the payload the first record's key stands (1 keyspace, 2 length, then the bytes), or 0:
 *               only where the record before has the same token is the key needed to tell the frames apart
 *
 *   filter payload: a bloom filter (bloom.ts) of some of the tokens that follow each other, then 4 bytes hash
 *   functions, 4 bytes size in bits. Equal tokens of both keyspaces are one. A filter root is an index
 *   payload whose entries carry no keys. Without filters the root is absent.
 *
 *   offset size field of the footer
 *        0    4 salt, random          4    4 hash functions of the filters, 0 without
 *        8    8 bytes of the file    16    8 records    24    8 tombstones    32    8 expiring
 *       40   16 token range: firstHi, firstLo, lastHi, lastLo
 *       56    8 versionMin   64    8 versionMax   72    8 expiresMsMin   80    8 expiresMsMax
 *       88    8 tombstoneVersionMin
 *       96    8 data frames         104    8 index pages          112    8 filter pages
 *      120    8 offset of the filter root      128    4 bytes of its frame, 0 without filters
 *      132    4 bytes of the index root's frame   136    8 offset of the index root
 *      144   32 reserved, 0
 *      176    4 magic "RKST"        180    2 format version, 1   182    2 bytes of the footer, 192
 *      184    8 XXH3-64 of the footer's bytes before this
 *
 * The last 16 bytes keep their places in all versions. A table's number is only in its name: tables are
 * renumbered by hard links.
 */
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from '../base/checksum.ts';
import { CorruptionError, FormatVersionError } from '../base/errors.ts';
import { readInteger, writeInteger } from '../base/integers.ts';
import { limits } from '../base/limits.ts';
import type { TableMeta } from './contract.ts';

export const TABLE_FORMAT_VERSION = 1;
export const FRAME_HEADER_BYTES = 56;
export const FRAME_DATA = 1;
export const FRAME_INDEX = 2;
export const FRAME_FILTER = 3;
export const FRAME_FILTER_ROOT = 4;
export const FRAME_INDEX_ROOT = 5;
export const STORED_RAW = 0;
export const STORED_SNAPPY = 1;
export const FOOTER_BYTES = 192;

const FOOTER_MAGIC = 0x54_53_4b_52;
const FOOTER_TAIL_BYTES = 16;
const RESERVED_AT = 24;
const FOOTER_RESERVED_AT = 144;
const TWO_32 = 0x1_0000_0000;

export interface FrameFields {
  kind: number;
  compression: number;
  storedBytes: number;
  rawBytes: number;
  entries: number;
}

/** Bytes of a frame whose payload takes `storedBytes`. */
export const frameBytes = (storedBytes: number): number =>
  FRAME_HEADER_BYTES + Math.ceil(storedBytes / 8) * 8;

const seedOf = (salt: number, position: number): number => (salt + position / 8) % TWO_32;

/** Completes the frame at `start`, whose payload stands after the room for the header, for `position` in the file. */
export function sealFrame(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  fields: Readonly<FrameFields>,
  salt: number,
  position: number,
): number {
  const length = frameBytes(fields.storedBytes);
  bytes.fill(0, start, start + FRAME_HEADER_BYTES);
  bytes.fill(0, start + FRAME_HEADER_BYTES + fields.storedBytes, start + length);
  view.setUint8(start + 8, fields.kind);
  view.setUint8(start + 9, fields.compression);
  view.setUint32(start + 12, fields.storedBytes, true);
  view.setUint32(start + 16, fields.rawBytes, true);
  view.setUint32(start + 20, fields.entries, true);
  writeChecksum(bytes, start + CHECKSUM_BYTES, start + length, bytes, start, seedOf(salt, position));
  return length;
}

/**
 * Reads the header at `start` into `fields` and says what is wrong with it by itself, before its checksum:
 * '' where nothing is. After '' `frameBytes(fields.storedBytes)` is bounded.
 */
export function frameHeaderFault(view: DataView, start: number, fields: FrameFields): string {
  fields.kind = view.getUint8(start + 8);
  fields.compression = view.getUint8(start + 9);
  fields.storedBytes = view.getUint32(start + 12, true);
  fields.rawBytes = view.getUint32(start + 16, true);
  fields.entries = view.getUint32(start + 20, true);
  if (fields.kind < FRAME_DATA || fields.kind > FRAME_INDEX_ROOT) return `frame kind ${fields.kind}`;
  if (fields.compression > STORED_SNAPPY) return `compression ${fields.compression}`;
  if (view.getUint16(start + 10, true) !== 0) return 'reserved bytes are not 0';
  for (let at = start + RESERVED_AT; at < start + FRAME_HEADER_BYTES; at += 4)
    if (view.getUint32(at, true) !== 0) return 'encryption fields are not 0';
  if (fields.rawBytes > limits.tableFrameBytesMax || fields.storedBytes > fields.rawBytes)
    return `a payload of ${fields.storedBytes} bytes for ${fields.rawBytes}, at most ${limits.tableFrameBytesMax}`;
  if (fields.compression === STORED_RAW && fields.storedBytes !== fields.rawBytes)
    return `an uncompressed payload of ${fields.storedBytes} bytes for ${fields.rawBytes}`;
  return '';
}

/**
 * What is wrong with the frame that should fill [start, start + length) and was read at `position`: '' where
 * nothing is. `kind` 0 takes any. Fills `fields`.
 */
export function frameFault(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  length: number,
  kind: number,
  salt: number,
  position: number,
  fields: FrameFields,
): string {
  if (length < FRAME_HEADER_BYTES) return `a frame of ${length} bytes`;
  if (!checksumMatches(bytes, start + CHECKSUM_BYTES, start + length, bytes, start, seedOf(salt, position)))
    return 'frame fails its checksum';
  const fault = frameHeaderFault(view, start, fields);
  if (fault !== '') return fault;
  if (frameBytes(fields.storedBytes) !== length)
    return `a frame of ${length} bytes with a payload of ${fields.storedBytes}`;
  if (kind !== 0 && fields.kind !== kind) return `a frame of kind ${fields.kind}, expected ${kind}`;
  return '';
}

/** What only the footer holds. */
export interface TableShape {
  readonly salt: number;
  readonly hashes: number;
  readonly dataFrames: number;
  readonly indexPages: number;
  readonly filterPages: number;
  readonly filterRootAt: number;
  /** 0 without filters. */
  readonly filterRootBytes: number;
  readonly indexRootAt: number;
  readonly indexRootBytes: number;
}
export interface Footer {
  readonly meta: TableMeta;
  readonly shape: TableShape;
}

/** The footer's bytes. */
export function encodeFooter(footer: Footer): Uint8Array {
  const { meta, shape } = footer;
  const bytes = new Uint8Array(FOOTER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, shape.salt, true);
  view.setUint32(4, shape.hashes, true);
  writeInteger(view, 8, meta.bytes);
  writeInteger(view, 16, meta.records);
  writeInteger(view, 24, meta.tombstones);
  writeInteger(view, 32, meta.expiring);
  view.setUint32(40, meta.range.firstHi, true);
  view.setUint32(44, meta.range.firstLo, true);
  view.setUint32(48, meta.range.lastHi, true);
  view.setUint32(52, meta.range.lastLo, true);
  writeInteger(view, 56, meta.versionMin);
  writeInteger(view, 64, meta.versionMax);
  writeInteger(view, 72, meta.expiresMsMin);
  writeInteger(view, 80, meta.expiresMsMax);
  writeInteger(view, 88, meta.tombstoneVersionMin);
  writeInteger(view, 96, shape.dataFrames);
  writeInteger(view, 104, shape.indexPages);
  writeInteger(view, 112, shape.filterPages);
  writeInteger(view, 120, shape.filterRootAt);
  view.setUint32(128, shape.filterRootBytes, true);
  view.setUint32(132, shape.indexRootBytes, true);
  writeInteger(view, 136, shape.indexRootAt);
  view.setUint32(FOOTER_BYTES - 16, FOOTER_MAGIC, true);
  view.setUint16(FOOTER_BYTES - 12, TABLE_FORMAT_VERSION, true);
  view.setUint16(FOOTER_BYTES - 10, FOOTER_BYTES, true);
  writeChecksum(bytes, 0, FOOTER_BYTES - CHECKSUM_BYTES, bytes, FOOTER_BYTES - CHECKSUM_BYTES);
  return bytes;
}

/**
 * The footer of table `number` from the last bytes of its file of `size` bytes (all of them, or at least
 * limits.tableFooterBytesMax). Throws CorruptionError, and FormatVersionError for a sound footer of a newer version.
 */
export function decodeFooter(tail: Uint8Array, path: string, size: number, number: number): Footer {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  const length = tail.length;
  const bad = (what: string, footerBytes = FOOTER_BYTES): CorruptionError =>
    new CorruptionError(path, Math.max(0, size - footerBytes), what);
  if (length < FOOTER_TAIL_BYTES) throw bad(`a table of ${length} bytes`);
  if (view.getUint32(length - 16, true) !== FOOTER_MAGIC) throw bad('no table footer at the end');
  const footerBytes = view.getUint16(length - 10, true);
  if (footerBytes > length || footerBytes < FOOTER_TAIL_BYTES)
    throw bad(`a footer of ${footerBytes} bytes in ${length}`);
  const checksumAt = length - CHECKSUM_BYTES;
  if (!checksumMatches(tail, length - footerBytes, checksumAt, tail, checksumAt))
    throw bad('footer fails its checksum', footerBytes);
  const version = view.getUint16(length - 12, true);
  if (version !== TABLE_FORMAT_VERSION)
    throw new FormatVersionError(
      `${path} has format version ${version}; this RingKV reads version ${TABLE_FORMAT_VERSION}`,
    );
  if (footerBytes !== FOOTER_BYTES) throw bad(`a footer of ${footerBytes} bytes`, footerBytes);
  const footer = footerAt(view, length - FOOTER_BYTES, number);
  const fault = footerFault(view, length - FOOTER_BYTES, footer, size);
  if (fault !== '') throw bad(fault);
  return footer;
}

function footerAt(view: DataView, at: number, number: number): Footer {
  return {
    meta: {
      number,
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
    },
    shape: {
      salt: view.getUint32(at, true),
      hashes: view.getUint32(at + 4, true),
      dataFrames: readInteger(view, at + 96),
      indexPages: readInteger(view, at + 104),
      filterPages: readInteger(view, at + 112),
      filterRootAt: readInteger(view, at + 120),
      filterRootBytes: view.getUint32(at + 128, true),
      indexRootBytes: view.getUint32(at + 132, true),
      indexRootAt: readInteger(view, at + 136),
    },
  };
}

/** A sound footer in a file to which bytes were added, or from which some were taken, is found out here. */
function footerFault(view: DataView, at: number, { meta, shape }: Footer, size: number): string {
  if (meta.bytes !== size) return `a footer for ${meta.bytes} bytes in a file of ${size}`;
  for (let i = FOOTER_RESERVED_AT; i < FOOTER_BYTES - FOOTER_TAIL_BYTES; i++)
    if (view.getUint8(at + i) !== 0) return 'reserved bytes are not 0';
  if (shape.indexRootAt + shape.indexRootBytes !== size - FOOTER_BYTES)
    return `an index root that ends at ${shape.indexRootAt + shape.indexRootBytes}, the footer starts at ${size - FOOTER_BYTES}`;
  if (shape.filterRootAt + shape.filterRootBytes !== shape.indexRootAt)
    return `a filter root that ends at ${shape.filterRootAt + shape.filterRootBytes}, the index root starts at ${shape.indexRootAt}`;
  if (meta.records === 0 || shape.dataFrames === 0) return 'a table without records';
  return '';
}

const TABLE_NAME = /^table-([0-9]{10,16})\.sst$/;
export const tableName = (number: number): string => `table-${String(number).padStart(10, '0')}.sst`;
export const tablePath = (directory: string, number: number): string => `${directory}/${tableName(number)}`;
/** The number in a table's file name, -1 where the name is none. */
export function tableNumberOfName(name: string): number {
  const number = Number(TABLE_NAME.exec(name)?.[1] ?? -1);
  return number >= 0 && tableName(number) === name ? number : -1;
}
