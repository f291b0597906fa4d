/**
 * From a record to a durable record: log buffer and memtable are one arena, a group of the commit log is a
 * run of it. Owned by the shard's thread. Invariants:
 *
 * 1. Groups leave in order: what was cut (too large, or the end of a full memtable) before what collects.
 *    Records go on into the next memtable while the segment before is still being written and closed.
 * 2. A record becomes visible to readers (`setDurable`) only after its group is as durable as the mode promises,
 *    and before its caller hears of it.
 * 3. Records of a group that found no room, and all after them, are taken back: they were never visible, never
 *    become visible, and are not in the log. Their callers were told of a failure (`onWriteFailure`).
 * 4. With a full disk nothing is written but by the probe, which looks for room at intervals. After an I/O error
 *    of log or manifest nothing is written any more.
 * 5. In the active segment there is always room left for a closing group.
 */
import { assert } from '../base/assert.ts';
import { DiskFullError, RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { type RecordFields, recordBytes } from '../base/record.ts';
import { Status } from '../base/status.ts';
import { type Memtable, type MemtableList, newMemtable } from './memtable-list.ts';
import type { CommitLog } from './wal.ts';
import { WAL_GROUP_HEADER_BYTES } from './wal-format.ts';
import type { Group, WritePathParts } from './write-path-parts.ts';

export class WritePath {
  readonly #parts: WritePathParts;
  readonly #memtables: MemtableList;
  readonly #log: CommitLog;
  #logReady = false;
  #nextSegment: number;
  /** The memtable that takes writes, null before the first and after the last. */
  #active: Memtable | null = null;
  #seq = 0;
  #appendedBytes = 0;
  #durableSeq = 0;

  /** Where the header of the collecting group stands; -1 where nothing collects. */
  #from = -1;
  #records = 0;
  #commitDue = false;
  readonly #cut: Group[] = [];
  #flight: Group | null = null;

  /** Why `append` refuses, 0 where it does not. */
  #refusal = 0;
  #reason = '';
  #held = '';
  #full = false;
  /** Not told yet: appends were lost to it. */
  #failure: Error | null = null;
  #holdsFailure = false;
  #markTimer = false;
  #markedEnd = 0;
  #ending: (() => void) | null = null;
  readonly #onGroup = (error: Error | null): void => this.#groupDone(error);

  constructor(parts: WritePathParts) {
    this.#parts = parts;
    this.#memtables = parts.memtables;
    this.#log = parts.log;
    this.#nextSegment = parts.nextSegment;
    this.#seq = parts.seq;
    this.#durableSeq = parts.seq;
  }

  get durableSeq(): number {
    return this.#durableSeq;
  }
  /** Keys and values that `append` took. */
  get appendedBytes(): number {
    return this.#appendedBytes;
  }
  get lastSeq(): number {
    return this.#seq;
  }
  /** Why writes are refused, '' where they are not. */
  get refused(): string {
    return this.#reason === '' ? this.#held : this.#reason;
  }
  get active(): Memtable | null {
    return this.#active;
  }
  get readOnly(): boolean {
    return this.#refusal === Status.READ_ONLY;
  }
  get full(): boolean {
    return this.#full;
  }

  /** Takes a free slot for writes, if there is one. Its segment is opened with the first group. */
  start(): void {
    if (this.#memtables.freeSlots > 0) this.#activate();
  }
  /** Refuses writes with OVERLOADED for as long as `why` is not ''. */
  hold(why: string): void {
    if (why === this.#held) return;
    if (why !== '' && this.#held === '') this.#parts.listener.onEvent('warn', `writes are refused: ${why}`);
    if (why === '') this.#parts.listener.onEvent('info', 'compaction has caught up: writes are taken');
    this.#held = why;
  }

  /** As ShardEngine.append. */
  append(record: RecordFields, also: RecordFields | null): number {
    if (this.#refusal !== 0) return -this.#refusal;
    if (this.#held !== '') return -Status.OVERLOADED;
    let size = recordBytes(record.key.length, record.value.length);
    if (also !== null) size += recordBytes(also.key.length, also.value.length);
    const { writer } = this.#memtables;
    if (this.#from >= 0 && writer.head - this.#from >= limits.walGroupBytesMax) this.#cutGroup(false);
    if (!writer.fits(size, this.#overhead())) {
      const status = this.#rotateFor(size);
      if (status !== 0) return -status;
      // Closing the full one may have shown at once that the disk is full.
      if (this.#refusal !== 0) return -this.#refusal;
    }
    const memtable = this.#active;
    assert(memtable !== null, 'append: no memtable takes writes');
    if (this.#from < 0) {
      this.#from = writer.skip(WAL_GROUP_HEADER_BYTES);
      this.#records = 0;
    }
    this.#put(memtable, record);
    if (also !== null) this.#put(memtable, also);
    return this.#seq;
  }

  #put(memtable: Memtable, record: RecordFields): void {
    // Before anybody can hear of the new one; what a rollback takes back is read from the tables again.
    this.#parts.recordCache?.remove(record.tokenHi, record.tokenLo);
    this.#seq = memtable.base + this.#memtables.writer.append(record);
    if (memtable.firstSeq === 0) memtable.firstSeq = this.#seq;
    if (record.version < memtable.versionMin) memtable.versionMin = record.version;
    this.#records++;
    this.#appendedBytes += record.key.length + record.value.length;
  }

  /** Room beside the record's own: its group's header, and a closing group after it. */
  #overhead(): number {
    return this.#from < 0 ? 2 * WAL_GROUP_HEADER_BYTES : WAL_GROUP_HEADER_BYTES;
  }

  commit(): void {
    this.#commitDue = true;
    this.#pump();
  }

  /** Makes room for `size` bytes by a new memtable: 0, or the status to refuse with. */
  #rotateFor(size: number): number {
    if (size + 2 * WAL_GROUP_HEADER_BYTES > this.#memtables.memory.options.arenaBytes)
      return Status.VALUE_TOO_LARGE;
    if (!this.rotate()) return this.#parts.refuseWrite();
    return this.#memtables.writer.fits(size, this.#overhead()) ? 0 : Status.VALUE_TOO_LARGE;
  }

  /** Closes the active memtable behind its last record, if it has any, and starts the next. False where no slot is free. */
  rotate(): boolean {
    if (this.#active !== null && this.#memtables.writer.lastSeq(this.#active.slot) === 0) return true;
    if (this.#memtables.freeSlots === 0) return false;
    this.#freeze();
    this.#activate();
    this.#pump();
    return true;
  }

  #activate(): void {
    const { writer } = this.#memtables;
    // Recovery leaves a slot active that took no record.
    if (writer.active < 0) assert(this.#memtables.activate(), 'write path: no free slot');
    this.#active = newMemtable(writer.active, this.#nextSegment++, this.#seq);
    this.#memtables.add(this.#active);
  }

  #freeze(): void {
    if (this.#active === null) return;
    this.#cutGroup(true);
    this.#memtables.writer.freeze();
    this.#active = null;
  }

  /** Ends the collecting group. A closing one may be empty. */
  #cutGroup(closing: boolean): void {
    const memtable = this.#active;
    assert(memtable !== null, 'write path: no memtable takes writes');
    const { writer } = this.#memtables;
    const empty = this.#from < 0;
    const from = empty ? writer.head : this.#from;
    const to = empty ? from + WAL_GROUP_HEADER_BYTES : writer.head;
    const slotSeq = writer.lastSeq(memtable.slot);
    const records = empty ? 0 : this.#records;
    this.#cut.push({ memtable, from, to, records, slotSeq, seq: this.#seq, closing });
    this.#from = -1;
    this.#records = 0;
  }

  /** Starts the next group, if none is in flight and one is due. */
  #pump(): void {
    if (this.#flight !== null || this.#log.busy || this.#full || this.#log.failed !== null) return;
    if (this.#cut.length === 0) {
      if (!this.#commitDue || this.#from < 0) {
        this.#idle();
        return;
      }
      this.#cutGroup(false);
    }
    if (this.#cut.length === 1 && this.#from < 0) this.#commitDue = false;
    const group = this.#cut[0] as Group;
    if (!this.#openFor(group.memtable)) return;
    this.#cut.shift();
    this.#flight = group;
    const bytes = this.#memtables.writer.arenaBytes(group.memtable.slot);
    const view = this.#memtables.writer.arenaView(group.memtable.slot);
    if (group.closing)
      this.#log.closeSegment(bytes, view, group.from, group.to, group.records, this.#onGroup);
    else this.#log.writeGroup(bytes, view, group.from, group.to, group.records, this.#onGroup);
  }

  /** Opens the segment of `memtable` where it is not open yet. */
  #openFor(memtable: Memtable): boolean {
    if (this.#log.segment === memtable.segment) return true;
    try {
      if (!this.#logReady) this.#parts.prepareLog();
      this.#logReady = true;
      this.#log.openSegment(memtable.segment);
    } catch (error) {
      if (!(error instanceof RingKvError)) throw error;
      this.#failed(error);
      return false;
    }
    this.#markedEnd = 0;
    // Segments go round: once there are as many as memtables, each that retires is the spare of the next.
    const segments = this.#memtables.items.length + this.#log.spares;
    if (segments >= this.#memtables.memory.options.slots) return true;
    this.#log.prepareSpare((error) => {
      if (error !== null)
        this.#parts.listener.onEvent('warn', `no spare log segment was prepared: ${error.message}`);
    });
    return true;
  }

  #groupDone(error: Error | null): void {
    const group = this.#flight;
    assert(group !== null, 'write path: a group came back that was not in flight');
    this.#flight = null;
    if (error !== null) {
      this.#failed(error);
      return;
    }
    this.#memtables.writer.setDurable(group.memtable.slot, group.slotSeq);
    group.memtable.end = group.to;
    if (group.records > 0) this.#durableSeq = group.seq;
    if (group.closing) group.memtable.closed = true;
    // The disk first, then the callers; but they hear of this group before they hear that the next one failed.
    this.#holdsFailure = true;
    this.#pump();
    this.#holdsFailure = false;
    if (group.records > 0) this.#parts.listener.onDurable(group.seq);
    this.#tellFailure();
    if (group.closing) this.#parts.onClosed();
  }

  /** A failed write of the log: no room, or the end. */
  #failed(error: Error): void {
    const full = error instanceof DiskFullError && this.#log.failed === null;
    const lost = this.#takeBack();
    if (full) {
      if (this.#refusal === 0) this.#refuse(Status.DISK_FULL, error.message);
      this.#full = true;
      this.#parts.setTimer(limits.diskFullProbeMs, () => this.#probe());
    } else this.#refuse(Status.READ_ONLY, error.message);
    if (lost) this.#failure = error;
    if (!this.#holdsFailure) this.#tellFailure();
    this.#endIfDrained();
  }

  #tellFailure(): void {
    const error = this.#failure;
    if (error === null) return;
    this.#failure = null;
    const full = error instanceof DiskFullError && this.#log.failed === null;
    this.#parts.listener.onWriteFailure(full ? Status.DISK_FULL : Status.READ_ONLY, error);
  }

  /** Takes back every record that is not durable; whether there were any. */
  #takeBack(): boolean {
    const lost = this.#seq > this.#durableSeq;
    this.#cut.length = 0;
    this.#from = -1;
    this.#records = 0;
    this.#commitDue = false;
    const seq = this.#seq;
    for (const memtable of this.#memtables.items) {
      if (memtable.closed) continue;
      const from = memtable.segment === this.#log.segment ? this.#log.end : 0;
      const slotSeq = this.#memtables.takeBack(memtable, from, seq);
      if (memtable === this.#active) continue;
      // A full memtable still waits for the group that closes its segment.
      const to = from + WAL_GROUP_HEADER_BYTES;
      this.#cut.push({ memtable, from, to, records: 0, slotSeq, seq, closing: true });
    }
    return lost;
  }

  #refuse(status: number, why: string): void {
    if (this.#refusal === Status.READ_ONLY || this.#refusal === Status.SHARD_DOWN) return;
    this.#refusal = status;
    this.#reason = why;
    const words = status === Status.READ_ONLY ? 'the shard takes no more writes' : 'writes are refused';
    this.#parts.listener.onEvent('error', `${words}: ${why}`);
    if (status === Status.READ_ONLY) this.#parts.onReadOnly(why);
  }

  /** Ends writing for good: log, manifest or a recovered segment is damaged. What was appended is still committed where it can be. */
  makeReadOnly(why: string): void {
    this.#refuse(Status.READ_ONLY, why);
  }
  /** A background sync failed, or the like: `log.failed` is set. */
  logFailed(error: Error): void {
    if (this.#flight === null) this.#failed(error);
  }

  #probe(): void {
    if (!this.#full) return;
    let free = 0;
    try {
      free = this.#parts.freeBytes();
    } catch (error) {
      if (!(error instanceof RingKvError)) throw error;
      this.#parts.listener.onEvent('warn', `cannot tell how much room the disk has: ${error.message}`);
    }
    if (free < limits.diskFullRoomBytes && this.#ending === null) {
      this.#parts.setTimer(limits.diskFullProbeMs, () => this.#probe());
      return;
    }
    this.#full = false;
    this.#pump();
    if (this.#full || this.#refusal !== Status.DISK_FULL) return;
    this.#refusal = 0;
    this.#reason = '';
    this.#parts.listener.onEvent('info', 'there is room on the disk again: writes are taken');
  }

  /** Nothing to write: sees to the idle marker, in time. */
  #idle(): void {
    this.#endIfDrained();
    if (this.#markTimer || this.#log.segment === 0 || this.#log.end === this.#markedEnd) return;
    this.#markTimer = true;
    const seen = this.#log.end;
    this.#parts.setTimer(limits.walIdleMarkMs, () => this.#mark(seen));
  }

  #mark(seen: number): void {
    this.#markTimer = false;
    const memtable = this.#active;
    if (this.#flight !== null || memtable === null || this.#from >= 0 || this.#full) return;
    if (this.#refusal !== 0 || this.#log.segment !== memtable.segment) return;
    if (!this.#log.markDue || this.#log.end !== seen) {
      this.#idle();
      return;
    }
    const { writer } = this.#memtables;
    if (!writer.fits(0, 2 * WAL_GROUP_HEADER_BYTES)) return;
    const from = writer.skip(WAL_GROUP_HEADER_BYTES);
    const to = writer.head;
    const slotSeq = writer.lastSeq(memtable.slot);
    this.#markedEnd = to;
    this.#flight = { memtable, from, to, records: 0, slotSeq, seq: this.#seq, closing: false };
    this.#log.markIdle(
      writer.arenaBytes(memtable.slot),
      writer.arenaView(memtable.slot),
      from,
      this.#onGroup,
    );
  }

  /** Takes no more writes, commits and closes what there is. Resolves when the log has nothing more to do. */
  end(): Promise<void> {
    if (this.#refusal !== Status.READ_ONLY) this.#refusal = Status.SHARD_DOWN;
    return new Promise((resolve) => {
      this.#ending = resolve;
      // A closing group without records, so that damage in the last one with records shows (wal-format.ts).
      if (this.#from >= 0) this.#cutGroup(false);
      if (this.#log.failed === null) this.#freeze();
      if (this.#full) this.#probe();
      else this.#pump();
      this.#endIfDrained();
    });
  }

  #endIfDrained(): void {
    if (this.#ending === null || this.#flight !== null || this.#log.busy) return;
    // Without room, or after a failure, the rest is not durable, and its callers know.
    if (this.#cut.length > 0 && !this.#full && this.#log.failed === null) return;
    const ended = this.#ending;
    this.#ending = null;
    ended();
  }
}
