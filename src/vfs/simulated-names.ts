/**
 * The names on the simulated disk: a tree of directories, and a journal of the changes that are not durable
 * yet. Invariants:
 *
 * 1. A change is durable when one of its directories was synced after it, and then every earlier change of
 *    the same files is too: a rename is one change, and is never half done.
 * 2. A power cut loses a suffix of the journal, but for the durable changes in it. So within a directory
 *    changes are lost latest first, and a directory that was synced loses nothing, whatever happens to others.
 * 3. Syncing a directory makes what is in it durable, and not its own name: that is its parent's.
 */
import { resolve } from 'node:path';
import type { Random } from '../base/random.ts';
import { ioFailure } from './io-failure.ts';
import { FileNode } from './simulated-node.ts';

/** The system commits its journal on its own before it has grown to this. */
const JOURNAL_CHANGES_MAX = 4096;

export class DirectoryNode {
  readonly entries = new Map<string, FileNode | DirectoryNode>();
  /** What a power cut leaves at least. */
  readonly durable = new Map<string, FileNode | DirectoryNode>();
}
export type AnyNode = FileNode | DirectoryNode;

/** A place where a name is or may be. */
export interface Place {
  readonly directory: DirectoryNode;
  readonly name: string;
  readonly node: AnyNode | undefined;
}
interface NameChange {
  readonly directory: DirectoryNode;
  readonly name: string;
  readonly before: AnyNode | undefined;
  readonly after: AnyNode | undefined;
}
interface JournalEntry {
  readonly changes: readonly NameChange[];
  durable: boolean;
}

const partsOf = (path: string): string[] =>
  resolve(path)
    .split(/[\\/]/)
    .filter((part) => part !== '');

export class NameTree {
  readonly root: DirectoryNode;
  readonly #isTracked: boolean;
  #journal: JournalEntry[] = [];

  constructor(isTracked: boolean, root = new DirectoryNode()) {
    this.#isTracked = isTracked;
    this.root = root;
  }

  /** The place of a path. Throws ENOENT or ENOTDIR, of `named`, where its folder is not there or none. */
  place(operation: string, path: string, named = path): Place {
    const parts = partsOf(path);
    const name = parts.pop();
    if (name === undefined) throw ioFailure(operation, named, 'EBUSY', 'it is the root');
    let directory = this.root;
    for (const part of parts) {
      const next = directory.entries.get(part);
      if (next === undefined) throw ioFailure(operation, named, 'ENOENT');
      if (next instanceof FileNode) throw ioFailure(operation, named, 'ENOTDIR');
      directory = next;
    }
    return { directory, name, node: directory.entries.get(name) };
  }

  /** What is at a path; undefined for nothing. */
  find(path: string): AnyNode | undefined {
    let node: AnyNode | undefined = this.root;
    for (const part of partsOf(path)) {
      if (!(node instanceof DirectoryNode)) return undefined;
      node = node.entries.get(part);
    }
    return node;
  }

  directory(operation: string, path: string): DirectoryNode {
    const node = partsOf(path).length === 0 ? this.root : this.place(operation, path).node;
    if (node === undefined) throw ioFailure(operation, path, 'ENOENT');
    if (node instanceof FileNode) throw ioFailure(operation, path, 'ENOTDIR');
    return node;
  }

  file(operation: string, path: string): FileNode {
    const { node } = this.place(operation, path);
    if (node === undefined) throw ioFailure(operation, path, 'ENOENT');
    if (node instanceof DirectoryNode) throw ioFailure(operation, path, 'EISDIR', 'it is a directory');
    return node;
  }

  /** Gives places new nodes (undefined: none) as one change. */
  change(...moves: readonly (readonly [Place, AnyNode | undefined])[]): void {
    const changes = moves.map(([{ directory, name, node }, after]) => ({
      directory,
      name,
      before: node,
      after,
    }));
    for (const one of changes) {
      if (one.before instanceof FileNode) one.before.links--;
      if (one.after instanceof FileNode) one.after.links++;
      apply(one.directory.entries, one);
    }
    if (!this.#isTracked) return;
    this.#journal.push({ changes, durable: false });
    if (this.#journal.length >= JOURNAL_CHANGES_MAX) this.#commit(this.#journal.length);
  }

  sync(directory: DirectoryNode): void {
    const involved = new Set<AnyNode>();
    for (const entry of this.#journal.toReversed()) {
      entry.durable ||= entry.changes.some(
        (one) =>
          one.directory === directory ||
          (one.before !== undefined && involved.has(one.before)) ||
          (one.after !== undefined && involved.has(one.after)),
      );
      if (!entry.durable) continue;
      for (const { before, after } of entry.changes) {
        if (before !== undefined) involved.add(before);
        if (after !== undefined) involved.add(after);
      }
    }
    const first = this.#journal.findIndex((entry) => !entry.durable);
    this.#commit(first < 0 ? this.#journal.length : first);
  }

  /** The tree that a power cut leaves, with new files and directories, whose later fate `nodeRandom` decides. */
  afterPowerCut(random: Random, nodeRandom: Random): NameTree {
    const kept = random.between(0, this.#journal.length);
    const views = new Map<DirectoryNode, Map<string, AnyNode>>();
    const viewOf = (directory: DirectoryNode): Map<string, AnyNode> => {
      const view = views.get(directory) ?? new Map(directory.durable);
      views.set(directory, view);
      return view;
    };
    this.#journal.forEach((entry, index) => {
      if (index < kept || entry.durable) for (const one of entry.changes) apply(viewOf(one.directory), one);
    });
    const files = new Map<FileNode, FileNode>();
    const build = (from: DirectoryNode): DirectoryNode => {
      const to = new DirectoryNode();
      for (const [name, node] of viewOf(from)) {
        let after: AnyNode;
        if (node instanceof DirectoryNode) after = build(node);
        else {
          after = files.get(node) ?? FileNode.durable(node.afterPowerCut(random), nodeRandom);
          files.set(node, after);
          after.links++;
        }
        to.entries.set(name, after);
        to.durable.set(name, after);
      }
      return to;
    };
    return new NameTree(true, build(this.root));
  }

  /** All files, each once. */
  files(): Set<FileNode> {
    const found = new Set<FileNode>();
    const visit = (directory: DirectoryNode): void => {
      for (const node of directory.entries.values())
        if (node instanceof FileNode) found.add(node);
        else visit(node);
    };
    visit(this.root);
    return found;
  }

  #commit(entries: number): void {
    for (const entry of this.#journal.splice(0, entries))
      for (const one of entry.changes) apply(one.directory.durable, one);
  }
}

function apply(entries: Map<string, AnyNode>, { name, after }: NameChange): void {
  if (after === undefined) entries.delete(name);
  else entries.set(name, after);
}
