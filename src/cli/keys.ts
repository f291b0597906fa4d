/** Keys and values between bytes and what a person or a JSON line holds: text where it is UTF-8, base64 otherwise. */
import { UsageError } from './failure.ts';

// A BOM is part of a key or a value like any other character.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** The text of bytes that are UTF-8, otherwise null. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** The bytes of padded base64, or null where the text is none. */
export function bytesOfBase64(text: string): Uint8Array | null {
  return BASE64.test(text) ? new Uint8Array(Buffer.from(text, 'base64')) : null;
}
export const base64Of = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');

/** A key from the command line: a text argument or --key-base64. Throws UsageError. */
export function keyOf(text: string | undefined, base64: string | undefined): Uint8Array {
  if (text !== undefined && base64 !== undefined)
    throw new UsageError('give the key as an argument or with --key-base64, not both');
  if (base64 !== undefined) {
    const bytes = bytesOfBase64(base64);
    if (bytes === null) throw new UsageError(`--key-base64 ${JSON.stringify(base64)} is not base64`);
    if (bytes.length === 0) throw new UsageError('--key-base64 is empty; a key has at least 1 byte');
    return bytes;
  }
  if (text === undefined)
    throw new UsageError('a key is missing: give it as an argument or with --key-base64');
  if (text === '') throw new UsageError('an empty key; a key has at least 1 byte');
  return encoder.encode(text);
}

/** `{"key": "..."}` where the key is text, `{"keyBase64": "..."}` otherwise. */
export function keyFields(key: Uint8Array): { readonly key: string } | { readonly keyBase64: string } {
  const text = textOf(key);
  return text === null ? { keyBase64: base64Of(key) } : { key: text };
}
/** The same for a value. */
export function valueFields(
  value: Uint8Array,
): { readonly value: string } | { readonly valueBase64: string } {
  const text = textOf(value);
  return text === null ? { valueBase64: base64Of(value) } : { value: text };
}

/** Characters that would change a terminal's state or tear a line apart, and quotes that start a JSON text. */
const UNSAFE = /^"|^base64:|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/** For a line that a person reads: text as it is where that is safe, otherwise as a JSON text. */
export function shownText(text: string): string {
  if (!UNSAFE.test(text)) return text;
  const escaped = (character: string): string => {
    const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
  };
  return JSON.stringify(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escaped);
}
/** The same for the bytes of a key or a value; base64 where they are no text. */
export function shownBytes(bytes: Uint8Array): string {
  const text = textOf(bytes);
  return text === null ? `base64:${base64Of(bytes)}` : shownText(text);
}
