/**
 * The manifest of one shard, owned by the shard's thread: an append-only log of version edits
 * (manifest-format.ts). Invariants:
 *
 * 1. `state` is what the durable frames say. An edit is in it, and its caller told so, only when the edit
 *    and the confirmation after it are durable; then the engine may delete what the edit retired.
 * 2. One edit is in flight at a time; the others wait in a bounded queue, and each is checked against the
 *    state that it meets.
 * 3. A long manifest is rewritten as a snapshot beside the old one: written, synced, renamed, the directory
 *    synced. A crash at any step leaves the old file in force or the new one, and both say the same.
 * 4. After a failed sync nothing is written any more. An edit that found no room is cut off again.
 */
import { join } from 'node:path';
import { assert } from '../base/assert.ts';
import { ClosedError, CorruptionError, DiskFullError, IoError, OverloadedError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { File, FileSystem, IoCallback } from '../vfs/file-system.ts';
import {
  encodeFrame,
  FRAME_CONFIRMATION,
  FRAME_EDIT,
  FRAME_HEADER_BYTES,
  FRAME_SNAPSHOT,
  MANIFEST_TEMPORARY,
} from './manifest-format.ts';
import { currentManifest, manifestPath, readManifest } from './manifest-reader.ts';
import {
  applyPayload,
  type ManifestState,
  payloadOfEdit,
  payloadOfState,
  type VersionEdit,
} from './manifest-state.ts';
import { segmentOfName } from './wal-format.ts';

export type ManifestCallback = (error: Error | null) => void;

interface Waiting {
  readonly edit: VersionEdit;
  readonly done: ManifestCallback;
}
interface InForce {
  readonly number: number;
  readonly state: ManifestState;
  readonly frames: number;
  readonly snapshotBytes: number;
  readonly end: number;
}

const STEP_EDIT = 0;
const STEP_CONFIRMATION = 1;

export class Manifest {
  readonly #fs: FileSystem;
  readonly #directory: string;
  #file: File;
  #number: number;
  #state: ManifestState;
  #frames: number;
  #end: number;
  #snapshotBytes: number;
  readonly #queue: Waiting[] = [];
  #failed: Error | null = null;
  #closed = false;

  /** The edit in flight. */
  #next: ManifestState | null = null;
  #done: ManifestCallback | null = null;
  #step = STEP_EDIT;
  /** End of the edit's frame. */
  #editEnd = 0;
  readonly #onWritten: IoCallback = (error) => this.#frameWritten(error);
  readonly #onSynced: IoCallback = (error) => this.#frameSynced(error);

  private constructor(fs: FileSystem, directory: string, file: File, inForce: InForce) {
    this.#fs = fs;
    this.#directory = directory;
    this.#file = file;
    this.#number = inForce.number;
    this.#state = inForce.state;
    this.#frames = inForce.frames;
    this.#end = inForce.end;
    this.#snapshotBytes = inForce.snapshotBytes;
  }

  static exists(fs: FileSystem, directory: string): boolean {
    return currentManifest(fs, directory) >= 0;
  }

  /**
   * Writes the first manifest of a new shard; durable on return. Throws DiskFullError, IoError, and
   * CorruptionError where the directory holds log segments: then a manifest was there and is lost.
   */
  static create(fs: FileSystem, directory: string, state: ManifestState): Manifest {
    assert(!Manifest.exists(fs, directory), 'Manifest.create: there is one already');
    const segment = fs.readdir(directory).find((name) => segmentOfName(name) >= 0);
    if (segment !== undefined)
      throw new CorruptionError(directory, 0, `no manifest, and ${segment} is there`);
    const end = writeSnapshot(fs, directory, 1, state);
    const file = fs.open(manifestPath(directory, 1), 'write');
    return new Manifest(fs, directory, file, { number: 1, state, frames: 1, snapshotBytes: end, end });
  }

  /**
   * Opens the manifest in force: cuts off a torn tail and confirms the last edit, since the engine is about to
   * act upon it. Throws as `readManifest` does.
   */
  static open(fs: FileSystem, directory: string): Manifest {
    const read = readManifest(fs, directory);
    const file = fs.open(manifestPath(directory, read.number), 'write');
    try {
      // The name of a file that was renamed just before a crash may not be durable yet.
      fs.syncDirectory(directory);
      if (file.size() > read.end) file.truncate(read.end);
      // A sync of the life before may have failed, of an edit or of a confirmation: then the system shows the frame, and no later sync
      // writes it. A snapshot was synced before it had its name.
      const { frames, lastFrame, end } = read;
      if (frames > 1) file.writeSync(lastFrame, 0, lastFrame.length, end - lastFrame.length);
      file.syncSync();
      const manifest = new Manifest(fs, directory, file, read);
      if (!read.confirmed) manifest.#confirmNow();
      return manifest;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  get state(): ManifestState {
    return this.#state;
  }
  /** Number of the file in force. */
  get number(): number {
    return this.#number;
  }
  /** Why the manifest takes no more edits, or null. */
  get failed(): Error | null {
    return this.#failed;
  }
  /** Edits in flight and waiting. */
  get pending(): number {
    return this.#queue.length + (this.#done === null ? 0 : 1);
  }

  /**
   * Appends an edit. `done` gets null when it is durable and in `state`; a DiskFullError or OverloadedError
   * where nothing was done and the edit may be repeated; any other error is final.
   */
  append(edit: VersionEdit, done: ManifestCallback): void {
    const refusal = this.#refusal();
    if (refusal !== null) {
      queueMicrotask(() => done(refusal));
      return;
    }
    this.#queue.push({ edit, done });
    if (this.#done === null) this.#start();
  }

  /** Closes the file. No edit may be in flight; `done` of those that wait gets a ClosedError. */
  close(): void {
    if (this.#closed) return;
    assert(this.#done === null, 'Manifest.close: an edit is in flight');
    this.#closed = true;
    this.#file.close();
  }

  #refusal(): Error | null {
    if (this.#failed !== null) return this.#failed;
    if (this.#closed) return new ClosedError('the manifest is closed');
    if (this.pending < limits.manifestQueueMax) return null;
    return new OverloadedError(
      `${this.pending} manifest edits wait; the limit is ${limits.manifestQueueMax}`,
    );
  }

  #start(): void {
    const waiting = this.#queue.shift();
    if (waiting === undefined) return;
    const payload = payloadOfEdit(this.#state, waiting.edit);
    const next = applyPayload(this.#state, payload);
    assert(typeof next !== 'string', () => `Manifest.append: ${String(next)}`);
    const fields = { kind: FRAME_EDIT, frame: this.#frames + 1, watermark: this.#end };
    const frame = encodeFrame(this.#number, this.#end, fields, payload);
    assert(frame.length <= limits.manifestPayloadBytesMax, 'Manifest.append: the edit is too large');
    this.#next = next;
    this.#done = waiting.done;
    this.#step = STEP_EDIT;
    this.#editEnd = this.#end + frame.length;
    // Zeros behind it take the room of the confirmation, so that a full disk shows here.
    const bytes = new Uint8Array(frame.length + FRAME_HEADER_BYTES);
    bytes.set(frame);
    this.#file.write(bytes, 0, bytes.length, this.#end, this.#onWritten);
  }

  #frameWritten(error: Error | null): void {
    if (error === null) {
      this.#file.sync(this.#onSynced);
      return;
    }
    if (error instanceof DiskFullError) this.#cutBack();
    else this.#failed = error;
    this.#finish(this.#failed ?? error);
  }

  /** Removes the edit, of which nobody was told, durably: or else it might come back after a crash. */
  #cutBack(): void {
    try {
      this.#file.truncate(this.#end);
      this.#file.syncSync();
    } catch (error) {
      this.#failed = error as Error;
    }
  }

  #frameSynced(error: Error | null): void {
    if (error !== null) {
      this.#failed =
        error instanceof DiskFullError
          ? new IoError(`${error.message}; found at the sync of a manifest`, 'ENOSPC', { cause: error })
          : error;
      this.#finish(this.#failed);
    } else if (this.#step === STEP_EDIT) {
      this.#step = STEP_CONFIRMATION;
      const bytes = this.#confirmation(this.#editEnd, this.#frames + 2);
      this.#file.write(bytes, 0, bytes.length, this.#editEnd, this.#onWritten);
    } else {
      assert(this.#next !== null, 'Manifest: no edit is in flight');
      this.#state = this.#next;
      this.#frames += 2;
      this.#end = this.#editEnd + FRAME_HEADER_BYTES;
      this.#rewriteIfLong();
      this.#finish(null);
    }
  }

  #finish(error: Error | null): void {
    const done = this.#done;
    this.#done = null;
    this.#next = null;
    done?.(error);
    if (this.#failed !== null) for (const waiting of this.#queue.splice(0)) waiting.done(this.#failed);
    else if (this.#done === null && !this.#closed) this.#start();
    else if (this.#closed)
      for (const waiting of this.#queue.splice(0)) waiting.done(new ClosedError('the manifest is closed'));
  }

  #confirmation(at: number, frame: number): Uint8Array {
    return encodeFrame(this.#number, at, { kind: FRAME_CONFIRMATION, frame, watermark: at }, null);
  }

  #confirmNow(): void {
    const bytes = this.#confirmation(this.#end, this.#frames + 1);
    try {
      this.#file.writeSync(bytes, 0, bytes.length, this.#end);
    } catch (error) {
      if (!(error instanceof DiskFullError)) throw error;
      // The next edit's watermark will do: a full disk is no reason not to open.
      this.#file.truncate(this.#end);
      return;
    }
    this.#file.syncSync();
    this.#frames++;
    this.#end += bytes.length;
  }

  #rewriteIfLong(): void {
    if (this.#end <= Math.max(limits.manifestRewriteBytes, 2 * this.#snapshotBytes)) return;
    const number = this.#number + 1;
    const old = manifestPath(this.#directory, this.#number);
    try {
      const bytes = writeSnapshot(this.#fs, this.#directory, number, this.#state);
      const file = this.#fs.open(manifestPath(this.#directory, number), 'write');
      this.#file.close();
      this.#file = file;
      this.#number = number;
      this.#frames = 1;
      this.#end = bytes;
      this.#snapshotBytes = bytes;
      this.#fs.unlink(old);
    } catch (error) {
      // Without room for a new file the old one goes on. It is in force: the rename did not happen.
      if (error instanceof DiskFullError && !this.#fs.exists(manifestPath(this.#directory, number))) return;
      this.#failed = error as Error;
    }
  }
}

/** Writes manifest `number` with one snapshot, in force and durable on return; its bytes. */
function writeSnapshot(fs: FileSystem, directory: string, number: number, state: ManifestState): number {
  const temporary = join(directory, MANIFEST_TEMPORARY);
  if (fs.exists(temporary)) fs.unlink(temporary);
  const fields = { kind: FRAME_SNAPSHOT, frame: 1, watermark: 0 };
  const bytes = encodeFrame(number, 0, fields, payloadOfState(state));
  const file = fs.open(temporary, 'create');
  try {
    file.writeSync(bytes, 0, bytes.length, 0);
    file.syncSync();
  } catch (error) {
    file.close();
    fs.unlink(temporary);
    throw error;
  }
  file.close();
  fs.rename(temporary, manifestPath(directory, number));
  fs.syncDirectory(directory);
  return bytes.length;
}
