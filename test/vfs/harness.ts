import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { File, FileSystem } from '../../src/vfs/file-system.ts';
import { realFileSystem } from '../../src/vfs/real.ts';
import { SimulatedFileSystem } from '../../src/vfs/simulated.ts';

/** A file system under test, with an empty directory on it. */
export interface Subject {
  readonly fs: FileSystem;
  readonly root: string;
  /** Lets asynchronous calls come back that do not do so by themselves. */
  settle(): Promise<void>;
  dispose(): void;
}

const nothing = (): void => undefined;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function realSubject(): Subject {
  const root = mkdtempSync(join(tmpdir(), 'ringkv-vfs-'));
  const dispose = (): void => rmSync(root, { recursive: true, force: true });
  return { fs: realFileSystem, root, settle: turn, dispose };
}
export function simulatedSubject(): Subject {
  const fs = new SimulatedFileSystem();
  fs.mkdir('/root');
  return { fs, root: '/root', settle: () => fs.settle(), dispose: nothing };
}
export function automaticSubject(): Subject {
  const fs = new SimulatedFileSystem({ automatic: true });
  fs.mkdir('/root');
  return { fs, root: '/root', settle: turn, dispose: nothing };
}

export interface Outcome {
  readonly error: Error | null;
  readonly bytes: number;
}
/** What an asynchronous call comes back with. */
export async function outcomeOf(
  subject: Subject,
  start: (done: (error: Error | null, bytes: number) => void) => void,
): Promise<Outcome> {
  let hasReturned = false;
  const outcome = new Promise<Outcome>((resolve, reject) => {
    start((error, bytes) => {
      if (hasReturned) resolve({ error, bytes });
      else reject(new Error('the callback came before the call had returned'));
    });
    hasReturned = true;
  });
  await subject.settle();
  return await outcome;
}

export const textBytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

export function writeFile(fs: FileSystem, path: string, text: string): void {
  const file = fs.open(path, 'create');
  file.writeSync(textBytes(text), 0, text.length, 0);
  file.close();
}
export function readOpen(file: File): string {
  const bytes = new Uint8Array(file.size());
  const read = file.readSync(bytes, 0, bytes.length, 0);
  return Buffer.from(bytes.subarray(0, read)).toString('latin1');
}
export function readFile(fs: FileSystem, path: string): string {
  const file = fs.open(path, 'read');
  try {
    return readOpen(file);
  } finally {
    file.close();
  }
}
/** What a call throws. */
export function errorOf(call: () => unknown): Error {
  try {
    call();
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error('the call did not fail');
}
