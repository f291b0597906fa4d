/**
 * Reads commit-log segments back at the start of a shard, on its thread, synchronously. `recoverSegment`
 * reads a file straight into the arena of a memtable, so that its records are adopted where they stand.
 * What counts as torn and what as damaged: the head of wal-format.ts.
 *
 * A recovered segment is never written to again but by `closeRecovered`: groups beyond a torn tail that
 * reached the disk before the crash could otherwise line up with new ones and come back to life.
 */
import { join } from 'node:path';
import { assert } from '../base/assert.ts';
import { CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { recordBytesAt, recordFault } from '../base/record.ts';
import type { File, FileSystem } from '../vfs/file-system.ts';
import {
  GROUP_CLOSING,
  hasGroupMagic,
  headerFault,
  newGroupHeader,
  payloadMatches,
  sealGroup,
  segmentName,
  segmentOfName,
  WAL_GROUP_HEADER_BYTES,
} from './wal-format.ts';

/** Gets each record, in the order of writing; offsets in `bytes` are offsets in the segment. */
export type RecordSink = (bytes: Uint8Array, view: DataView, offset: number) => void;

export interface RecoverOptions {
  readonly number: number;
  /** Whether this is the segment with the highest number: only that one may end without a closing group. */
  readonly newest: boolean;
  /** Takes the file from its first byte on; at least `segmentFileBytes` long. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export interface RecoveredSegment {
  readonly number: number;
  /** Where the whole groups end. */
  readonly end: number;
  readonly groups: number;
  readonly records: number;
  /** Ended by a closing group: complete to the last byte. */
  readonly closed: boolean;
  readonly salt: number;
  /** Why the log ends at `end`, for a message; '' for a closed segment. */
  readonly tail: string;
  /** What is damaged. The records before it went to the sink and are good; those after it are not there. */
  readonly damage: CorruptionError | null;
}

export function segmentPath(directory: string, number: number): string {
  return join(directory, segmentName(number));
}

/**
 * Numbers of the segments to recover, ascending: those from `oldestLive` (the manifest's) on. Throws
 * CorruptionError where one between is missing, because segments are numbered without gaps.
 */
export function liveSegments(fs: FileSystem, directory: string, oldestLive: number): number[] {
  const numbers = fs
    .readdir(directory)
    .map(segmentOfName)
    .filter((number) => number >= oldestLive)
    .sort((a, b) => a - b);
  numbers.forEach((number, index) => {
    const expected = oldestLive + index;
    if (number !== expected)
      throw new CorruptionError(
        segmentPath(directory, expected),
        0,
        `the segment is missing, and segment ${number} is there`,
      );
  });
  return numbers;
}

/** Bytes of a segment's file, and so of the buffer that `recoverSegment` needs. */
export function segmentFileBytes(fs: FileSystem, path: string): number {
  const file = fs.open(path, 'read');
  try {
    return file.size();
  } finally {
    file.close();
  }
}

/**
 * Reads a segment and hands its records to `sink`, group by group, each group only after its checksum has
 * matched. Damage is returned, not thrown, so that what stands before it can be served. Throws IoError
 * where the file cannot be read and FormatVersionError for a file of a newer RingKV.
 */
export function recoverSegment(
  fs: FileSystem,
  path: string,
  options: RecoverOptions,
  sink: RecordSink,
): RecoveredSegment {
  const file = fs.open(path, 'read');
  try {
    const size = file.size();
    if (size > limits.memtableBytesMax)
      return damaged(
        options,
        new CorruptionError(
          path,
          limits.memtableBytesMax,
          `a segment of ${size} bytes; the limit is ${limits.memtableBytesMax}`,
        ),
      );
    assert(size <= options.bytes.length, 'recoverSegment: the buffer is smaller than the segment file');
    return new SegmentReader(file, path, size, options).run(sink);
  } finally {
    file.close();
  }
}

function damaged(options: RecoverOptions, damage: CorruptionError): RecoveredSegment {
  return {
    number: options.number,
    end: 0,
    groups: 0,
    records: 0,
    closed: false,
    salt: 0,
    tail: '',
    damage,
  };
}

class SegmentReader {
  readonly #file: File;
  readonly #path: string;
  readonly #size: number;
  readonly #options: RecoverOptions;
  readonly #header = newGroupHeader();
  /** The bytes below this have been read. */
  #filled = 0;
  #at = 0;
  #groups = 0;
  #records = 0;
  #salt = 0;
  #closed = false;

  constructor(file: File, path: string, size: number, options: RecoverOptions) {
    this.#file = file;
    this.#path = path;
    this.#size = size;
    this.#options = options;
  }

  run(sink: RecordSink): RecoveredSegment {
    let fault = '';
    let damage: CorruptionError | null = null;
    while (!this.#closed) {
      fault = this.#groupFault();
      if (fault !== '') break;
      damage = this.#takeGroup(sink);
      if (damage !== null) break;
    }
    if (damage === null && fault !== '') damage = this.#judge(fault);
    return {
      number: this.#options.number,
      end: this.#at,
      groups: this.#groups,
      records: this.#records,
      closed: this.#closed,
      salt: this.#salt,
      tail: fault,
      damage,
    };
  }

  /** Reads ahead in chunks so that the bytes below `end` are there; false where the file ends before. */
  #fill(end: number): boolean {
    while (this.#filled < end && this.#filled < this.#size) {
      const length = Math.min(limits.walReadChunkBytes, this.#size - this.#filled);
      const got = this.#file.readSync(this.#options.bytes, this.#filled, length, this.#filled);
      if (got === 0) break;
      this.#filled += got;
    }
    return this.#filled >= end;
  }

  /** What is wrong with the group at `#at`, '' where it is the next group of the segment. */
  #groupFault(): string {
    const { bytes, view, number } = this.#options;
    const at = this.#at;
    if (!this.#fill(at + WAL_GROUP_HEADER_BYTES)) return `the file ends at byte ${this.#filled}`;
    const header = this.#header;
    const fault = headerFault(bytes, view, at, number, header);
    if (fault !== '') return fault;
    if (header.group !== this.#groups + 1)
      return `group ${header.group} in the place of group ${this.#groups + 1}`;
    if (this.#groups > 0 && header.salt !== this.#salt) return 'group with the salt of another file';
    const end = at + WAL_GROUP_HEADER_BYTES + header.payloadBytes;
    if (!this.#fill(end)) return `group to byte ${end} in a file that ends at ${this.#filled}`;
    if (!payloadMatches(bytes, at, end, number)) return 'group payload fails its checksum';
    return '';
  }

  /**
   * Passes the records of the sound group at `#at` on. Its checksum matched, so records that do not add up
   * were written so: never a torn tail.
   */
  #takeGroup(sink: RecordSink): CorruptionError | null {
    const { bytes, view } = this.#options;
    const first = this.#at + WAL_GROUP_HEADER_BYTES;
    const end = first + this.#header.payloadBytes;
    let records = 0;
    for (let offset = first; offset < end; offset += recordBytesAt(view, offset)) {
      const fault = recordFault(bytes, offset, end);
      if (fault !== '') return new CorruptionError(this.#path, offset, fault);
      records++;
    }
    if (records !== this.#header.records)
      return new CorruptionError(
        this.#path,
        this.#at,
        `a group of ${records} records whose header says ${this.#header.records}`,
      );
    for (let offset = first; offset < end; offset += recordBytesAt(view, offset)) sink(bytes, view, offset);
    this.#at = end;
    this.#groups++;
    this.#records += records;
    this.#salt = this.#header.salt;
    this.#closed = (this.#header.flags & GROUP_CLOSING) !== 0;
    return null;
  }

  /** Torn tail (null) or damage at `#at`. */
  #judge(fault: string): CorruptionError | null {
    const witness = this.#findWitness();
    if (witness >= 0)
      return new CorruptionError(
        this.#path,
        this.#at,
        `${fault}; the group at byte ${witness} shows that this one was durable`,
      );
    if (!this.#options.newest)
      return new CorruptionError(
        this.#path,
        this.#at,
        `${fault}; the segment was closed before the next one was opened`,
      );
    return null;
  }

  /**
   * Offset of a later group header whose watermark lies above `#at`, or -1. A sound header is enough: it
   * tells what was durable when it was sealed, whatever became of its payload.
   */
  #findWitness(): number {
    const { bytes, view, number } = this.#options;
    const header = this.#header;
    this.#fill(this.#size);
    const last = this.#filled - WAL_GROUP_HEADER_BYTES;
    for (let at = this.#at + 8; at <= last; at += 8) {
      if (!hasGroupMagic(view, at) || headerFault(bytes, view, at, number, header) !== '') continue;
      const ofThisFile = this.#groups === 0 || header.salt === this.#salt;
      if (ofThisFile && header.group > this.#groups && header.watermark > this.#at) return at;
    }
    return -1;
  }
}

/**
 * Makes a segment that was cut at a torn tail complete: a closing group at its end, synced. To be called
 * before the next segment is opened. Throws DiskFullError where there is no room for the 64 bytes.
 */
export function closeRecovered(fs: FileSystem, path: string, recovered: RecoveredSegment): void {
  assert(recovered.damage === null, 'closeRecovered: a damaged segment is left as it is');
  if (recovered.closed) return;
  const file = fs.open(path, 'write');
  try {
    // The records that were read may stand in the page cache only (modes interval and os): durable first,
    // so that the closing group vouches for nothing that could still be lost.
    file.syncSync();
    const bytes = new Uint8Array(WAL_GROUP_HEADER_BYTES);
    const fields = {
      segment: recovered.number,
      group: recovered.groups + 1,
      records: 0,
      watermark: recovered.end,
      salt: recovered.salt,
      flags: GROUP_CLOSING,
    };
    sealGroup(bytes, new DataView(bytes.buffer), 0, bytes.length, fields, recovered.end);
    file.writeSync(bytes, 0, WAL_GROUP_HEADER_BYTES, recovered.end);
    file.syncSync();
  } finally {
    file.close();
  }
}
