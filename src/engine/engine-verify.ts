/**
 * Checks the log and the manifest of a shard that runs, as its tables are checked by a job. Owned by the
 * shard's thread, which takes a turn for other work between segments; reads only.
 */
import { CorruptionError, IoError } from '../base/errors.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import type { JobResult } from './contract.ts';
import { readManifest } from './manifest-reader.ts';
import type { MemtableList } from './memtable-list.ts';
import { recoverSegment, segmentFileBytes, segmentPath } from './wal-recovery.ts';

type Damage = JobResult['damage'][number];

/** `open` is the segment that is being written, whose end is no damage; 0 for none. */
export async function verifyEngine(
  fs: FileSystem,
  directory: string,
  memtables: MemtableList,
  open: number,
): Promise<Damage[]> {
  const damage: Damage[] = [];
  const note = (error: unknown): void => {
    if (!(error instanceof CorruptionError)) throw error;
    damage.push({ file: error.file, offset: error.offset, what: error.message });
  };
  try {
    readManifest(fs, directory);
  } catch (error) {
    note(error);
  }
  for (const segment of memtables.items.filter(({ closed }) => closed).map((one) => one.segment)) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    // Flushed meanwhile: its file is gone, and its records are in a table.
    if (segment === open || !memtables.items.some((one) => one.segment === segment)) continue;
    const found = checkSegment(fs, segmentPath(directory, segment), segment);
    if (found !== null) note(found);
  }
  return damage;
}

function checkSegment(fs: FileSystem, path: string, number: number): CorruptionError | null {
  try {
    const bytes = new Uint8Array(segmentFileBytes(fs, path));
    const options = { number, newest: false, bytes, view: new DataView(bytes.buffer) };
    return recoverSegment(fs, path, options, () => undefined).damage;
  } catch (error) {
    if (error instanceof IoError && error.errno === 'ENOENT')
      return new CorruptionError(path, 0, 'the segment is missing');
    throw error;
  }
}
