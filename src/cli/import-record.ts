/**
 * One line of an import: `{"key": "...", "value": "..."}`, either of them as text or, in `keyBase64` and
 * `valueBase64`, as bytes; `ttl` in seconds where it expires. `version`, which `export --meta` writes, is read
 * over: an import gives new versions. Anything else is refused, so that nothing is lost in silence.
 */
import { RingKvError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { bytesOfBase64 } from './keys.ts';

export interface ImportRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Seconds; 0 where the record does not expire. */
  readonly ttl: number;
}

/** What is wrong with a line, without its number. */
export class BadLineError extends RingKvError {
  readonly code = 'BAD_LINE';
}

const fields: ReadonlySet<string> = new Set(['key', 'keyBase64', 'value', 'valueBase64', 'ttl', 'version']);
const EXCERPT_CHARACTERS = 60;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Whether a line has nothing but white space. */
export function isBlank(line: Uint8Array): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

/** Throws BadLineError. */
export function parseImportLine(line: Uint8Array): ImportRecord {
  const content = parsed(line);
  if (typeof content !== 'object' || content === null || Array.isArray(content))
    throw new BadLineError(`not a JSON object: ${excerpt(content)}`);
  const row = content as Readonly<Record<string, unknown>>;
  const unknown = Object.keys(row).find((name) => !fields.has(name));
  if (unknown !== undefined)
    throw new BadLineError(`unknown field ${excerpt(unknown)}; there are ${[...fields].join(', ')}`);
  const key = bytesIn(row, 'key', 'keyBase64');
  if (key.length === 0) throw new BadLineError('an empty key; a key has at least 1 byte');
  return { key, value: bytesIn(row, 'value', 'valueBase64'), ttl: ttlIn(row.ttl) };
}

function parsed(line: Uint8Array): unknown {
  let text: string;
  try {
    text = decoder.decode(line);
  } catch {
    throw new BadLineError('not UTF-8');
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new BadLineError(`not JSON: ${(error as Error).message}`);
  }
}

function bytesIn(row: Readonly<Record<string, unknown>>, name: string, nameBase64: string): Uint8Array {
  const text = row[name];
  const base64 = row[nameBase64];
  if (text !== undefined && base64 !== undefined)
    throw new BadLineError(`both "${name}" and "${nameBase64}"`);
  if (base64 !== undefined) {
    const bytes = typeof base64 === 'string' ? bytesOfBase64(base64) : null;
    if (bytes === null) throw new BadLineError(`"${nameBase64}" ${excerpt(base64)} is not base64`);
    return bytes;
  }
  if (text === undefined) throw new BadLineError(`neither "${name}" nor "${nameBase64}"`);
  if (typeof text !== 'string') throw new BadLineError(`"${name}" ${excerpt(text)} is not a text`);
  if (!text.isWellFormed())
    throw new BadLineError(`"${name}" holds half a surrogate pair, which UTF-8 cannot; use "${nameBase64}"`);
  return encoder.encode(text);
}

function ttlIn(ttl: unknown): number {
  if (ttl === undefined) return 0;
  if (typeof ttl !== 'number' || !(ttl > 0 && ttl <= limits.ttlSecondsMax))
    throw new BadLineError(`"ttl" ${excerpt(ttl)} lies outside 0 to ${limits.ttlSecondsMax} seconds`);
  return ttl;
}

function excerpt(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length <= EXCERPT_CHARACTERS ? text : `${text.slice(0, EXCERPT_CHARACTERS)}...`;
}
