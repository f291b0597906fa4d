/** One answer of `GET /v1/scan`: entries in order, and a cursor where there are more. */
import { bytesOf, decodeBase64, isObject, parseJson } from './encoding.ts';
import { ProtocolError } from './errors.ts';
import type { ScanEntry } from './types.ts';

export interface ParsedPage {
  readonly entries: readonly ScanEntry[];
  /** null at the end. */
  readonly cursor: string | null;
}

function fail(what: string): never {
  throw new ProtocolError(`a page of a scan ${what}`);
}

export function parseScanPage(body: Uint8Array, values: boolean): ParsedPage {
  const page = parseJson(body);
  if (!isObject(page) || !Array.isArray(page.entries)) return fail('has no entries');
  const cursor = page.cursor ?? null;
  if (cursor !== null && typeof cursor !== 'string') return fail('has a cursor that is not a text');
  return { entries: page.entries.map((entry: unknown) => entryOf(entry, values)), cursor };
}

function entryOf(entry: unknown, values: boolean): ScanEntry {
  if (!isObject(entry)) return fail('has an entry that is not an object');
  const { key, keyBase64, value, version, ttl } = entry;
  const keyBytes =
    typeof key === 'string' ? bytesOf(key) : typeof keyBase64 === 'string' ? decodeBase64(keyBase64) : null;
  if (keyBytes === null) return fail('has an entry without a key');
  const valueBytes = values && typeof value === 'string' ? decodeBase64(value) : null;
  if (values && valueBytes === null) return fail('has an entry without its value in base64');
  if (typeof version !== 'number') return fail('has an entry without a version');
  return { key: keyBytes, value: valueBytes, version, ttl: typeof ttl === 'number' ? ttl : null };
}
