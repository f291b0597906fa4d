/**
 * Compression of frame payloads by snappy: by the thread's own codec where they fit it (snappy-codec.ts), otherwise by the
 * snappy package, whose output is copied into memory of V8's own (`copyOutputData`): external buffers cost a finaliser each.
 * A payload that would shrink by less than an eighth stays as it is.
 */
import snappy from 'snappy';
import { SnappyCodec } from './snappy-codec.ts';
import { FRAME_HEADER_BYTES, type FrameFields, STORED_SNAPPY } from './table-format.ts';

const COPY = { copyOutputData: true } as const;

/** Of this thread, made when it is needed for the first time: not every thread that imports this has tables. */
let codec: SnappyCodec | null = null;

/** The compressed bytes of [start, start + length), good until the next call of this file, or null where that saves less than an eighth. */
export function compressed(bytes: Uint8Array, start: number, length: number): Uint8Array | null {
  codec ??= new SnappyCodec();
  const output = codec.holds(length)
    ? codec.encode(bytes, start, length)
    : snappy.compressSync(Buffer.from(bytes.buffer, bytes.byteOffset + start, length), COPY);
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
  codec ??= new SnappyCodec();
  const { storedBytes, rawBytes } = fields;
  const fault =
    codec.holds(storedBytes) && codec.holds(rawBytes)
      ? codec.decode(bytes, from, storedBytes, target, at, rawBytes)
      : inflate(bytes, from, storedBytes, target, at, rawBytes);
  return fault === '' ? '' : `a payload that does not decompress: ${fault}`;
}

/** The same by the package: for what is too long for the codec. */
function inflate(
  bytes: Uint8Array,
  from: number,
  storedBytes: number,
  target: Uint8Array,
  at: number,
  rawBytes: number,
): string {
  try {
    const raw = snappy.uncompressSync(
      Buffer.from(bytes.buffer, bytes.byteOffset + from, storedBytes),
      COPY,
    ) as Uint8Array;
    if (raw.length !== rawBytes) return `it gives ${raw.length} bytes, ${rawBytes} in its header`;
    target.set(raw, at);
    return '';
  } catch (error) {
    return String(error);
  }
}

function copyBytes(source: Uint8Array, from: number, to: number, target: Uint8Array, at: number): void {
  target.set(from === 0 && to === source.length ? source : source.subarray(from, to), at);
}
