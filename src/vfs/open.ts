/** Turns the description of a file system, which can be sent to a thread, into the file system itself. */
import type { FileSystem, FileSystemSpec } from './file-system.ts';
import { realFileSystem } from './real.ts';
import { SimulatedFileSystem } from './simulated.ts';

/** `memory` gives a new and empty file system at each call: no two threads share one. */
export function fileSystemOf(spec: FileSystemSpec): FileSystem {
  return spec.kind === 'real' ? realFileSystem : new SimulatedFileSystem({ automatic: true });
}
