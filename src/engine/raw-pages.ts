/**
 * Pages of all records of one shard in a token range, whatever their state and keyspace: what replicas compare and copy.
 * Owned by the shard's thread; synchronous and bounded. As in scans.ts a page is a state of one moment, and shows
 * durable records only.
 */
import { comparePlace, recordBytesAt, tokenHiAt, tokenLoAt } from '../base/record.ts';
import type { RecordCursor, SeekTarget } from '../ipc/contract.ts';
import type { Ownership, RawPageRequest, RawVisitor } from './contract.ts';
import type { MemtableList } from './memtable-list.ts';
import { MergeCursor } from './merge-cursor.ts';
import { memtableCursors } from './scans.ts';
import type { TableVersion } from './table-set.ts';
import { compareTokens, owns } from './token-range.ts';

/**
 * Visits records from `from` (after it where `exclusive`); true where the range ended, false at a bound. Without a `version`
 * of the tables: what memtables hold.
 */
export function rawPage(
  request: RawPageRequest,
  version: TableVersion | null,
  memtables: MemtableList,
  ownership: Ownership,
  visit: RawVisitor,
): boolean {
  const tables = version?.cursors(request.from) ?? [];
  try {
    return readPage(
      request,
      [...tables, ...memtableCursors(memtables, request.from, request.lastHi)],
      ownership,
      visit,
    );
  } finally {
    for (const cursor of tables) cursor.release();
  }
}

function readPage(
  request: RawPageRequest,
  cursors: readonly RecordCursor[],
  ownership: Ownership,
  visit: RawVisitor,
): boolean {
  const { from, exclusive, lastHi, lastLo, recordsMax, bytesMax } = request;
  const cursor = new MergeCursor(cursors);
  if (exclusive && cursor.valid && isAt(cursor, from)) cursor.next();
  let records = 0;
  let shown = 0;
  for (; cursor.valid; cursor.next()) {
    const { view, bytes, offset } = cursor;
    const hi = tokenHiAt(view, offset);
    if (compareTokens(hi, tokenLoAt(view, offset), lastHi, lastLo) > 0) return true;
    if (!owns(ownership, hi)) continue;
    const size = recordBytesAt(view, offset);
    // A record that is longer than a whole page goes alone.
    if (records >= recordsMax || (records > 0 && shown + size > bytesMax)) return false;
    records++;
    shown += size;
    if (!visit(view, bytes, offset)) return false;
  }
  return true;
}

const isAt = ({ view, bytes, offset }: MergeCursor, place: SeekTarget): boolean =>
  comparePlace(view, bytes, offset, place.tokenHi, place.tokenLo, place.keyspace, place.key) === 0;
