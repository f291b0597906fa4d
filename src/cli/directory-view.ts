/** What a data directory says of itself, read without opening it. */
import { join } from 'node:path';
import { z } from 'zod';
import { limits } from '../base/limits.ts';
import { readDocument } from '../node/document.ts';
import { type Layout, readLayout } from '../node/layout.ts';
import type { FileSystem } from '../vfs/file-system.ts';

const NODE_DOCUMENT = 'node.json';
const nodeSchema = z.looseObject({ vnodes: z.int().min(1).max(limits.vnodesMax) });

/** Whether there is a data directory of RingKV at `path`. Throws IoError. */
export const isDataDirectory = (fs: FileSystem, path: string): boolean =>
  fs.exists(join(path, NODE_DOCUMENT));

/** The layout in force of a data directory. Throws CorruptionError, FormatVersionError and IoError. */
export function layoutOf(fs: FileSystem, path: string): Layout {
  const { vnodes } = readDocument(fs, join(path, NODE_DOCUMENT), nodeSchema);
  return readLayout(fs, path, vnodes);
}
