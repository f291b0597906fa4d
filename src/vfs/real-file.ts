/**
 * An open file of the operating system, owned by the thread that opened it. Invariants:
 *
 * 1. The descriptor is closed once, and only when no call is in flight on it. A number that is closed under
 *    a call goes to the next file that is opened, and the call would write into that file.
 * 2. After `close` no new call starts; those in flight end as usual and get their callbacks.
 * 3. A transfer ends when all its bytes moved, at the end of the file (reads), or with an error. Calls are
 *    carried by Transfer objects that are used again: nothing is allocated for one.
 */
import * as fs from 'node:fs';
import { AssertionError } from '../base/assert.ts';
import type { File, IoCallback } from './file-system.ts';
import { checkTransfer, closedFailure, failureOf, ioFailure } from './io-failure.ts';

/** Linux moves at most 0x7ffff000 bytes a call, and Node takes lengths below 2^31. */
const TRANSFER_BYTES_MAX = 1 << 30;

const READ = 0;
const WRITE = 1;
const SYNC = 2;
const operations = ['read', 'write', 'sync'] as const;

const detailOf = (length: number, position: number): string => `${length} bytes at ${position}`;

export class RealFile implements File {
  readonly path: string;
  readonly #descriptor: number;
  readonly #readOnly: boolean;
  readonly #idle: Transfer[] = [];
  #inFlight = 0;
  #closed = false;

  constructor(path: string, descriptor: number, readOnly: boolean) {
    this.path = path;
    this.#descriptor = descriptor;
    this.#readOnly = readOnly;
  }

  readSync(target: Uint8Array, start: number, length: number, position: number): number {
    this.#check('read');
    checkTransfer(target, start, length, position);
    let moved = 0;
    try {
      while (moved < length) {
        const part = Math.min(length - moved, TRANSFER_BYTES_MAX);
        const bytes = fs.readSync(this.#descriptor, target, start + moved, part, position + moved);
        if (bytes === 0) break;
        moved += bytes;
      }
    } catch (error) {
      throw failureOf(error, 'read', this.path, detailOf(length, position));
    }
    return moved;
  }

  writeSync(source: Uint8Array, start: number, length: number, position: number): void {
    this.#check('write');
    checkTransfer(source, start, length, position);
    let moved = 0;
    try {
      while (moved < length) {
        const part = Math.min(length - moved, TRANSFER_BYTES_MAX);
        const bytes = fs.writeSync(this.#descriptor, source, start + moved, part, position + moved);
        if (bytes === 0) throw stuck(this.path, length, position);
        moved += bytes;
      }
    } catch (error) {
      throw failureOf(error, 'write', this.path, detailOf(length, position));
    }
  }

  read(target: Uint8Array, start: number, length: number, position: number, done: IoCallback): void {
    checkTransfer(target, start, length, position);
    this.#start(READ, target, start, length, position, done);
  }

  write(source: Uint8Array, start: number, length: number, position: number, done: IoCallback): void {
    checkTransfer(source, start, length, position);
    this.#start(WRITE, source, start, length, position, done);
  }

  syncSync(): void {
    this.#check('sync');
    try {
      fs.fdatasyncSync(this.#descriptor);
    } catch (error) {
      throw failureOf(error, 'sync', this.path);
    }
  }

  sync(done: IoCallback): void {
    this.#start(SYNC, NOTHING, 0, 0, 0, done);
  }

  truncate(length: number): void {
    this.#check('truncate');
    try {
      fs.ftruncateSync(this.#descriptor, length);
    } catch (error) {
      throw failureOf(error, 'truncate', this.path, `to ${length} bytes`);
    }
  }

  size(): number {
    this.#check('size');
    try {
      return fs.fstatSync(this.#descriptor).size;
    } catch (error) {
      throw failureOf(error, 'size', this.path);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#inFlight === 0) this.#closeDescriptor();
  }

  #check(operation: string): void {
    if (this.#closed) throw closedFailure(operation, this.path);
  }

  #start(
    kind: number,
    buffer: Uint8Array,
    start: number,
    length: number,
    position: number,
    done: IoCallback,
  ): void {
    if (this.#closed) {
      const error = closedFailure(operations[kind] ?? '', this.path);
      process.nextTick(done, error, 0);
      return;
    }
    this.#inFlight++;
    const transfer = this.#idle.pop() ?? new Transfer(this, this.#descriptor, (one) => this.#ended(one));
    transfer.begin(kind, buffer, start, length, position, done);
  }

  /** The call is over as far as the descriptor goes; its callback comes next and may close the file. */
  #ended(transfer: Transfer): void {
    this.#inFlight--;
    if (!this.#closed) this.#idle.push(transfer);
    else if (this.#inFlight === 0) this.#closeDescriptor();
  }

  /**
   * A file that was deleted while it was open goes away with its last descriptor, and the system takes 280 us a
   * MiB for that (ext4, docs/performance.md): files that are only read are closed in the background.
   */
  #closeDescriptor(): void {
    if (this.#readOnly) fs.close(this.#descriptor, (error) => judgeClose(error, this.path));
    else {
      let failure: unknown = null;
      try {
        fs.closeSync(this.#descriptor);
      } catch (error) {
        failure = error;
      }
      judgeClose(failure, this.path);
    }
  }
}

const NOTHING = new Uint8Array(0);

/** One call in flight, continued until it is complete. */
class Transfer {
  readonly #file: RealFile;
  readonly #descriptor: number;
  readonly #ended: (transfer: Transfer) => void;
  #kind = READ;
  #buffer: Uint8Array = NOTHING;
  #start = 0;
  #length = 0;
  #position = 0;
  #moved = 0;
  #done: IoCallback | null = null;
  readonly #onMoved = (error: Error | null, bytes: number): void => this.#next(error, bytes);
  readonly #onSynced = (error: Error | null): void => this.#end(error);

  constructor(file: RealFile, descriptor: number, ended: (transfer: Transfer) => void) {
    this.#file = file;
    this.#descriptor = descriptor;
    this.#ended = ended;
  }

  begin(
    kind: number,
    buffer: Uint8Array,
    start: number,
    length: number,
    position: number,
    done: IoCallback,
  ): void {
    this.#kind = kind;
    this.#buffer = buffer;
    this.#start = start;
    this.#length = length;
    this.#position = position;
    this.#moved = 0;
    this.#done = done;
    if (kind === SYNC) fs.fdatasync(this.#descriptor, this.#onSynced);
    else if (length === 0) process.nextTick(this.#onSynced, null);
    else this.#move();
  }

  #move(): void {
    const part = Math.min(this.#length - this.#moved, TRANSFER_BYTES_MAX);
    const start = this.#start + this.#moved;
    const position = this.#position + this.#moved;
    if (this.#kind === READ) fs.read(this.#descriptor, this.#buffer, start, part, position, this.#onMoved);
    else fs.write(this.#descriptor, this.#buffer, start, part, position, this.#onMoved);
  }

  #next(error: Error | null, bytes: number): void {
    if (error !== null) {
      this.#end(error);
      return;
    }
    this.#moved += bytes;
    if (this.#moved < this.#length && bytes > 0) this.#move();
    else if (this.#moved < this.#length && this.#kind === WRITE)
      this.#end(stuck(this.#file.path, this.#length, this.#position));
    else this.#end(null);
  }

  #end(error: Error | null): void {
    const done = this.#done;
    const moved = this.#moved;
    const failure =
      error === null
        ? null
        : failureOf(
            error,
            operations[this.#kind] ?? '',
            this.#file.path,
            this.#kind === SYNC ? '' : detailOf(this.#length, this.#position),
          );
    this.#done = null;
    this.#buffer = NOTHING;
    this.#ended(this);
    done?.(failure, failure === null ? moved : 0);
  }
}

/** A write that moves nothing and fails with nothing would be repeated for ever. */
function stuck(path: string, length: number, position: number): Error {
  return ioFailure('write', path, 'EIO', `nothing of ${detailOf(length, position)} was taken`);
}

function judgeClose(error: unknown, path: string): void {
  if (error === null || error === undefined) return;
  const failure = failureOf(error, 'close', path);
  // Somebody else closed our descriptor, and may have closed others'. Every other error tells of data
  // that was never synced, of which nothing was promised; the descriptor is gone in any case.
  if ('errno' in failure && failure.errno === 'EBADF') throw new AssertionError(failure.message);
}
