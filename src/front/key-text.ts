/** Keys in JSON: as text where their bytes are valid UTF-8, otherwise in base64. */
import { isUtf8 } from 'node:buffer';
import { BadRequestError, KeyTooLargeError } from '../base/errors.ts';
import { decodeBase64 } from './json.ts';
import { short } from './outcome.ts';

/** `"key":"..."` or `"keyBase64":"..."`, ready to stand in a JSON object. */
export function keyMember(key: Uint8Array): string {
  const buffer = Buffer.from(key.buffer, key.byteOffset, key.length);
  return isUtf8(buffer)
    ? `"key":${JSON.stringify(buffer.toString('utf8'))}`
    : `"keyBase64":"${buffer.toString('base64')}"`;
}

/** The key of an op in a batch: a string, `{"base64": "..."}`, or bytes in CBOR. Throws for anything else. */
export function keyOfField(field: unknown, keyBytesMax: number): Uint8Array {
  const key = bytesOfField(field);
  checkKeyLength(key.length, keyBytesMax);
  return key;
}

export function checkKeyLength(length: number, keyBytesMax: number): void {
  if (length === 0) throw new BadRequestError(`an empty key; a key has 1 to ${keyBytesMax} bytes`);
  if (length > keyBytesMax)
    throw new KeyTooLargeError(`a key of ${length} bytes; the limit is ${keyBytesMax}`);
}

function bytesOfField(field: unknown): Uint8Array {
  if (typeof field === 'string') {
    if (!field.isWellFormed()) throw new BadRequestError(`key ${short(field)} has a lone surrogate`);
    return Buffer.from(field);
  }
  if (field instanceof Uint8Array) return field;
  if (typeof field === 'object' && field !== null) {
    const names = Object.keys(field);
    const { base64 } = field as { readonly base64?: unknown };
    if (names.length === 1 && typeof base64 === 'string') return decodeBase64(base64, 'key');
  }
  throw new BadRequestError('a key is neither a string nor {"base64": "..."}');
}
