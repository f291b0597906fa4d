/**
 * The rule of a replica (docs/decisions/0009-replication.md) at its shortest: a map, and a log that is synced before
 * anything rests on it. The simulator proves itself on it: it finds nothing here, and finds each defect put in.
 */
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from '../../../src/base/checksum.ts';
import {
  compareRecordAge,
  FLAG_TOMBSTONE,
  flagsAt,
  keyAt,
  originAt,
  versionAt,
} from '../../../src/base/record.ts';
import { PeerStatus, Status } from '../../../src/base/status.ts';
import { type Ballot, WriteMode, type WriteModeCode } from '../../../src/cluster/contract.ts';
import type { File } from '../../../src/vfs/file-system.ts';
import type { ProgramHost } from '../program.ts';

export interface ToyAnswer {
  readonly status: number;
  readonly beat: number;
  readonly record: Uint8Array | null;
}
type Done = (answer: ToyAnswer) => void;

interface Cell {
  record: Uint8Array | null;
  promise: Ballot;
}

/** 8 bytes of checksum, 4 of length, 1 of kind: 0 a record, 1 a promise. */
const HEAD_BYTES = CHECKSUM_BYTES + 5;
const NO_BALLOT: Ballot = { version: 0, origin: 0 };
/** With the defect: how old a tombstone gets. */
const EARLY_PURGE_MS = 300;
const PURGE_EVERY_MS = 100;

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
export const isNewer = (a: Uint8Array, b: Uint8Array | null): boolean =>
  b === null || compareRecordAge(viewOf(a), a, 0, viewOf(b), b, 0) > 0;
export const versionOf = (record: Uint8Array | null): number =>
  record === null ? 0 : versionAt(viewOf(record), 0);
export const isTombstone = (record: Uint8Array): boolean =>
  (flagsAt(viewOf(record), 0) & FLAG_TOMBSTONE) !== 0;
const keyOf = (record: Uint8Array): string => Buffer.from(keyAt(viewOf(record), record, 0)).toString();

export class ToyReplica {
  readonly #host: ProgramHost;
  readonly #file: File;
  readonly cells = new Map<string, Cell>();
  #end = 0;
  #unwritten: Uint8Array[] = [];
  #waiting: (() => void)[] = [];
  #isWriting = false;

  constructor(host: ProgramHost) {
    this.#host = host;
    const { fs } = host;
    fs.mkdir('/toy');
    fs.syncDirectory('/');
    const isNew = !fs.exists('/toy/wal-1');
    this.#file = fs.open('/toy/wal-1', isNew ? 'create' : 'write');
    if (isNew) fs.syncDirectory('/toy');
    else this.#recover();
    if (host.defect === 'purge-early') this.#purge();
  }

  write(record: Uint8Array, mode: WriteModeCode, done: Done): void {
    const cell = this.#cell(keyOf(record));
    const view = viewOf(record);
    const version = versionAt(view, 0);
    const held = versionOf(cell.record);
    const { promise } = cell;
    const isPromised = promise.version === version && promise.origin === originAt(view, 0);
    const isSame = cell.record !== null && Buffer.compare(cell.record, record) === 0;
    const isBarred =
      this.#host.defect !== 'ignore-promise' &&
      (mode === WriteMode.FRESH ? version <= promise.version && !isPromised : version < promise.version);
    const isStale = mode === WriteMode.FRESH && version <= held;
    if (!isSame && (isBarred || isStale)) {
      const beat = Math.max(held, promise.version);
      this.#whenDurable(() => done({ status: PeerStatus.STALE_VERSION, beat, record: null }));
      return;
    }
    if (!isSame && isNewer(record, cell.record)) {
      cell.record = record.slice();
      this.#append(0, record);
    }
    this.#whenDurable(() => done({ status: Status.OK, beat: 0, record: null }));
  }

  read(key: string, done: Done): void {
    const { record } = this.#cell(key);
    this.#whenDurable(() => done({ status: Status.OK, beat: 0, record }));
  }

  prepare(key: string, ballot: Ballot, done: Done): void {
    const cell = this.#cell(key);
    const beat = Math.max(versionOf(cell.record), cell.promise.version);
    if (ballot.version <= beat) {
      this.#whenDurable(() => done({ status: PeerStatus.STALE_VERSION, beat, record: null }));
      return;
    }
    cell.promise = ballot;
    this.#append(1, Buffer.from(JSON.stringify({ key, ...ballot })));
    const { record } = cell;
    this.#whenDurable(() => done({ status: Status.OK, beat: 0, record }));
  }

  records(): Uint8Array[] {
    return [...this.cells.values()].flatMap(({ record }) => (record === null ? [] : [record]));
  }

  #cell(key: string): Cell {
    let cell = this.cells.get(key);
    if (cell === undefined) {
      cell = { record: null, promise: NO_BALLOT };
      this.cells.set(key, cell);
    }
    return cell;
  }

  #append(kind: number, payload: Uint8Array): void {
    const entry = new Uint8Array(HEAD_BYTES + payload.length);
    viewOf(entry).setUint32(CHECKSUM_BYTES, payload.length, true);
    entry[CHECKSUM_BYTES + 4] = kind;
    entry.set(payload, HEAD_BYTES);
    writeChecksum(entry, CHECKSUM_BYTES, entry.length, entry, 0);
    this.#unwritten.push(entry);
  }
  /** Once all that was appended so far is on the disk. */
  #whenDurable(run: () => void): void {
    this.#waiting.push(run);
    this.#commit();
  }
  #commit(): void {
    if (this.#isWriting || this.#waiting.length === 0) return;
    this.#isWriting = true;
    const bytes = Buffer.concat(this.#unwritten);
    const waiting = this.#waiting;
    this.#unwritten = [];
    this.#waiting = [];
    this.#file.write(bytes, 0, bytes.length, this.#end, (failure) => {
      if (failure !== null) throw failure;
      this.#file.sync((error) => {
        if (error !== null) throw error;
        this.#end += bytes.length;
        this.#isWriting = false;
        for (const run of waiting) run();
        this.#commit();
      });
    });
  }

  /** Takes what is whole, and cuts off what a crash has torn. */
  #recover(): void {
    const bytes = new Uint8Array(this.#file.size());
    this.#file.readSync(bytes, 0, bytes.length, 0);
    const view = viewOf(bytes);
    while (this.#end + HEAD_BYTES <= bytes.length) {
      const length = view.getUint32(this.#end + CHECKSUM_BYTES, true);
      const next = this.#end + HEAD_BYTES + length;
      if (next > bytes.length || !checksumMatches(bytes, this.#end + CHECKSUM_BYTES, next, bytes, this.#end))
        break;
      const payload = bytes.slice(this.#end + HEAD_BYTES, next);
      if (bytes[this.#end + CHECKSUM_BYTES + 4] === 0) {
        const cell = this.#cell(keyOf(payload));
        if (isNewer(payload, cell.record)) cell.record = payload;
      } else {
        const { key, version, origin } = JSON.parse(Buffer.from(payload).toString()) as Ballot & {
          key: string;
        };
        this.#cell(key).promise = { version, origin };
      }
      this.#end = next;
    }
    this.#file.truncate(this.#end);
    this.#file.syncSync();
  }

  #purge(): void {
    const { clock, life } = this.#host;
    for (const cell of this.cells.values())
      if (cell.record !== null && isTombstone(cell.record))
        if (versionOf(cell.record) / 1000 < clock.nowMs() - EARLY_PURGE_MS) cell.record = null;
    life.after(PURGE_EVERY_MS, () => this.#purge());
  }
}
