/**
 * Brings a shard's memtables back from its commit log, when it opens. Owned by the shard's thread. A crash at
 * any step of it leaves what the next start recovers just as well. Invariants:
 *
 * 1. The newest segments go straight into the arenas of slots, all but one, which stays free for writes (and is
 *    used too where there is no room for tables). Older ones, and all up to one that is larger than an arena,
 *    become tables at once, oldest first.
 * 2. Records become visible only when they are durable: the segment that a crash cut short is synced and closed
 *    first, before the next segment exists.
 * 3. With damage in a segment nothing is written any more, neither tables nor log: every whole record of every
 *    segment is kept in memory and served, and the files stay as they are for whoever repairs them.
 */
import { assert } from '../base/assert.ts';
import { CorruptionError, DiskFullError, ResourceError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { versionAt } from '../base/record.ts';
import type { MemtableSetMemory, MemtableWriter } from '../ipc/contract.ts';
import { createMemtableSet } from '../ipc/memtable-layout.ts';
import { SharedMemtableWriter } from '../ipc/memtable-writer.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { type MemtableList, newMemtable } from './memtable-list.ts';
import { segmentOfName, WAL_GROUP_HEADER_BYTES } from './wal-format.ts';
import {
  closeRecovered,
  liveSegments,
  type RecoveredSegment,
  recoverSegment,
  segmentFileBytes,
  segmentPath,
} from './wal-recovery.ts';

export interface RecoveryParts {
  readonly fs: FileSystem;
  readonly directory: string;
  readonly memtables: MemtableList;
  readonly oldestLiveSegment: number;
  /** Writes the records of a slot as a table (none where it is empty) and takes the segment out of the manifest. */
  readonly flush: (memory: MemtableSetMemory, slot: number, segment: number) => Promise<void>;
}

export interface Recovery {
  readonly versionMax: number;
  /** Seq of the last record: seqs of this life go on above it. */
  readonly seq: number;
  readonly nextSegment: number;
  /** The first damage that was found. */
  readonly damage: CorruptionError | null;
  /** Closes the newest segment, if it is still there, where room was lacking; throws DiskFullError again. */
  readonly closeNewest: (() => void) | null;
}

export async function recoverLog(parts: RecoveryParts): Promise<Recovery> {
  return new LogRecovery(parts).run();
}

class LogRecovery {
  readonly #parts: RecoveryParts;
  #versionMax = 0;
  #seq = 0;
  #damage: CorruptionError | null = null;
  #closeNewest: (() => void) | null = null;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  async run(): Promise<Recovery> {
    const numbers = this.#segments();
    const slots = this.#parts.memtables.freeSlots;
    const kept = this.#firstKept(numbers, slots - 1);
    const fitting = this.#firstKept(numbers, slots);
    let full = false;
    for (let i = 0; i < numbers.length; i++) {
      const number = numbers[i] as number;
      const newest = i === numbers.length - 1;
      if (i >= kept || full) this.#intoSlot(number, newest);
      else
        try {
          await this.#aside(number, newest);
        } catch (error) {
          // Without room for a table the last slot is used too: reads are served, writes wait for the flush.
          if (!(error instanceof ResourceError) || i < fitting) throw error;
          full = true;
          this.#intoSlot(number, newest);
        }
    }
    const last = numbers.at(-1) ?? this.#parts.oldestLiveSegment - 1;
    return {
      versionMax: this.#versionMax,
      seq: this.#seq,
      nextSegment: last + 1,
      damage: this.#damage,
      closeNewest: this.#closeNewest,
    };
  }

  #segments(): number[] {
    const { fs, directory, oldestLiveSegment } = this.#parts;
    try {
      return liveSegments(fs, directory, oldestLiveSegment);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      // One is missing: the others are served, and nothing is written.
      this.#damage = error;
      return fs
        .readdir(directory)
        .map(segmentOfName)
        .filter((number) => number >= oldestLiveSegment)
        .sort((a, b) => a - b);
    }
  }

  /** Index of the first segment of those at the end that `slots` slots take. */
  #firstKept(numbers: readonly number[], slots: number): number {
    const { fs, directory, memtables } = this.#parts;
    const { arenaBytes } = memtables.memory.options;
    let first = numbers.length;
    while (first > 0 && numbers.length - first < slots) {
      const bytes = segmentFileBytes(fs, segmentPath(directory, numbers[first - 1] as number));
      if (bytes > arenaBytes) break;
      first--;
    }
    return first;
  }

  /** Recovers a segment into memory of its own, and from there into a table, or keeps it where there is damage. */
  async #aside(number: number, newest: boolean): Promise<void> {
    const { fs, directory, memtables } = this.#parts;
    const size = Math.min(segmentFileBytes(fs, segmentPath(directory, number)), limits.memtableBytesMax);
    const arenaBytes = Math.ceil(Math.max(size, WAL_GROUP_HEADER_BYTES) / 64) * 64;
    const before = this.#seq;
    const memory = createMemtableSet({ ...memtables.memory.options, slots: 2, arenaBytes });
    const writer = new SharedMemtableWriter(memory);
    writer.activate(0);
    const slot = writer.active;
    this.#recover(number, newest, writer, slot);
    writer.freeze();
    if (this.#damage === null)
      try {
        await this.#parts.flush(memory, slot, number);
      } catch (error) {
        this.#seq = before;
        throw error;
      }
    else memtables.archives.unshift({ memory, writer, slot });
  }

  #intoSlot(number: number, newest: boolean): void {
    const { memtables } = this.#parts;
    const { writer } = memtables;
    // A segment without records leaves its slot as it was: the next one takes it.
    if (writer.active < 0) assert(writer.activate(0), 'recovery: no free slot');
    const slot = writer.active;
    const before = this.#seq;
    const { end, versionMin } = this.#recover(number, newest, writer, slot);
    const empty = this.#seq === before;
    const memtable = newMemtable(empty ? -1 : slot, number, before);
    memtable.firstSeq = empty ? 0 : before + 1;
    memtable.versionMin = versionMin;
    memtable.end = end;
    memtable.closed = true;
    if (!empty) writer.freeze();
    if (this.#damage === null || !empty) memtables.add(memtable);
  }

  #recover(
    number: number,
    newest: boolean,
    writer: MemtableWriter,
    slot: number,
  ): { end: number; versionMin: number } {
    const { fs, directory } = this.#parts;
    const path = segmentPath(directory, number);
    let versionMin = Number.POSITIVE_INFINITY;
    const options = { number, newest, bytes: writer.arenaBytes(slot), view: writer.arenaView(slot) };
    const recovered = recoverSegment(fs, path, options, (_bytes, view, offset) => {
      writer.adopt(offset);
      this.#seq++;
      const version = versionAt(view, offset);
      versionMin = Math.min(versionMin, version);
      this.#versionMax = Math.max(this.#versionMax, version);
    });
    this.#damage ??= recovered.damage;
    if (newest && recovered.damage === null) this.#close(path, recovered);
    writer.setDurable(slot, writer.lastSeq(slot));
    return { end: recovered.end, versionMin };
  }

  #close(path: string, recovered: RecoveredSegment): void {
    const { fs } = this.#parts;
    try {
      closeRecovered(fs, path, recovered);
    } catch (error) {
      // Without room for the closing group. What was read is durable: the sync came first.
      if (!(error instanceof DiskFullError)) throw error;
      this.#closeNewest = () => {
        if (fs.exists(path)) closeRecovered(fs, path, recovered);
      };
    }
  }
}
