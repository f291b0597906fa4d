/**
 * The commit log of one shard, owned by the shard's thread. Its segments are images of the memtable arenas
 * (wal-format.ts): a group commit is one positional write from the arena and one fdatasync, and while it is
 * in flight the engine collects the next group behind it. Invariants:
 *
 * 1. At most one group is in flight. Groups follow each other in the segment without gaps.
 * 2. `done(null)` follows only after what the mode promises: `always` the group is durable, `interval` and
 *    `os` it is with the operating system. The segment's name was durable before its first group.
 * 3. A segment is closed, and durable in every mode, before the next one is opened. So all segments but the
 *    newest are complete on disk, and a power cut loses a suffix of the log, never a middle.
 * 4. After a failed sync, or a failed write other than for lack of room, nothing is written any more: the
 *    kernel may have dropped the pages and said so once (Rebello et al., Can Applications Recover from
 *    fsync Failures?, ATC 2020). `failed` says why.
 * 5. A group that found no room is as if never written: its bytes are cut off, and a group may be written
 *    at the same offset again.
 */
import { assert } from '../base/assert.ts';
import { ClosedError, DiskFullError, IoError } from '../base/errors.ts';
import { Random, systemSeed } from '../base/random.ts';
import type { File, IoCallback } from '../vfs/file-system.ts';
import { GROUP_CLOSING, type GroupFields, sealGroup, WAL_GROUP_HEADER_BYTES } from './wal-format.ts';
import { attempted, type CommitLogOptions, type LogCallback, setUnreferencedTimer } from './wal-options.ts';
import { GroupPace } from './wal-pace.ts';
import { segmentPath } from './wal-recovery.ts';
import { type SpareCallback, SpareSegments } from './wal-spares.ts';

const PHASE_IDLE = 0;
/** A closing group waits for a sync of what stands before it, so that its watermark covers it. */
const PHASE_SYNC_FIRST = 1;
const PHASE_WRITE = 2;
const PHASE_SYNC = 3;

export class CommitLog {
  readonly #options: CommitLogOptions;
  readonly #spares: SpareSegments;
  readonly #random: Random;
  readonly #pace: GroupPace;
  #failed: Error | null = null;
  #closed = false;

  #file: File | null = null;
  /** Number of the open segment, or of the last one; 0 before the first. */
  #segment = 0;
  readonly #fields: GroupFields = { segment: 0, group: 0, records: 0, watermark: 0, salt: 0, flags: 0 };
  #groups = 0;
  /** Groups end here; the next one starts here. */
  #written = 0;
  /** What lies below is durable. */
  #durable = 0;
  #marked = true;
  #bytesWritten = 0;

  #phase = PHASE_IDLE;
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  #from = 0;
  #to = 0;
  #done: LogCallback | null = null;
  #syncing = false;
  /** Whether the group in flight is written and synced on this thread. */
  #inline = false;
  #syncingTo = 0;
  #timerSet = false;
  #unsyncedSinceMs = 0;
  #closeDone: LogCallback | null = null;
  readonly #onWritten: IoCallback = (error) => this.#groupWritten(error);
  readonly #onSynced: IoCallback = (error) => this.#synced(error);
  readonly #onTimer = (): void => this.#timerFired();

  /** Takes over the spare segments in the directory, which exists. */
  constructor(options: CommitLogOptions) {
    assert(options.segmentBytes % 8 === 0, 'CommitLog: segmentBytes is not a multiple of 8');
    this.#options = options;
    this.#random = options.random ?? new Random(systemSeed());
    this.#pace = new GroupPace(options.clock, options.inlineUsMax ?? 0, options.processorWaitUs ?? (() => 0));
    this.#spares = new SpareSegments(options.fs, options.directory, options.segmentBytes);
  }

  /** A group is in flight. */
  get busy(): boolean {
    return this.#phase !== PHASE_IDLE;
  }
  /** Why the log takes no more writes, or null. */
  get failed(): Error | null {
    return this.#failed;
  }
  /** Number of the open segment, 0 where none is. */
  get segment(): number {
    return this.#file === null ? 0 : this.#segment;
  }
  /** End of the written groups in the open segment: where the next group must start. */
  get end(): number {
    return this.#written;
  }
  /** Of groups, over all segments. */
  get bytesWritten(): number {
    return this.#bytesWritten;
  }
  /** End of what is durable in the open segment. */
  get durableEnd(): number {
    return this.#durable;
  }
  /** All is durable, and the last group has no later one to tell damage in it from a torn tail: see `markIdle`. */
  get markDue(): boolean {
    return (
      this.#file !== null &&
      this.#failed === null &&
      !this.busy &&
      !this.#marked &&
      this.#durable === this.#written
    );
  }

  /**
   * Opens segment `number`, one above the last: a spare under a new name, or a new file. The first one after
   * a start lies above every segment found and not below the manifest's oldest live one: a number is never
   * used twice. The name is durable on return. Throws DiskFullError or IoError with no file left behind, and
   * may be called again; only a failed sync of the directory is final.
   */
  openSegment(number: number): void {
    if (this.#failed !== null) throw this.#failed;
    if (this.#closed) throw new ClosedError('the commit log is closed');
    assert(this.#file === null && !this.busy, 'openSegment: the segment before is not closed');
    assert(
      number > 0 && (this.#segment === 0 || number === this.#segment + 1),
      () => `openSegment: segment ${number} does not follow ${this.#segment}`,
    );
    this.#file = this.#makeSegmentFile(segmentPath(this.#options.directory, number));
    this.#segment = number;
    this.#fields.segment = number;
    this.#fields.salt = this.#random.uint32();
    this.#groups = 0;
    this.#written = 0;
    this.#durable = 0;
    this.#marked = true;
  }

  /**
   * Seals and writes the group in bytes[from, to): 64 bytes for its header, then `records` whole records.
   * The bytes stay as they are until `done`. Offsets in `bytes` are offsets in the segment, and room for a
   * closing group stays behind `to`. `done` gets null after what the mode promises, a DiskFullError where
   * nothing was written and a group may be written at `from` again, or the error that ended the log.
   */
  writeGroup(
    bytes: Uint8Array,
    view: DataView,
    from: number,
    to: number,
    records: number,
    done: LogCallback,
  ): void {
    assert(
      to + WAL_GROUP_HEADER_BYTES <= this.#options.segmentBytes,
      () => `writeGroup: a group to ${to} leaves no room to close ${this.#options.segmentBytes} bytes`,
    );
    this.#fields.flags = 0;
    this.#start(bytes, view, from, to, records, done);
  }

  /**
   * Writes a marker at `at`, where `markDue` says so: an empty group, so that damage in the last group is
   * told apart from a torn tail. Takes the 64 bytes from `at` on.
   */
  markIdle(bytes: Uint8Array, view: DataView, at: number, done: LogCallback): void {
    this.writeGroup(bytes, view, at, at + WAL_GROUP_HEADER_BYTES, 0, done);
  }

  /**
   * Like `writeGroup` for the last group of the segment, with records or (to = from + 64) without: durable
   * in every mode when `done` gets null, and the segment's file is closed then.
   */
  closeSegment(
    bytes: Uint8Array,
    view: DataView,
    from: number,
    to: number,
    records: number,
    done: LogCallback,
  ): void {
    assert(to <= this.#options.segmentBytes, 'closeSegment: beyond the end of the segment');
    this.#fields.flags = GROUP_CLOSING;
    this.#start(bytes, view, from, to, records, done);
  }

  /**
   * Deletes the file of a closed segment or keeps it as a spare. The caller's duty: all of its records stand in
   * tables that the manifest names, and the manifest no longer needs the segment. Throws IoError; the
   * file then stays, and does no harm.
   */
  retire(number: number): void {
    assert(number > 0 && (this.#file === null || number !== this.#segment), 'retire: the segment is open');
    this.#spares.recycle(segmentPath(this.#options.directory, number));
  }

  /** Preallocates a spare segment in the background, where none is ready. Without one, segments grow as they are written. */
  prepareSpare(done: SpareCallback = () => undefined): void {
    if (this.#closed || this.#failed !== null) return;
    this.#spares.prepare(done);
  }
  get spares(): number {
    return this.#spares.ready;
  }

  /**
   * Ends the log: waits for what is in flight, syncs what is not durable in any mode, closes the file.
   * A clean shutdown calls `closeSegment` before. `done` gets the error that ended the log, if one did.
   */
  close(done: LogCallback): void {
    assert(!this.#closed, 'close: the log is closed');
    this.#closed = true;
    this.#spares.stop(() => {
      this.#closeDone = done;
      this.#closeFile();
    });
  }

  #makeSegmentFile(path: string): File {
    const { fs, directory } = this.#options;
    let file: File | null = null;
    let named = false;
    try {
      named = this.#spares.renameTo(path);
      file = fs.open(path, named ? 'write' : 'create');
      named = true;
      fs.syncDirectory(directory);
      return file;
    } catch (error) {
      if (file !== null && !(error instanceof DiskFullError)) this.#failed = error as Error;
      file?.close();
      if (named) fs.unlink(path);
      throw error;
    }
  }

  #start(
    bytes: Uint8Array,
    view: DataView,
    from: number,
    to: number,
    records: number,
    done: LogCallback,
  ): void {
    assert(!this.busy, 'CommitLog: a group is in flight');
    const refusal = this.#failed ?? (this.#closed ? new ClosedError('the commit log is closed') : null);
    if (refusal !== null) {
      queueMicrotask(() => done(refusal));
      return;
    }
    assert(from === this.#written, () => `CommitLog: a group at ${from}, the log ends at ${this.#written}`);
    assert(
      to >= from + WAL_GROUP_HEADER_BYTES && to % 8 === 0,
      () => `CommitLog: a group of ${to - from} bytes is not aligned`,
    );
    assert(this.#file !== null, 'CommitLog: no segment is open');
    this.#bytes = bytes;
    this.#view = view;
    this.#from = from;
    this.#to = to;
    this.#fields.records = records;
    this.#done = done;
    if (this.#closing && this.#durable < this.#written) {
      this.#phase = PHASE_SYNC_FIRST;
      this.#sync();
    } else this.#write();
  }

  get #closing(): boolean {
    return (this.#fields.flags & GROUP_CLOSING) !== 0;
  }

  #write(): void {
    assert(this.#file !== null, 'CommitLog: no segment is open');
    this.#phase = PHASE_WRITE;
    this.#fields.group = this.#groups + 1;
    this.#fields.watermark = this.#durable;
    sealGroup(this.#bytes, this.#view, this.#from, this.#to, this.#fields);
    const length = this.#to - this.#from;
    this.#inline = this.#pace.start() && !this.#syncing;
    if (!this.#inline) {
      this.#file.write(this.#bytes, this.#from, length, this.#from, this.#onWritten);
      return;
    }
    const file = this.#file;
    const failure = attempted(() => file.writeSync(this.#bytes, this.#from, length, this.#from));
    // The caller hears of it after its call has returned, as ever.
    (this.#options.defer ?? queueMicrotask)(() => this.#groupWritten(failure));
  }

  #groupWritten(error: Error | null): void {
    if (error instanceof DiskFullError) this.#cutBack();
    else if (error !== null) this.#failed ??= error;
    const refusal = this.#failed ?? error;
    if (refusal !== null) {
      this.#finish(refusal);
      return;
    }
    this.#bytesWritten += this.#to - this.#from;
    this.#written = this.#to;
    this.#groups++;
    this.#marked = this.#fields.records === 0;
    if (this.#closing || this.#options.durability === 'always') {
      this.#phase = PHASE_SYNC;
      this.#sync();
    } else {
      this.#scheduleSync();
      this.#finish(null);
    }
  }

  /** Removes what a write left behind that found no room, so that no part of it lines up with later groups. */
  #cutBack(): void {
    try {
      this.#file?.truncate(this.#from);
    } catch (error) {
      this.#failed ??= error as Error;
    }
  }

  /** Starts a sync of all that is written. One at a time: the end of one starts the next where it is needed. */
  #sync(): void {
    if (this.#syncing) return;
    assert(this.#file !== null, 'CommitLog: no segment is open');
    this.#syncing = true;
    this.#syncingTo = this.#written;
    const file = this.#file;
    if (this.#inline) this.#synced(attempted(() => file.syncSync()));
    else file.sync(this.#onSynced);
  }

  #synced(error: Error | null): void {
    this.#syncing = false;
    if (error !== null) this.#syncFailed(error);
    else this.#durable = this.#syncingTo;
    if (this.#phase === PHASE_WRITE) return;
    if (this.#phase === PHASE_IDLE) {
      if (this.#closeDone !== null) this.#closeFile();
      else this.#scheduleSync();
    } else if (this.#failed !== null) this.#finish(this.#failed);
    // A background sync that started before the group was written does not count for the group.
    else if (this.#durable < this.#written) this.#sync();
    else if (this.#phase === PHASE_SYNC_FIRST) this.#write();
    else this.#finish(null);
  }

  #syncFailed(cause: Error): void {
    // Lack of room that shows only at the sync is no DiskFullError to the engine: pages may be gone.
    const error =
      cause instanceof DiskFullError
        ? new IoError(`${cause.message}; found at the sync, so the log ends here`, 'ENOSPC', { cause })
        : cause;
    const first = this.#failed === null;
    this.#failed ??= error;
    if (first && this.#phase === PHASE_IDLE) this.#options.onFailure?.(error);
  }

  #finish(error: Error | null): void {
    const done = this.#done;
    this.#pace.end();
    this.#inline = false;
    this.#done = null;
    this.#phase = PHASE_IDLE;
    if (error === null && this.#closing) {
      this.#file?.close();
      this.#file = null;
    }
    done?.(error);
    if (this.#closeDone !== null && !this.busy) this.#closeFile();
  }

  /** Mode `interval`: a sync no later than the interval after the first write that it covers. */
  #scheduleSync(): void {
    if (this.#options.durability !== 'interval' || this.#failed !== null) return;
    if (this.#durable === this.#written) return;
    const now = this.#options.clock.monotonicMs();
    if (!this.#timerSet) {
      this.#timerSet = true;
      this.#unsyncedSinceMs = now;
      (this.#options.setTimer ?? setUnreferencedTimer)(this.#options.syncIntervalMs, this.#onTimer);
    } else if (now - this.#unsyncedSinceMs >= this.#options.syncIntervalMs) this.#sync();
  }

  #timerFired(): void {
    this.#timerSet = false;
    if (this.#file === null || this.#failed !== null || this.#durable === this.#written) return;
    this.#sync();
  }

  #closeFile(): void {
    if (this.#syncing || this.busy) return;
    if (this.#failed === null && this.#durable < this.#written) {
      this.#sync();
      return;
    }
    const done = this.#closeDone;
    this.#closeDone = null;
    this.#file?.close();
    this.#file = null;
    done?.(this.#failed);
  }
}
