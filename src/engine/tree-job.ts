/**
 * Sums a part of a hash tree (tree-sums.ts): merges tables with the heads of what memtables held over them, as a validation
 * compaction of Cassandra does with a flushed memtable. On a background thread, or in place, in slices; writes nothing.
 * Invariants:
 *
 * 1. The heads were read before the tables were taken. So whatever was durable when the part was begun is in the ones or in the
 *    others, also where a memtable was flushed between.
 * 2. Of a key that both have, the record of the higher version, then origin, counts. Where those are equal the head does: it was
 *    the newest when it was read, and what a table has beside it is the same, older, or came later. (Otherwise the values
 *    decide between such records, and heads have none.)
 */
import { type Clock, hasPassed } from '../base/clock.ts';
import { ClosedError, TimeoutError } from '../base/errors.ts';
import {
  comparePlace,
  compareRecordPlaces,
  headBytesAt,
  originAt,
  placeAt,
  recordBytesAt,
  tokenHiAt,
  versionAt,
} from '../base/record.ts';
import type { RecordCursor, SeekTarget } from '../ipc/contract.ts';
import { StopFlag } from '../ipc/stop-flag.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { JobResult, TreeJob } from './contract.ts';
import { JobPace, NEVER_URGENT } from './job-pace.ts';
import type { JobTools } from './job-tools.ts';
import { MergeCursor } from './merge-cursor.ts';
import { formRuns, RunCursor } from './merge-run.ts';
import { owns } from './token-range.ts';
import type { TreePart, TreeSpec } from './tree-contract.ts';
import { LeafSums } from './tree-sums.ts';

const NO_BYTES = new Uint8Array(0);

/** Rejects with CorruptionError, IoError, TimeoutError or ClosedError. */
export async function runTreeJob(job: TreeJob, fs: FileSystem, tools: JobTools): Promise<JobResult> {
  const { part } = job;
  const runs: RunCursor[] = [];
  try {
    const from = part.after ?? { tokenHi: part.tree.firstHi, tokenLo: 0, keyspace: 0, key: NO_BYTES };
    for (const tablesOfRun of formRuns(job.tables)) {
      const run = new RunCursor(tablesOfRun, (meta) => tools.tables.open(fs, job.directory, meta));
      runs.push(run);
      run.start(from);
    }
    const cursor = new MergeCursor(runs);
    if (part.after !== null && cursor.valid && compareWith(cursor, part.after) === 0) cursor.next();
    return await sum(job, tools, cursor);
  } finally {
    for (const run of runs) run.close();
  }
}

async function sum(job: TreeJob, tools: JobTools, cursor: MergeCursor): Promise<JobResult> {
  const { part, ownership } = job;
  const pace = new JobPace(job.stop, tools, 0, NEVER_URGENT);
  const leaves = new LeafSums(part.tree);
  const heads = new HeadCursor(part.heads);
  let bytesRead = 0;
  let recordsRead = 0;
  let next = part.to;
  pace.check();
  checkWanted(part.tree, tools.clock);
  for (;;) {
    const isInTables = cursor.valid && isWithin(cursor, part);
    if (!isInTables && !heads.valid) break;
    const order = !heads.valid ? -1 : isInTables ? comparePlaces(cursor, heads) : 1;
    const newest = order < 0 || (order === 0 && isLater(cursor, heads)) ? cursor : heads;
    const { view, bytes, offset } = newest;
    if (owns(ownership, tokenHiAt(view, offset))) leaves.add(view, bytes, offset);
    recordsRead++;
    const size = order > 0 ? headBytesAt(view, offset) : recordBytesAt(cursor.view, cursor.offset);
    if (order <= 0) {
      bytesRead += size;
      if (bytesRead >= part.bytesMax) {
        next = placeAt(view, bytes, offset);
        break;
      }
      cursor.next();
    }
    if (order >= 0) heads.next();
    if (!pace.spend(size)) continue;
    await pace.turn(0);
    checkWanted(part.tree, tools.clock);
  }
  const { sums, records } = leaves;
  const tree = { sums, records, next };
  return { tables: [], bytesRead, bytesWritten: 0, recordsRead, recordsWritten: 0, damage: [], tree };
}

function checkWanted({ cancel, deadlineMs }: TreeSpec, clock: Clock): void {
  if (new StopFlag(cancel).raised) throw new ClosedError('nobody waits for the tree any more');
  if (hasPassed(deadlineMs, clock.monotonicMs()))
    throw new TimeoutError('the tree was not built by its deadline');
}

function isWithin(cursor: RecordCursor, { tree, to }: TreePart): boolean {
  return (
    tokenHiAt(cursor.view, cursor.offset) <= tree.lastHi && (to === null || compareWith(cursor, to) <= 0)
  );
}

const compareWith = ({ view, bytes, offset }: RecordCursor, place: SeekTarget): number =>
  comparePlace(view, bytes, offset, place.tokenHi, place.tokenLo, place.keyspace, place.key);

const comparePlaces = (a: RecordCursor, b: RecordCursor): number =>
  compareRecordPlaces(a.view, a.bytes, a.offset, b.view, b.bytes, b.offset);

function isLater(a: RecordCursor, b: RecordCursor): boolean {
  const age = versionAt(a.view, a.offset) - versionAt(b.view, b.offset);
  return age > 0 || (age === 0 && originAt(a.view, a.offset) > originAt(b.view, b.offset));
}

/** Steps through records that stand one behind another. */
class HeadCursor implements RecordCursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  offset = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  get valid(): boolean {
    return this.offset < this.bytes.length;
  }
  next(): void {
    this.offset += recordBytesAt(this.view, this.offset);
  }
}
