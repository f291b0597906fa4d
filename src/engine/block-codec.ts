/**
 * Compression of frame payloads. Snappy output is copied into memory of V8's own (`copyOutputData`): external
 * buffers cost a finaliser each. A payload that would shrink by less than an eighth stays as it is.
 */
import snappy from 'snappy';
import { FRAME_HEADER_BYTES, type FrameFields, STORED_SNAPPY } from './table-format.ts';

const COPY = { copyOutputData: true } as const;

/** The compressed bytes of [start, start + length), or null where that saves less than an eighth. */
export function compressed(bytes: Uint8Array, start: number, length: number): Uint8Array | null {
  const input = Buffer.from(bytes.buffer, bytes.byteOffset + start, length);
  const output = snappy.compressSync(input, COPY);
  return output.length <= length - length / 8 ? output : null;
}

/**
 * Puts the raw payload of a frame that passed `frameFault` and starts at `start` into `target` at `at`, where
 * fields.rawBytes fit. What is wrong with it: '' where nothing is.
 */
export function decodePayload(
  bytes: Uint8Array,
  start: number,
  fields: Readonly<FrameFields>,
  target: Uint8Array,
  at: number,
): string {
  const from = start + FRAME_HEADER_BYTES;
  if (fields.compression !== STORED_SNAPPY) {
    copyBytes(bytes, from, from + fields.storedBytes, target, at);
    return '';
  }
  const raw = inflate(bytes, from, fields.storedBytes);
  if (typeof raw === 'string') return raw;
  if (raw.length !== fields.rawBytes)
    return `a compressed payload of ${raw.length} bytes, ${fields.rawBytes} in its header`;
  copyBytes(raw, 0, raw.length, target, at);
  return '';
}

function inflate(bytes: Uint8Array, from: number, length: number): Uint8Array | string {
  try {
    const raw = snappy.uncompressSync(Buffer.from(bytes.buffer, bytes.byteOffset + from, length), COPY);
    return typeof raw === 'string' ? 'a compressed payload that gives text' : raw;
  } catch (error) {
    return `a payload that does not decompress: ${String(error)}`;
  }
}

function copyBytes(source: Uint8Array, from: number, to: number, target: Uint8Array, at: number): void {
  target.set(from === 0 && to === source.length ? source : source.subarray(from, to), at);
}
