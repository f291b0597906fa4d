/** What the write path (write-path.ts) works with, and what it hands on to the log. */

import type { RecordCacheWriter } from '../ipc/record-cache-writer.ts';
import type { EngineListener } from './contract.ts';
import type { Memtable, MemtableList } from './memtable-list.ts';
import type { CommitLog } from './wal.ts';

export type SetTimer = (ms: number, fire: () => void) => void;

/** A run of an arena on its way to the log. */
export interface Group {
  readonly memtable: Memtable;
  readonly from: number;
  readonly to: number;
  readonly records: number;
  /** Seq in the slot, and in the engine, of its last record, or of the last one before it. */
  readonly slotSeq: number;
  readonly seq: number;
  readonly closing: boolean;
}

export interface WritePathParts {
  readonly memtables: MemtableList;
  /** What it holds of a key goes before a newer record of the key is appended. */
  readonly recordCache: RecordCacheWriter | null;
  readonly log: CommitLog;
  readonly listener: EngineListener;
  readonly setTimer: SetTimer;
  /** Bytes free on the disk. */
  readonly freeBytes: () => number;
  /** What must succeed before the first segment is opened: closing the one recovered last. */
  readonly prepareLog: () => void;
  /** A memtable is complete and durable. */
  readonly onClosed: () => void;
  /** A full memtable cannot be replaced: DISK_FULL where a flush found no room, else OVERLOADED. */
  readonly refuseWrite: () => number;
  /** Writing has ended for good. */
  readonly onReadOnly: (why: string) => void;
  /** Number of the next segment. */
  readonly nextSegment: number;
  /** Seq of the last record that was recovered. */
  readonly seq: number;
}
