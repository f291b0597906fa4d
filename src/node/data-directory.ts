/**
 * The data directory of a node, owned by the main thread: found or made, locked for as long as the process
 * lives. The layout of its shards: layout.ts.
 *
 *   DATA/node.json   { nodeId, vnodes }: made once and kept
 *
 * 1. Nothing is written to a directory that is neither empty nor a node's. `lost+found` counts as nothing.
 * 2. node.json is written last: with it, everything else must be there, and what is missing is damage. Without
 *    it, what is there is an unfinished creation, and holds no record: it is removed and made again.
 * 3. One process at a time: the lock is taken before anything is read that may change.
 */
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { ConfigurationError, CorruptionError, IoError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { MANIFEST_TEMPORARY, manifestOfName } from '../engine/manifest-format.ts';
import type { FileLock, FileSystem } from '../vfs/file-system.ts';
import { DOCUMENT_FORMAT, isDocumentName, readDocument, writeDocument } from './document.ts';
import {
  CURRENT,
  createLayout,
  emptyContents,
  filesOfShards,
  type Layout,
  layoutOfName,
  readLayout,
  removeOtherLayouts,
  switchLayout,
} from './layout.ts';
import { packageVersion } from './package-version.ts';

const NODE_DOCUMENT = 'node.json';
const NODE_ID = /^[0-9a-f]{32}$/;
const nodeSchema = z.strictObject({
  format: z.literal(DOCUMENT_FORMAT),
  createdBy: z.string(),
  nodeId: z.string().regex(NODE_ID),
  vnodes: z.int().min(1).max(limits.vnodesMax),
});

export interface DataDirectoryOptions {
  readonly path: string;
  readonly vnodes: number;
  /** A directory that was made with another number is opened all the same, with its own. */
  readonly keepVnodes?: boolean;
  /** Of a new directory; one that exists keeps its number until it is resharded. */
  readonly shards: number;
  /** What the node's id must be; '' or missing: what it is. */
  readonly nodeId?: string;
  /** 32 hexadecimal digits, for a new directory. */
  readonly newNodeId: () => string;
}

export class DataDirectory {
  readonly path: string;
  readonly nodeId: string;
  readonly vnodes: number;
  /** Version of the RingKV that made it. */
  readonly createdBy: string;
  layout: Layout;
  readonly #lock: FileLock;

  private constructor(path: string, node: z.infer<typeof nodeSchema>, layout: Layout, lock: FileLock) {
    this.path = path;
    this.nodeId = node.nodeId;
    this.vnodes = node.vnodes;
    this.createdBy = node.createdBy;
    this.layout = layout;
    this.#lock = lock;
  }

  /**
   * Opens or makes a data directory and locks it. Throws ConfigurationError for a path or a setting that does
   * not fit, LockedError, CorruptionError, FormatVersionError, DiskFullError and IoError.
   */
  static open(fs: FileSystem, options: DataDirectoryOptions): DataDirectory {
    const { path } = options;
    makeDirectory(fs, path);
    // Looked at before the lock, whose file is not to lie in a foreign directory.
    refuseForeign(path, namesIn(fs, path));
    const lock = fs.lock(path);
    try {
      const names = namesIn(fs, path);
      refuseForeign(path, names);
      if (!names.includes(NODE_DOCUMENT)) {
        refuseLoss(fs, path, names);
        create(fs, options);
      }
      const node = readDocument(fs, join(path, NODE_DOCUMENT), nodeSchema);
      if (node.vnodes !== options.vnodes && options.keepVnodes !== true)
        throw new ConfigurationError(
          `vnodes ${options.vnodes}: ${path} was made with ${node.vnodes} vnodes, which cannot change; ` +
            `start with vnodes ${node.vnodes}`,
        );
      const { nodeId = '' } = options;
      if (nodeId !== '' && nodeId !== node.nodeId)
        throw new ConfigurationError(`node-id ${nodeId}: ${path} belongs to node ${node.nodeId}`);
      const layout = readLayout(fs, path, node.vnodes);
      removeOtherLayouts(fs, path, layout.number);
      return new DataDirectory(path, node, layout, lock);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** Gives the lock back. Idempotent as the lock is. */
  close(): void {
    this.#lock.release();
  }
}

/** Makes the directory and its parents, durably. */
function makeDirectory(fs: FileSystem, path: string): void {
  const made: string[] = [];
  for (let at = path; !fs.exists(at) && at !== dirname(at); at = dirname(at)) made.push(at);
  try {
    fs.mkdir(path);
  } catch (error) {
    if (error instanceof IoError && (error.errno === 'EEXIST' || error.errno === 'ENOTDIR'))
      throw notADirectory(path, error);
    throw error;
  }
  for (const one of made) fs.syncDirectory(dirname(one));
}

function namesIn(fs: FileSystem, path: string): string[] {
  try {
    return fs.readdir(path);
  } catch (error) {
    if (error instanceof IoError && error.errno === 'ENOTDIR') throw notADirectory(path, error);
    throw error;
  }
}

const notADirectory = (path: string, cause: IoError): ConfigurationError =>
  new ConfigurationError(`data ${path}: not a directory (${cause.errno})`, { cause });

function isOurs(name: string): boolean {
  return (
    /^LOCK(\.|$)/.test(name) ||
    name === 'lost+found' ||
    layoutOfName(name) > 0 ||
    isDocumentName(name, NODE_DOCUMENT) ||
    isDocumentName(name, CURRENT)
  );
}

function refuseForeign(path: string, names: readonly string[]): void {
  if (names.includes(NODE_DOCUMENT)) return;
  const foreign = names.find((name) => !isOurs(name));
  if (foreign !== undefined)
    throw new ConfigurationError(
      `data ${path}: not empty (${JSON.stringify(foreign)} is there) and not a data directory of RingKV ` +
        `(no ${NODE_DOCUMENT}); name an empty or a new directory`,
    );
}

/** node.json is missing: throws where that cannot be an unfinished creation. */
function refuseLoss(fs: FileSystem, path: string, names: readonly string[]): void {
  for (const number of names.map(layoutOfName).filter((one) => one > 0)) {
    const data = filesOfShards(fs, path, number).find((name) => !isOfEmptyShard(name));
    if (data !== undefined)
      throw new CorruptionError(
        join(path, NODE_DOCUMENT),
        0,
        `the file is missing, and layout ${number} holds ${data}`,
      );
  }
}

/** Whether a shard that never was opened can have such a file. */
const isOfEmptyShard = (name: string): boolean => name === MANIFEST_TEMPORARY || manifestOfName(name) === 1;

function create(fs: FileSystem, { path, vnodes, shards, newNodeId }: DataDirectoryOptions): void {
  for (const name of fs.readdir(path))
    if (isDocumentName(name, CURRENT)) {
      fs.unlink(join(path, name));
      fs.syncDirectory(path);
    }
  removeOtherLayouts(fs, path, 0);
  // An earlier attempt may have made the directory and died before it was durable.
  fs.syncDirectory(dirname(path));
  const contents = Array.from({ length: shards }, () => emptyContents);
  const layout = createLayout(fs, path, 1, vnodes, contents, () => undefined);
  switchLayout(fs, path, layout);
  writeDocument(fs, path, NODE_DOCUMENT, {
    format: DOCUMENT_FORMAT,
    createdBy: packageVersion,
    nodeId: newNodeId(),
    vnodes,
  });
}
