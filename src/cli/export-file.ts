/**
 * The output of an export: standard output, or a file that appears under its name only when it is whole and on
 * disk. Gzip where asked for. A target that exists and is no plain file (a pipe, /dev/null) is written in place.
 */
import { createWriteStream } from 'node:fs';
import { lstat, open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { KiB } from '../base/limits.ts';
import { ExitCode } from './exit-codes.ts';
import { CommandError, InterruptedError, PipeClosedError } from './failure.ts';

const CHUNK_CHARACTERS = 64 * KiB;
/** Fast: an export is mostly a copy on its way to somewhere else. */
const GZIP_LEVEL = 5;

export interface ExportOutput {
  /** A path, or - for standard output. */
  readonly path: string;
  readonly gzip: boolean;
  readonly stdout: Writable;
  readonly signal: AbortSignal;
}

/** Writes all `lines`. Where they throw, or the signal aborts, no file is left behind. */
export async function writeExport(lines: AsyncIterable<string>, output: ExportOutput): Promise<void> {
  if (output.path === '-') return await pipe(lines, output, output.stdout, false);
  const place = await placeOf(output.path);
  if (!place.plain) return await pipe(lines, output, createWriteStream(place.path), true);
  const temporary = join(dirname(place.path), `.${basename(place.path)}.${process.pid}.partial`);
  try {
    // `flush` syncs the file before it is closed.
    await pipe(lines, output, createWriteStream(temporary, { flags: 'wx', flush: true }), true);
    await rename(temporary, place.path);
    await syncDirectory(dirname(place.path));
  } catch (error) {
    await unlink(temporary).catch((gone: NodeJS.ErrnoException) => {
      if (gone.code !== 'ENOENT' && gone.code !== 'ENOTDIR') throw gone;
    });
    throw error;
  }
}

/** Where the file really lies, links followed, and whether it is a plain file or none yet. */
async function placeOf(path: string): Promise<{ readonly path: string; readonly plain: boolean }> {
  try {
    const link = await lstat(path);
    const about = link.isSymbolicLink() ? await stat(path) : link;
    if (about.isDirectory()) throw new CommandError(`${path}: a directory, not a file`, ExitCode.FAILED);
    return { path: link.isSymbolicLink() ? await realpath(path) : path, plain: about.isFile() };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { path, plain: true };
    throw error instanceof CommandError ? error : unwritable(path, error);
  }
}

async function* chunksOf(lines: AsyncIterable<string>): AsyncGenerator<Buffer, void, undefined> {
  let text = '';
  for await (const line of lines) {
    text += line;
    if (text.length < CHUNK_CHARACTERS) continue;
    yield Buffer.from(text);
    text = '';
  }
  if (text !== '') yield Buffer.from(text);
}

async function pipe(
  lines: AsyncIterable<string>,
  { gzip, path, signal }: ExportOutput,
  sink: Writable,
  end: boolean,
): Promise<void> {
  let lineFailure: unknown = null;
  async function* watched(): AsyncGenerator<string, void, undefined> {
    try {
      yield* lines;
    } catch (error) {
      lineFailure = error;
      throw error;
    }
  }
  const source = Readable.from(chunksOf(watched()), { objectMode: false });
  try {
    if (gzip) await pipeline(source, createGzip({ level: GZIP_LEVEL }), sink, { signal, end });
    else await pipeline(source, sink, { signal, end });
  } catch (error) {
    if (signal.aborted) throw new InterruptedError();
    if (lineFailure !== null) throw lineFailure;
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') throw new PipeClosedError();
    throw unwritable(path, error);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function unwritable(path: string, error: unknown): CommandError {
  const name = path === '-' ? 'standard output' : path;
  const what = `${name}: cannot be written: ${(error as Error).message}`;
  return new CommandError(what, ExitCode.FAILED, { cause: error });
}
