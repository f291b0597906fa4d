/** Input of commands: files and standard input, whole or as a stream, unpacked where they are gzip. */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { ValueTooLargeError } from '../base/errors.ts';
import { KiB } from '../base/limits.ts';
import { ExitCode } from './exit-codes.ts';
import { CommandError } from './failure.ts';

const CHUNK_BYTES = 256 * KiB;
const GZIP_MAGIC = [0x1f, 0x8b] as const;

/** All of a stream. Throws ValueTooLargeError beyond `bytesMax`, having read no more than one chunk beyond it. */
export async function readWhole(stream: Readable, name: string, bytesMax: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of chunksOf(stream, name)) {
    length += part.length;
    if (length > bytesMax)
      throw new ValueTooLargeError(`${name}: more than ${bytesMax} bytes, the most that a value may have`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}
export async function readWholeFile(path: string, bytesMax: number): Promise<Uint8Array> {
  return await readWhole(createReadStream(path, { highWaterMark: CHUNK_BYTES }), path, bytesMax);
}

export interface ImportInput {
  readonly name: string;
  /** Unpacked bytes. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Bytes of the file, packed as it lies there; 0 where nobody knows. */
  readonly bytesTotal: number;
  /** How many of them have been read. */
  readonly bytesRead: () => number;
}

/** `path` - is standard input. The signal ends reading with an InterruptedError. Throws CommandError where the file cannot be read. */
export async function openInput(path: string, stdin: Readable, signal: AbortSignal): Promise<ImportInput> {
  const name = path === '-' ? 'standard input' : path;
  const bytesTotal = path === '-' ? 0 : await sizeOf(path);
  const source = path === '-' ? stdin : createReadStream(path, { highWaterMark: CHUNK_BYTES });
  let read = 0;
  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    const end = (): void => void source.destroy();
    signal.addEventListener('abort', end, { once: true });
    try {
      if (signal.aborted) return;
      for await (const chunk of chunksOf(source, name)) {
        read += chunk.length;
        yield chunk;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      signal.removeEventListener('abort', end);
      source.destroy();
    }
  }
  return { name, chunks: unpacked(counted(), name), bytesTotal, bytesRead: () => read };
}

async function sizeOf(path: string): Promise<number> {
  try {
    const file = await open(path, 'r');
    try {
      const about = await file.stat();
      if (about.isDirectory()) throw new CommandError(`${path}: a directory, not a file`, ExitCode.FAILED);
      return about.isFile() ? about.size : 0;
    } finally {
      await file.close();
    }
  } catch (error) {
    throw error instanceof CommandError ? error : unreadable(path, error);
  }
}

async function* chunksOf(stream: Readable, name: string): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    throw unreadable(name, error);
  }
}

function unreadable(name: string, error: unknown): CommandError {
  const code = (error as NodeJS.ErrnoException).code;
  const what = code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
  return new CommandError(`${name}: cannot be read: ${what}`, ExitCode.FAILED, { cause: error });
}

/** Gzip is known by its first two bytes, whatever the file's name is. */
async function* unpacked(
  chunks: AsyncGenerator<Uint8Array, void, undefined>,
  name: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let head = new Uint8Array(0);
  while (head.length < GZIP_MAGIC.length) {
    const next = await chunks.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const packed = head.length >= GZIP_MAGIC.length && GZIP_MAGIC.every((byte, at) => head[at] === byte);
  if (packed) yield* gunzip(head, chunks, name);
  else {
    if (head.length > 0) yield head;
    yield* chunks;
  }
}

async function* gunzip(
  head: Uint8Array,
  rest: AsyncGenerator<Uint8Array, void, undefined>,
  name: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  async function* whole(): AsyncGenerator<Uint8Array, void, undefined> {
    yield head;
    yield* rest;
  }
  const unpack = createGunzip({ chunkSize: CHUNK_BYTES });
  let failure: Error | null = null;
  pipeline(Readable.from(whole(), { objectMode: false }), unpack, (error) => {
    failure = error ?? null;
  });
  try {
    for await (const chunk of unpack) yield chunk as Uint8Array;
  } catch (error) {
    const cause = failure ?? error;
    if (cause instanceof CommandError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const what = code === 'Z_BUF_ERROR' ? 'it ends in the middle' : message;
    throw new CommandError(`${name}: the gzip data is damaged: ${what}`, ExitCode.FAILED, { cause });
  }
}
