/**
 * Documents of the cluster's protocols (ring, promises, generation, progress) as files: DATA/cluster/NAME. Owned by
 * the peer worker. Written whole by a temporary file that is synced and renamed: a crash leaves the old one or the new.
 *
 *   offset size field
 *        0    4 'RKVC'
 *        4    4 format version, 1
 *        8    4 length of the content
 *       12    4 reserved, 0
 *       16    8 XXH3-64 of the content
 *       24    n content
 */
import { join } from 'node:path';
import { assert } from '../base/assert.ts';
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from '../base/checksum.ts';
import { ClosedError, CorruptionError, FormatVersionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { RemovableDocuments } from '../cluster/contract.ts';
import type { File, FileSystem } from '../vfs/file-system.ts';

const MAGIC = 0x43564b52;
const FORMAT = 1;
const HEADER_BYTES = 16 + CHECKSUM_BYTES;
const NAME = /^[a-z][a-z0-9-]{0,63}$/;
const TEMPORARY = '.tmp';
/** Documents of src/cluster/ring-agreement.ts and topology.ts. */
const RING = 'ring';
const MEMBER = 'ring-member';

interface Save {
  readonly image: Uint8Array;
  readonly done: readonly ((error: Error | null) => void)[];
}

export class FileDocuments implements RemovableDocuments {
  readonly #fs: FileSystem;
  readonly #directory: string;
  /** Of each document that is being written: what waits behind that. */
  readonly #waiting = new Map<string, Save | null>();
  #onIdle: (() => void) | null = null;

  /**
   * Makes the directory, durably, where it is not there, and checks every document that is: a node with a damaged one must not
   * begin to take part. Throws CorruptionError, which names the file, FormatVersionError and IoError.
   */
  constructor(fs: FileSystem, parent: string) {
    this.#fs = fs;
    this.#directory = join(parent, 'cluster');
    if (fs.exists(this.#directory)) {
      this.#check();
      return;
    }
    fs.mkdir(this.#directory);
    fs.syncDirectory(parent);
  }

  #check(): void {
    const names = this.#fs.readdir(this.#directory).filter((name) => NAME.test(name));
    for (const name of names) this.load(name);
    // Of the two the ring is saved first: a member without it would make a cluster of its own.
    if (names.includes(MEMBER) && !names.includes(RING))
      throw new CorruptionError(this.#pathOf(RING), 0, `it is missing, and ${this.#pathOf(MEMBER)} is there`);
  }

  /** Throws CorruptionError, FormatVersionError and IoError. */
  load(name: string): Uint8Array | null {
    const path = this.#pathOf(name);
    if (!this.#fs.exists(path)) return null;
    const file = this.#fs.open(path, 'read');
    try {
      const size = file.size();
      if (size < HEADER_BYTES || size > HEADER_BYTES + limits.clusterDocumentBytesMax)
        throw new CorruptionError(
          path,
          0,
          `a document of ${size} bytes; it has ${HEADER_BYTES} to ${HEADER_BYTES + limits.clusterDocumentBytesMax}`,
        );
      const bytes = new Uint8Array(size);
      file.readSync(bytes, 0, size, 0);
      return contentOf(path, bytes);
    } finally {
      file.close();
    }
  }

  /**
   * Not on the caller's time: the coordinator's thread goes on while the disk works. What comes for a document that is being
   * written waits for that, and goes as one: each save is all of the document.
   */
  save(name: string, content: Uint8Array, done: (error: Error | null) => void): void {
    if (this.#onIdle !== null) {
      queueMicrotask(() => done(new ClosedError(`document ${name} is not saved any more`)));
      return;
    }
    let image: Uint8Array;
    try {
      image = imageOf(this.#pathOf(name), content);
    } catch (error) {
      queueMicrotask(() => done(error as Error));
      return;
    }
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) this.#begin(name, { image, done: [done] });
    else this.#waiting.set(name, { image, done: [...(waiting?.done ?? []), done] });
  }
  /** What was asked for is saved, and nothing more. Resolves when no write is under way. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      if (this.#waiting.size === 0) resolve();
    });
  }

  /** Throws IoError. */
  remove(name: string): void {
    const path = this.#pathOf(name);
    assert(!this.#waiting.has(name), () => `documents: ${path} is being written, and not to be removed`);
    if (this.#fs.exists(path)) this.#fs.unlink(path);
    this.#fs.syncDirectory(this.#directory);
  }

  /** In a turn of its own: nobody hears of an end before his call has returned. */
  #begin(name: string, save: Save): void {
    this.#waiting.set(name, null);
    queueMicrotask(() => this.#write(name, save));
  }

  #pathOf(name: string): string {
    assert(NAME.test(name), () => `documents: the name ${JSON.stringify(name)}`);
    return join(this.#directory, name);
  }

  #write(name: string, { image, done }: Save): void {
    const fs = this.#fs;
    const path = this.#pathOf(name);
    const temporary = path + TEMPORARY;
    const end = (error: Error | null): void => {
      const next = this.#waiting.get(name) ?? null;
      if (next === null) this.#waiting.delete(name);
      else this.#begin(name, next);
      for (const one of done) one(error);
      if (this.#waiting.size === 0) this.#onIdle?.();
    };
    let file: File;
    try {
      if (fs.exists(temporary)) fs.unlink(temporary);
      file = fs.open(temporary, 'create');
    } catch (error) {
      end(error as Error);
      return;
    }
    file.write(image, 0, image.length, 0, (unwritten) => {
      if (unwritten !== null) {
        file.close();
        end(unwritten);
        return;
      }
      file.sync((unsynced) => {
        file.close();
        end(unsynced ?? this.#rename(temporary, path));
      });
    });
  }
  #rename(from: string, to: string): Error | null {
    try {
      this.#fs.rename(from, to);
      this.#fs.syncDirectory(this.#directory);
      return null;
    } catch (error) {
      return error as Error;
    }
  }
}

/** A whole document, as it is in its file. */
export function imageOf(path: string, content: Uint8Array): Uint8Array {
  const { length } = content;
  assert(length <= limits.clusterDocumentBytesMax, () => `documents: ${path} with ${length} bytes`);
  const bytes = Buffer.alloc(HEADER_BYTES + length);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(FORMAT, 4);
  bytes.writeUInt32LE(length, 8);
  bytes.set(content, HEADER_BYTES);
  writeChecksum(content, 0, length, bytes, 16);
  return bytes;
}

function contentOf(path: string, bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer);
  if (view.getUint32(0, true) !== MAGIC) throw new CorruptionError(path, 0, 'no document of a cluster');
  const format = view.getUint32(4, true);
  if (format !== FORMAT)
    throw new FormatVersionError(`${path} has format version ${format}; this RingKV reads ${FORMAT}`);
  if (view.getUint32(12, true) !== 0) throw new CorruptionError(path, 12, 'reserved bytes that are not 0');
  const length = view.getUint32(8, true);
  if (length !== bytes.length - HEADER_BYTES)
    throw new CorruptionError(path, 8, `says ${length} bytes and holds ${bytes.length - HEADER_BYTES}`);
  if (!checksumMatches(bytes, HEADER_BYTES, HEADER_BYTES + length, bytes, 16))
    throw new CorruptionError(path, 16, 'the document fails its checksum');
  return bytes.subarray(HEADER_BYTES);
}
