/**
 * A disk in memory: deterministic by its seed, and exact about what a power cut may take. It holds what the
 * contract of file-system.ts promises and not a byte more: data is durable after `sync`, a name after the
 * `syncDirectory` of its folder, and of everything else a power cut leaves what chance will have it
 * (simulated-node.ts, simulated-names.ts). It runs full, fails, flips bits and crashes on demand
 * (simulated-faults.ts). Owned by one thread.
 *
 * In the automatic mode it is the store's in-memory file system: asynchronous calls come back on their own
 * and in order, nothing is logged, and nothing is kept for a power cut.
 */
import { basename, join } from 'node:path';
import { assert } from '../base/assert.ts';
import { LockedError } from '../base/errors.ts';
import { Random } from '../base/random.ts';
import type { File, FileLock, FileSystem, OpenMode } from './file-system.ts';
import { ioFailure } from './io-failure.ts';
import { CallQueue } from './simulated-calls.ts';
import { type Fault, FaultPlan, type InjectedFault, type Operation } from './simulated-faults.ts';
import { type FileOwner, SimulatedFile } from './simulated-file.ts';
import { type AnyNode, DirectoryNode, NameTree } from './simulated-names.ts';
import { FileNode } from './simulated-node.ts';

const LOCK_NAME = 'LOCK';

export interface SimulatedOptions {
  /** Decides what the system writes back before it is told to; 1 where it is missing. */
  readonly seed?: number;
  /** Asynchronous calls come back by themselves, and the power is never cut. */
  readonly automatic?: boolean;
  /** Bytes that files may hold together; unlimited where it is missing. */
  readonly capacityBytes?: number;
  /** Files that may be open at a time; unlimited where it is missing. */
  readonly openFilesMax?: number;
}

export class SimulatedFileSystem implements FileSystem {
  readonly #random: Random;
  readonly #isTracked: boolean;
  readonly #plan: FaultPlan;
  readonly #calls: CallQueue;
  readonly #openFiles = new Set<SimulatedFile>();
  readonly #locked = new Set<DirectoryNode>();
  readonly #owner: FileOwner;
  #names: NameTree;
  #used = 0;
  capacityBytes: number;
  openFilesMax: number;

  constructor(options: SimulatedOptions = {}) {
    const isAutomatic = options.automatic ?? false;
    this.#isTracked = !isAutomatic;
    this.#random = new Random(options.seed ?? 1);
    this.#plan = new FaultPlan(!isAutomatic);
    this.#calls = new CallQueue(isAutomatic);
    this.#names = new NameTree(this.#isTracked);
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
    this.openFilesMax = options.openFilesMax ?? Number.POSITIVE_INFINITY;
    this.#owner = {
      plan: this.#plan,
      calls: this.#calls,
      take: (bytes) => this.#take(bytes),
      give: (bytes) => {
        this.#used -= bytes;
      },
      closed: (file) => this.#closed(file),
    };
  }

  // What a test looks at.

  /** Calls that changed or synced something, as `write wal-0000000001.log`. Empty in the automatic mode. */
  get log(): readonly string[] {
    return this.#plan.log;
  }
  /** All calls, failed ones too. */
  get calls(): number {
    return this.#plan.calls;
  }
  /** Calls that changed or synced something, failed ones too. */
  get changes(): number {
    return this.#plan.changes;
  }
  callsOf(operation: Operation): number {
    return this.#plan.counts[operation];
  }
  /** Starts `log`, `calls` and `changes` from zero. */
  resetCounts(): void {
    this.#plan.resetCounts();
  }
  get crashed(): boolean {
    return this.#plan.crashed;
  }
  get usedBytes(): number {
    return this.#used;
  }
  /** Paths of files that are open, each as often as it is: empty where nothing leaks. */
  get openPaths(): string[] {
    return [...this.#openFiles].map((file) => file.path).sort();
  }
  /** The bytes of a file as the process sees them: a view, until its next write. */
  bytesOf(path: string): Uint8Array {
    return this.#names.file('open', path).bytes;
  }

  // What a test does to the disk.

  /** Puts a file on the disk, durable by data and name, in place of what was there; makes its directories. */
  place(path: string, bytes: Uint8Array): void {
    this.#makeDirectories(join(path, '..'), true);
    const place = this.#names.place('create', path);
    assert(!(place.node instanceof DirectoryNode), 'SimulatedFileSystem.place: there is a directory');
    const node = FileNode.durable(bytes.slice(), this.#isTracked ? this.#random : null);
    this.#names.change([place, node]);
    this.#names.sync(place.directory);
    this.#used += bytes.length;
    this.#freeIfUnused(place.node);
  }
  /** Makes the process die at the call of this ordinal, from 0, counted as `calls` is. */
  crashAtCall(ordinal: number): void {
    this.#plan.crashAtCall = ordinal;
  }
  /** The same, counted as `changes` is. */
  crashAtChange(ordinal: number): void {
    this.#plan.crashAtChange = ordinal;
  }
  inject(fault: Fault): InjectedFault {
    return this.#plan.inject(fault);
  }
  clearFaults(): void {
    this.#plan.clear();
  }
  /** Changes a stored bit: that one, or one drawn from the seed. Returns the byte. */
  flipBit(path: string, byte?: number, bit?: number): number {
    const node = this.#names.file('open', path);
    const at = byte ?? this.#random.below(node.size);
    assert(at < node.size, () => `flipBit: byte ${at} of ${path}, which has ${node.size}`);
    node.flip(at, bit ?? this.#random.below(8));
    return at;
  }
  /** The disk after a power cut now: synced data and names, and of the rest what chance will have it. */
  powerCut(random: Random = this.#random): SimulatedFileSystem {
    assert(this.#isTracked, 'SimulatedFileSystem.powerCut: nothing is tracked in the automatic mode');
    const after = this.#heir(random.uint32());
    after.#names = this.#names.afterPowerCut(random, after.#random);
    for (const node of after.#names.files()) after.#used += node.size;
    return after;
  }

  // Asynchronous calls, outside the automatic mode.

  /** The disk as the next process finds it, after this one has ended without its calls having come back: none is done. */
  afterProcess(): SimulatedFileSystem {
    const after = this.#heir(this.#random.uint32());
    after.#names = this.#names;
    after.#used = this.#used;
    return after;
  }

  #heir(seed: number): SimulatedFileSystem {
    const heir = new SimulatedFileSystem({ seed, capacityBytes: this.capacityBytes });
    heir.openFilesMax = this.openFilesMax;
    return heir;
  }

  /** Calls that have not come back. */
  get waiting(): number {
    return this.#calls.waiting;
  }
  /** Runs one call, by default the first in the line. */
  step(index = 0): void {
    this.#calls.step(index);
  }
  /** Runs calls until none is left, in order, or in an order drawn from `random`. */
  settle(random: Random | null = null): Promise<void> {
    return this.#calls.settle(random);
  }

  // The file system.

  mkdir(path: string): void {
    this.#plan.pass('mkdir', path, basename(path));
    this.#makeDirectories(path, false);
  }
  readdir(path: string): string[] {
    this.#plan.pass('readdir', path, basename(path));
    return [...this.#names.directory('readdir', path).entries.keys()].sort();
  }
  exists(path: string): boolean {
    this.#plan.pass('exists', path, basename(path));
    return this.#names.find(path) !== undefined;
  }
  open(path: string, mode: OpenMode): File {
    const operation = mode === 'create' ? 'create' : 'open';
    this.#plan.pass(operation, path, basename(path));
    let node: FileNode;
    if (mode === 'create') {
      const place = this.#names.place(operation, path);
      if (place.node !== undefined) throw ioFailure(operation, path, 'EEXIST');
      this.#checkDescriptors(operation, path);
      node = this.#newFile();
      this.#names.change([place, node]);
    } else {
      node = this.#names.file(operation, path);
      this.#checkDescriptors(operation, path);
    }
    const file = new SimulatedFile(this.#owner, path, node, mode !== 'read');
    node.handles++;
    this.#openFiles.add(file);
    return file;
  }
  rename(from: string, to: string): void {
    this.#plan.pass('rename', to, basename(to));
    const both = `${from} to ${to}`;
    const source = this.#names.place('rename', from, both);
    const target = this.#names.place('rename', to, both);
    if (source.node === undefined) throw ioFailure('rename', both, 'ENOENT');
    if (source.node === target.node) return;
    if (source.node instanceof DirectoryNode) {
      if (isWithin(source.node, target.directory)) throw ioFailure('rename', both, 'EINVAL');
      if (target.node instanceof FileNode) throw ioFailure('rename', both, 'ENOTDIR');
      if (target.node !== undefined && target.node.entries.size > 0)
        throw ioFailure('rename', both, 'ENOTEMPTY');
    } else if (target.node instanceof DirectoryNode) throw ioFailure('rename', both, 'EISDIR');
    this.#names.change([source, undefined], [target, source.node]);
    this.#freeIfUnused(target.node);
  }
  link(from: string, to: string): void {
    this.#plan.pass('link', to, basename(to));
    const both = `${from} to ${to}`;
    const source = this.#names.place('link', from, both);
    const target = this.#names.place('link', to, both);
    if (source.node === undefined) throw ioFailure('link', both, 'ENOENT');
    if (target.node !== undefined) throw ioFailure('link', both, 'EEXIST');
    if (source.node instanceof DirectoryNode) throw ioFailure('link', both, 'EPERM');
    this.#names.change([target, source.node]);
  }
  discard(path: string): void {
    this.unlink(path);
  }

  unlink(path: string): void {
    this.#plan.pass('unlink', path, basename(path));
    const node = this.#names.file('unlink', path);
    this.#names.change([this.#names.place('unlink', path), undefined]);
    this.#freeIfUnused(node);
  }
  rmdir(path: string): void {
    this.#plan.pass('rmdir', path, basename(path));
    const place = this.#names.place('rmdir', path);
    if (this.#names.directory('rmdir', path).entries.size > 0) throw ioFailure('rmdir', path, 'ENOTEMPTY');
    this.#names.change([place, undefined]);
  }
  syncDirectory(path: string): void {
    this.#plan.pass('sync-directory', path, basename(path));
    this.#names.sync(this.#names.directory('sync-directory', path));
  }
  lock(directory: string): FileLock {
    this.#plan.pass('lock', directory, basename(directory));
    const node = this.#names.directory('lock', directory);
    if (this.#locked.has(node))
      throw new LockedError(`${directory} is locked by process ${process.pid} (this one)`);
    this.#locked.add(node);
    const place = this.#names.place('lock', join(directory, LOCK_NAME));
    if (place.node === undefined) this.#names.change([place, this.#newFile()]);
    let isHeld = true;
    const release = (): void => {
      if (isHeld) this.#plan.pass('unlock', directory, basename(directory));
      if (isHeld) this.#locked.delete(node);
      isHeld = false;
    };
    return { release };
  }
  freeBytes(path: string): number {
    this.#plan.pass('free-bytes', path, basename(path));
    if (this.#names.find(path) === undefined) throw ioFailure('free-bytes', path, 'ENOENT');
    return Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, this.capacityBytes - this.#used));
  }

  #makeDirectories(path: string, isDurable: boolean): void {
    const missing: string[] = [];
    let at = path;
    for (; this.#names.find(at) === undefined; at = join(at, '..')) missing.unshift(at);
    if (this.#names.find(at) instanceof FileNode)
      throw ioFailure('mkdir', path, missing.length === 0 ? 'EEXIST' : 'ENOTDIR');
    for (const one of missing) {
      const place = this.#names.place('mkdir', one);
      this.#names.change([place, new DirectoryNode()]);
      if (isDurable) this.#names.sync(place.directory);
    }
  }
  #newFile(): FileNode {
    return new FileNode(this.#isTracked ? this.#random : null);
  }
  #checkDescriptors(operation: string, path: string): void {
    if (this.#openFiles.size >= this.openFilesMax)
      throw ioFailure(operation, path, 'EMFILE', `${this.#openFiles.size} files are open`);
  }
  #take(bytes: number): number {
    const taken = Math.min(bytes, Math.max(0, this.capacityBytes - this.#used));
    this.#used += taken;
    return taken;
  }
  #closed(file: SimulatedFile): void {
    this.#openFiles.delete(file);
    file.node.handles--;
    this.#freeIfUnused(file.node);
  }
  #freeIfUnused(node: AnyNode | undefined): void {
    if (!(node instanceof FileNode) || node.links > 0 || node.handles > 0) return;
    this.#used -= node.size;
  }
}

function isWithin(directory: DirectoryNode, candidate: DirectoryNode): boolean {
  if (directory === candidate) return true;
  return [...directory.entries.values()].some(
    (node) => node instanceof DirectoryNode && isWithin(node, candidate),
  );
}
