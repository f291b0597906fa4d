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
import { CorruptionError, FormatVersionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Documents } from '../cluster/contract.ts';
import type { FileSystem } from '../vfs/file-system.ts';

const MAGIC = 0x43564b52;
const FORMAT = 1;
const HEADER_BYTES = 16 + CHECKSUM_BYTES;
const NAME = /^[a-z][a-z0-9-]{0,63}$/;
const TEMPORARY = '.tmp';
/** Documents of src/cluster/ring-agreement.ts and topology.ts. */
const RING = 'ring';
const MEMBER = 'ring-member';

export class FileDocuments implements Documents {
  readonly #fs: FileSystem;
  readonly #directory: string;

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

  save(name: string, content: Uint8Array, done: (error: Error | null) => void): void {
    let failure: Error | null = null;
    try {
      this.#write(this.#pathOf(name), content);
    } catch (error) {
      failure = error as Error;
    }
    setImmediate(() => done(failure));
  }

  #pathOf(name: string): string {
    assert(NAME.test(name), () => `documents: the name ${JSON.stringify(name)}`);
    return join(this.#directory, name);
  }

  #write(path: string, content: Uint8Array): void {
    const { length } = content;
    assert(length <= limits.clusterDocumentBytesMax, () => `documents: ${path} with ${length} bytes`);
    const bytes = Buffer.alloc(HEADER_BYTES + length);
    bytes.writeUInt32LE(MAGIC, 0);
    bytes.writeUInt32LE(FORMAT, 4);
    bytes.writeUInt32LE(length, 8);
    bytes.set(content, HEADER_BYTES);
    writeChecksum(content, 0, length, bytes, 16);
    const fs = this.#fs;
    const temporary = path + TEMPORARY;
    if (fs.exists(temporary)) fs.unlink(temporary);
    const file = fs.open(temporary, 'create');
    try {
      file.writeSync(bytes, 0, bytes.length, 0);
      file.syncSync();
    } finally {
      file.close();
    }
    fs.rename(temporary, path);
    fs.syncDirectory(this.#directory);
  }
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
