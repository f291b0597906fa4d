/** Keys in paths, versions in ETags, JSON in answers. Every key byte outside RFC 3986's unreserved ones is escaped. */

export interface RawAnswer {
  readonly status: number;
  /** By lower-case name; undefined where absent. */
  header(name: string): string | undefined;
  readonly body: Uint8Array;
}

const encoder = new TextEncoder();
const UNRESERVED = /[A-Za-z0-9_~-]/;
const escapes: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  // Dots too: `.` and `..` are keys, and a proxy would take them for folders.
  return UNRESERVED.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
});

export const bytesOf = (text: string | Uint8Array): Uint8Array =>
  typeof text === 'string' ? encoder.encode(text) : text;

/** Percent-encodes bytes for a path segment or a query value. */
export function escapeBytes(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += escapes[byte];
  return text;
}

const DOT = 0x2e;
/** `.` and `..`: as segments of a path, browsers and proxies resolve them, escaped or not. */
export const isDots = (key: Uint8Array): boolean => key.length <= 2 && key.every((byte) => byte === DOT);

/** The version in an ETag, or -1 where there is none. */
export function versionOfETag(etag: string | undefined): number {
  const match = /^"([0-9]{1,16})"$/.exec(etag ?? '');
  const version = match === null ? -1 : Number(match[1]);
  return Number.isSafeInteger(version) ? version : -1;
}

/** The JSON value, or undefined where the bytes are not JSON. */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** The bytes of padded base64, or null where the text is none. Without Node's Buffer: browsers have atob alone. */
export function decodeBase64(text: string): Uint8Array | null {
  if (!BASE64.test(text)) return null;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}
