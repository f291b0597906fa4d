/**
 * The small documents of a simulated node, as files of its disk: a temporary file is written, synced and renamed, so that
 * a crash at any step leaves the document before or the one after. Each step takes virtual time.
 *
 *   offset size field
 *        0    8 XXH3-64 of what follows
 *        8    n the document
 */
import { join } from 'node:path';
import { CHECKSUM_BYTES, checksumMatches, writeChecksum } from '../../src/base/checksum.ts';
import { CorruptionError } from '../../src/base/errors.ts';
import type { Documents } from '../../src/cluster/contract.ts';
import type { FileSystem } from '../../src/vfs/file-system.ts';
import type { SimulatedFileSystem } from '../../src/vfs/simulated.ts';

const TEMPORARY = '.tmp';

interface Save {
  readonly bytes: Uint8Array;
  readonly done: (error: Error | null) => void;
}

export class SimDocuments implements Documents {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #loaded = new Map<string, Uint8Array>();
  readonly #waiting = new Map<string, Save[]>();

  constructor(fs: FileSystem, directory: string) {
    this.#fs = fs;
    this.#directory = directory;
    fs.mkdir(directory);
    for (let at = directory; at !== '/'; at = join(at, '..')) fs.syncDirectory(join(at, '..'));
    for (const name of fs.readdir(directory)) {
      if (name.endsWith(TEMPORARY)) fs.unlink(join(directory, name));
      else this.#loaded.set(name, this.#read(join(directory, name)));
    }
  }

  load(name: string): Uint8Array | null {
    return this.#loaded.get(name) ?? null;
  }

  save(name: string, bytes: Uint8Array, done: (error: Error | null) => void): void {
    const line = this.#waiting.get(name) ?? [];
    this.#waiting.set(name, line);
    line.push({ bytes: bytes.slice(), done });
    if (line.length === 1) this.#next(name, line);
  }

  #next(name: string, line: readonly Save[]): void {
    const [first] = line;
    if (first !== undefined) this.#write(name, first.bytes);
  }
  #ended(name: string, error: Error | null): void {
    const line = this.#waiting.get(name) ?? [];
    const save = line.shift();
    this.#next(name, line);
    save?.done(error);
  }

  #write(name: string, bytes: Uint8Array): void {
    const path = join(this.#directory, name);
    const temporary = path + TEMPORARY;
    if (this.#fs.exists(temporary)) this.#fs.unlink(temporary);
    const file = this.#fs.open(temporary, 'create');
    const image = new Uint8Array(CHECKSUM_BYTES + bytes.length);
    image.set(bytes, CHECKSUM_BYTES);
    writeChecksum(image, CHECKSUM_BYTES, image.length, image, 0);
    file.write(image, 0, image.length, 0, (unwritten) => {
      if (unwritten !== null) return this.#ended(name, unwritten);
      file.sync((unsynced) => {
        file.close();
        if (unsynced !== null) return this.#ended(name, unsynced);
        this.#fs.rename(temporary, path);
        this.#fs.syncDirectory(this.#directory);
        this.#ended(name, null);
      });
    });
  }

  #read(path: string): Uint8Array {
    const file = this.#fs.open(path, 'read');
    const image = new Uint8Array(file.size());
    file.readSync(image, 0, image.length, 0);
    file.close();
    if (image.length < CHECKSUM_BYTES || !checksumMatches(image, CHECKSUM_BYTES, image.length, image, 0))
      throw new CorruptionError(path, 0, 'the document fails its checksum');
    return image.slice(CHECKSUM_BYTES);
  }
}

/** A document that is on the disk before the node starts for the first time. */
export function placeDocument(
  files: SimulatedFileSystem,
  directory: string,
  name: string,
  content: Uint8Array,
): void {
  const image = new Uint8Array(CHECKSUM_BYTES + content.length);
  image.set(content, CHECKSUM_BYTES);
  writeChecksum(image, CHECKSUM_BYTES, image.length, image, 0);
  files.place(join(directory, name), image);
}
