/**
 * Copies of bytes that live for a request: in Node's pool of buffers, since an ArrayBuffer of its own costs each of them
 * an allocation that is zeroed first and a finalizer. Whatever is kept for long keeps its whole pool, so that is copied otherwise.
 */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const copy = Buffer.allocUnsafe(bytes.length);
  copy.set(bytes);
  return copy;
}
