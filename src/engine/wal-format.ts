/**
 * The format of commit-log segments, shared by writer (wal.ts) and recovery (wal-recovery.ts). Pure
 * functions over bytes; any thread.
 *
 * A segment file is the image of one memtable's arena: groups from offset 0 on, each a header and whole
 * records (src/base/record.ts), one after another without gaps. What follows the last group is zeros of the
 * preallocation, or stale bytes where the file was recycled.
 *
 *   offset size field of the group header, little-endian
 *        0    4 magic "RKWG"
 *        4    2 format version, 1
 *        6    2 flags: 1 closing (nothing follows in this segment)
 *        8    4 segment number, from 1
 *       12    4 group number within the segment, from 1
 *       16    4 offset of this header in the segment
 *       20    4 payload bytes after the header, a multiple of 8
 *       24    4 records in the payload; 0 in a marker
 *       28    4 durable watermark: the segment was durable up to here when this group was sealed
 *       32    4 salt: random, the same in all groups of a segment
 *       36   12 reserved, 0
 *       48    8 XXH3-64 of the payload, seeded (src/base/checksum.ts) with the segment number
 *       56    8 XXH3-64 of bytes 0 to 55, seeded with the segment number
 *
 * Bytes of a recycled file carry another segment number and seed, so they never pass. A value that holds
 * the bytes of a group does not pass either: it would have to know salt, segment and offset.
 *
 * Torn tail or damage? Let X be the start of the first group that does not pass. Where a later group of the
 * segment has a watermark above X, the bytes at X were durable once and are damaged now. The same holds
 * where the segment is not the newest one: a segment is closed, durably, before the next one exists.
 * Otherwise X is the torn tail of a write that nobody was told is durable, and the log ends at X.
 *
 * That rule cannot judge the very last group of the newest segment: durable and acknowledged, then damaged,
 * it looks like a torn write, and no log without a second copy can tell the two apart (Alagappan et al.,
 * Protocol-Aware Recovery, FAST 2018). So an idle log gets a marker, a group without records whose watermark
 * covers the last one, and a clean shutdown writes a closing group. The ambiguity is left to a group
 * that was followed by neither: the last of a log that was busy when the power went. In mode `interval` it
 * covers what was written since the last sync, in mode `os` the open segment.
 */
import { checksumMatches, writeChecksum } from '../base/checksum.ts';
import { FormatVersionError } from '../base/errors.ts';

export const WAL_GROUP_HEADER_BYTES = 64;
export const WAL_FORMAT_VERSION = 1;
export const GROUP_CLOSING = 1;
const MAGIC = 0x47_57_4b_52;
const VERSION_AT = 4;
const PAYLOAD_CHECKSUM_AT = 48;
const HEADER_CHECKSUM_AT = 56;

export interface GroupFields {
  segment: number;
  group: number;
  records: number;
  watermark: number;
  salt: number;
  flags: number;
}

/** A decoded header. Reused: filled by `readGroupHeader`. */
export interface GroupHeader extends GroupFields {
  payloadBytes: number;
}

/**
 * Fills in the header at `from` for the records that stand in [from + 64, to). `offset` is where the header
 * will stand in the segment: `from`, unless the bytes are not an image of the segment.
 */
export function sealGroup(
  bytes: Uint8Array,
  view: DataView,
  from: number,
  to: number,
  fields: Readonly<GroupFields>,
  offset = from,
): void {
  view.setUint32(from, MAGIC, true);
  view.setUint16(from + VERSION_AT, WAL_FORMAT_VERSION, true);
  view.setUint16(from + 6, fields.flags, true);
  view.setUint32(from + 8, fields.segment, true);
  view.setUint32(from + 12, fields.group, true);
  view.setUint32(from + 16, offset, true);
  view.setUint32(from + 20, to - from - WAL_GROUP_HEADER_BYTES, true);
  view.setUint32(from + 24, fields.records, true);
  view.setUint32(from + 28, fields.watermark, true);
  view.setUint32(from + 32, fields.salt, true);
  bytes.fill(0, from + 36, from + PAYLOAD_CHECKSUM_AT);
  writeChecksum(bytes, from + WAL_GROUP_HEADER_BYTES, to, bytes, from + PAYLOAD_CHECKSUM_AT, fields.segment);
  writeChecksum(bytes, from, from + HEADER_CHECKSUM_AT, bytes, from + HEADER_CHECKSUM_AT, fields.segment);
}

/** Whether a header may start at `at`, a cheap test before `headerFault`. */
export function hasGroupMagic(view: DataView, at: number): boolean {
  return view.getUint32(at, true) === MAGIC;
}

/**
 * Reads the header at `at` of segment `segment` into `header` and says what is wrong with it, '' where
 * nothing is. [at, at + 64) lies inside `bytes`. Throws FormatVersionError for a sound header of a newer
 * version: bytes 0 to 5 and the header checksum keep their places in all versions.
 */
export function headerFault(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  segment: number,
  header: GroupHeader,
): string {
  if (!hasGroupMagic(view, at)) return 'no group header';
  if (!checksumMatches(bytes, at, at + HEADER_CHECKSUM_AT, bytes, at + HEADER_CHECKSUM_AT, segment))
    return 'group header fails its checksum';
  const version = view.getUint16(at + VERSION_AT, true);
  if (version !== WAL_FORMAT_VERSION)
    throw new FormatVersionError(
      `commit-log segment ${segment} has format version ${version}; this RingKV reads version ${WAL_FORMAT_VERSION}`,
    );
  header.flags = view.getUint16(at + 6, true);
  header.segment = view.getUint32(at + 8, true);
  header.group = view.getUint32(at + 12, true);
  header.payloadBytes = view.getUint32(at + 20, true);
  header.records = view.getUint32(at + 24, true);
  header.watermark = view.getUint32(at + 28, true);
  header.salt = view.getUint32(at + 32, true);
  if (header.segment !== segment) return `group header of segment ${header.segment}`;
  const offset = view.getUint32(at + 16, true);
  if (offset !== at) return `group header that belongs to offset ${offset}`;
  if ((header.flags & ~GROUP_CLOSING) !== 0) return `unknown group flags ${header.flags}`;
  if (header.payloadBytes % 8 !== 0) return `payload of ${header.payloadBytes} bytes, not a multiple of 8`;
  if (header.watermark > at) return `watermark ${header.watermark} above the group's own start`;
  return '';
}

/** Whether the payload in [at + 64, end) is what the sound header at `at` was sealed over. */
export function payloadMatches(bytes: Uint8Array, at: number, end: number, segment: number): boolean {
  return checksumMatches(bytes, at + WAL_GROUP_HEADER_BYTES, end, bytes, at + PAYLOAD_CHECKSUM_AT, segment);
}

export function newGroupHeader(): GroupHeader {
  return { segment: 0, group: 0, records: 0, watermark: 0, salt: 0, flags: 0, payloadBytes: 0 };
}

const SEGMENT_NAME = /^wal-([0-9]{10})\.log$/;
const SPARE_NAME = /^wal-spare-([0-9]{10})\.log$/;
const padded = (number: number): string => String(number).padStart(10, '0');

export const segmentName = (number: number): string => `wal-${padded(number)}.log`;
export const spareName = (number: number): string => `wal-spare-${padded(number)}.log`;
/** The number in a segment's file name, -1 where the name is none. */
export const segmentOfName = (name: string): number => Number(SEGMENT_NAME.exec(name)?.[1] ?? -1);
/** The number in a spare's file name, -1 where the name is none. */
export const spareOfName = (name: string): number => Number(SPARE_NAME.exec(name)?.[1] ?? -1);
