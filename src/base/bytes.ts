/**
 * Bytes that live for a request: in Node's pool of buffers, since an ArrayBuffer of its own costs each of them an allocation
 * that is zeroed first and a finalizer. Whatever is kept for long keeps its whole pool, so that is copied otherwise.
 */

/** Not zeroed. Never a Buffer, whose slice() shares what that of a Uint8Array copies. */
export function pooledBytes(length: number): Uint8Array {
  const pooled = Buffer.allocUnsafe(length);
  return new Uint8Array(pooled.buffer, pooled.byteOffset, length);
}

export function copyBytes(bytes: Uint8Array): Uint8Array {
  const copy = pooledBytes(bytes.length);
  copy.set(bytes);
  return copy;
}
