/**
 * Layouts: how the shards of a node lie in its data directory. Owned by the main thread under the directory's
 * lock. A layout is complete before CURRENT names it, and never changes its number of shards; another number
 * of shards is another layout (reshard.ts).
 *
 *   DATA/node.json                       who the node is (data-directory.ts)
 *   DATA/CURRENT                         the layout in force: { layout }
 *   DATA/layout-N/layout.json            { number, vnodes, shards, inherited }
 *   DATA/layout-N/shard-I/               manifest, commit log and tables of shard I (src/engine)
 *
 * `inherited[I]`: tables of shard I with a number up to it are links to tables of an earlier layout. They may
 * hold vnodes that are not the shard's, until a compaction has rewritten them; tables above hold only its own.
 *
 * 1. Layouts other than the one that CURRENT names are unfinished or retired: they are removed at every start.
 * 2. Each shard of the layout in force has a manifest. One that is missing is damage, not a new shard.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { CorruptionError, IoError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { TableMeta } from '../engine/contract.ts';
import { Manifest } from '../engine/manifest.ts';
import { tableName } from '../engine/table-format.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import { DOCUMENT_FORMAT, readDocument, writeDocument } from './document.ts';
import { packageVersion } from './package-version.ts';

export const CURRENT = 'CURRENT';
const LAYOUT_DOCUMENT = 'layout.json';
const LAYOUT_NAME = /^layout-([1-9][0-9]{0,8})$/;
const SHARD_NAME = /^shard-[0-9]{1,3}$/;

export interface Layout {
  readonly directory: string;
  readonly number: number;
  readonly vnodes: number;
  readonly shards: number;
  readonly inherited: readonly number[];
}

/** What a shard of a new layout starts from. */
export interface ShardContents {
  /** Files to link, and what the manifest says of them; numbers are 1, 2, ... in this order. */
  readonly tables: readonly { readonly from: string; readonly meta: TableMeta }[];
  readonly versionMax: number;
}
export const emptyContents: ShardContents = { tables: [], versionMax: 0 };

const head = { format: z.literal(DOCUMENT_FORMAT), createdBy: z.string() };
const currentSchema = z.strictObject({ ...head, layout: z.int().min(1) });
const layoutSchema = z.strictObject({
  ...head,
  number: z.int().min(1),
  vnodes: z.int().min(1).max(limits.vnodesMax),
  shards: z.int().min(1).max(limits.shardsMax),
  inherited: z.array(z.int().min(0)),
});

const layoutDirectory = (data: string, number: number): string => join(data, `layout-${number}`);
export const shardDirectory = (layout: Pick<Layout, 'directory'>, shard: number): string =>
  join(layout.directory, `shard-${shard}`);
/** The number in a layout directory's name, 0 where the name is none. */
export const layoutOfName = (name: string): number => Number(LAYOUT_NAME.exec(name)?.[1] ?? 0);

/** The layout in force. Throws CorruptionError, FormatVersionError and IoError. */
export function readLayout(fs: FileSystem, data: string, vnodes: number): Layout {
  const { layout: number } = readDocument(fs, join(data, CURRENT), currentSchema);
  const directory = layoutDirectory(data, number);
  const path = join(directory, LAYOUT_DOCUMENT);
  const { shards, inherited, ...said } = readDocument(fs, path, layoutSchema);
  if (said.number !== number) throw new CorruptionError(path, 0, `it is of layout ${said.number}`);
  if (said.vnodes !== vnodes)
    throw new CorruptionError(path, 0, `it has ${said.vnodes} vnodes, and the node has ${vnodes}`);
  if (inherited.length !== shards)
    throw new CorruptionError(path, 0, `${inherited.length} inherited numbers for ${shards} shards`);
  const layout = { directory, number, vnodes, shards, inherited };
  for (let shard = 0; shard < shards; shard++) {
    const home = shardDirectory(layout, shard);
    if (!isDirectory(fs, home) || !Manifest.exists(fs, home))
      throw new CorruptionError(home, 0, `the manifest of shard ${shard} is missing`);
  }
  return layout;
}

/**
 * Makes layout `number`, durable on return, not in force: one shard for each of `contents`. `onShard` is told
 * of every shard that is ready. Throws DiskFullError and IoError.
 */
export function createLayout(
  fs: FileSystem,
  data: string,
  number: number,
  vnodes: number,
  contents: readonly ShardContents[],
  onShard: (shard: number) => void,
): Layout {
  const directory = layoutDirectory(data, number);
  const shards = contents.length;
  const inherited = contents.map(({ tables }) => tables.length);
  const layout = { directory, number, vnodes, shards, inherited };
  fs.mkdir(directory);
  contents.forEach(({ tables, versionMax }, shard) => {
    const home = shardDirectory(layout, shard);
    fs.mkdir(home);
    for (const { from, meta } of tables) fs.link(from, join(home, tableName(meta.number)));
    // Syncs the directory after its own file is in place: the links are durable with it.
    const manifest = Manifest.create(fs, home, {
      ownership: { vnodes, shards, shard },
      nextNumber: tables.length + 1,
      tables: new Map(tables.map(({ meta }) => [meta.number, meta])),
      oldestLiveSegment: 1,
      versionMax,
    });
    manifest.close();
    onShard(shard);
  });
  writeDocument(fs, directory, LAYOUT_DOCUMENT, {
    format: DOCUMENT_FORMAT,
    createdBy: packageVersion,
    number,
    vnodes,
    shards,
    inherited,
  });
  fs.syncDirectory(data);
  return layout;
}

/** Puts a layout in force, durably and at once. */
export function switchLayout(fs: FileSystem, data: string, layout: Layout): void {
  const { number } = layout;
  writeDocument(fs, data, CURRENT, { format: DOCUMENT_FORMAT, createdBy: packageVersion, layout: number });
}

/** Removes layouts that are not in force; their numbers. */
export function removeOtherLayouts(fs: FileSystem, data: string, inForce: number): number[] {
  const numbers = layoutNumbers(fs, data).filter((number) => number !== inForce);
  for (const number of numbers) removeLayout(fs, data, number);
  return numbers;
}
export const layoutNumbers = (fs: FileSystem, data: string): number[] =>
  fs
    .readdir(data)
    .map(layoutOfName)
    .filter((number) => number > 0);

/** Names of what lies in the shards of a layout, finished or not. */
export function filesOfShards(fs: FileSystem, data: string, number: number): string[] {
  const directory = layoutDirectory(data, number);
  const shards = fs.readdir(directory).filter((name) => SHARD_NAME.test(name));
  return shards.flatMap((shard) => fs.readdir(join(directory, shard)));
}

/** The layout's own document goes first: what is left of it can never be taken for whole. */
function removeLayout(fs: FileSystem, data: string, number: number): void {
  const directory = layoutDirectory(data, number);
  const names = fs.readdir(directory);
  for (const name of names) if (!SHARD_NAME.test(name)) fs.unlink(join(directory, name));
  for (const name of names) {
    if (!SHARD_NAME.test(name)) continue;
    const home = join(directory, name);
    for (const file of fs.readdir(home)) fs.unlink(join(home, file));
    fs.rmdir(home);
  }
  fs.rmdir(directory);
  fs.syncDirectory(data);
}

function isDirectory(fs: FileSystem, path: string): boolean {
  try {
    fs.readdir(path);
    return true;
  } catch (error) {
    if (error instanceof IoError && (error.errno === 'ENOENT' || error.errno === 'ENOTDIR')) return false;
    throw error;
  }
}
