/**
 * Reads a shard's manifest without changing anything: for opening a store and for verifying one.
 */
import { join } from 'node:path';
import { CorruptionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { FileSystem } from '../vfs/file-system.ts';
import {
  decodePayload,
  FRAME_CONFIRMATION,
  FRAME_HEADER_BYTES,
  FRAME_SNAPSHOT,
  type FrameHeader,
  frameFault,
  MANIFEST_TEMPORARY,
  manifestName,
  manifestOfName,
  payloadFault,
} from './manifest-format.ts';
import { applyPayload, type ManifestState } from './manifest-state.ts';
import { segmentOfName } from './wal-format.ts';

export interface ReadManifest {
  readonly number: number;
  readonly state: ManifestState;
  readonly frames: number;
  /** Bytes of the first frame. */
  readonly snapshotBytes: number;
  /** Where the whole frames end; what follows is the torn tail of an edit that was never acted upon. */
  readonly end: number;
  /** The last frame is covered by a later one, or is the snapshot. */
  readonly confirmed: boolean;
  /** Its bytes. */
  readonly lastFrame: Uint8Array;
}

export function manifestPath(directory: string, number: number): string {
  return join(directory, manifestName(number));
}

/** Number of the manifest in force in `directory`, the highest, or -1 where there is none. */
export function currentManifest(fs: FileSystem, directory: string): number {
  return fs.readdir(directory).reduce((highest, name) => Math.max(highest, manifestOfName(name)), -1);
}

/**
 * Reads the manifest in force. Throws CorruptionError for damage and where there is none, IoError where it
 * cannot be read, FormatVersionError for one of a newer RingKV.
 */
export function readManifest(fs: FileSystem, directory: string): ReadManifest {
  const number = currentManifest(fs, directory);
  if (number < 0) throw new CorruptionError(directory, 0, 'no manifest');
  const path = manifestPath(directory, number);
  const bytes = readWhole(fs, path);
  const view = new DataView(bytes.buffer);
  const header: FrameHeader = { kind: 0, frame: 0, watermark: 0, payloadBytes: 0 };
  let state: ManifestState | null = null;
  let frames = 0;
  let at = 0;
  let snapshotBytes = 0;
  let confirmed = false;
  let last = 0;
  while (at < bytes.length) {
    let fault = frameFault(bytes, view, at, number, header);
    if (fault === '' && header.frame !== frames + 1)
      fault = `frame ${header.frame} in the place of frame ${frames + 1}`;
    if (fault === '') fault = payloadFault(bytes, at, number, header);
    if (fault !== '') {
      judge(path, bytes, view, number, at, frames, fault);
      break;
    }
    const { kind, payloadBytes } = header;
    if ((kind === FRAME_SNAPSHOT) !== (frames === 0))
      throw new CorruptionError(path, at, `frame ${frames + 1} is of kind ${kind}`);
    if (kind !== FRAME_CONFIRMATION) {
      const payload = decodePayload(view, at + FRAME_HEADER_BYTES, payloadBytes);
      const next: ManifestState | string =
        typeof payload === 'string' ? payload : applyPayload(state, payload);
      if (typeof next === 'string') throw new CorruptionError(path, at, next);
      state = next;
    }
    confirmed = kind !== FRAME_SNAPSHOT ? kind === FRAME_CONFIRMATION : true;
    last = at;
    at += FRAME_HEADER_BYTES + payloadBytes;
    frames++;
    if (kind === FRAME_SNAPSHOT) snapshotBytes = at;
  }
  if (state === null) throw new CorruptionError(path, 0, 'the file is empty');
  return { number, state, frames, snapshotBytes, end: at, confirmed, lastFrame: bytes.subarray(last, at) };
}

function readWhole(fs: FileSystem, path: string): Uint8Array<ArrayBuffer> {
  const file = fs.open(path, 'read');
  try {
    const size = file.size();
    if (size > limits.manifestFileBytesMax)
      throw new CorruptionError(
        path,
        limits.manifestFileBytesMax,
        `a manifest of ${size} bytes; the limit is ${limits.manifestFileBytesMax}`,
      );
    const bytes = new Uint8Array(size);
    return bytes.subarray(0, file.readSync(bytes, 0, size, 0));
  } finally {
    file.close();
  }
}

/** Returns where the bad frame at `at` is a torn tail; throws CorruptionError where it is damage. */
function judge(
  path: string,
  bytes: Uint8Array,
  view: DataView,
  number: number,
  at: number,
  frames: number,
  fault: string,
): void {
  if (at === 0) throw new CorruptionError(path, 0, `${fault}; the first frame is never torn`);
  const header: FrameHeader = { kind: 0, frame: 0, watermark: 0, payloadBytes: 0 };
  for (let later = at + 8; later + FRAME_HEADER_BYTES <= bytes.length; later += 8) {
    if (frameFault(bytes, view, later, number, header) !== '') continue;
    if (header.frame > frames && header.watermark > at)
      throw new CorruptionError(
        path,
        at,
        `${fault}; the frame at byte ${later} shows that this one was durable`,
      );
  }
}

/**
 * Names of files in `directory` that `manifest` does not name, to be deleted when a shard opens: outputs of
 * flushes and compactions that never came into force, tables that went out of it, old and unfinished
 * manifests, segments that are in tables. `tableOfName` gives the number in a table's file name, -1 where
 * the name is none. Files of other kinds are not ours to delete, and spare segments belong to the log.
 */
export function listOrphans(
  fs: FileSystem,
  directory: string,
  manifest: { readonly number: number; readonly state: ManifestState },
  tableOfName: (name: string) => number,
): string[] {
  const { number, state } = manifest;
  return fs.readdir(directory).filter((name) => {
    if (name === MANIFEST_TEMPORARY) return true;
    const table = tableOfName(name);
    if (table >= 0) return !state.tables.has(table);
    const other = manifestOfName(name);
    if (other >= 0) return other !== number;
    const segment = segmentOfName(name);
    return segment >= 0 && segment < state.oldestLiveSegment;
  });
}
