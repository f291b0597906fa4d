/**
 * JSON and base64 as the contract takes them: strictly. JSON.parse alone would take a byte order mark for
 * nothing, invalid UTF-8 for U+FFFD and the last of two equal names; Buffer would skip what is no base64.
 */
import { isAscii } from 'node:buffer';
import { BadRequestError } from '../base/errors.ts';
import { short } from './outcome.ts';
import type { Fields } from './request-options.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A JSON object, no name twice in any object of it. Throws BadRequestError. */
export function parseJsonObject(bytes: Uint8Array): Fields {
  const text = textOf(bytes);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    const where = text.startsWith('\ufeff') ? 'it begins with a byte order mark' : (cause as Error).message;
    throw new BadRequestError(`the body is not JSON: ${where.slice(0, 200)}`, { cause });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new BadRequestError(`the body is JSON but no object: ${short(text)}`);
  const twice = repeatedName(text);
  if (twice !== null) throw new BadRequestError(`field ${short(twice)} is given more than once`);
  return parsed as Fields;
}

function textOf(bytes: Uint8Array): string {
  if (isAscii(bytes)) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new BadRequestError('the body is not valid UTF-8', { cause });
  }
}

/** A name that stands twice in one object of valid JSON, or null. Steps from string to string. */
function repeatedName(json: string): string | null {
  const names: Set<string>[] = [];
  for (let at = 0; at < json.length; at++) {
    const character = json.charCodeAt(at);
    if (character === 0x7b) names.push(new Set());
    else if (character === 0x7d) names.pop();
    else if (character === 0x22) {
      const end = stringEnd(json, at);
      let next = end + 1;
      while (next < json.length && json.charCodeAt(next) <= 0x20) next++;
      if (json.charCodeAt(next) === 0x3a) {
        const name = JSON.parse(json.slice(at, end + 1)) as string;
        const seen = names.at(-1);
        if (seen?.has(name) === true) return name;
        seen?.add(name);
      }
      at = end;
    }
  }
  return null;
}

/** Where the string that opens at `start` closes. */
function stringEnd(json: string, start: number): number {
  for (let at = json.indexOf('"', start + 1); ; at = json.indexOf('"', at + 1)) {
    let slashes = 0;
    while (json.charCodeAt(at - 1 - slashes) === 0x5c) slashes++;
    if (slashes % 2 === 0) return at;
  }
}

/**
 * Bytes of standard base64 (RFC 4648, section 4) with its padding. Encoding again and comparing refuses other
 * alphabets, missing padding, stray characters and bits that are set behind the last byte.
 */
export function decodeBase64(text: string, what: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text)
    throw new BadRequestError(
      `${what} is not standard base64 with padding (${text.length} characters, from ${firstFault(text)})`,
    );
  return bytes;
}

function firstFault(text: string): string {
  const at = text.search(/[^A-Za-z0-9+/]/);
  const found = at < 0 ? text.length : at;
  return `character ${found}: ${short(text.slice(found, found + 8))}`;
}
