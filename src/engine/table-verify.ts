/**
 * Reads and checks every byte of a table's file, on a background thread: every frame against its checksum,
 * the order and soundness of the records, the counts against the footer and the manifest, each index entry
 * against the frame that it names, each token against its filter. Memory: one frame, what waits for its page,
 * and 40 bytes a page. After damage the walk goes on at the next sound frame; what rests on knowing all frames
 * (counts, index, filters) is checked only where all were sound.
 */
import { CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import {
  compareRecordPlaces,
  expiresMsAt,
  FLAG_EXPIRING,
  FLAG_TOMBSTONE,
  flagsAt,
  recordBytesAt,
  recordFault,
  tokenHiAt,
  tokenLoAt,
  versionAt,
} from '../base/record.ts';
import type { File, FileSystem } from '../vfs/file-system.ts';
import { decodePayload } from './block-codec.ts';
import { recordOffsetAt } from './block-search.ts';
import type { JobResult, TableMeta } from './contract.ts';
import { newFields, type Payload, payloadFault, readFooter } from './table-file.ts';
import {
  FOOTER_BYTES,
  type Footer,
  FRAME_DATA,
  FRAME_HEADER_BYTES,
  frameBytes,
  frameFault,
  frameHeaderFault,
} from './table-format.ts';
import { metaDifferences, TableStatistics } from './table-statistics.ts';
import { PageCheck } from './table-verify-pages.ts';

export type Damage = JobResult['damage'][number];

/** Beyond this many one table's damage is not listed further. */
const DAMAGE_MAX = 1000;

/**
 * Damage of the table at `path`, in order of the file; `meta` null: compared with no manifest. `onBytes` hears
 * how many bytes were read, and may throw to give up. Throws IoError, and FormatVersionError for a newer table.
 */
export function verifyTable(
  fs: FileSystem,
  path: string,
  meta: TableMeta | null,
  onBytes: (bytes: number) => void,
): Damage[] {
  const file = fs.open(path, 'read');
  try {
    return new Verification(file, onBytes).run(meta);
  } finally {
    file.close();
  }
}

class Verification {
  readonly #file: File;
  readonly #size: number;
  readonly #onBytes: (bytes: number) => void;
  readonly #damage: Damage[] = [];
  readonly #fields = newFields();
  #chunk: Uint8Array = new Uint8Array(limits.tableReadAheadBytesMax);
  #view: DataView = new DataView(this.#chunk.buffer);
  #chunkAt = 0;
  #chunkEnd = 0;
  /** False from the first bad frame on: pages cannot be compared with what was not read. */
  #complete = true;
  /** The record before, kept alive as its payload. */
  #last: Payload | null = null;
  readonly #statistics = new TableStatistics();

  constructor(file: File, onBytes: (bytes: number) => void) {
    this.#file = file;
    this.#size = file.size();
    this.#onBytes = onBytes;
  }

  run(meta: TableMeta | null): Damage[] {
    let footer: Footer;
    try {
      footer = readFooter(this.#file, meta?.number ?? 0);
    } catch (error) {
      // Without the salt no frame can be checked.
      if (!(error instanceof CorruptionError)) throw error;
      return [{ file: error.file, offset: error.offset, what: error.message }];
    }
    this.#onBytes(FOOTER_BYTES);
    const footerAt = this.#size - FOOTER_BYTES;
    const pages = new PageCheck(footer.shape, (offset, what) => this.#add(offset, what));
    let position = 0;
    while (position < footerAt && this.#damage.length < DAMAGE_MAX) {
      const length = this.#frameAt(position, footerAt, footer);
      if (length === 0) {
        position = this.#nextSound(position, footerAt, footer);
        continue;
      }
      this.#inspect(position, length, pages);
      position += length;
    }
    if (this.#damage.length > 0) return this.#damage;
    pages.end(footerAt);
    const counted = this.#statistics.meta(footer.meta.number, this.#size);
    for (const difference of metaDifferences(counted, footer.meta))
      this.#add(footerAt, `records and footer differ: ${difference}`);
    for (const difference of meta === null ? [] : metaDifferences(footer.meta, meta))
      this.#add(footerAt, `the footer and the manifest differ: ${difference}`);
    return this.#damage;
  }

  #add(offset: number, what: string): void {
    if (this.#damage.length < DAMAGE_MAX) this.#damage.push({ file: this.#file.path, offset, what });
  }

  /** Length of the sound frame at the position, which the chunk holds then; 0 where there is none, and it is noted. */
  #frameAt(position: number, footerAt: number, footer: Footer): number {
    const fault = this.#tryFrame(position, footerAt, footer);
    if (fault === '') return frameBytes(this.#fields.storedBytes);
    this.#add(position, fault);
    this.#complete = false;
    return 0;
  }
  #tryFrame(position: number, footerAt: number, footer: Footer): string {
    const room = footerAt - position;
    if (room < FRAME_HEADER_BYTES)
      return `${room} bytes before the footer, a frame header takes ${FRAME_HEADER_BYTES}`;
    if (!this.#ensure(position, FRAME_HEADER_BYTES)) return 'the file ends within a frame';
    const fault = frameHeaderFault(this.#view, position - this.#chunkAt, this.#fields);
    if (fault !== '') return fault;
    const length = frameBytes(this.#fields.storedBytes);
    if (length > room) return `a frame of ${length} bytes in ${room}`;
    if (!this.#ensure(position, length)) return 'the file ends within a frame';
    const start = position - this.#chunkAt;
    return frameFault(this.#chunk, this.#view, start, length, 0, footer.shape.salt, position, this.#fields);
  }

  /** Behind a bad frame: where the next sound one starts, or the footer. */
  #nextSound(position: number, footerAt: number, footer: Footer): number {
    for (let at = position + 8; at + FRAME_HEADER_BYTES <= footerAt; at += 8)
      if (this.#tryFrame(at, footerAt, footer) === '') return at;
    return footerAt;
  }

  #inspect(position: number, length: number, pages: PageCheck): void {
    const { kind, entries, rawBytes } = this.#fields;
    const bytes = new Uint8Array(rawBytes);
    const view = new DataView(bytes.buffer);
    const fault =
      decodePayload(this.#chunk, position - this.#chunkAt, this.#fields, bytes, 0) ||
      payloadFault(view, 0, rawBytes, kind, entries);
    if (fault !== '') {
      this.#add(position, fault);
      this.#complete = false;
      return;
    }
    const payload: Payload = { bytes, view, start: 0, end: rawBytes };
    if (kind === FRAME_DATA) this.#inspectData(position, length, payload, entries, pages);
    else if (this.#complete) pages.page(kind, position, length, payload, entries);
  }

  #inspectData(position: number, length: number, payload: Payload, entries: number, pages: PageCheck): void {
    const { bytes, view, end } = payload;
    let before = this.#last;
    let beforeAt = before?.start ?? 0;
    let at = 0;
    const recordsEnd = end - 4 * (entries + 1);
    for (let i = 0; i < entries; i++) {
      const offset = recordOffsetAt(view, 0, end, entries, i);
      const fault =
        offset === at ? recordFault(bytes, at, recordsEnd) : `record ${i} at ${offset}, not at ${at}`;
      if (fault !== '') {
        this.#add(position, fault);
        this.#complete = false;
        return;
      }
      if (before !== null && compareRecordPlaces(before.view, before.bytes, beforeAt, view, bytes, at) >= 0)
        this.#add(position, `record ${i} does not come after the one before`);
      const flags = flagsAt(view, at);
      const expires = (flags & FLAG_EXPIRING) === 0 ? 0 : expiresMsAt(view, at);
      const tombstone = (flags & FLAG_TOMBSTONE) !== 0;
      this.#statistics.add(tokenHiAt(view, at), tokenLoAt(view, at), versionAt(view, at), tombstone, expires);
      if (this.#complete) pages.record(payload, at, i === 0, position, length);
      before = payload;
      beforeAt = at;
      at += recordBytesAt(view, at);
    }
    this.#last = { bytes, view, start: beforeAt, end };
    if (at !== recordsEnd) this.#add(position, `records end at ${at}, their offsets start at ${recordsEnd}`);
  }

  /** Has [position, position + length) in the chunk; false where the file ends before. */
  #ensure(position: number, length: number): boolean {
    if (position >= this.#chunkAt && position + length <= this.#chunkAt + this.#chunkEnd) return true;
    if (length > this.#chunk.length) {
      this.#chunk = new Uint8Array(length);
      this.#view = new DataView(this.#chunk.buffer);
    }
    const wanted = Math.min(this.#chunk.length, this.#size - position);
    this.#chunkAt = position;
    this.#chunkEnd = this.#file.readSync(this.#chunk, 0, wanted, position);
    this.#onBytes(this.#chunkEnd);
    return this.#chunkEnd >= length;
  }
}
