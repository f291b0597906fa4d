/**
 * Small JSON documents of the data directory (node.json, CURRENT, layout.json): written whole by a temporary
 * file that is synced and renamed, so that a crash leaves the old one or the new one; read back only where
 * their checksum matches. Owned by the main thread, which holds the directory's lock.
 *
 *   field      in every document, of every version
 *   format     version of the document's fields, an integer from 1
 *   createdBy  version of the RingKV that wrote it
 *   checksum   XXH3-64, 16 hexadecimal digits, of the others as JSON.stringify gives them, in their order
 */
import { join } from 'node:path';
import type { z } from 'zod';
import { CHECKSUM_BYTES, writeChecksum } from '../base/checksum.ts';
import { CorruptionError, FormatVersionError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { FileSystem } from '../vfs/file-system.ts';

export const DOCUMENT_FORMAT = 1;
const TEMPORARY = '.tmp';
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export interface DocumentFields {
  readonly format: number;
  readonly createdBy: string;
}

/** Whether `name` is a document called `document`, or the unfinished file of one. */
export const isDocumentName = (name: string, document: string): boolean =>
  name === document || name === document + TEMPORARY;

/** Writes `directory`/`name`, durable on return. Throws DiskFullError and IoError: then the old one is in force. */
export function writeDocument(
  fs: FileSystem,
  directory: string,
  name: string,
  fields: DocumentFields & Readonly<Record<string, unknown>>,
): void {
  const sealed = { ...fields, checksum: checksumOf(fields) };
  const bytes = encoder.encode(`${JSON.stringify(sealed, null, 2)}\n`);
  const temporary = join(directory, name + TEMPORARY);
  if (fs.exists(temporary)) fs.unlink(temporary);
  const file = fs.open(temporary, 'create');
  try {
    file.writeSync(bytes, 0, bytes.length, 0);
    file.syncSync();
  } finally {
    file.close();
  }
  fs.rename(temporary, join(directory, name));
  fs.syncDirectory(directory);
}

/**
 * Reads a document. Throws CorruptionError for one that is missing, damaged or not as `schema` says,
 * FormatVersionError for one of a newer RingKV, and IoError.
 */
export function readDocument<T>(fs: FileSystem, path: string, schema: z.ZodType<T>): T {
  if (!fs.exists(path)) throw new CorruptionError(path, 0, 'the file is missing');
  const content = parsed(path, contentOf(fs, path));
  const { checksum, ...fields } = content;
  if (checksum !== checksumOf(fields)) throw new CorruptionError(path, 0, 'the document fails its checksum');
  if (fields.format !== DOCUMENT_FORMAT)
    throw new FormatVersionError(
      `${path} has format version ${String(fields.format)}, written by RingKV ${String(fields.createdBy)}; ` +
        `this RingKV reads version ${DOCUMENT_FORMAT}`,
    );
  const checked = schema.safeParse(fields);
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0];
  throw new CorruptionError(path, 0, `${issue?.path.join('.')}: ${issue?.message}`);
}

function checksumOf(fields: object): string {
  const text = encoder.encode(JSON.stringify(fields));
  const digest = Buffer.alloc(CHECKSUM_BYTES);
  writeChecksum(text, 0, text.length, digest, 0);
  return digest.toString('hex');
}

function contentOf(fs: FileSystem, path: string): string {
  const file = fs.open(path, 'read');
  try {
    const size = file.size();
    if (size > limits.nodeFileBytesMax)
      throw new CorruptionError(
        path,
        limits.nodeFileBytesMax,
        `a document of ${size} bytes; the limit is ${limits.nodeFileBytesMax}`,
      );
    const bytes = new Uint8Array(size);
    return decoder.decode(bytes.subarray(0, file.readSync(bytes, 0, size, 0)));
  } finally {
    file.close();
  }
}

function parsed(path: string, text: string): Record<string, unknown> {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new CorruptionError(path, 0, `not JSON: ${(error as Error).message}`, { cause: error });
  }
  if (typeof content === 'object' && content !== null && !Array.isArray(content))
    return content as Record<string, unknown>;
  throw new CorruptionError(path, 0, 'not a JSON object');
}
