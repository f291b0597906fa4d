import { DiskFullError, IoError } from '../../src/base/errors.ts';
import type { Random } from '../../src/base/random.ts';
import type { File, FileLock, FileSystem, IoCallback, OpenMode } from '../../src/vfs/file-system.ts';

/** Thrown by the call at which the process dies; asynchronous calls simply never come back. */
export class Crash extends Error {}

interface Node {
  /** What the process sees. */
  bytes: Uint8Array;
  /** What a power cut leaves at least. */
  durable: Uint8Array;
}
const SETTLE_CALLS_MAX = 10_000;
type Names = Map<string, Node>;

/**
 * A disk that is exact about what the commit log and the manifest rest on: data is durable after `sync`,
 * names after `syncDirectory`. Asynchronous calls take effect when `settle` runs them, one after another.
 */
export class FakeDisk implements FileSystem {
  readonly names: Names = new Map();
  /** The names after the last directory sync and after each change since: a journal loses a suffix. */
  #nameStates: Names[] = [new Map()];
  readonly #waiting: (() => void)[] = [];
  /** Operations that changed or synced something, as `write wal-0000000001.log`. */
  readonly log: string[] = [];
  crashAt = Number.POSITIVE_INFINITY;
  crashed = false;
  /** Bytes that files may hold together. */
  room = Number.POSITIVE_INFINITY;
  /** Called before an operation; may throw what the operation shall throw. */
  fault: (operation: string) => void = () => undefined;

  /** What a power cut leaves: synced data and names, and of the rest what chance will have it. */
  powerCut(random: Random): FakeDisk {
    const after = new FakeDisk();
    for (const [name, node] of random.pick(this.#nameStates)) {
      const bytes = mix(node, random);
      after.names.set(name, { bytes, durable: bytes });
    }
    after.#nameStates = [new Map(after.names)];
    return after;
  }

  /** Runs asynchronous calls until none is left; code that retries for ever is found out. */
  async settle(): Promise<void> {
    for (let idle = 0, calls = 0; idle < 3; calls++) {
      if (calls > SETTLE_CALLS_MAX) throw new Error(`still busy after ${calls} calls`);
      const next = this.#waiting.shift();
      idle = next === undefined ? idle + 1 : 0;
      next?.();
      await Promise.resolve();
    }
  }
  /** Runs one asynchronous call, by default the first in the line. */
  step(index = 0): void {
    for (const call of this.#waiting.splice(index, 1)) call();
  }
  get waiting(): number {
    return this.#waiting.length;
  }

  later(operation: () => number, done: IoCallback): void {
    this.#waiting.push(() => {
      let bytes = 0;
      try {
        bytes = operation();
      } catch (error) {
        if (!(error instanceof Crash)) done(error as Error, 0);
        return;
      }
      done(null, bytes);
    });
  }
  operate(operation: string, path: string): void {
    if (this.crashed || this.log.length >= this.crashAt) {
      this.crashed = true;
      throw new Crash(`crash at ${operation} ${path}`);
    }
    const entry = `${operation} ${path.split('/').at(-1)}`;
    this.log.push(entry);
    this.fault(entry);
  }
  named(): void {
    this.#nameStates.push(new Map(this.names));
  }
  used(): number {
    let sum = 0;
    for (const node of this.names.values()) sum += node.bytes.length;
    return sum;
  }
  node(path: string): Node {
    const node = this.names.get(path);
    if (node === undefined) throw new IoError(`open ${path}: ENOENT`, 'ENOENT');
    return node;
  }

  mkdir(): void {
    return;
  }
  readdir(path: string): string[] {
    const prefix = `${path}/`;
    return [...this.names.keys()]
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
      .sort();
  }
  exists(path: string): boolean {
    return this.names.has(path);
  }
  open(path: string, mode: OpenMode): File {
    if (mode === 'create') {
      this.operate('create', path);
      if (this.names.has(path)) throw new IoError(`create ${path}: EEXIST`, 'EEXIST');
      this.names.set(path, { bytes: new Uint8Array(0), durable: new Uint8Array(0) });
      this.named();
    }
    return new FakeFile(this, path, this.node(path));
  }
  rename(from: string, to: string): void {
    this.operate('rename', to);
    const node = this.node(from);
    this.names.delete(from);
    this.names.set(to, node);
    this.named();
  }
  link(from: string, to: string): void {
    this.operate('link', to);
    this.names.set(to, this.node(from));
    this.named();
  }
  unlink(path: string): void {
    this.operate('unlink', path);
    this.node(path);
    this.names.delete(path);
    this.named();
  }
  rmdir(): void {
    return;
  }
  syncDirectory(path: string): void {
    this.operate('sync-directory', path);
    this.#nameStates = [new Map(this.names)];
  }
  lock(): FileLock {
    return { release: () => undefined };
  }
  freeBytes(): number {
    return this.room - this.used();
  }
}

/** Each 512-byte sector as written or as last synced. */
function mix(node: Node, random: Random): Uint8Array {
  const longer = random.chance(0.5) ? node.bytes : node.durable;
  const out = longer.slice();
  for (let at = 0; at < out.length; at += 512) {
    const from = random.chance(0.5) ? node.bytes : node.durable;
    const end = Math.min(at + 512, out.length);
    out.fill(0, at, end);
    out.set(from.subarray(at, end), at);
  }
  return out;
}

class FakeFile implements File {
  readonly path: string;
  readonly #disk: FakeDisk;
  readonly #node: Node;
  #open = true;
  constructor(disk: FakeDisk, path: string, node: Node) {
    this.#disk = disk;
    this.path = path;
    this.#node = node;
  }
  #check(): void {
    if (!this.#open) throw new Error(`${this.path} is closed`);
  }
  readSync(target: Uint8Array, start: number, length: number, position: number): number {
    this.#check();
    this.#disk.fault(`read ${this.path.split('/').at(-1)}`);
    const part = this.#node.bytes.subarray(position, position + length);
    target.set(part, start);
    return part.length;
  }
  read(target: Uint8Array, start: number, length: number, position: number, done: IoCallback): void {
    this.#disk.later(() => this.readSync(target, start, length, position), done);
  }
  writeSync(source: Uint8Array, start: number, length: number, position: number): void {
    this.#check();
    this.#disk.operate('write', this.path);
    const growth = Math.max(0, position + length - this.#node.bytes.length);
    const room = this.#disk.freeBytes();
    const possible = growth > room ? Math.max(0, length - (growth - room)) : length;
    const size = Math.max(this.#node.bytes.length, position + possible);
    const bytes = new Uint8Array(size);
    bytes.set(this.#node.bytes);
    bytes.set(source.subarray(start, start + possible), position);
    this.#node.bytes = bytes;
    if (possible < length) throw new DiskFullError(`write ${this.path}: ENOSPC`);
  }
  write(source: Uint8Array, start: number, length: number, position: number, done: IoCallback): void {
    this.#check();
    this.#disk.later(() => {
      this.writeSync(source, start, length, position);
      return length;
    }, done);
  }
  syncSync(): void {
    this.#check();
    this.#disk.operate('sync', this.path);
    this.#node.durable = this.#node.bytes.slice();
  }
  sync(done: IoCallback): void {
    this.#check();
    this.#disk.later(() => {
      this.syncSync();
      return 0;
    }, done);
  }
  truncate(length: number): void {
    this.#check();
    this.#disk.operate('truncate', this.path);
    const bytes = new Uint8Array(length);
    bytes.set(this.#node.bytes.subarray(0, length));
    this.#node.bytes = bytes;
  }
  size(): number {
    return this.#node.bytes.length;
  }
  close(): void {
    this.#open = false;
  }
}
