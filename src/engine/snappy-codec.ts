/**
 * Snappy without a buffer for each payload: in a small memory of its own, which the caller's bytes are copied into and out of.
 * Owned by the thread that made it. The code is WebAssembly (snappy.wat). The snappy package gives a new Buffer for every payload,
 * which lives until the next collection: tens of megabytes of them floated in each thread, and making them took
 * longer than copying (decision 10 has the figures). Payloads above limits.tableCodecBytesMax are left to the package.
 *
 * 1. Nothing but views is allocated after the constructor.
 * 2. Whatever a payload holds, `decode` changes the target's [at, at + rawBytes) only; where the payload is bad, nothing.
 * 3. `encode` gives the same bytes as the package.
 */
import { assert } from '../base/assert.ts';
import { KiB, limits } from '../base/limits.ts';
import { snappyModule } from './snappy-module.ts';

/** What is used of the global that neither the language's library nor Node's types declare. */
declare const WebAssembly: {
  readonly Memory: new (pages: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
};

interface SnappyExports {
  readonly decode: (from: number, fromEnd: number, to: number, toEnd: number) => number;
  readonly encode: (from: number, fromEnd: number, to: number, table: number) => number;
}

const PAGE_BYTES = 65_536;
const PAYLOAD_BYTES_MAX = limits.tableCodecBytesMax;
/** snappy.wat: what is read or written beyond the end of a payload. */
const SLACK_BYTES = 16;
/** The table of `encode`, then a compressed payload, then a raw one. */
const TABLE_AT = 0;
const STORED_AT = 32 * KiB;
const RAW_AT = STORED_AT + 32 + PAYLOAD_BYTES_MAX + Math.ceil(PAYLOAD_BYTES_MAX / 6) + SLACK_BYTES;
const PAGES = Math.ceil((RAW_AT + PAYLOAD_BYTES_MAX + SLACK_BYTES) / PAGE_BYTES);

/** By the number that `decode` returns. */
const faults = [
  '',
  'its length cannot be read',
  'it has another length than the header says',
  'an element is cut off',
  'an element goes beyond its end',
  'a copy from before its beginning',
] as const;

export class SnappyCodec {
  readonly #bytes: Uint8Array;
  readonly #exports: SnappyExports;

  constructor() {
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
    const module = new WebAssembly.Module(Buffer.from(snappyModule, 'base64'));
    const { exports } = new WebAssembly.Instance(module, { ringkv: { memory } });
    this.#bytes = new Uint8Array(memory.buffer);
    this.#exports = exports as SnappyExports;
  }

  /** Whether it takes a payload of so many bytes. */
  holds(bytes: number): boolean {
    return bytes <= PAYLOAD_BYTES_MAX;
  }

  /** The compressed bytes of bytes[from, from + length), until the next call of either. */
  encode(bytes: Uint8Array, from: number, length: number): Uint8Array {
    assert(
      this.holds(length),
      () => `snappy: a payload of ${length} bytes; the limit is ${PAYLOAD_BYTES_MAX}`,
    );
    const memory = this.#bytes;
    memory.set(bytes.subarray(from, from + length), RAW_AT);
    return memory.subarray(STORED_AT, this.#exports.encode(RAW_AT, RAW_AT + length, STORED_AT, TABLE_AT));
  }

  /** Decompresses bytes[from, from + storedBytes) to target[at, at + rawBytes). What is wrong with it: '' where nothing is. */
  decode(
    bytes: Uint8Array,
    from: number,
    storedBytes: number,
    target: Uint8Array,
    at: number,
    rawBytes: number,
  ): string {
    assert(
      this.holds(storedBytes) && this.holds(rawBytes),
      () => `snappy: ${storedBytes} bytes that give ${rawBytes}; the limit is ${PAYLOAD_BYTES_MAX}`,
    );
    const memory = this.#bytes;
    memory.set(bytes.subarray(from, from + storedBytes), STORED_AT);
    const fault = this.#exports.decode(STORED_AT, STORED_AT + storedBytes, RAW_AT, RAW_AT + rawBytes);
    if (fault !== 0) return faults[fault] ?? `fault ${fault}`;
    target.set(memory.subarray(RAW_AT, RAW_AT + rawBytes), at);
    return '';
  }
}
