/**
 * Scan pages of one shard: memtables and tables merged, dead and foreign records left out. Owned by the shard's
 * thread; synchronous, and bounded by the records that it looks at. Invariants:
 *
 * 1. A page is a state of one moment: nothing else runs on the thread while it is read.
 * 2. Only durable records are shown, so a page never rests on a write that could still be lost.
 * 3. The end of a page is the place of the last record looked at, shown or not: the next page goes on after it,
 *    and pages with nothing to show still get on.
 */
import {
  comparePlace,
  isDeadAt,
  keyLengthAt,
  keyStartAt,
  keyspaceAt,
  recordBytesAt,
  tokenHiAt,
  tokenLoAt,
} from '../base/record.ts';
import type { RecordCursor, SeekTarget } from '../ipc/contract.ts';
import { MemtableCursor } from '../ipc/memtable-cursor.ts';
import { SEQ_ALL } from '../ipc/memtable-layout.ts';
import type { Ownership, ScanEnd, ScanRequest, ScanVisitor } from './contract.ts';
import type { MemtableList } from './memtable-list.ts';
import { MergeCursor } from './merge-cursor.ts';
import type { TableVersion } from './table-set.ts';
import { owns } from './token-range.ts';

const TOKEN_HALF_MAX = 0xffff_ffff;

/** Cursors over every memtable, of what is durable; they may end behind the tokens of `lastHi`. */
export function memtableCursors(
  memtables: MemtableList,
  from: SeekTarget | null,
  lastHi?: number,
): RecordCursor[] {
  const { memory, writer } = memtables;
  const cursors: RecordCursor[] = memtables.items
    .filter(({ slot }) => slot >= 0)
    .map(({ slot }) => new MemtableCursor(memory, slot, from, writer.durableSeq(slot), lastHi));
  for (const archive of memtables.archives)
    cursors.push(new MemtableCursor(archive.memory, archive.slot, from, SEQ_ALL, lastHi));
  return cursors;
}

/** One page of `request` over `version`, and over the memtables where they are given. */
export function scanPage(
  request: ScanRequest,
  version: TableVersion,
  memtables: MemtableList | null,
  ownership: Ownership,
  nowMs: number,
  visit: ScanVisitor,
): ScanEnd {
  const cursors = version.cursors(request.from);
  try {
    return readPage(request, cursors, memtables, ownership, nowMs, visit);
  } finally {
    for (const cursor of cursors) cursor.release();
  }
}

function readPage(
  request: ScanRequest,
  tables: readonly RecordCursor[],
  memtables: MemtableList | null,
  ownership: Ownership,
  nowMs: number,
  visit: ScanVisitor,
): ScanEnd {
  const { from } = request;
  const cursor = new MergeCursor(
    memtables === null ? tables : [...tables, ...memtableCursors(memtables, from)],
  );
  if (request.exclusive && cursor.valid && isAt(cursor, from)) cursor.next();
  const place = new LastPlace(from);
  let shown = 0;
  let shownBytes = 0;
  for (let examined = 0; cursor.valid; cursor.next(), examined++) {
    if (examined >= request.examinedMax || shown >= request.limit) return place.end(false);
    const { view, bytes, offset } = cursor;
    if (isShown(cursor, request, ownership, nowMs)) {
      const size = recordBytesAt(view, offset);
      // A record that is longer than a whole page goes alone, or the scan would never get past it.
      if (shown > 0 && shownBytes + size > request.bytesMax) return place.end(false);
      visit(view, bytes, offset);
      shown++;
      shownBytes += size;
    }
    if (!place.set(cursor, request.keyspace)) break;
  }
  return place.end(true);
}

function isShown(cursor: RecordCursor, request: ScanRequest, ownership: Ownership, nowMs: number): boolean {
  const { view, bytes, offset } = cursor;
  if (keyspaceAt(view, offset) !== request.keyspace || isDeadAt(view, offset, nowMs)) return false;
  if (!owns(ownership, tokenHiAt(view, offset))) return false;
  const { prefix } = request;
  if (keyLengthAt(view, offset) < prefix.length) return false;
  const start = keyStartAt(offset);
  for (let i = 0; i < prefix.length; i++) if (bytes[start + i] !== prefix[i]) return false;
  return true;
}

const isAt = ({ view, bytes, offset }: RecordCursor, place: SeekTarget): boolean =>
  comparePlace(view, bytes, offset, place.tokenHi, place.tokenLo, place.keyspace, place.key) === 0;

/**
 * The place of the last record looked at. A ScanEnd has no keyspace, the scan's own is meant; so the place of
 * a record of another one is told by an empty key, which no record has: before all of its token, or before
 * all of the next one.
 */
class LastPlace {
  #hi: number;
  #lo: number;
  #key: Uint8Array;
  #keyLength: number;

  constructor(from: SeekTarget) {
    this.#hi = from.tokenHi;
    this.#lo = from.tokenLo;
    this.#key = new Uint8Array(from.key);
    this.#keyLength = from.key.length;
  }

  /** False where nothing can follow. */
  set({ view, bytes, offset }: RecordCursor, keyspace: number): boolean {
    this.#hi = tokenHiAt(view, offset);
    this.#lo = tokenLoAt(view, offset);
    const space = keyspaceAt(view, offset);
    if (space !== keyspace) {
      this.#keyLength = 0;
      return space < keyspace || this.#nextToken();
    }
    const length = keyLengthAt(view, offset);
    if (length > this.#key.length) this.#key = new Uint8Array(2 * length);
    const start = keyStartAt(offset);
    for (let i = 0; i < length; i++) this.#key[i] = bytes[start + i] as number;
    this.#keyLength = length;
    return true;
  }

  #nextToken(): boolean {
    if (this.#lo < TOKEN_HALF_MAX) this.#lo++;
    else if (this.#hi < TOKEN_HALF_MAX) {
      this.#hi++;
      this.#lo = 0;
    } else return false;
    return true;
  }

  end(done: boolean): ScanEnd {
    return { done, tokenHi: this.#hi, tokenLo: this.#lo, key: this.#key.slice(0, this.#keyLength) };
  }
}
