/**
 * Bytes that live for a request, cut from pools that many of them share: an ArrayBuffer of its own costs each of them an allocation that is
 * zeroed first and a finalizer, and bytes from Node's pool of Buffers 130 ns where these take 25. Whatever is kept for long keeps its
 * whole pool, so that is copied otherwise. One pool for each thread.
 */

export const POOL_BYTES = 64 * 1024;
/** Longer ones are on their own: they would waste the rest of a pool. */
const POOLED_BYTES_MAX = POOL_BYTES / 4;
/** Records start at multiples of 8, and V8 copies to and from shared memory by words of 8 bytes. */
const WORD = 8;
/** Copied one by one: quicker than to make a view of them. */
const SHORT_BYTES_MAX = 64;

const NO_BYTES = new Uint8Array(0);
let pool = new ArrayBuffer(POOL_BYTES);
let used = 0;

/** Nobody else has them, nor had. Never a Buffer, whose slice() shares what that of a Uint8Array copies. */
export function pooledBytes(length: number): Uint8Array<ArrayBuffer> {
  return length === 0 ? NO_BYTES : pooledAt(0, length);
}

/** Pooled bytes that start `shift` bytes behind a multiple of WORD. */
function pooledAt(shift: number, length: number): Uint8Array<ArrayBuffer> {
  const end = shift + length;
  if (end > POOLED_BYTES_MAX) return new Uint8Array(new ArrayBuffer(end), shift, length);
  if (used + end > POOL_BYTES) {
    pool = new ArrayBuffer(POOL_BYTES);
    used = 0;
  }
  const bytes = new Uint8Array(pool, used + shift, length);
  used = (used + end + WORD - 1) & -WORD;
  return bytes;
}

export const copyBytes = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => copyRange(bytes, 0, bytes.length);

/** A copy of bytes[start, end). */
export function copyRange(bytes: Uint8Array, start: number, end: number): Uint8Array<ArrayBuffer> {
  const length = end - start;
  if (length <= SHORT_BYTES_MAX) {
    const copy = pooledBytes(length);
    for (let i = 0; i < length; i++) copy[i] = bytes[start + i] as number;
    return copy;
  }
  // Both lie alike within a word: from shared memory V8 would copy byte by byte else, 0.65 us for 2 KB instead of 0.1.
  const copy = pooledAt((bytes.byteOffset + start) % WORD, length);
  copy.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
  return copy;
}
